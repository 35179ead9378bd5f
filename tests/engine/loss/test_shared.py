"""The loss over a vocabulary in parts: what the loss over all of it gives."""

import pytest

from jaxlt.engine.loss.losses import LossConfig
from tests.conftest import make_batch, make_config
from tests.models.test_manual import MESHES, SCANNED, same

pytestmark = pytest.mark.usefixtures("quick_compile")


@pytest.mark.parametrize(
    "loss",
    [
        LossConfig(z_loss=0.1, label_smoothing=0.1, chunk_bytes=400),
        pytest.param(LossConfig(z_loss=1e-4, normalize="languages"), marks=pytest.mark.slow),
    ],
)
def test_a_vocabulary_in_parts(loss):
    """41 entries on 4 devices, in chunks of the length; weights that differ from the reported."""
    same(make_config(vocab_rows=41, **SCANNED), MESHES["fsdp"], make_batch(8), loss=loss)


@pytest.mark.slow
def test_tied_logits():
    same(make_config(tie_logits=True, **SCANNED), MESHES["data"], make_batch(8))
