"""Heads on the states of an encoder: tags, classes, spans, and (from `biaffine`) parses.

    heads = Heads((TaggerConfig("pos", 17), ParserConfig("deps", 37)), dtype, name="heads")
    outputs = heads(states, batch, ctx, only="pos")      # inside a model's apply
    loss, sums = head_loss(config, outputs, batch)       # pure, see jaxlt.models.head_parts

Parameters are `heads/<name>/...`. The states [B, T, D] are those of an encoder's tokens, or of
words (`jaxlt.models.bilstm`). Fields of a batch, int32, beside the encoder's own:

    word_first   [B, W]   place of each word's first token, -1 for none (absent: states are words')
    word_labels  [B, W]   the tagger's or parser's label of each word, below 0 where unknown
    word_heads   [B, W]   number of each word's head, 0 for the root, below 0 where unknown
    sentence     [B, T]   1 and 2: tokens of the first and second sentence (absent: all are 1)
    label        [B]      the class of the row, below 0 where unknown
    context      [B, T]   1 where an answer may be (absent: everywhere)
    span         [B, 2]   first and last token of the answer, below 0 where unknown
    head         [B]      the place among the model's heads of the one that the row is for
                          (absent: all); the others leave its labels out

Rows hold one example each: packed rows are for language models.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlt.errors import UserError
from jaxlt.models.biaffine import Parse, Parser, parser_loss
from jaxlt.models.crf import Chain, log_likelihood, viterbi
from jaxlt.models.head_config import (
    ClassifierConfig,
    HeadConfig,
    ParserConfig,
    SpanConfig,
    TaggerConfig,
    find_head,
)
from jaxlt.models.head_parts import (
    NEVER,
    Projection,
    RowDropout,
    Sums,
    known,
    label_terms,
    sums_of,
    token_mask,
    words_of,
    zeros,
)
from jaxlt.models.layers import Context
from jaxlt.modules.boxed import boxed


class Tags(NamedTuple):
    """Scores of the labels of words; with a chain, they are its emissions."""

    logits: jax.Array  # [B, W, labels] float32
    mask: jax.Array  # [B, W] bool
    chain: Chain | None


class Spans(NamedTuple):
    """Scores of where an answer begins and ends, NEVER outside the context."""

    start: jax.Array  # [B, T] float32
    end: jax.Array  # [B, T] float32


Outputs = Tags | Parse | Spans | jax.Array


class Tagger(nn.Module):
    """A linear layer over the states of words, and the weights of a chain."""

    config: TaggerConfig

    @nn.compact
    def __call__(self, words: jax.Array, mask: jax.Array, ctx: Context) -> Tags:
        """words: [B, W, D], mask: [B, W] -> Tags."""
        cfg = self.config
        words = RowDropout(cfg.dropout, name="dropout")(words, ctx)
        logits = Projection(cfg.labels, name="logits")(words)
        if not cfg.crf:
            return Tags(logits, mask, None)
        one, two = (cfg.labels,), (cfg.labels, cfg.labels)
        start = self.param("start", boxed(zeros, (None,)), one, jnp.float32)
        transitions = self.param("transitions", boxed(zeros, (None, None)), two, jnp.float32)
        end = self.param("end", boxed(zeros, (None,)), one, jnp.float32)
        return Tags(logits, mask, Chain(start, transitions, end))


def best_tags(tags: Tags) -> jax.Array:
    """Returns the best labels [B, W] int32, 0 where there is no word."""
    if tags.chain is not None:
        return viterbi(tags.chain, tags.logits, tags.mask)[0]
    return jnp.where(tags.mask, jnp.argmax(tags.logits, axis=-1), 0).astype(jnp.int32)


def tagger_loss(
    tags: Tags, labels: jax.Array, shares: jax.Array | None = None
) -> tuple[jax.Array, Sums]:
    """Cross-entropy of the words' labels [B, W], or -log likelihood of the chain."""
    labels = jnp.where(tags.mask, labels, -1)
    weight = jnp.sum(known(labels), axis=1)
    if tags.chain is None:
        nll, correct = label_terms(tags.logits, labels)
        return sums_of(jnp.sum(nll, axis=1), jnp.sum(correct, axis=1), weight, shares)
    nll = -log_likelihood(tags.chain, tags.logits, labels, tags.mask)
    best = best_tags(jax.lax.stop_gradient(tags))
    correct = jnp.sum((best == labels).astype(jnp.float32), axis=1)
    return sums_of(nll, correct, weight, shares)


