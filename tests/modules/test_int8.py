"""Matrices in int8: how they are rounded, multiplied and looked up, against plain floats."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.modules.int8 import Int8, dense, is_rounded, lookup, matmul, parts_of, rounded

CONTENT = jnp.zeros(4, jnp.uint32)


def weight(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("axis, shape", [(-1, (24, 16)), (-2, (3, 24, 16))])
def test_no_value_moves_by_more_than_half_a_step(axis, shape):
    value = weight(*shape) * np.logspace(-3, 3, 16)
    held = rounded(jnp.asarray(value), axis, CONTENT)
    largest = np.abs(value).max(axis, keepdims=True)
    assert held.values.dtype == jnp.int8 and held.scale.shape == largest.shape
    assert np.all(np.abs(dense(held) - value) <= largest / 254 * (1 + 1e-4))
    assert held.shape == shape and held.ndim == len(shape) and held.size == value.size


def test_the_largest_magnitude_is_exact_and_zeros_stay():
    value = weight(8, 4)
    value[:, 1] = 0
    held = rounded(jnp.asarray(value), -2, CONTENT)
    assert np.abs(held.values).max(0).tolist() == [127, 0, 127, 127]
    assert not np.asarray(dense(held))[:, 1].any() and np.isfinite(held.scale).all()


def test_rounding_what_was_rounded_changes_nothing():
    once = rounded(jnp.asarray(weight(24, 16)), -2, CONTENT)
    again = rounded(dense(once), -2, CONTENT)
    np.testing.assert_array_equal(once.values, again.values)
    np.testing.assert_allclose(once.scale, again.scale, rtol=1e-6)


@pytest.mark.parametrize("dtype, barrier", [("float32", True), ("bfloat16", False)])
def test_product_and_its_gradient_are_those_of_the_floats(dtype, barrier):
    x, held = jnp.asarray(weight(5, 24, seed=1), dtype), rounded(weight(24, 16), -2, CONTENT)

    def loss(product, x):
        return jnp.sum(jnp.sin(product(x).astype(jnp.float32)))

    of_int8 = lambda y: matmul(y, held, dtype, barrier)  # noqa: E731
    of_floats = lambda y: y @ dense(held).astype(dtype)  # noqa: E731
    value, gradient = jax.jit(jax.value_and_grad(functools.partial(loss, of_int8)))(x)
    expected = jax.jit(jax.value_and_grad(functools.partial(loss, of_floats)))(x)
    np.testing.assert_allclose(value, expected[0], rtol=1e-5)
    found, wanted = (np.asarray(g, np.float32) for g in (gradient, expected[1]))
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max(), rtol=0)
    assert gradient.dtype == x.dtype


def test_an_array_is_multiplied_as_ever():
    x, kernel = weight(5, 24), weight(24, 16)
    np.testing.assert_array_equal(
        matmul(x, jnp.asarray(kernel), jnp.float32), jnp.matmul(x, kernel)
    )


def test_rows_of_a_table_and_tokens_beyond_it():
    table, tokens = rounded(weight(40, 16), -1, CONTENT), jnp.asarray([[3, 0], [39, 99]])
    np.testing.assert_array_equal(lookup(table, tokens), lookup(dense(table), tokens))


def test_what_is_rounded():
    assert is_rounded("params/encoder/layers/mlp/wo/kernel", ("layers", "mlp", "embed"))
    assert is_rounded("params/token_embedder/embedding", ("vocab", "embed"))
    for name, axes in (
        ("params/encoder/relpos_bias/rel_embedding", ("relpos_heads", None)),
        ("params/encoder/layers/mlp/wo/bias", ("layers", "embed")),
        ("params/encoder/encoder_norm/scale", ("norm",)),
        ("modules/encoder/layers/mlp_out/lang/down/kernel", ("layers", "embed", "bottleneck")),
        ("heads/tags/kernel", ("embed", None)),
    ):
        assert not is_rounded(name, axes), name


@pytest.mark.parametrize("name", ["params/a/kernel", "params/a/embedding"])
def test_parts_are_what_rounding_gives(name):
    held = rounded(
        weight(3, 24, 16), -1 if "embedding" in name else -2, jnp.zeros((3, 4), "uint32")
    )
    said = parts_of(name, (3, 24, 16))
    assert isinstance(said, Int8)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), held) == jax.tree.map(
        lambda a: (a.shape, a.dtype), said
    )
    layer = held[1]
    assert layer.shape == (24, 16) and layer.scale.ndim == 2 and layer.content.shape == (4,)
