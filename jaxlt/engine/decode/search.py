"""The loops: greedy and sampling, where hypotheses go their own ways, and beam search."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxlt.engine.decode.choice import NEVER, best_of, drawn, filtered, keys_of, top_of
from jaxlt.engine.decode.config import DecodingConfig
from jaxlt.engine.decode.steps import Cache, Stepper
from jaxlt.engine.decode.trie import Trie
from jaxlt.models.traced import now


class Decoded(NamedTuple):
    """Tokens int32 [B, N, length], 0 after the end, and scores float32 [B, N], best first."""

    tokens: Any
    scores: Any


class Limits(NamedTuple):
    """What rows may say: forced tokens [B, P] (0: free), trie and first nodes [B]."""

    prefix: jax.Array | None
    trie: Trie | None
    roots: jax.Array | None
    rows: Any  # [B], numbers of the rows

    def forced(self, i: jax.Array) -> jax.Array:
        """Tokens [B, 1] that position i has to take; 0 where it is free."""
        if self.prefix is None:
            return jnp.zeros((self.rows.shape[0], 1), jnp.int32)
        width = self.prefix.shape[1]
        here = jax.lax.dynamic_slice_in_dim(self.prefix, jnp.minimum(i, width - 1), 1, axis=1)
        return jnp.where(i < width, here, 0)

    def nodes(self, count: int) -> jax.Array:
        """First nodes, [B, N]."""
        roots = jnp.zeros_like(self.rows) if self.roots is None else self.roots
        return jnp.broadcast_to(roots[:, None], (len(roots), count))

    def allowed(self, values: jax.Array, nodes: jax.Array) -> jax.Array:
        """Values [B, N, V], -inf where the trie does not go on."""
        return values if self.trie is None else self.trie.masked(values, nodes)

    def after(self, nodes: jax.Array, token: jax.Array, forced: jax.Array) -> jax.Array:
        """Nodes [B, N] after a token; a forced one stands before all that the trie says."""
        if self.trie is None:
            return nodes
        return jnp.where(forced > 0, nodes, self.trie.after(nodes, token))


class Walk(NamedTuple):
    """Hypotheses that never meet."""

    i: jax.Array
    tokens: jax.Array  # [B, N, T]
    last: jax.Array  # [B, N]
    done: jax.Array  # [B, N]
    scores: jax.Array  # [B, N]
    nodes: jax.Array  # [B, N]
    cache: Cache


def walk(stepper: Stepper, decoding: DecodingConfig, limits: Limits, scored: bool) -> Decoded:
    """Greedy decoding or sampling. Scores are sums of the log-probabilities of what was chosen.

    scored: False leaves the scores at zero, and their cost out.
    """
    shape = (stepper.rows, stepper.hypotheses)
    draws = decoding.method == "sample"
    keys = keys_of(now(decoding.seed), limits.rows, shape[1]) if draws else None
    temperature = now(decoding.temperature)
    top_p = None if decoding.top_p == 1.0 else now(decoding.top_p)

    def choose(values: jax.Array, i: jax.Array) -> jax.Array:
        if keys is None:
            return best_of(values)
        left = filtered(values, temperature, decoding.top_k, top_p)
        return drawn(left, keys, i)

    def body(s: Walk) -> Walk:
        logits, cache = stepper.logits(s.last, s.i, s.cache)
        forced = limits.forced(s.i)
        best = choose(limits.allowed(logits, s.nodes), s.i)
        best = jnp.where(s.done, 0, jnp.where(forced > 0, forced, best))
        scores = s.scores
        if scored:
            log_p = jnp.take_along_axis(logits, best[..., None], axis=-1)[..., 0]
            log_p = log_p - jax.nn.logsumexp(logits, axis=-1)
            scores = scores + jnp.where(s.done | (forced > 0), 0.0, log_p)
        tokens = jax.lax.dynamic_update_slice(s.tokens, best[..., None], (0, 0, s.i))
        done = s.done | ((best == decoding.end) & (forced == 0))
        nodes = limits.after(s.nodes, best, forced)
        return Walk(s.i + 1, tokens, best, done, scores, nodes, cache)

    first = Walk(
        jnp.int32(0),
        jnp.zeros((*shape, decoding.length), jnp.int32),
        jnp.zeros(shape, jnp.int32),
        jnp.zeros(shape, bool),
        jnp.zeros(shape, jnp.float32),
        limits.nodes(shape[1]),
        stepper.start(),
    )
    last = jax.lax.while_loop(lambda s: (s.i < decoding.length) & ~jnp.all(s.done), body, first)
    return Decoded(last.tokens, last.scores)


class Beams(NamedTuple):
    """Live hypotheses, best first, and the best that have ended."""

    i: jax.Array
    tokens: jax.Array  # [B, N, T]
    scores: jax.Array  # [B, N], sums of log-probabilities
    ancestry: jax.Array  # [B, N, T]
    nodes: jax.Array  # [B, N]
    ended: jax.Array  # [B, N, T]
    ended_scores: jax.Array  # [B, N], divided by the penalty; -inf where there is none
    cache: Cache


def penalty(length: Any, alpha: Any) -> Any:
    """GNMT's length penalty, as T5 uses it: ((5 + length) / 6) ** alpha; scores are divided by it.

    length counts all tokens of a hypothesis, the forced ones and the end included.
    """
    return ((5.0 + length) / 6.0) ** alpha


def beam_search(stepper: Stepper, decoding: DecodingConfig, limits: Limits) -> Decoded:
    """The best `returns` of what `beams` live hypotheses a row come to.

    At each position the 2 * beams likeliest continuations are looked at: those that end are ranked
    by their penalised score among the ended, the best `beams` others live on. A row is done when no
    live hypothesis can come before the last that is returned any more. What has not ended by
    `length` comes after all that has.
    """
    n, length, alpha = decoding.beams, decoding.length, now(decoding.length_penalty)
    rows, count = stepper.rows, decoding.returns
    longest = penalty(float(length), alpha)

    def going(s: Beams) -> jax.Array:
        # Scores only fall, and the penalty is at its most lenient at the one end or the other.
        here = penalty(s.i.astype(jnp.float32) + 1.0, alpha)
        bound = s.scores[:, 0] / jnp.maximum(here, longest)
        return (bound > s.ended_scores[:, count - 1]) & (s.scores[:, 0] > NEVER)

    empty = jnp.zeros((rows, n, length), jnp.int32)
    none = jnp.full((rows, n), NEVER, jnp.float32)
    itself = jnp.broadcast_to(jnp.arange(n, dtype=jnp.int32)[:, None], empty.shape)
    first = Beams(
        jnp.int32(0),
        empty,
        none.at[:, 0].set(0.0),  # all start as one
        itself,
        limits.nodes(n),
        empty,
        none,
        stepper.start(),
    )

    def step(s: Beams) -> Beams:
        """A step of the rows that are not done; the others stay as they are."""
        new, live = extended(stepper, decoding, limits, s), going(s)

        def kept(a: jax.Array, b: jax.Array) -> jax.Array:
            return jnp.where(live.reshape(-1, *(1,) * (a.ndim - 1)), a, b)

        by_row = [name for name in Beams._fields if name not in ("i", "cache")]
        return new._replace(**{name: kept(getattr(new, name), getattr(s, name)) for name in by_row})

    end = jax.lax.while_loop(lambda s: (s.i < length) & jnp.any(going(s)), step, first)
    return best_of_beams(end, count, longest)


def extended(stepper: Stepper, decoding: DecodingConfig, limits: Limits, s: Beams) -> Beams:
    """All rows a position further."""
    n, alpha = decoding.beams, now(decoding.length_penalty)
    last = jax.lax.dynamic_index_in_dim(s.tokens, jnp.maximum(s.i - 1, 0), 2, keepdims=False)
    last = jnp.where(s.i > 0, last, 0)
    logits, cache = stepper.logits(last, s.i, s.cache, s.ancestry)
    forced = limits.forced(s.i)
    scores, parent, token = candidates(logits, s, limits, forced, 2 * n)
    ends = (token == decoding.end) & (forced == 0)
    going_on, order = jax.lax.top_k(jnp.where(ends, NEVER, scores), n)
    pick = lambda a: jnp.take_along_axis(a, order, axis=1)  # noqa: E731
    from_, chosen = pick(parent), pick(token)
    put = lambda a, value: jax.lax.dynamic_update_slice(  # noqa: E731
        a, value[..., None], (0, 0, s.i)
    )
    ended = jnp.where(ends, scores / penalty(s.i.astype(jnp.float32) + 1.0, alpha), NEVER)
    whole = jnp.concatenate([s.ended, put(beams_of(s.tokens, parent), token)], axis=1)
    ranked = jnp.concatenate([s.ended_scores, ended], axis=1)
    ended_scores, best = jax.lax.top_k(ranked, n)
    return Beams(
        s.i + 1,
        put(beams_of(s.tokens, from_), chosen),
        going_on,
        put(beams_of(s.ancestry, from_), from_),
        limits.after(beams_of(s.nodes, from_), chosen, forced),
        beams_of(whole, best),
        ended_scores,
        cache,
    )


def candidates(
    logits: jax.Array, s: Beams, limits: Limits, forced: jax.Array, count: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The `count` likeliest continuations of a row: scores, parents and tokens, [B, count] each."""
    vocabulary = logits.shape[-1]
    norm = jax.nn.logsumexp(logits, axis=-1)
    each = min(count, vocabulary)
    values, tokens = top_of(limits.allowed(logits, s.nodes), each)
    scores = s.scores[..., None] + (values - norm[..., None])
    alone = jnp.where(jnp.arange(each) == 0, s.scores[..., None], NEVER)  # forced: not scored
    scores = jnp.where(forced[..., None] > 0, alone, scores)
    tokens = jnp.where(forced[..., None] > 0, forced[..., None], tokens)
    flat = scores.reshape(len(scores), -1)
    best, place = jax.lax.top_k(flat, count)
    token = jnp.take_along_axis(tokens.reshape(flat.shape), place, axis=1)
    return best, place // each, jnp.where(best > NEVER, token, 0)


def beams_of(a: jax.Array, which: jax.Array) -> jax.Array:
    """Rows' hypotheses a [B, N, ...] by `which` [B, M] -> [B, M, ...]."""
    return jnp.take_along_axis(a, which.reshape(*which.shape, *(1,) * (a.ndim - 2)), axis=1)


def best_of_beams(s: Beams, count: int, longest: Any) -> Decoded:
    """Ended hypotheses first, by score, then live ones."""
    tokens = jnp.concatenate([s.ended, s.tokens], axis=1)
    scores = jnp.concatenate([s.ended_scores, s.scores / longest], axis=1)
    late = jnp.concatenate([s.ended_scores == NEVER, jnp.ones_like(s.scores, bool)], axis=1)
    none = jnp.where(scores == NEVER, 1, 0)
    order = jnp.lexsort((-scores, late, none), axis=-1)[:, :count]
    found = jnp.take_along_axis(scores, order, axis=1)
    return Decoded(jnp.where(found[..., None] > NEVER, beams_of(tokens, order), 0), found)
