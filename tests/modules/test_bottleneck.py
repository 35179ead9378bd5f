"""Bottlenecks: what goes down, the norm before it, the scale after it, and how many numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.errors import UserError
from jaxlt.models.init import count, describe
from jaxlt.modules.bottleneck import Bottleneck, Parallel, Pfeiffer, rms
from jaxlt.modules.boxed import kaiming
from jaxlt.modules.site import plug
from jaxlt.modules.x_mod import XMod
from tests.conftest import make_config

RNG = np.random.default_rng(0)
Y, X = (RNG.normal(size=(2, 3, 8)).astype(np.float32) for _ in range(2))
DOWN, UP = (RNG.normal(size=shape).astype(np.float32) for shape in ((8, 4), (4, 8)))


def apply(method, **weights):
    """The method on (Y, X) with these weights beside DOWN and UP."""
    return method.apply({"modules": {"down": DOWN, "up": UP, **weights}}, Y, X)


def modules(method, **settings):
    """Shapes of the method's leaves in the tiny model, and the config."""
    config = make_config(plugs=(plug(method, "mine", **settings),))
    leaves = describe(config)
    return {n: leaf for n, leaf in leaves.items() if n.startswith("modules/")}, config


def test_what_each_kind_computes():
    swish, relu, gelu = jax.nn.swish, jax.nn.relu, jax.nn.gelu
    np.testing.assert_allclose(
        apply(Bottleneck(reduction_factor=2)), Y + swish(Y @ DOWN) @ UP, rtol=1e-5
    )
    np.testing.assert_allclose(
        apply(Pfeiffer(reduction_factor=2)), Y + relu((Y + X) @ DOWN) @ UP, rtol=1e-5
    )
    np.testing.assert_allclose(apply(Parallel()), Y + 4 * relu(X @ DOWN) @ UP, rtol=1e-5)
    half = jnp.array([0.5])
    learned = apply(Parallel(learned_scale=True), scale=half)
    np.testing.assert_allclose(learned, Y + 0.5 * relu(X @ DOWN) @ UP, rtol=1e-5)
    scale = jnp.arange(8.0)
    own = apply(XMod(), norm={"scale": scale})
    np.testing.assert_allclose(own, Y + gelu((rms(Y + X) * scale) @ DOWN) @ UP, rtol=1e-4)
    np.testing.assert_allclose(jnp.mean(rms(Y + X) ** 2, -1), 1.0, rtol=1e-4)


def test_a_learned_scale_starts_where_it_is_said_to():
    leaves, _ = modules(Parallel, learned_scale=True, scale=2.5)
    scale = leaves["modules/encoder/layers/mlp_out/mine/scale"]
    assert float(scale.init(jax.random.key(0), (1,), jnp.float32)[0]) == 2.5


def test_kaiming_uniform():
    drawn = kaiming(jax.random.key(0), (400, 50), jnp.float32)
    assert np.abs(drawn).max() <= 400**-0.5 and np.abs(drawn).max() > 0.99 * 400**-0.5


@pytest.mark.parametrize(
    "method, settings, size, places, more",
    [
        (Bottleneck, {"reduction_factor": 4, "norm": "own"}, 4, 10, 16),
        (Pfeiffer, {"reduction_factor": 4}, 4, 4, 0),
        (Parallel, {"learned_scale": True}, 8, 4, 1),
    ],
)
def test_parameter_counts(method, settings, size, places, more):
    leaves, config = modules(method, **settings)
    assert count(leaves) == places * (2 * size * config.emb_dim + more)
    routed, _ = modules(method, **settings, routes=3)
    assert count(routed) == 3 * count(leaves)


@pytest.mark.parametrize(
    "setting", [{"activation": "swich"}, {"source": "outputs"}, {"norm": "owned"}]
)
def test_a_value_that_a_setting_does_not_have(setting):
    with pytest.raises(UserError, match="Did you mean"):
        modules(Bottleneck, **setting)