class Classifier(nn.Module):
    """Pooled sentences through a linear layer."""

    config: ClassifierConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, states: jax.Array, sentences: jax.Array, ctx: Context) -> jax.Array:
        """states: [B, T, D], sentences: [B, T] (0: neither) -> float32 logits [B, labels]."""
        cfg = self.config
        pooled = [pool(states, sentences == 1, cfg.pooling)]
        if cfg.pair:
            u, v = pooled[0], pool(states, sentences == 2, cfg.pooling)
            pooled = [u, v, jnp.abs(u - v), u * v]
        x = jnp.concatenate(pooled, axis=-1).astype(self.dtype)[:, None]
        x = RowDropout(cfg.dropout, name="dropout")(x, ctx)
        if cfg.hidden:
            x = nn.tanh(Projection(cfg.hidden, self.dtype, name="hidden")(x))
            x = RowDropout(cfg.dropout, name="hidden_dropout")(x, ctx)
        return Projection(cfg.labels, name="logits")(x)[:, 0]


def pool(states: jax.Array, mask: jax.Array, how: str) -> jax.Array:
    """[B, T, D] at [B, T] -> float32 [B, D]: the mean, or the first; 0 where nothing is masked in.

    The mean is summed in float32: bfloat16 would stop counting at 256 tokens.
    """
    if how == "first":
        first = jnp.argmax(mask, axis=1)[:, None]
        mask = mask & (jnp.arange(mask.shape[1]) == first)
    kept = jnp.where(mask[..., None], states, 0).astype(jnp.float32)
    count = jnp.maximum(jnp.sum(mask, axis=1, dtype=jnp.float32), 1.0)
    return jnp.sum(kept, axis=1) / count[:, None]


def classifier_loss(
    logits: jax.Array, labels: jax.Array, shares: jax.Array | None = None
) -> tuple[jax.Array, Sums]:
    """Cross-entropy of the classes: logits [B, C], labels [B]."""
    nll, correct = label_terms(logits, labels)
    return sums_of(nll, correct, known(labels), shares)


class SpanExtractor(nn.Module):
    """Scores of the first and last token of an answer."""

    config: SpanConfig

    @nn.compact
    def __call__(self, states: jax.Array, context: jax.Array, ctx: Context) -> Spans:
        """states: [B, T, D], context: [B, T] bool -> Spans."""
        states = jnp.where(context[..., None], states, 0)
        states = RowDropout(self.config.dropout, name="dropout")(states, ctx)
        logits = jnp.where(context[..., None], Projection(2, name="logits")(states), NEVER)
        return Spans(logits[..., 0], logits[..., 1])


def span_loss(
    spans: Spans, gold: jax.Array, shares: jax.Array | None = None
) -> tuple[jax.Array, Sums]:
    """The mean of the two cross-entropies; gold: [B, 2], a row with a number below 0 left out."""
    gold = jnp.where(jnp.all(gold >= 0, axis=-1, keepdims=True), gold, -1)
    start_nll, start = label_terms(spans.start, gold[:, 0])
    end_nll, end = label_terms(spans.end, gold[:, 1])
    return sums_of((start_nll + end_nll) / 2, start * end, known(gold[:, 0]), shares)


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


class Heads(nn.Module):
    """All heads of a model, `<name>/...` each."""

    heads: tuple[HeadConfig, ...]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        states: jax.Array,
        batch: Mapping[str, jax.Array],
        ctx: Context,
        only: str | None = None,
    ) -> dict[str, Outputs]:
        """states: [B, T, D] -> outputs by name; of one head, where `only` names it."""
        find_head(self.heads, only)
        return {
            config.name: self.outputs(config, states, batch, ctx)
            for config in self.heads
            if only in (None, config.name)
        }

    def outputs(
        self,
        config: HeadConfig,
        states: jax.Array,
        batch: Mapping[str, jax.Array],
        ctx: Context,
    ) -> Outputs:
        """One head over the states."""
        if isinstance(config, TaggerConfig):
            return Tagger(config, name=config.name)(*words_of(states, batch), ctx)
        if isinstance(config, ParserConfig):
            return Parser(config, self.dtype, name=config.name)(*words_of(states, batch), ctx)
        mask = token_mask(batch)
        if isinstance(config, SpanConfig):
            context = mask & (batch["context"] > 0) if "context" in batch else mask
            return SpanExtractor(config, name=config.name)(states, context, ctx)
        sentences = jnp.where(mask, batch.get("sentence", mask.astype(jnp.int32)), 0)
        return Classifier(config, self.dtype, name=config.name)(states, sentences, ctx)


