"""The answer to a question, as a span of its context: scores of its first and last token.

Reads `span` [B, 2]: first and last token of the answer, below 0 where unknown; and `context`
[B, T]: 1 where an answer may be (absent: everywhere).
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxlt.errors import UserError
from jaxlt.models import head_parts
from jaxlt.models.head import Decoded, Example, HeadConfig, with_rows
from jaxlt.models.head_parts import NEVER, Batch, Loss, Projection
from jaxlt.models.layers import Context, Dropout

LONGEST_ANSWER = 64  # units of an answer at most


class Spans(NamedTuple):
    """Scores of where an answer begins and ends, NEVER outside the context."""

    start: jax.Array  # [B, T] float32
    end: jax.Array  # [B, T] float32


@dataclasses.dataclass(frozen=True)
class SpanConfig(HeadConfig):
    """The answer to a question, as a span of its context."""

    dropout: float = 0.1

    shapes: ClassVar[tuple[str, ...]] = ("span",)
    label_fields: ClassVar[tuple[str, ...]] = ("span",)

    def outputs(self, states: jax.Array, batch: Batch, ctx: Context, dtype: Any) -> Spans:
        """See HeadConfig."""
        mask = head_parts.token_mask(batch)
        context = mask & (batch["context"] > 0) if "context" in batch else mask
        return SpanExtractor(self, name=self.name)(states, context, ctx)

    def loss(self, outputs: Spans, batch: Batch, shares: jax.Array | None = None) -> Loss:
        """The mean of the two cross-entropies; a row with a number below 0 is left out."""
        gold = batch["span"]
        gold = jnp.where(jnp.all(gold >= 0, axis=-1, keepdims=True), gold, -1)
        start_nll, start = head_parts.label_terms(outputs.start, gold[:, 0])
        end_nll, end = head_parts.label_terms(outputs.end, gold[:, 1])
        return head_parts.sums_of(
            (start_nll + end_nll) / 2, start * end, head_parts.known(gold[:, 0]), shares
        )

    def weights(self, batch: Batch) -> jax.Array:
        """[B, 1]."""
        return head_parts.known(jnp.min(batch["span"], axis=-1, keepdims=True))

    def predictions(self, outputs: Spans, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """[B, 2] each."""
        return best_span(outputs, LONGEST_ANSWER)[0], batch["span"]

    def decode(self, outputs: Spans, examples: Sequence[Example], count: int) -> list[Decoded]:
        """The best span of any part."""
        spans, scores = (np.asarray(x) for x in best_span(outputs, LONGEST_ANSWER))
        answers = []
        for _, rows in with_rows(examples):
            best = max(rows, key=lambda row: scores[row])
            first, last = spans[best].tolist()
            answers.append(Decoded(span=(best - rows[0], first, last)))
        return answers


class SpanExtractor(nn.Module):
    """Scores of the first and last token of an answer."""

    config: SpanConfig

    @nn.compact
    def __call__(self, states: jax.Array, context: jax.Array, ctx: Context) -> Spans:
        """states: [B, T, D], context: [B, T] bool -> Spans."""
        states = jnp.where(context[..., None], states, 0)
        states = Dropout(self.config.dropout, name="dropout")(states, ctx)
        logits = jnp.where(context[..., None], Projection(2, name="logits")(states), NEVER)
        return Spans(logits[..., 0], logits[..., 1])


def best_span(spans: Spans, max_length: int) -> tuple[jax.Array, jax.Array]:
    """Returns the best spans [B, 2] int32 (first and last token) and their scores [B].

    The last token is not before the first, and a span has at most `max_length` tokens. Work is
    T * max_length, memory T.
    """
    if max_length < 1:
        raise UserError(f"A span has at least 1 token: max_length is {max_length}.")
    length = spans.start.shape[1]
    reach = min(max_length, length)
    ends = jnp.pad(spans.end, ((0, 0), (0, reach)), constant_values=2 * NEVER)

    def widen(offset: jax.Array, best: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        score = spans.start + jax.lax.dynamic_slice_in_dim(ends, offset, length, axis=1)
        better = score > best[0]
        return jnp.where(better, score, best[0]), jnp.where(better, offset, best[1])

    none = (jnp.full_like(spans.start, -jnp.inf), jnp.zeros(spans.start.shape, jnp.int32))
    scores, offsets = jax.lax.fori_loop(0, reach, widen, none)
    first = jnp.argmax(scores, axis=1)[:, None]
    offset = jnp.take_along_axis(offsets, first, axis=1)
    score = jnp.take_along_axis(scores, first, axis=1)[:, 0]
    return jnp.concatenate([first, first + offset], axis=1).astype(jnp.int32), score
