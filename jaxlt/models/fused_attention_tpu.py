"""Attention with T5's relative bias as TPU kernels: no scores, masks or biases in main memory.

A program holds a few rows of one group of heads: so many heads as fill the 128 lanes, side by side
as the projections leave them ([B, T, heads * head_dim], no transposition). A head of 64 fills half
of the matrix unit however it is laid out, so the other heads' lanes are simply set to zero.

Scores are kept as [keys, queries]: then maxima and sums run down the sublanes, and of all matrix
products none needs a transposed copy of the scores. All keys of a row are there at once. So the
backward kernel needs nothing of the forward one but its inputs: what it computes again are vector
operations beside matrix products that wait for the matrix unit.

The bias is a function of the distance alone. It comes as one value a distance and head, and is
spread in the kernel to a [length, tile] strip of which every tile of queries reads a part; its
gradient is summed in a strip over tiles and rows, and folded back to a value a distance.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from jaxlt.models.fused_attention_shape import HIDDEN, MASKED, Shape

SUBLANES = 8


def attend(
    shape: Shape,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    bias: jax.Array | None,
    codes: tuple[jax.Array, jax.Array] | None,
) -> jax.Array:
    """q: [B, Q, H * d], k and v: [B, K, H * d] -> [B, Q, H * d].

    bias: float32 [H, Q + K - 1], from distance 1 - Q on, where `shape.biased`. codes: float32
    [B, Q] and [B, K], where `shape.coded`: a query sees the keys that have its code.
    """
    inputs, specs = _operands(shape, bias, codes)
    queries, keys = shape.padded
    rows = functools.partial(_block, shape)
    out = pl.pallas_call(
        functools.partial(_forward, shape),
        grid=(shape.heads // shape.group, shape.rows // shape.together),
        in_specs=[*specs, rows(queries), rows(keys), rows(keys)],
        out_specs=rows(queries),
        out_shape=jax.ShapeDtypeStruct((shape.rows, queries, q.shape[-1]), q.dtype),
        scratch_shapes=[*_scratch(shape), pltpu.VMEM((shape.width, keys), q.dtype)],
        compiler_params=_parameters(),
        cost_estimate=_cost(shape, 2, 2),
        interpret=shape.interpret,
        name="attention",
    )(*inputs, _whole(q, queries), _whole(k, keys), _whole(v, keys))
    return out[:, : shape.queries]


def attend_back(
    shape: Shape,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    bias: jax.Array | None,
    codes: tuple[jax.Array, jax.Array] | None,
    out: jax.Array,
    learned: bool,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array | None]:
    """Gradients to q, k, v and, where it is `learned`, to the bias [H, Q + K - 1].

    out: [B, Q, H * d], the gradient to what `attend` returns.
    """
    inputs, specs = _operands(shape, bias, codes)
    queries, keys = shape.padded
    rows = functools.partial(_block, shape)
    outs, out_specs = [(queries, q), (keys, k), (keys, v)], [rows(queries), rows(keys), rows(keys)]
    shapes = [jax.ShapeDtypeStruct((shape.rows, n, a.shape[-1]), a.dtype) for n, a in outs]
    scratch = [
        *_scratch(shape),
        pltpu.VMEM((shape.width, keys), q.dtype),
        pltpu.VMEM((keys, shape.width), jnp.float32),
        pltpu.VMEM((keys, shape.width), jnp.float32),
    ]
    if learned:
        shapes.append(jax.ShapeDtypeStruct(_grouped(shape), jnp.float32))
        out_specs.append(_bias_block(shape))
        scratch.append(_strip(shape))
    found = pl.pallas_call(
        functools.partial(_backward, shape, learned),
        grid=(shape.heads // shape.group, shape.rows // shape.together),
        in_specs=[*specs, rows(queries), rows(keys), rows(keys), rows(queries)],
        out_specs=out_specs,
        out_shape=shapes,
        scratch_shapes=scratch,
        compiler_params=_parameters(),
        cost_estimate=_cost(shape, 5, 3),
        interpret=shape.interpret,
        name="attention_backward",
    )(*inputs, _whole(q, queries), _whole(k, keys), _whole(v, keys), _whole(out, queries))
    dq, dk, dv = found[0][:, : shape.queries], found[1][:, : shape.keys], found[2][:, : shape.keys]
    if not learned:
        return dq, dk, dv, None
    first = queries - shape.queries
    line = found[3].reshape(shape.heads, -1)[:, first : first + shape.queries + shape.keys - 1]
    return dq, dk, dv, line


def _cost(shape: Shape, products: int, tensors: int) -> pl.CostEstimate:
    """What the compiler and `jaxlt plan` are told: products of scores with one head_dim.

    tensors: that are read or written by query, and as many by key.
    """
    queries, keys = shape.padded
    scores = shape.rows * shape.heads * queries * keys
    moved = shape.rows * shape.heads * shape.head_dim * jnp.dtype(shape.dtype).itemsize
    return pl.CostEstimate(
        flops=2 * products * scores * shape.head_dim,
        transcendentals=scores,
        bytes_accessed=moved * (tensors * queries + 2 * (tensors - 1) * keys),
    )


# --- blocks ---------------------------------------------------------------------------------------
def _whole(x: jax.Array, length: int) -> jax.Array:
    """[B, T, ...] with zeros behind, up to `length`."""
    more = length - x.shape[1]
    return jnp.pad(x, ((0, 0), (0, more), *((0, 0),) * (x.ndim - 2))) if more else x


def _block(shape: Shape, length: int) -> pl.BlockSpec:
    """A program's part of [B, T, H * d]."""
    return pl.BlockSpec((shape.together, length, shape.width), lambda g, b: (b, 0, g))


