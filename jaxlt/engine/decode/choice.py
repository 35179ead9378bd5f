"""The next token from logits: the best, or one drawn from what temperature, top-k and top-p leave.

Cut-offs are found by bisecting over the bits of float32, exactly and without sorting a vocabulary.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

NEVER = -jnp.inf  # the logit of what cannot be chosen
Number = float | jax.Array  # float32 []


def best_of(logits: jax.Array) -> jax.Array:
    """Returns the place of the largest along the last axis, the first of equals: int32."""
    # Two plain reductions: an argmax, which carries value and place, is not vectorised on CPUs.
    size = logits.shape[-1]
    top = jnp.max(logits, -1, keepdims=True)
    first = jnp.min(jnp.where(logits == top, jnp.arange(size, dtype=jnp.int32), size), -1)
    return jnp.minimum(first, size - 1)  # of nothing but NaN: the last


def largest_threshold(holds: Callable[[jax.Array], jax.Array], shape: tuple[int, ...]) -> jax.Array:
    """Returns the largest float32 >= 0, of `shape`, where `holds` (True at 0, monotone)."""

    def halve(_: int, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds  # holds at low, not at high; the bits of floats >= 0 order as they do
        middle = low + (high - low) // 2
        good = holds(jax.lax.bitcast_convert_type(middle, jnp.float32))
        return jnp.where(good, middle, low), jnp.where(good, high, middle)

    infinite = jnp.full(shape, 0x7F800000, jnp.int32)
    low, _ = jax.lax.fori_loop(0, 31, halve, (jnp.zeros(shape, jnp.int32), infinite))
    return jax.lax.bitcast_convert_type(low, jnp.float32)


def filtered(logits: jax.Array, temperature: Number, top_k: int, top_p: Number | None) -> jax.Array:
    """Logits [..., V] divided by temperature, those outside of top-k and then top-p at -inf.

    top_k = 0 and top_p = None leave all in. top_p keeps the smallest set of likeliest tokens whose
    probabilities, among those that top-k left, come to top_p. Equals at a cut-off stay together.
    """
    logits = logits / temperature
    if top_k and top_k < logits.shape[-1]:
        p = jax.nn.softmax(logits)  # of [0, 1], so that thresholds are floats >= 0
        kth = largest_threshold(
            lambda t: jnp.sum(p >= t[..., None], -1) >= top_k, logits.shape[:-1]
        )
        logits = jnp.where(p >= kth[..., None], logits, NEVER)
    if top_p is not None:
        p = jax.nn.softmax(logits)
        least = largest_threshold(
            lambda t: jnp.sum(jnp.where(p >= t[..., None], p, 0.0), -1) >= top_p,
            logits.shape[:-1],
        )
        logits = jnp.where(p >= least[..., None], logits, NEVER)
    return logits


def drawn(logits: jax.Array, keys: jax.Array, position: jax.Array) -> jax.Array:
    """Draws from logits [B, N, V] with keys [B, N] of the hypotheses: int32 [B, N]."""

    def draw(key: jax.Array, values: jax.Array) -> jax.Array:
        noise = jax.random.gumbel(jax.random.fold_in(key, position), values.shape)
        return best_of(values + noise)

    return jax.vmap(jax.vmap(draw))(keys, logits)


def keys_of(seed: Any, rows: jax.Array, count: int) -> jax.Array:
    """Keys [B, N]: of a seed, the number of a row and that of a draw; whatever else is decoded."""
    key = jax.random.key(seed)

    def of(row: jax.Array, n: jax.Array) -> jax.Array:
        return jax.random.fold_in(jax.random.fold_in(key, row), n)

    return jax.vmap(jax.vmap(of, (None, 0)), (0, None))(rows, jnp.arange(count))


def top_of(values: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """The `count` largest along the last axis, in order, and their places, as jax.lax.top_k."""
    size, group = values.shape[-1], 128
    if size < 32 * group or -(-size // group) <= count:
        return jax.lax.top_k(values, count)
    # A large one is found by way of the groups that can hold it: their maxima are vectorised.
    padding = [(0, 0)] * (values.ndim - 1) + [(0, -size % group)]
    grouped = jnp.pad(values, padding, constant_values=-jnp.inf)
    grouped = grouped.reshape(*values.shape[:-1], -1, group)
    _, which = jax.lax.top_k(jnp.max(grouped, -1), count)
    which = jnp.sort(which, -1)  # so that the first of equals stays the first
    held = jnp.take_along_axis(grouped, which[..., None], axis=-2)
    found, place = jax.lax.top_k(held.reshape(*values.shape[:-1], -1), count)
    return found, jnp.take_along_axis(which, place // group, axis=-1) * group + place % group
