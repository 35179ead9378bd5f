"""LoRA: its scale, its equality with a changed weight, how many numbers, and where it can stand."""

import jax
import numpy as np
import pytest

from jaxlt.errors import UserError
from jaxlt.models.encoder import model_of
from jaxlt.models.init import count, describe, unflatten
from jaxlt.models.layers import make_context
from jaxlt.modules.lora import LoRA, lora_scale
from jaxlt.modules.site import plug
from tests.conftest import make_batch, make_config, random_params

pytestmark = pytest.mark.usefixtures("quick_compile")

EVERYWHERE = ("query", "key", "value", "out", "wi_0", "wi_1", "wo")


def test_scales():
    assert lora_scale(8, 8.0) == 1.0 and lora_scale(4, 8.0) == 2.0
    assert lora_scale(16, 8.0, "rsqrt") == 2.0
    with pytest.raises(UserError, match="Did you mean 'rsqrt'"):
        lora_scale(8, 8.0, "rsqr")
    with pytest.raises(UserError, match="at least 1"):
        lora_scale(0, 8.0)


@pytest.mark.parametrize("scaling", ["standard", "rsqrt"])
def test_it_is_a_change_of_the_weight(scaling):
    mine = plug(LoRA, "mine", rank=4, alpha=6.0, scaling=scaling, sites=EVERYWHERE)
    config, batch = make_config(plugs=(mine,), scan_layers=False), make_batch()
    flat = random_params(config)
    changed = {n: v for n, v in flat.items() if n.startswith("params/")}
    for name in [n for n in flat if n.endswith("/mine/a")]:
        kernel = name.replace("modules/", "params/").replace("/site/mine/a", "/kernel")
        product = flat[name] @ flat[name.removesuffix("a") + "b"]
        changed[kernel] = changed[kernel] + lora_scale(4, 6.0, scaling) * product

    def logits(config, flat):
        model = model_of(config)
        return jax.jit(lambda f: model.apply(unflatten(f), batch, make_context(batch)))(flat)

    found, wanted = logits(config, flat), logits(make_config(scan_layers=False), changed)
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())


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
