"""LoRA: its scale, how many numbers, and where it can stand (test_merge: it changes the weight)."""

import pytest

from jaxlt.errors import UserError
from jaxlt.models.init import count, describe
from jaxlt.modules.lora import LoRA, lora_scale
from jaxlt.modules.site import plug
from tests.conftest import make_config

EVERYWHERE = ("query", "key", "value", "out", "wi_0", "wi_1", "wo")


def test_scales():
    assert lora_scale(8, 8.0) == 1.0 and lora_scale(4, 8.0) == 2.0
    assert lora_scale(16, 8.0, "rsqrt") == 2.0
    with pytest.raises(UserError, match="Did you mean 'rsqrt'"):
        lora_scale(8, 8.0, "rsqr")
    with pytest.raises(UserError, match="at least 1"):
        lora_scale(0, 8.0)


@pytest.mark.parametrize("sites", [("query", "value"), EVERYWHERE])
def test_parameter_count(sites):
    config = make_config(plugs=(plug(LoRA, "mine", rank=3, sites=sites),))
    leaves = describe(config)
    # r (D_in + D_out) a projection; a scanned kernel is [L, D_in, D_out]
    kernels = [n for n in leaves if n.endswith("/kernel") and n.split("/")[-2] in sites]
    wanted = sum(2 * 3 * sum(leaves[n].shape[1:]) for n in kernels)
    assert count({n: leaf for n, leaf in leaves.items() if n.startswith("modules/")}) == wanted


def test_a_site_that_is_no_projection():
    with pytest.raises(UserError, match=r"'mine'.*no projection"):
        describe(make_config(plugs=(plug(LoRA, "mine", sites="embed"),)))
