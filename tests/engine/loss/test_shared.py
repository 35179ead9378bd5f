"""The loss over a vocabulary in parts: what the loss over all of it gives."""

import pytest

from jaxlt.engine.loss.losses import LossConfig
from tests.conftest import make_batch, make_config, make_mlm_batch
from tests.models.test_manual import MESHES, SCANNED, same

pytestmark = pytest.mark.usefixtures("quick_compile")


def test_a_vocabulary_in_parts():
    """41 entries on 4 devices, in chunks of the length."""
    loss = LossConfig(z_loss=0.1, label_smoothing=0.1, chunk_bytes=400)
    encoder = make_config(vocab_rows=41, encoder_layers=1, decoder_layers=0, **SCANNED)
    same(encoder, MESHES["fsdp"], make_mlm_batch(8), loss=loss)


@pytest.mark.slow
def test_weights_that_differ_from_the_reported():
    loss = LossConfig(z_loss=1e-4, normalize="languages")
    same(make_config(vocab_rows=41, **SCANNED), MESHES["fsdp"], make_batch(8), loss=loss)


@pytest.mark.slow
def test_tied_logits():
    same(make_config(tie_logits=True, **SCANNED), MESHES["data"], make_batch(8))