def head_loss(
    config: HeadConfig,
    outputs: Any,
    batch: Mapping[str, jax.Array],
    shares: jax.Array | None = None,
) -> tuple[jax.Array, Sums]:
    """The loss of a head's outputs against the labels of the batch; shares: see `sums_of`."""
    if isinstance(config, TaggerConfig):
        return tagger_loss(outputs, batch["word_labels"], shares)
    if isinstance(config, ParserConfig):
        return parser_loss(outputs, batch["word_heads"], batch["word_labels"], shares)
    if isinstance(config, SpanConfig):
        return span_loss(outputs, batch["span"], shares)
    return classifier_loss(outputs, batch["label"], shares)


def head_weights(config: HeadConfig, batch: Mapping[str, jax.Array]) -> jax.Array:
    """Returns [B, .] float32: the weights of a batch's labels, whose sum normalises the loss."""
    if isinstance(config, TaggerConfig | ParserConfig):
        field = "word_labels" if isinstance(config, TaggerConfig) else "word_heads"
        words = batch["word_first"] >= 0 if "word_first" in batch else token_mask(batch)
        return known(jnp.where(words, batch[field], -1))
    if isinstance(config, SpanConfig):
        return known(jnp.min(batch["span"], axis=-1, keepdims=True))
    return known(batch["label"])[:, None]


LABELS = ("word_labels", "word_heads", "label", "span")


def rows_of_head(batch: Mapping[str, jax.Array], index: int) -> dict[str, jax.Array]:
    """The batch with its labels unknown in rows that are for another head, or empty."""
    mine = jnp.any(token_mask(batch), axis=1)
    if "head" in batch:
        mine &= batch["head"] == index

    def own(values: jax.Array) -> jax.Array:
        return jnp.where(mine.reshape(-1, *(1,) * (values.ndim - 1)), values, -1)

    return {n: own(values) if n in LABELS else values for n, values in batch.items()}


def heads_loss(
    heads: tuple[HeadConfig, ...],
    outputs: Mapping[str, Any],
    batch: Mapping[str, jax.Array],
    shares: jax.Array | None = None,
) -> tuple[jax.Array, Sums]:
    """The sum of the heads' losses, and of their sums; shares [B]: see `sums_of`."""
    found = [
        head_loss(config, outputs[config.name], rows_of_head(batch, i), shares)
        for i, config in enumerate(heads)
    ]
    sums: Sums = {}
    for _, own in found:
        sums |= {name: sums[name] + value if name in sums else value for name, value in own.items()}
    return sum((loss for loss, _ in found), jnp.float32(0.0)), sums


LONGEST_ANSWER = 64  # units of an answer at most


def heads_said(
    heads: tuple[HeadConfig, ...], outputs: Mapping[str, Any], batch: Mapping[str, jax.Array]
) -> dict[str, jax.Array]:
    """What heads say of a batch beside what is right, for scores that are no sums over words.

    `said/<name>` and `gold/<name>`: of a tagger [B, W], of a classifier [B], of spans [B, 2]; gold
    is below 0 where nothing is asked. `head` [B] is the place of the head that a row is for. Of a
    parser row_correct is all: a word's arc and relation are right or not.
    """
    found: dict[str, jax.Array] = {}
    for i, config in enumerate(heads):
        own, out = rows_of_head(batch, i), outputs[config.name]
        if isinstance(config, TaggerConfig):
            pair = best_tags(out), jnp.where(out.mask, own["word_labels"], -1)
        elif isinstance(config, SpanConfig):
            pair = best_span(out, LONGEST_ANSWER)[0], own["span"]
        elif isinstance(config, ParserConfig):
            continue
        else:
            pair = jnp.argmax(out, axis=-1).astype(jnp.int32), own["label"]
        found |= {f"said/{config.name}": pair[0], f"gold/{config.name}": pair[1]}
    rows = next(iter(batch.values())).shape[0]
    return found | {"head": batch.get("head", jnp.zeros((rows,), jnp.int32))}


def heads_weights(heads: tuple[HeadConfig, ...], batch: Mapping[str, jax.Array]) -> jax.Array:
    """Returns [B, .] float32: the weights of all labels of a batch, head after head."""
    parts = [head_weights(config, rows_of_head(batch, i)) for i, config in enumerate(heads)]
    return jnp.concatenate(parts, axis=1)
