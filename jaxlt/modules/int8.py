"""Matrices of a frozen backbone in int8, with a float32 scale an output channel or a table's row.

A leaf of the flat trees that is an `Int8` stands for `values * scale`: a quarter of float32's
memory. Only the weights are so held; what multiplies them does so in the compute dtype, and each
layer's are made into floats where they are used, never those of a whole stack of layers.

Rounding is symmetric and by the largest magnitude: no value moves by more than half a step, its
channel's largest magnitude over 254. `content` says what was rounded (the content hash's lanes:
engine/checkpoint/fingerprint.py), so that a rounded backbone keeps its own name: modules that were
trained on it belong to the backbone, and the other way round.
"""

import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from jaxlt.modules.weight_product import weight_product

LARGEST = 127  # -128 is not used: a matrix and its negative round alike
PARTS = ("values", "scale", "content")  # as checkpoints name them, after the leaf's own name


class Int8(flax.struct.PyTreeNode):
    """A matrix [..., I, O] in int8; axes in front are stacked layers'."""

    values: Any  # int8 [..., I, O]; the first of the leaves, whose shape flax checks
    scale: Any  # float32 [..., 1, O] of a projection, [..., I, 1] of a table of embeddings
    content: Any  # uint32 [..., 4]

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the matrix it stands for."""
        return tuple(self.values.shape)

    @property
    def ndim(self) -> int:
        """Number of axes of the matrix."""
        return len(self.values.shape)

    @property
    def size(self) -> int:
        """Number of values of the matrix."""
        return self.values.size

    @property
    def dtype(self) -> Any:
        """That of the values."""
        return self.values.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of all its parts."""
        return sum(part.nbytes for part in jax.tree.leaves(self))

    def __getitem__(self, layers: Any) -> "Int8":
        """Returns one of stacked layers, or a run of them."""
        return jax.tree.map(lambda part: part[layers], self)

    def astype(self, dtype: Any) -> jax.Array:
        """Returns the matrix it stands for, multiplied in float32."""
        return (self.values.astype(jnp.float32) * self.scale).astype(dtype)


def is_rounded(name: str, axes: tuple[str | None, ...]) -> bool:
    """Says whether a leaf is one of a backbone's matrices: its projections, tables and logits."""
    matrix = len(axes) - axes.count("layers") == 2
    return matrix and name.startswith("params/") and name.endswith(("/kernel", "/embedding"))


def reduced_axis(name: str) -> int:
    """The axis that has one scale for all: a projection's inputs, or an embedding's values."""
    return -1 if name.endswith("/embedding") else -2


def parts_of(name: str, shape: tuple[int, ...]) -> Int8:
    """The shape and dtype of each part of the leaf `name`."""
    layers, axis = shape[:-2], reduced_axis(name)
    scale = (*layers, shape[-2], 1) if axis == -1 else (*layers, 1, shape[-1])
    return Int8(
        jax.ShapeDtypeStruct(shape, jnp.int8),
        jax.ShapeDtypeStruct(scale, jnp.float32),
        jax.ShapeDtypeStruct((*layers, 4), jnp.uint32),
    )


def rounded(value: jax.Array, axis: int, content: jax.Array) -> Int8:
    """Rounds a matrix, or a stack of them, to int8 with one scale along `axis`."""
    value = value.astype(jnp.float32)
    largest = jnp.max(jnp.abs(value), axis=axis, keepdims=True)
    scale = jnp.where(largest > 0, largest, 1.0) / LARGEST
    values = jnp.clip(jnp.round(value / scale), -LARGEST, LARGEST).astype(jnp.int8)
    return Int8(values, scale, content)


def dense(value: Any) -> Any:
    """A leaf as the array it stands for; whatever is no Int8 passes."""
    return value.astype(jnp.float32) if isinstance(value, Int8) else value


def matmul(x: jax.Array, kernel: Any, dtype: Any, barrier: bool = True) -> jax.Array:
    """x [..., I] times a weight [I, O], an array or an Int8, in `dtype` -> [..., O].

    barrier: see `_product`; in a scanned layer there is no need of it.
    """
    if isinstance(kernel, Int8):
        return _product(x, kernel, jnp.dtype(dtype), barrier)
    return weight_product(x, kernel.astype(dtype))


def lookup(table: Any, tokens: jax.Array) -> jax.Array:
    """Rows of a table [V, D], an array or an Int8: tokens int32 [...] -> [..., D], float."""
    rows = functools.partial(jnp.take, indices=tokens, axis=0, mode="clip")
    if isinstance(table, Int8):
        return rows(table.values).astype(jnp.float32) * rows(table.scale)
    return rows(table)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _product(x: jax.Array, kernel: Int8, dtype: Any, barrier: bool) -> jax.Array:
    """The product, of which the backward pass keeps the int8 weight and not the floats of it.

    Left to itself it would keep those of all layers. Where the layers are spelt out, the compiler
    would make the floats of all of them as soon as it can, and keep them for the way back: a
    barrier has them made from what they are multiplied with.
    """
    return _forward(x, kernel, dtype, barrier)[0]


def _forward(x: jax.Array, kernel: Int8, dtype: Any, barrier: bool) -> tuple[jax.Array, Int8]:
    x, near = _beside(x, kernel, barrier)
    return jnp.matmul(x, near.astype(dtype)), kernel


def _backward(dtype: Any, barrier: bool, kernel: Int8, change: jax.Array) -> tuple[jax.Array, None]:
    change, near = _beside(change, kernel, barrier)
    return jnp.matmul(change, near.astype(dtype).T), None


def _beside(x: jax.Array, kernel: Int8, barrier: bool) -> tuple[jax.Array, Int8]:
    if not barrier:
        return x, kernel
    x, values = jax.lax.optimization_barrier((x, kernel.values))
    return x, kernel.replace(values=values)


_product.defvjp(_forward, _backward)