def _grouped(shape: Shape) -> tuple[int, int, int]:
    return shape.heads // shape.group, shape.group, shape.distances


def _bias_block(shape: Shape) -> pl.BlockSpec:
    return pl.BlockSpec((1, shape.group, shape.distances), lambda g, b: (g, 0, 0))


def _operands(
    shape: Shape, bias: jax.Array | None, codes: tuple[jax.Array, jax.Array] | None
) -> tuple[list[jax.Array], list[pl.BlockSpec]]:
    """What stands before q, k and v, and its blocks."""
    inputs, specs = [], []
    if bias is not None:
        first, length = shape.padded[0] - shape.queries, shape.distances
        bias = jnp.pad(bias, ((0, 0), (first, length - first - bias.shape[1])))
        inputs.append(bias.reshape(_grouped(shape)))
        specs.append(_bias_block(shape))
    if codes is not None:
        for code, length in zip(codes, shape.padded, strict=True):
            inputs.append(_whole(code, length)[:, None])
            specs.append(pl.BlockSpec((shape.together, 1, length), lambda g, b: (b, 0, 0)))
    return inputs, specs


def _strip(shape: Shape) -> Any:
    return pltpu.VMEM((shape.group, shape.distances, shape.tile), jnp.float32)


def _scratch(shape: Shape) -> list[Any]:
    out = [_strip(shape)] if shape.biased else []
    if shape.coded:
        out.append(pltpu.VMEM((shape.padded[1], shape.tile), jnp.float32))
    return out


def _parameters() -> pltpu.CompilerParams:
    # Groups of heads may go to a chip's two cores; rows follow one another, for the strips.
    return pltpu.CompilerParams(dimension_semantics=("parallel", "arbitrary"))


