"""A label a word: a linear layer over the states of words, and by setting a chain over its labels.

Reads `word_labels` [B, W]: the label of each word, below 0 where unknown.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxlt.models import head_parts
from jaxlt.models.crf import Chain, log_likelihood, viterbi
from jaxlt.models.head import Decoded, Example, HeadConfig, with_rows
from jaxlt.models.head_parts import Batch, Loss, Projection
from jaxlt.models.layers import Context, Dropout
from jaxlt.modules.boxed import param, zeros


class Tags(NamedTuple):
    """Scores of the labels of words; with a chain, they are its emissions."""

    logits: jax.Array  # [B, W, labels] float32
    mask: jax.Array  # [B, W] bool
    chain: Chain | None


@dataclasses.dataclass(frozen=True)
class TaggerConfig(HeadConfig):
    """A label a word; with `crf` the labels of a sentence are one chain."""

    labels: int
    crf: bool = False
    dropout: float = 0.1

    shapes: ClassVar[tuple[str, ...]] = ("tags", "entities")
    label_fields: ClassVar[tuple[str, ...]] = ("word_labels",)

    def outputs(self, states: jax.Array, batch: Batch, ctx: Context, dtype: Any) -> Tags:
        """See HeadConfig."""
        return Tagger(self, name=self.name)(*head_parts.words_of(states, batch), ctx)

    def loss(self, outputs: Tags, batch: Batch, shares: jax.Array | None = None) -> Loss:
        """Cross-entropy of the words' labels, or -log likelihood of the chain."""
        labels = jnp.where(outputs.mask, batch["word_labels"], -1)
        weight = jnp.sum(head_parts.known(labels), axis=1)
        if outputs.chain is None:
            nll, correct = head_parts.label_terms(outputs.logits, labels)
            return head_parts.sums_of(
                jnp.sum(nll, axis=1), jnp.sum(correct, axis=1), weight, shares
            )
        nll = -log_likelihood(outputs.chain, outputs.logits, labels, outputs.mask)
        best = best_tags(jax.lax.stop_gradient(outputs))
        correct = jnp.sum((best == labels).astype(jnp.float32), axis=1)
        return head_parts.sums_of(nll, correct, weight, shares)

    def weights(self, batch: Batch) -> jax.Array:
        """[B, W]."""
        return head_parts.known(jnp.where(head_parts.word_mask(batch), batch["word_labels"], -1))

    def predictions(self, outputs: Tags, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """[B, W] each."""
        return best_tags(outputs), jnp.where(outputs.mask, batch["word_labels"], -1)

    def decode(self, outputs: Tags, examples: Sequence[Example], count: int) -> list[Decoded]:
        """A word's tag comes from the part that has it farthest from an edge."""
        best = np.asarray(best_tags(_first_labels(outputs, count)))
        return [
            Decoded(head_parts.labels_of_words(best, parts, rows))
            for parts, rows in with_rows(examples)
        ]


class Tagger(nn.Module):
    """A linear layer over the states of words, and the weights of a chain."""

    config: TaggerConfig

    @nn.compact
    def __call__(self, words: jax.Array, mask: jax.Array, ctx: Context) -> Tags:
        """words: [B, W, D], mask: [B, W] -> Tags."""
        cfg = self.config
        words = Dropout(cfg.dropout, name="dropout")(words, ctx)
        logits = Projection(cfg.labels, name="logits")(words)
        if not cfg.crf:
            return Tags(logits, mask, None)
        one, two = (cfg.labels,), (cfg.labels, cfg.labels)
        start = param(self, "start", zeros, (None,), one)
        transitions = param(self, "transitions", zeros, (None, None), two)
        end = param(self, "end", zeros, (None,), one)
        return Tags(logits, mask, Chain(start, transitions, end))


def best_tags(tags: Tags) -> jax.Array:
    """Returns the best labels [B, W] int32, 0 where there is no word."""
    if tags.chain is not None:
        return viterbi(tags.chain, tags.logits, tags.mask)[0]
    return jnp.where(tags.mask, jnp.argmax(tags.logits, axis=-1), 0).astype(jnp.int32)


def _first_labels(tags: Tags, count: int) -> Tags:
    """Scores of the first `count` labels alone."""
    chain = tags.chain
    if chain is not None:
        chain = Chain(chain.start[:count], chain.transitions[:count, :count], chain.end[:count])
    return Tags(tags.logits[..., :count], tags.mask, chain)
