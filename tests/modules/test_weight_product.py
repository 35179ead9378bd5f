"""A product by a weight, and its gradients, are JAX's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.modules.weight_product import weight_product


def arguments(dtype="float32", lead=(3, 5)):
    rng = np.random.default_rng(0)
    shapes = ((*lead, 7), (7, 4), (*lead, 4))
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


@pytest.mark.parametrize(
    "dtype, result, lead",
    [
        ("float32", None, (3, 5)),
        ("bfloat16", None, (3, 5)),
        ("float16", "float32", (3, 5)),
        ("bfloat16", "float32", ()),  # rows that are in no batch: JAX's own product
    ],
)
def test_values_and_gradients_are_those_of_a_plain_product(dtype, result, lead):
    x, w, g = arguments(dtype, lead)
    plain = lambda x, w: jnp.matmul(x, w, preferred_element_type=result)  # noqa: E731
    wanted, back = jax.vjp(plain, x, w)
    found, own = jax.vjp(lambda x, w: weight_product(x, w, result), x, w)
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)
    g = g.astype(wanted.dtype)
    near = 1e-5 if dtype == "float32" else 2e-2
    for mine, theirs in zip(own(g), back(g), strict=True):
        assert mine.dtype == theirs.dtype and mine.shape == theirs.shape
        np.testing.assert_allclose(
            mine.astype("float32"), theirs.astype("float32"), rtol=near, atol=near
        )


def products(function, *args):
    return str(jax.make_jaxpr(function)(*args)).count("dot_general")


def test_what_is_frozen_gets_no_gradient():
    x, w, _ = arguments()
    loss = lambda x, w: weight_product(x, w).sum()  # noqa: E731
    assert products(jax.grad(loss, 0), x, w) == 2  # forward, and back to x
    assert products(jax.grad(loss, 1), x, w) == 2
    assert products(jax.grad(loss, (0, 1)), x, w) == 3


def test_a_frozen_weight_keeps_no_rows_in_a_scan():
    x, w, _ = arguments()
    w = jnp.stack([w @ w.T] * 2)

    def kept(product):
        step = lambda h, layer: (jnp.tanh(product(h, layer)), None)  # noqa: E731
        _, back = jax.vjp(lambda x: jax.lax.scan(step, x, w)[0].sum(), x)
        return sum(a.size for a in jax.tree.leaves(back) if a.size > 1)

    assert kept(weight_product) == kept(jnp.matmul)


def test_a_batch_of_weights_by_vmap():
    x, w, _ = arguments()
    two = jnp.stack([w, 2 * w])
    loss = lambda w: jnp.square(weight_product(x, w)).sum()  # noqa: E731
    plain = lambda w: jnp.square(x @ w).sum()  # noqa: E731
    np.testing.assert_allclose(
        jax.vmap(jax.grad(loss))(two), jax.vmap(jax.grad(plain))(two), rtol=1e-5
    )


def test_it_is_differentiated_forward_and_again():
    """By rows and weight, forward, linearised, forward over backward, and by either alone."""
    x, w, g = arguments()
    loss = lambda product: lambda x, w: jnp.square(jnp.tanh(product(x, w)) * g).sum()  # noqa: E731
    mine, plain = loss(weight_product), loss(jnp.matmul)
    given, changes = (x, w), (jnp.cos(x), jnp.sin(w))

    def everything(f):
        value, change = jax.jvp(f, given, changes)
        again, linear = jax.linearize(f, *given)
        slope = lambda *a: jax.grad(f, (0, 1))(*a)  # noqa: E731
        rows = jax.jvp(lambda x: f(x, w), given[:1], changes[:1])[1]
        weight = jax.jvp(lambda w: f(x, w), given[1:], changes[1:])[1]
        return value, change, again, linear(*changes), rows, weight, jax.jvp(slope, given, changes)

    for found, wanted in zip(*(jax.tree.leaves(everything(f)) for f in (mine, plain)), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=1e-5)


def test_each_of_many_directions_at_once():
    x, w, _ = arguments()
    along = lambda d: jax.jvp(lambda w: weight_product(x, w), (w,), (d,))[1]  # noqa: E731
    many = jnp.stack([w, jnp.sin(w)])
    np.testing.assert_allclose(jax.vmap(along)(many), x @ many[:, None], rtol=1e-5, atol=1e-5)
