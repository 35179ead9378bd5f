"""Rows times a weight, whose gradient is written in the order that compilers multiply fastest in.

    weight_product(x [..., I], weight [I, O]) -> [..., O]

JAX differentiates a product by its weight as (g' x)', with g [..., O] what comes back. XLA for CPUs
copies g for that and leaves the product to a slower kernel, at twice the time of x' g, which is the
same sum of the same terms and what is asked for here. What is frozen gets no gradient.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero


def weight_product(x: jax.Array, weight: jax.Array, result: Any = None) -> jax.Array:
    """x [..., I] times a weight [I, O] -> [..., O]; result: its dtype, and that of the sums."""
    return _product(x, weight, None if result is None else jnp.dtype(result))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _product(x: jax.Array, weight: jax.Array, result: Any) -> jax.Array:
    return jnp.matmul(x, weight, preferred_element_type=result)


def _forward(x: Any, weight: Any, result: Any) -> tuple[jax.Array, Any]:
    """Arguments come with `.perturbed`: False for what is not differentiated."""
    out = jnp.matmul(x.value, weight.value, preferred_element_type=result)
    # Each gradient is made of the other argument, and only where it is asked for; the empty arrays
    # carry their dtypes.
    kept = (x.value if weight.perturbed else None, weight.value if x.perturbed else None)
    return out, (*kept, jnp.zeros(0, x.value.dtype), jnp.zeros(0, weight.value.dtype))


def _backward(result: Any, saved: Any, change: Any) -> tuple[Any, Any]:
    x, weight, x_like, weight_like = saved
    if isinstance(change, SymbolicZero):
        return None, None
    d_x = d_weight = None
    if weight is not None:
        sides = (((change.ndim - 1,), (1,)), ((), ()))
        d_x = jax.lax.dot_general(change, weight, sides, preferred_element_type=result)
        d_x = d_x.astype(x_like.dtype)
    if x is not None:
        rows = tuple(range(change.ndim - 1))
        d_weight = jax.lax.dot_general(
            x, change, ((rows, rows), ((), ())), preferred_element_type=result
        )
        d_weight = d_weight.astype(weight_like.dtype)
    return d_x, d_weight


_product.defvjp(_forward, _backward, symbolic_zeros=True)
