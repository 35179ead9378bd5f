"""(IA)^3, norm scales and BitFit: vectors; how many numbers, and where the inner activation is."""

import numpy as np

from jaxlt.models.init import count, describe
from jaxlt.modules.bitfit import BitFit
from jaxlt.modules.ia3 import IA3
from jaxlt.modules.norm_scale import NormScale
from jaxlt.modules.site import plug
from tests.conftest import forward, make_batch, make_config, random_params


def modules(method, **changes):
    """The method's own leaves in the tiny model."""
    leaves = describe(make_config(plugs=(plug(method, "mine"),), **changes))
    return {n: leaf for n, leaf in leaves.items() if n.startswith("modules/")}


def test_the_inner_activation_is_that_at_the_output_of_the_linear_gate():
    inner = make_config(plugs=(plug(IA3, "mine", sites="mlp_inner"),), decoder_layers=0)
    gate = make_config(plugs=(plug(IA3, "mine", sites="wi_1"),), decoder_layers=0)
    flat, batch = random_params(inner), make_batch()
    moved = {n.replace("mlp/mlp_inner", "mlp/wi_1/site"): v for n, v in flat.items()}
    found, wanted = forward(inner, flat, batch), forward(gate, moved, batch)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_norms_after_the_sublayer_have_their_sites_too():
    names = modules(NormScale, norm_place="post")
    assert "modules/encoder/layers/mlp_norm/mine/scale" in names


def test_parameter_counts():
    width, inner, joined, layers = 16, 24, 16, 2
    assert count(modules(IA3)) == layers * ((2 * joined + inner) + (4 * joined + inner))
    assert count(modules(NormScale)) == layers * (2 * width + 3 * width) + 2 * width
    attention, mlp = 2 * joined + width, 2 * inner + width
    assert count(modules(BitFit)) == layers * ((attention + mlp) + (2 * attention + mlp))
