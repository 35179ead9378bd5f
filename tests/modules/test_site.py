"""Sites, plugs and routes: where a method meets the backbone, and what is said when it does not."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.errors import UserError
from jaxlt.models.encoder import model_of
from jaxlt.models.init import describe
from jaxlt.models.layers import make_context
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.routing import check_indices, routes_of, select
from jaxlt.modules.site import Method, Site, plug
from tests.conftest import make_batch, make_config, random_variables


class Add(Method):
    """y + a weight."""

    places = ("mlp_out",)

    @nn.compact
    def __call__(self, y, x=None, ids=None):
        return y + self.weight("amount", nn.initializers.ones, (), (), ids)


class Double(Method):
    """y * a weight."""

    @nn.compact
    def __call__(self, y, x=None, ids=None):
        return y * self.weight("factor", nn.initializers.constant(2.0), (), (), ids)


@pytest.mark.parametrize(
    "sites, stacks, place, matches",
    [
        ("mlp_out", ("encoder", "decoder"), "encoder/mlp_out", True),
        ("mlp_out", ("decoder",), "encoder/mlp_out", False),
        ("encoder/mlp_out", ("encoder", "decoder"), "decoder/mlp_out", False),
        ("query", ("encoder", "decoder"), "decoder/encoder_decoder_attention/query", True),
        ("self_attention/query", ("decoder",), "decoder/self_attention/query", True),
        ("self_attention/query", ("decoder",), "decoder/encoder_decoder_attention/query", False),
        ("encoder/*", ("encoder", "decoder"), "encoder/attention/kv", True),
        ("*_out", ("encoder",), "encoder/attn_out", True),
        ("*_out", ("encoder",), "encoder/attention/kv", False),
        ("kernel", ("encoder",), "encoder/mlp/wi_0/kernel", True),
        ("out", ("encoder",), "encoder/mlp_out", False),
    ],
)
def test_patterns(sites, stacks, place, matches):
    assert plug(Add, "a", sites=sites, stacks=stacks).matches(place) is matches


def test_order_is_composition():
    def run(*plugs):
        site = Site("encoder/mlp_out", plugs)
        variables = {
            "modules": {"add": {"amount": jnp.float32(1)}, "double": {"factor": jnp.float32(2)}}
        }
        return float(site.apply(variables, jnp.float32(3)))

    add, double = plug(Add, "add"), plug(Double, "double", sites="mlp_out")
    assert run(add, double) == 8
    assert run(double, add) == 7
    assert run() == 3


def test_a_site_without_plugs_passes_its_value_on():
    y = object()
    assert Site("encoder/mlp_out", (plug(Add, "a", stacks="decoder"),)).apply({}, y) is y


@pytest.mark.parametrize(
    "sites, hint",
    [("mlp_ou", "Did you mean 'mlp_out'"), ("encoder/blockout", "Did you mean 'block_out'")],
)
def test_a_plug_that_meets_no_site(sites, hint):
    with pytest.raises(UserError, match=f"'lost'.*{hint}"):
        describe(make_config(plugs=(plug(Add, "lost", sites=sites),)))


def test_one_plug_that_meets_a_site_does_not_hide_another_that_does_not():
    met = plug(Add, "met")
    lost = plug(Add, "layers", sites="nowhere")  # its name is also a part of every path
    with pytest.raises(UserError, match="'layers'"):
        describe(make_config(plugs=(met, lost)))


def test_a_plug_in_a_stack_that_is_not_there():
    with pytest.raises(UserError, match="meets no site"):
        describe(make_config(decoder_layers=0, plugs=(plug(Add, "a", stacks="decoder"),)))


def test_every_site_is_there():
    sites = (
        *("embed", "unembed", "query", "key", "value", "out", "wi_0", "wi_1", "wo"),
        *("attn_out", "cross_attn_out", "mlp_out", "block_out", "kernel", "mlp_inner"),
        *("attn_norm", "cross_attn_norm", "mlp_norm", "final_norm"),
    )
    names = describe(make_config(plugs=tuple(plug(Add, f"at_{s}", sites=s) for s in sites)))
    assert {n.split("/")[-2] for n in names if n.endswith("/amount")} == {f"at_{s}" for s in sites}


def test_settings():
    with pytest.raises(UserError, match=r"no setting 'reduction'.*Did you mean 'reduction_factor'"):
        plug(Bottleneck, "a", reduction=4)
    with pytest.raises(UserError, match="routes = 0"):
        plug(Bottleneck, "a", key="source")
    assert plug(Bottleneck, "a", routes=3).key == "source"
    assert plug(Bottleneck, "a").sites == Bottleneck.places
    assert hash(plug(Bottleneck, "a", reduction_factor=4)) == hash(
        plug(Bottleneck, "a", reduction_factor=4)
    )


def test_a_route_that_the_batch_does_not_carry():
    config = make_config(plugs=(plug(Bottleneck, "lang", key="target", routes=3),))
    batch = make_batch()
    with pytest.raises(UserError, match=r"'lang' routes by 'target'.*routes at hand: source"):
        jax.eval_shape(model_of(config).apply, random_variables(config), batch, make_context(batch))


def test_routes_of_a_batch():
    batch = {"language": np.array([1]), "task": np.array([2]), "other": np.array([3])}
    assert {k: r.index.tolist() for k, r in routes_of(batch).routes.items()} == {
        "source": [1],
        "task": [2],
    }


def test_select_by_row_and_for_the_whole_batch():
    bank = np.arange(12.0).reshape(3, 2, 2)
    np.testing.assert_array_equal(select(bank, jnp.array([2, 0, 2])), bank[[2, 0, 2]])
    np.testing.assert_array_equal(select(bank, jnp.int32(1)), bank[1])


@pytest.mark.parametrize("bad", [[0, 3], [-1, 0]])
def test_an_index_without_a_slot(bad):
    with pytest.raises(UserError, match=f"language {next(i for i in bad if i not in range(3))}.*3"):
        check_indices(np.array(bad), 3, "language")
    check_indices(np.array([0, 2]), 3, "language")


def test_a_method_has_to_do_something():
    with pytest.raises(TypeError, match="Method has to define"):
        Method()(1.0)