# --- inside the kernels ---------------------------------------------------------------------------
class _Tiles:
    """What both kernels do with their operands: refs in the order of `_operands`, then the rest."""

    def __init__(self, shape: Shape, refs: tuple[Any, ...], tensors: int) -> None:
        refs_left = list(refs)
        take = refs_left.pop
        self.shape = shape
        self.bias: Any = take(0) if shape.biased else None
        self.codes = (take(0), take(0)) if shape.coded else None
        self.tensors = [take(0) for _ in range(tensors)]
        self.strip: Any = take(0) if shape.biased else None
        self.key_codes: Any = take(0) if shape.coded else None
        self.rest = refs_left
        self.precision = "highest" if shape.dtype == "float32" else None

    def dot(self, a: jax.Array, b: jax.Array, axes: tuple[int, int]) -> jax.Array:
        """A product over axes[0] of a and axes[1] of b, in float32."""
        return jax.lax.dot_general(
            a,
            b,
            (((axes[0],), (axes[1],)), ((), ())),
            precision=self.precision,
            preferred_element_type=jnp.float32,
        )

    def spread(self) -> None:
        """Fills the strip: strip[h, c, r] is the bias of distance c - r - (Q - tile)."""
        if self.strip is None:
            return
        tile, length = self.shape.tile, self.shape.distances

        @pl.when(pl.program_id(1) == 0)
        def _() -> None:
            for head in range(self.shape.group):
                line = self.bias[0, pl.ds(head, 1), :]
                x = pltpu.roll(jnp.broadcast_to(line, (SUBLANES, length)), length - tile + 1, 1)
                number = jax.lax.broadcasted_iota(jnp.int32, x.shape, 0)
                for bit in (1, 2, 4):  # row r is row 0, turned by r
                    x = jnp.where((number & bit) > 0, pltpu.roll(x, bit, 1), x)
                while x.shape[0] < tile:
                    x = jnp.concatenate([x, pltpu.roll(x, x.shape[0], 1)], axis=0)
                self.strip[head] = x.T

    def row(self, r: Any) -> None:
        """Gets ready for a row."""
        if self.codes is not None:
            line = jnp.broadcast_to(self.codes[1][r], (self.shape.tile, self.shape.padded[1]))
            self.key_codes[...] = line.T

    def place(self, i: Any) -> Any:
        """Where the strip has what the tile i of queries needs."""
        start = self.shape.padded[0] - self.shape.tile * (i + 1)
        return pl.ds(pl.multiple_of(start, self.shape.tile), self.shape.padded[1])

    def own(self, x: jax.Array, head: int) -> jax.Array:
        """x: [T, group * d], other heads set to zero."""
        if self.shape.group == 1:
            return x
        lane = jax.lax.broadcasted_iota(jnp.int32, x.shape, 1)
        first = head * self.shape.head_dim
        return jnp.where(
            (lane >= first) & (lane < first + self.shape.head_dim), x, jnp.zeros_like(x)
        )

    def lanes(self, head: int) -> slice:
        """Of a head."""
        return slice(head * self.shape.head_dim, (head + 1) * self.shape.head_dim)

    def weights(self, r: Any, i: Any, head: int, s: jax.Array) -> tuple[Any, Any]:
        """(e [K, tile], its sums [1, tile]): weights before they are divided by their sums.

        q: [tile, group * d], the head's own.
        """
        shape = self.shape
        if shape.scale != 1.0:
            s = s * shape.scale
        if self.strip is not None:
            s = s + self.strip[head, self.place(i), :]
        if self.codes is not None:
            code = self.codes[0][r, :, self.span(i)]
            s = jnp.where(self.key_codes[...] == code, s, MASKED)
        if shape.keys < shape.padded[1]:
            key = jax.lax.broadcasted_iota(jnp.int32, s.shape, 0)
            s = jnp.where(key < shape.keys, s, HIDDEN)
        e = jnp.exp(s - jnp.max(s, axis=0, keepdims=True))
        return e, jnp.sum(e, axis=0, keepdims=True)

    def span(self, i: Any) -> Any:
        """Where the queries of a tile stand."""
        return pl.ds(pl.multiple_of(i * self.shape.tile, self.shape.tile), self.shape.tile)

    def put(self, ref: Any, r: Any, units: list[tuple[Any, int]], parts: list[jax.Array]) -> None:
        """Writes what was found for `units`, [d, tile] each, side by side."""
        for first in range(0, len(units), self.shape.group):
            whole = jnp.concatenate(parts[first : first + self.shape.group], axis=0)
            ref[r, self.span(units[first][0]), :] = whole.T.astype(ref.dtype)

    def over(self, work: Any) -> None:
        """Runs work(units) over all pairs of a tile of queries and a head, some at a time.

        Several at a time, because only independent work lets the matrix unit and the vector units
        run beside each other.
        """
        tiles, some = self.shape.padded[0] // self.shape.tile, self.shape.some

        def step(j: Any, _: None) -> None:
            work([(j * some + n, head) for n in range(some) for head in range(self.shape.group)])

        jax.lax.fori_loop(0, tiles // some, step, None)

    def over_rows(self, work: Any) -> None:
        """Runs work(r) over the rows of a program."""
        jax.lax.fori_loop(0, self.shape.together, lambda r, _: work(r), None)


def _forward(shape: Shape, *refs: Any) -> None:
    tiles = _Tiles(shape, refs, 4)
    q_ref, k_ref, v_ref, out_ref = tiles.tensors
    (turned,) = tiles.rest
    tiles.spread()

    def row(r: Any) -> None:
        tiles.row(r)
        turned[...] = v_ref[r].T

        def work(units: list[tuple[Any, int]]) -> None:
            q = [tiles.own(q_ref[r, tiles.span(i), :], head) for i, head in units]
            scores = [tiles.dot(k_ref[r], part, (1, 1)) for part in q]
            found = [tiles.weights(r, *unit, s) for unit, s in zip(units, scores, strict=True)]
            parts = []
            for (_, head), (e, total) in zip(units, found, strict=True):
                values = turned[tiles.lanes(head), :]
                parts.append(tiles.dot(values, e.astype(values.dtype), (1, 0)) / total)
            tiles.put(out_ref, r, units, parts)

        tiles.over(work)

    tiles.over_rows(row)


def _backward(shape: Shape, learned: bool, *refs: Any) -> None:
    tiles = _Tiles(shape, refs, 7 + learned)
    q_ref, k_ref, v_ref, out_ref, dq_ref, dk_ref, dv_ref = tiles.tensors[:7]
    turned, dk_sum, dv_sum = tiles.rest[:3]
    strip: Any = tiles.rest[3] if learned else None
    tiles.spread()
    if learned:

        @pl.when(pl.program_id(1) == 0)
        def _() -> None:
            strip[...] = jnp.zeros_like(strip)

    def row(r: Any) -> None:
        tiles.row(r)
        turned[...] = k_ref[r].T
        dk_sum[...] = jnp.zeros_like(dk_sum)
        dv_sum[...] = jnp.zeros_like(dv_sum)

        def work(units: list[tuple[Any, int]]) -> None:
            q = [tiles.own(q_ref[r, tiles.span(i), :], head) for i, head in units]
            out = [tiles.own(out_ref[r, tiles.span(i), :], head) for i, head in units]
            scores = [tiles.dot(k_ref[r], part, (1, 1)) for part in q]
            changes = [tiles.dot(v_ref[r], part, (1, 1)) for part in out]
            weights = []
            for n, unit in enumerate(units):
                e, total = tiles.weights(r, *unit, scores[n])
                e = e * (1.0 / total)
                mean = jnp.sum(e * changes[n], axis=0, keepdims=True)
                change = e * (changes[n] - mean)
                if learned:
                    strip[unit[1], tiles.place(unit[0]), :] += change
                if shape.scale != 1.0:
                    change = change * shape.scale
                weights.append(e.astype(q[0].dtype))
                changes[n] = change.astype(q[0].dtype)
            dv_sum[...] += sum(
                tiles.dot(w, part, (1, 0)) for w, part in zip(weights, out, strict=True)
            )
            dk_sum[...] += sum(
                tiles.dot(c, part, (1, 0)) for c, part in zip(changes, q, strict=True)
            )
            parts = [
                tiles.dot(turned[tiles.lanes(head), :], change, (1, 0))
                for (_, head), change in zip(units, changes, strict=True)
            ]
            tiles.put(dq_ref, r, units, parts)

        tiles.over(work)
        dk_ref[r] = dk_sum[...].astype(dk_ref.dtype)
        dv_ref[r] = dv_sum[...].astype(dv_ref.dtype)

    tiles.over_rows(row)
    if learned:

        @pl.when(pl.program_id(1) == pl.num_programs(1) - 1)
        def _() -> None:
            for head in range(shape.group):
                tiles.tensors[7][0, pl.ds(head, 1), :] = _folded(strip[head])


def _folded(strip: jax.Array) -> jax.Array:
    """[W, tile] -> [1, W]: a strip's sums by distance; column r begins tile - 1 - r later."""
    x = strip.T
    while x.shape[0] > 1:
        half = x.shape[0] // 2
        x = pltpu.roll(x[:half], half, 1) + x[half:]
    return x
