"""Norms, embeddings, MLP and dropout against plain formulas."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.errors import UserError
from jaxlt.models.init import describe
from jaxlt.models.layers import Context, Dropout, Norm, constrain
from tests.conftest import make_config

KEY = jax.random.key(7)


def context(rows, key=KEY):
    return Context({}, key, jnp.asarray(rows, jnp.int32))


def dropped(x, rows, layer=0, key=KEY, rate=0.25):
    return np.asarray(Dropout(rate).apply({}, x, context(rows, key), layer))


@pytest.mark.parametrize("kind", ["rms", "layer"])
def test_norm(kind):
    x = np.random.default_rng(0).normal(2.0, 3.0, (2, 3, 16)).astype(np.float32)
    scale, bias = np.linspace(0.5, 2, 16), np.linspace(-1, 1, 16)
    params = {"scale": jnp.float32(scale)} | (
        {"bias": jnp.float32(bias)} if kind == "layer" else {}
    )
    found = Norm(make_config(norm=kind)).apply({"params": params}, x)
    wide = x.astype(np.float64) - (x.mean(-1, keepdims=True) if kind == "layer" else 0)
    wanted = wide / np.sqrt((wide**2).mean(-1, keepdims=True) + 1e-6) * scale
    np.testing.assert_allclose(found, wanted + (bias if kind == "layer" else 0), atol=1e-5)


def test_norm_of_bfloat16_is_computed_in_float32():
    x = jnp.full((1, 1, 16), 300.0, jnp.bfloat16)  # its squares do not fit bfloat16's precision
    params = {"scale": jnp.ones(16)}
    found = Norm(make_config(dtype="bfloat16")).apply({"params": params}, x)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.float32(found), 1.0)


def test_dropout_rate_and_scale():
    kept = dropped(np.ones((64, 2, 500), np.float32), range(64))
    assert set(np.unique(kept)) == {np.float32(0), np.float32(1 / 0.75)}
    # 32,000 independent draws: four standard deviations
    assert abs((kept[:, 0] == 0).mean() - 0.25) < 4 * (0.25 * 0.75 / 32_000) ** 0.5


def test_dropout_is_shared_along_the_length():
    kept = dropped(np.ones((4, 6, 50), np.float32), range(4))
    assert (kept == kept[:, :1]).all()
    assert not (kept[0] == kept[1]).all()
    weights = dropped(np.ones((4, 3, 6, 50), np.float32), range(4))  # [B, H, Q, K]
    assert (weights == weights[:, :, :1]).all()
    assert not (weights[:, 0] == weights[:, 1]).all()


def test_dropout_follows_key_row_layer_and_site():
    x = np.ones((3, 2, 80), np.float32)
    base = dropped(x, [0, 1, 2])
    np.testing.assert_array_equal(dropped(x[:1], [2])[0], base[2])  # a row's mask is the row's own
    np.testing.assert_array_equal(dropped(x, [2, 0, 1]), base[[2, 0, 1]])
    assert (dropped(x, [0, 1, 2], layer=1) != base).any()
    assert (dropped(x, [0, 1, 2], key=jax.random.fold_in(KEY, 1)) != base).any()

    class Two(nn.Module):
        def setup(self):
            self.a, self.b = Dropout(0.25), Dropout(0.25)

        def __call__(self, x):
            return self.a(x, context([0, 1, 2])), self.b(x, context([0, 1, 2]))

    a, b = Two().apply({}, x)
    assert (a != b).any()


def test_no_dropout_without_a_key():
    x = np.ones((2, 2, 8), np.float32)
    np.testing.assert_array_equal(dropped(x, [0, 1], key=None), x)


def test_constraints_do_nothing_outside_a_mesh():
    x = jnp.ones((2, 3))
    assert constrain(x, "batch", "length") is x


def test_unknown_activation():
    with pytest.raises(UserError, match="Did you mean 'gelu'"):
        describe(make_config(mlp_activations=("gelo", "linear")))
