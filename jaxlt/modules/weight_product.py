"""Rows times a weight, whose gradient is written in the order that CPUs multiply fastest in.

    weight_product(x [..., I], weight [I, O]) -> [..., O]

JAX differentiates a product by its weight as (g' x)', with g [..., O] what comes back. XLA for CPUs
copies g for that and leaves the product to a slower kernel, at up to three times the time of x' g,
which is the same sum of the same terms and what is asked for here. It pays on CPUs, for rows in
batches: anywhere else this is the plain product. Either can be differentiated forward and backward,
as often as is wanted; what is frozen gets no gradient.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.lax import dot_general_p

from jaxlt.modules.placement import platform


def weight_product(x: jax.Array, weight: jax.Array, result: Any = None) -> jax.Array:
    """x [..., I] times a weight [I, O] -> [..., O]; result: its dtype, and that of the sums."""
    result = None if result is None else jnp.dtype(result)
    if platform() != "cpu" or x.ndim < 3:
        return _plain(x, weight, result)
    dtype = jnp.result_type(x, weight)
    return _product(x.astype(dtype), weight.astype(dtype), result)


def _plain(x: jax.Array, weight: jax.Array, result: Any) -> jax.Array:
    return jnp.matmul(x, weight, preferred_element_type=result)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _product(x: jax.Array, weight: jax.Array, result: Any) -> jax.Array:
    return _plain(x, weight, result)


def _product_jvp(result: Any, given: Any, changes: Any) -> tuple[jax.Array, jax.Array]:
    """The product, and how it changes; SymbolicZero stands for what is not differentiated."""
    (x, weight), (d_x, d_weight) = given, changes
    parts = []
    if not isinstance(d_x, SymbolicZero):
        parts.append(_plain(d_x, weight, result))
    if not isinstance(d_weight, SymbolicZero):
        parts.append(_by_weight.bind(x, d_weight, result=result))
    return _plain(x, weight, result), sum(parts[1:], parts[0])


_product.defjvp(_product_jvp, symbolic_zeros=True)

# The plain product once more, as what is linear in its weight, with the gradient in our order:
# JAX lets a primitive say how it is transposed, and leaves all else of differentiation to itself.
_by_weight = Primitive("product_by_weight")


def _shape(x: Any, weight: Any, *, result: Any) -> Any:
    sides = (((x.ndim - 1,), (0,)), ((), ()))
    settings = {"precision": None, "preferred_element_type": result, "out_sharding": None}
    return dot_general_p.abstract_eval(x, weight, dimension_numbers=sides, **settings)[0]


def _to_rows(change: jax.Array, x: Any, weight: jax.Array, *, result: Any) -> jax.Array:
    sides = (((change.ndim - 1,), (1,)), ((), ()))
    back = jax.lax.dot_general(change, weight, sides, preferred_element_type=result)
    return back.astype(x.aval.dtype)


def _to_weight(change: jax.Array, x: jax.Array, weight: Any, *, result: Any) -> jax.Array:
    rows = tuple(range(change.ndim - 1))
    back = jax.lax.dot_general(x, change, ((rows, rows), ((), ())), preferred_element_type=result)
    return back.astype(weight.aval.dtype)


def _batched(given: Any, places: Any, *, result: Any) -> tuple[jax.Array, int]:
    plain = functools.partial(_plain, result=result)
    return jax.vmap(plain, in_axes=tuple(places))(*given), 0


_by_weight.def_impl(lambda x, weight, *, result: _plain(x, weight, result))
_by_weight.def_abstract_eval(_shape)
ad.defbilinear(_by_weight, _to_rows, _to_weight)
batching.primitive_batchers[_by_weight] = _batched
mlir.register_lowering(_by_weight, mlir.lower_fun(_plain, multiple_results=False))
