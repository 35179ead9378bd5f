"""Prefixes: counts, baking, what they may be seen by, and layers that leave them out."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.errors import UserError
from jaxlt.models.bias import Bias
from jaxlt.models.init import describe
from jaxlt.modules.layout import unstack
from jaxlt.modules.prefix import Prefix, bake
from jaxlt.modules.routing import Ids, Route
from jaxlt.modules.site import Site, plug
from tests.conftest import forward, make_batch, make_config, random_params

ENCODER = {"sites": ["encoder/attention/kv"]}
BATCH = make_batch()


def states(config, flat):
    """What the encoder makes of a batch."""
    return forward(config, flat, BATCH, method="encode")


def size(**settings):
    """Parameters of a prefix of 5 in the encoder (2 layers, J = 16)."""
    config = make_config(decoder_layers=0, plugs=(plug(Prefix, "p", length=5, **settings),))
    return sum(int(np.prod(leaf.shape)) for n, leaf in describe(config).items() if "modules" in n)


def test_the_number_of_parameters():
    k, n, j, m = 5, 2, 16, 3
    assert size() == 2 * k * n * j
    assert size(tied=True) == k * n * j
    assert size(hidden=m) == n * (k * j + j * m + m + m * 2 * j + 2 * j)
    assert size(hidden=m, tied=True) == n * (k * j + j * m + m + m * j + j)
    assert size(key="source", routes=3) == 3 * size()


def test_where_it_goes():
    config = make_config(plugs=(plug(Prefix, "p", length=2),))
    places = {n.rpartition("/p/")[0] for n in describe(config) if "/p/" in n}
    assert {p.removeprefix("modules/") for p in places} == {
        "encoder/layers/attention/kv",
        "decoder/layers/self_attention/kv",
        "decoder/layers/encoder_decoder_attention/kv",
    }


@pytest.mark.parametrize("tied", [False, True], ids=["apart", "tied"])
def test_baked_equals_reparameterised(tied):
    routing = {"key": "source", "routes": 3}
    made = lambda **s: make_config(  # noqa: E731
        plugs=(plug(Prefix, "p", length=2, tied=tied, **ENCODER, **routing, **s),), decoder_layers=0
    )
    flat = random_params(made(hidden=4))
    baked = bake(flat)
    wanted = {n: leaf.shape for n, leaf in describe(made()).items()}
    assert {n: v.shape for n, v in baked.items()} == wanted
    np.testing.assert_allclose(states(made(), baked), states(made(hidden=4), flat), atol=1e-5)


def applied(method_settings, y, ids=None, **choices):
    """A Site of one prefix applied to (k, v, bias)."""
    site = Site("encoder/attention/kv", (plug(Prefix, "p", **method_settings, **choices),))
    x = jnp.zeros((y[0].shape[0], 4, 16))
    variables = site.init(jax.random.key(0), y, x, ids)
    return site.apply(variables, y, x, ids), jax.tree.map(
        lambda b: b.value, variables, is_leaf=lambda b: hasattr(b, "names")
    )


def test_every_segment_sees_the_prefix_and_no_other_segment():
    k = jnp.ones((1, 4, 2, 8))
    segments, valid = jnp.array([[1, 1, 2, 0]]), jnp.array([[True, True, True, False]])
    bias = Bias(None, valid, valid, segments, segments, causal=True)
    (keys, _, out), _ = applied({"length": 3}, (k, k, bias))
    assert keys.shape == (1, 7, 2, 8) and out.prefix == 3
    seen = np.asarray(out.materialise(4, 4))[0, 0] == 0
    np.testing.assert_array_equal(
        seen,
        [
            [1, 1, 1, 1, 0, 0, 0],
            [1, 1, 1, 1, 1, 0, 0],
            [1, 1, 1, 0, 0, 1, 0],
            [1, 1, 1, 0, 0, 0, 0],
        ],
    )


def test_two_prefixes_stand_one_before_the_other():
    bias = Bias().prefixed(2).prefixed(1, jnp.array(False)).prefixed(1)
    added = np.asarray(bias.materialise(3, 5))
    assert added.shape == (1, 1, 3, 9)
    np.testing.assert_array_equal(added[0, 0, 0] < -1e20, [0, 1, 0, 0, 0, 0, 0, 0, 0])
    assert Bias().prefixed(2).materialise(3, 5) is None


def test_several_slots_a_row_are_mixed():
    k = jnp.ones((2, 4, 2, 8))
    weights = jnp.array([[0.25, 0.75], [1.0, 0.0]])
    ids = Ids({"source": Route(jnp.array([[0, 2], [1, 1]]), weights)})
    (keys, _, _), variables = applied({"length": 3}, (k, k, Bias()), ids, key="source", routes=3)
    bank = np.asarray(variables["modules"]["p"]["keys"]).reshape(3, 3, 2, 8)
    wanted = np.stack([0.25 * bank[0] + 0.75 * bank[2], bank[1]])
    np.testing.assert_allclose(keys[:, :3], wanted, rtol=1e-5)


def test_a_slot_a_token_is_refused():
    k = jnp.ones((2, 4, 2, 8))
    ids = Ids({"source": Route(jnp.zeros((2, 4), jnp.int32))})
    with pytest.raises(UserError, match="routed by row, not by token"):
        applied({"length": 3}, (k, k, Bias()), ids, key="source", routes=3)


def test_it_cannot_stand_in_parallel():
    with pytest.raises(UserError, match="cannot stand in parallel"):
        plug(Prefix, "p", parallel="both")


def test_a_layer_that_leaves_it_out_is_as_without():
    """Exactly, at every position (padding too): scanned, unrolled and without any prefix there."""
    layers = (1,)
    prefix = plug(Prefix, "p", length=2, layers=layers, **ENCODER)
    config = make_config(plugs=(prefix,), decoder_layers=0)
    flat = random_params(config)
    scanned = states(config, flat)
    # what the layer would do with its prefix does not matter
    other = {n: v.copy() for n, v in flat.items()}
    for name in other:
        if "/p/" in name:
            other[name][1 - layers[0]] = 1e3
    np.testing.assert_array_equal(states(config, other), scanned)
    unrolled = dataclasses.replace(config, scan_layers=False)
    np.testing.assert_allclose(states(unrolled, unstack(flat)), scanned, atol=1e-5)
    never = dataclasses.replace(config, plugs=(plug(Prefix, "p", length=2, layers=(), **ENCODER),))
    plain = {n: v for n, v in flat.items() if "/p/" not in n}
    without = dataclasses.replace(config, plugs=())
    np.testing.assert_allclose(states(never, flat), states(without, plain), atol=1e-6)
    assert np.abs(scanned - states(never, flat)).max() > 1e-3
