"""What a T5Config refuses, and what it says."""

import pytest

from jaxlt.errors import UserError
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.site import plug
from tests.conftest import make_config


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"positions": "relativ"}, "Did you mean 'relative'"),
        ({"relpos_start": "locl"}, "T5Config.relpos_start.*Did you mean 'local'"),
        ({"embedding_std": 0.0}, "T5Config.embedding_std is above 0"),
        ({"dtype": "bfloat"}, "Did you mean 'bfloat16'"),
        ({"norm": "batch"}, "rms, layer"),
        ({"norm_place": "middle"}, "pre, post"),
        ({"remat": "dot"}, "Did you mean 'dots'"),
        ({"emb_dim": 0}, "T5Config.emb_dim"),
        ({"num_heads": -1}, "T5Config.num_heads"),
        ({"decoder_layers": -1}, "T5Config.decoder_layers"),
        ({"dropout": 1.0}, "T5Config.dropout"),
        ({"plugs": (plug(Bottleneck, "a"), plug(Bottleneck, "a"))}, "share a name"),
    ],
)
def test_errors_name_the_field(changes, words):
    with pytest.raises(UserError, match=words):
        make_config(**changes)


def test_is_hashable_and_says_what_it_is():
    assert hash(make_config()) == hash(make_config())
    assert make_config(decoder_layers=0).is_encoder
    assert not make_config().is_encoder
    assert str(make_config(dtype="bfloat16").compute_dtype) == "bfloat16"
