"""Masks with exactly K entries: the largest by magnitude, by another score, or at random.

    chosen = largest({"params/a": array, "params/b": array}, K)   # {name: int32 [k]}, K in all
    arrays = sparsify(changes(flat, delta), K)                  # a mask for LT-SFT's second phase

The threshold is found by bisection on the bits of |x|, which order as the values do: 31 times all
leaves are counted where they lie, whatever their sharding. Then each leaf gives a bit an entry,
and only these bits come to the host. Nothing is sorted or listed.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jaxlt.errors import UserError
from jaxlt.modules.delta_files import INDICES, VALUES
from jaxlt.modules.layout import uniform

Indices = dict[str, np.ndarray]
Arrays = dict[str, Any]
_INFINITE = 0x7F800000  # the bits of float32's infinity; what is above is no number
_PIECE = 2**24  # entries whose bits the host unpacks at a time


def _order(x: jax.Array) -> jax.Array:
    """Bits of |x| as float32: int32 that order as the magnitudes do."""
    return jax.lax.bitcast_convert_type(jnp.abs(x.astype(jnp.float32)), jnp.int32)


@jax.jit
def _count(x: jax.Array, threshold: jax.Array) -> jax.Array:
    """Number of entries at or above the threshold: int32 [].

    Counted in bits that are packed first: on a CPU four times as fast as a sum of booleans.
    """
    packed = jnp.packbits(_order(x) >= threshold, axis=-1)
    return jnp.sum(jax.lax.population_count(packed), dtype=jnp.int32)


def _mask_of(x: jax.Array, threshold: jax.Array, equal: bool) -> jax.Array:
    """Bits of the entries above (or at) the threshold, packed along the last axis: uint8."""
    bits = _order(x)
    return jnp.packbits(bits == threshold if equal else bits > threshold, axis=-1)


@functools.lru_cache(maxsize=256)
def _packed(whole: NamedSharding | None) -> Callable[..., jax.Array]:
    """`_mask_of`, its result whole on every device: every host can read it."""
    return jax.jit(_mask_of, static_argnames="equal", out_shardings=whole)


def _flat_indices(x: jax.Array, threshold: jax.Array, equal: bool) -> np.ndarray:
    """Flat indices of the entries above (or at) the threshold, in order: int64 [k]."""
    mesh = x.sharding.mesh if isinstance(x.sharding, NamedSharding) else None
    whole = None if mesh is None else NamedSharding(mesh, PartitionSpec())
    packed = np.asarray(_packed(whole)(x, threshold, equal))
    width = x.shape[-1]
    rows = packed.reshape(-1, packed.shape[-1])
    step = max(1, _PIECE // width)
    found = [np.zeros(0, np.int64)]
    for first in range(0, len(rows), step):
        bits = np.unpackbits(rows[first : first + step], axis=-1, count=width)
        found.append(np.flatnonzero(bits) + first * width)
    return np.concatenate(found)


def largest(scores: Mapping[str, Any], count: int) -> Indices:
    """Returns the flat indices of the `count` entries with the largest magnitude over all arrays.

    scores: arrays of any float dtype and sharding. Out: int32 [k] a name (k may be 0), increasing,
    `count` in all. Of equals those come first whose name, then whose index, comes first.
    """
    leaves = {n: jnp.asarray(scores[n]) for n in sorted(scores)}
    leaves = {n: x if x.ndim else x.reshape(1) for n, x in leaves.items()}
    _check(leaves, count)

    def at_least(threshold: int) -> int:
        limit = jnp.int32(threshold)
        return sum(int(c) for c in [_count(x, limit) for x in leaves.values()])

    if at_least(_INFINITE):
        bad = [n for n, x in leaves.items() if int(_count(x, jnp.int32(_INFINITE)))]
        raise UserError(f"'{bad[0]}' has entries that are infinite or no number: nothing to rank.")
    low, high = 0, _INFINITE  # at_least(low) >= count > at_least(high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if at_least(middle) >= count else (low, middle)
    missing = count - at_least(low + 1)
    out: Indices = {}
    for name, x in leaves.items():
        above, equal = _flat_indices(x, jnp.int32(low), False), np.zeros(0, np.int64)
        if missing and int(_count(x, jnp.int32(low))) > len(above):
            equal = _flat_indices(x, jnp.int32(low), True)[:missing]
            missing -= len(equal)
        both = np.concatenate([above, equal])
        both.sort()
        out[name] = both.astype(np.int32)
    return out


def _check(leaves: Mapping[str, jax.Array], count: int) -> None:
    total = sum(x.size for x in leaves.values())
    if not 1 <= count <= total:
        raise UserError(
            f"A mask of {count:,} entries cannot be cut from {total:,} maskable ones: give a "
            "count from 1 to that number."
        )
    for name, x in leaves.items():
        if x.size > np.iinfo(np.int32).max:
            raise UserError(
                f"'{name}' has {x.size:,} entries, more than an int32 index can tell apart: leave "
                "it out of the delta (delta.leave_out), or unstack its layers."
            )


def sparsify(
    changes: Mapping[str, Any],
    count: int | None,
    *,
    scores: Mapping[str, Any] | None = None,
    keep_values: bool = False,
) -> Arrays:
    """Cuts a delta down to `count` entries: {'<param>/indices': int32 [k]}, to be saved as a file.

    changes: arrays of `deltas.changes`, dense or sparse. scores: {param: array like its values},
    by whose magnitude entries are chosen; the values themselves unless given. keep_values: also
    '<param>/values' [k], to be tuned on or added; without them what is trained starts at zero.
    count None keeps all.
    """
    values = {n.removesuffix(VALUES): v for n, v in changes.items() if n.endswith(VALUES)}
    if count is None:
        chosen: Indices = {p: np.arange(v.size, dtype=np.int32) for p, v in values.items()}
    else:
        chosen = largest(values if scores is None else scores, count)
    out: Arrays = {}
    for param, at in chosen.items():
        if not len(at):
            continue
        former = changes.get(param + INDICES)
        out[param + INDICES] = at if former is None else np.asarray(former)[at]
        if keep_values:
            out[param + VALUES] = np.asarray(_taken(values[param], at))
    return out


@jax.jit
def _taken(x: jax.Array, at: jax.Array) -> jax.Array:
    return x[jnp.unravel_index(at, x.shape)].astype(jnp.float32)


def random_scores(changes: Mapping[str, Any], seed: int) -> Arrays:
    """Scores of a random mask, LT-SFT's control: {param: float32 like its values}, by name."""
    key = jax.random.key(seed)
    names = [n.removesuffix(VALUES) for n in changes if n.endswith(VALUES)]
    draw = jax.jit(uniform, static_argnums=(1, 2))
    return {p: draw(key, p, tuple(changes[p + VALUES].shape)) for p in names}


def plan_rounds(total: int, count: int, rounds: int) -> list[int]:
    """Entries left after each of so many rounds of pruning by the same share: ends in `count`."""
    if rounds < 1 or not 1 <= count <= total:
        raise UserError(
            f"Cannot prune {total:,} entries to {count:,} in {rounds} rounds: the count is from 1 "
            "to the number of entries, and rounds are 1 or more."
        )
    kept = [round(total * (count / total) ** (r / rounds)) for r in range(1, rounds)]
    return [*(max(k, count) for k in kept), count]


def iterate(train: Callable[[Arrays | None], Mapping[str, Any]], count: int, rounds: int) -> Arrays:
    """Iterative magnitude pruning: train, cut, reset, train what is left, ...; returns the mask.

    train(mask) trains from theta0 under a mask of `sparsify` (None: everything) and returns the
    changes, as `deltas.changes` does.
    """
    mask: Arrays | None = None
    changes = train(None)
    total = sum(v.size for n, v in changes.items() if n.endswith(VALUES))
    for i, kept in enumerate(plan_rounds(total, count, rounds)):
        changes = changes if i == 0 else train(mask)
        mask = sparsify(changes, kept)
    assert mask is not None
    return mask
