"""A linear-chain conditional random field over label sequences: likelihood and best path.

    score(y) = start[y_1] + sum_t emissions[t, y_t] + sum_t transitions[y_{t-1}, y_t] + end[y_last]

Shapes: emissions [B, W, C], labels [B, W] int, mask [B, W] bool (which words exist). All is
computed in float32. What the mask leaves out is skipped: the chain goes from the last word before
it to the first one after it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

# Far below any score, and finite: a row that is all -inf would make the gradient NaN.
NEVER = -1e30


class Chain(NamedTuple):
    """The weights of a chain; `transitions[i, j]` is from label i to the label j after it."""

    start: jax.Array  # [C]
    transitions: jax.Array  # [C, C]
    end: jax.Array  # [C]

    def float32(self) -> "Chain":
        """Returns the same weights in float32."""
        return Chain(*(w.astype(jnp.float32) for w in self))


def log_partition(
    chain: Chain, emissions: jax.Array, mask: jax.Array, allowed: jax.Array | None = None
) -> jax.Array:
    """Returns [B] float32: the log of the summed exp(score) of all label sequences.

    allowed: [B, W, C] bool, the labels that a word may have (default: all). A row without words
    has the log of an empty product, 0.
    """
    chain, emissions = chain.float32(), emissions.astype(jnp.float32)
    if allowed is not None:
        emissions = jnp.where(allowed, emissions, NEVER)

    def step(alpha: jax.Array, word: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        emission, valid, begins = word
        before = jax.nn.logsumexp(alpha[:, :, None] + chain.transitions, axis=1)
        new = jnp.where(begins[:, None], chain.start, before) + emission
        new = jnp.maximum(new, NEVER)  # what is not allowed must not sink further each word
        return jnp.where(valid[:, None], new, alpha), None

    alpha, _ = jax.lax.scan(step, jnp.zeros_like(emissions[:, 0]), _by_word(emissions, mask))
    total = jax.nn.logsumexp(alpha + chain.end, axis=-1)
    return jnp.where(mask.any(1), total, 0.0)


def log_likelihood(
    chain: Chain, emissions: jax.Array, labels: jax.Array, mask: jax.Array
) -> jax.Array:
    """Returns [B] float32: the log probability of the labels.

    A label below 0 is unknown: the probability is then summed over what it may be. So a row of
    which nothing is known has log likelihood 0.
    """
    classes = jnp.arange(emissions.shape[-1])
    allowed = (labels[..., None] == classes) | (labels[..., None] < 0)
    return log_partition(chain, emissions, mask, allowed) - log_partition(chain, emissions, mask)


def viterbi(chain: Chain, emissions: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the best labels [B, W] int32 (0 where the mask is off) and their scores [B].

    Of equal sequences the one with the smaller label at the last differing word is taken.
    """
    chain, emissions = chain.float32(), emissions.astype(jnp.float32)
    same = jnp.broadcast_to(jnp.arange(emissions.shape[-1]), emissions[:, 0].shape)

    def forward(best: jax.Array, word: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        emission, valid, begins = word
        paths = best[:, :, None] + chain.transitions
        new = jnp.where(begins[:, None], chain.start, jnp.max(paths, axis=1)) + emission
        origin = jnp.where(valid[:, None], jnp.argmax(paths, axis=1), same)
        return jnp.where(valid[:, None], new, best), origin.astype(jnp.int32)

    words = _by_word(emissions, mask)
    best, origins = jax.lax.scan(forward, jnp.zeros_like(emissions[:, 0]), words)
    final = best + chain.end
    last = jnp.argmax(final, axis=-1).astype(jnp.int32)

    def backward(label: jax.Array, origin: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.take_along_axis(origin, label[:, None], axis=1)[:, 0], label

    _, labels = jax.lax.scan(backward, last, origins, reverse=True)
    scores = jnp.where(mask.any(1), jnp.max(final, axis=-1), 0.0)
    return jnp.where(mask, labels.T, 0), scores


def _by_word(emissions: jax.Array, mask: jax.Array) -> tuple[jax.Array, ...]:
    """Returns (emissions [W, B, C], mask [W, B], first word of its row [W, B]) for a scan."""
    begins = mask & (jnp.cumsum(mask, axis=1) == 1)
    return jnp.swapaxes(emissions, 0, 1), mask.T, begins.T
