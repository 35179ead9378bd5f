"""(IA)^3, norm scales and BitFit: vectors; how many numbers, and where the inner activation is."""

import functools

import jax
import numpy as np
import pytest

from jaxlt.models.encoder import model_of
from jaxlt.models.init import count, describe, unflatten
from jaxlt.models.layers import make_context
from jaxlt.modules.bitfit import BitFit
from jaxlt.modules.ia3 import IA3
from jaxlt.modules.norm_scale import NormScale
from jaxlt.modules.site import plug
from tests.conftest import make_batch, make_config, random_params

pytestmark = pytest.mark.usefixtures("quick_compile")


def modules(method, **changes):
    """The method's own leaves in the tiny model."""
    leaves = describe(make_config(plugs=(plug(method, "mine"),), **changes))
    return {n: leaf for n, leaf in leaves.items() if n.startswith("modules/")}


@functools.lru_cache
def forward(config):
    """The compiled logits of (flat parameters, batch)."""
    model = model_of(config)
    return jax.jit(lambda flat, batch: model.apply(unflatten(flat), batch, make_context(batch)))


def logits(config, flat):
    return np.asarray(forward(config)(flat, make_batch()))


@pytest.mark.parametrize("gates", [("gelu", "linear"), ("relu",)])
def test_the_inner_activation_is_what_goes_into_wo(gates):
    inner = make_config(plugs=(plug(IA3, "mine", sites="mlp_inner"),), mlp_activations=gates)
    flat = random_params(inner)
    found = logits(inner, flat)
    # A vector there is the same as the rows of `wo` times it ...
    into = {n: v.copy() for n, v in flat.items() if n.startswith("params/")}
    for stack in ("encoder", "decoder"):
        scale = flat[f"modules/{stack}/layers/mlp/mlp_inner/mine/scale"]
        into[f"params/{stack}/layers/mlp/wo/kernel"] *= scale[:, :, None]
    np.testing.assert_allclose(found, logits(make_config(mlp_activations=gates), into), atol=1e-4)
    if len(gates) == 2:  # ... and as one at the linear gate's output.
        gate = make_config(plugs=(plug(IA3, "mine", sites="wi_1"),))
        moved = {n.replace("mlp/mlp_inner", "mlp/wi_1/site"): v for n, v in flat.items()}
        np.testing.assert_allclose(found, logits(gate, moved), atol=1e-4)


def test_a_norm_scale_is_a_change_of_the_norms():
    config = make_config(plugs=(plug(NormScale, "mine"),))
    flat = random_params(config)
    changed = {n: v.copy() for n, v in flat.items() if n.startswith("params/")}
    names = {"attn": "attention", "cross_attn": "cross_attention", "mlp": "mlp"}
    for name in [n for n in flat if n.startswith("modules/")]:
        stack, site = name.split("/")[1], name.split("/")[-3]
        norm = f"layers/pre_{names.get(site.removesuffix('_norm'))}_layer_norm"
        if (stack, site) == ("decoder", "attn_norm"):
            norm = "layers/pre_self_attention_layer_norm"
        if site == "final_norm":
            norm = f"{stack}_norm"
        changed[f"params/{stack}/{norm}/scale"] *= flat[name]
    np.testing.assert_allclose(logits(config, flat), logits(make_config(), changed), atol=1e-4)


def test_norms_after_the_sublayer_have_their_sites_too():
    names = modules(NormScale, norm_place="post")
    assert "modules/encoder/layers/mlp_norm/mine/scale" in names


def test_parameter_counts():
    width, inner, joined, layers = 16, 24, 16, 2
    assert count(modules(IA3)) == layers * ((2 * joined + inner) + (4 * joined + inner))
    assert count(modules(NormScale)) == layers * (2 * width + 3 * width) + 2 * width
    attention, mlp = 2 * joined + width, 2 * inner + width
    assert count(modules(BitFit)) == layers * ((attention + mlp) + (2 * attention + mlp))
