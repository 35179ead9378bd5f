"""The biaffine dependency parser of Dozat and Manning (2017): scores of arcs and of their labels.

    parse = config.outputs(states, batch, ctx, dtype)   # inside a model's apply
    loss, sums = config.loss(parse, batch)
    heads = best_trees(parse.arcs, mask.sum(1))         # on the host, jaxlt.models.trees
    labels = label_scores(parse, heads).argmax(-1)

Reads `word_heads` [B, W], the number of each word's head, and `word_labels` [B, W], the label of
its arc; below 0 where unknown.
Heads are numbered from 1, and 0 is the root, which has a vector of its own. Labels are scored at
given heads alone: all of [B, W+1, W, labels] would not fit for long sentences.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxlt.models import head_parts
from jaxlt.models.head import Decoded, Example, HeadConfig, with_rows
from jaxlt.models.head_parts import NEVER, Batch, Loss, Projection
from jaxlt.models.layers import Context, Dropout
from jaxlt.models.trees import best_trees
from jaxlt.modules.boxed import param, zeros

root_normal = nn.initializers.normal(0.02)


class Parse(NamedTuple):
    """What a parser says of B sentences; N = W + 1, the root first."""

    arcs: jax.Array  # [B, N, N] float32, head by dependent; NEVER where there can be no arc
    mask: jax.Array  # [B, W] bool
    label_heads: jax.Array  # [B, N, L]
    label_dependents: jax.Array  # [B, W, L]
    label_kernel: jax.Array  # [L + 1, labels, L + 1], dependent by label by head


@dataclasses.dataclass(frozen=True)
class ParserConfig(HeadConfig):
    """A biaffine parser; the sizes are the paper's."""

    labels: int
    arc_dim: int = 500
    label_dim: int = 100
    dropout: float = 0.33

    shapes: ClassVar[tuple[str, ...]] = ("tree",)
    label_fields: ClassVar[tuple[str, ...]] = ("word_heads", "word_labels")
    sizes: ClassVar[tuple[str, ...]] = ("labels", "arc_dim", "label_dim")

    def outputs(self, states: jax.Array, batch: Batch, ctx: Context, dtype: Any) -> Parse:
        """See HeadConfig."""
        return Parser(self, dtype, name=self.name)(*head_parts.words_of(states, batch), ctx)

    def loss(self, outputs: Parse, batch: Batch, shares: jax.Array | None = None) -> Loss:
        """Cross-entropy of the heads and, at the true heads, of the labels.

        A head below 0 leaves the word out, a label below 0 only its label. `correct` counts words
        whose head and label are both right (each word by itself, not in a tree);
        `row_heads_correct` [B] counts the heads.
        """
        heads = jnp.where(outputs.mask, batch["word_heads"], -1)
        labels = jnp.where(heads >= 0, batch["word_labels"], -1)
        by_word = jnp.swapaxes(outputs.arcs[:, :, 1:], 1, 2)  # [B, W, N]
        arc_nll, arc_right = head_parts.label_terms(by_word, heads)
        label_nll, label_right = head_parts.label_terms(label_scores(outputs, heads), labels)
        both = arc_right * jnp.where(labels >= 0, label_right, 1.0)
        return head_parts.sums_of(
            jnp.sum(arc_nll + label_nll, axis=1),
            jnp.sum(both, axis=1),
            jnp.sum(head_parts.known(heads), axis=1),
            shares,
            row_heads_correct=jnp.sum(arc_right, axis=1),
        )

    def weights(self, batch: Batch) -> jax.Array:
        """[B, W]."""
        return head_parts.known(jnp.where(head_parts.word_mask(batch), batch["word_heads"], -1))

    def decode(self, outputs: Parse, examples: Sequence[Example], count: int) -> list[Decoded]:
        """The best tree over the arcs of all parts, and the labels of its arcs."""
        arcs = np.asarray(outputs.arcs)
        heads = best_trees(arcs, np.asarray(outputs.mask).sum(1))
        trees: list[np.ndarray] = []
        for parts, rows in with_rows(examples):
            words = parts[-1].stop
            if len(parts) == 1:
                trees.append(heads[rows[0], :words])
                continue
            tree = best_trees(_joined(parts, arcs, rows)[None], np.array([words]))[0]
            trees.append(tree)
            for row, part in zip(rows, parts, strict=True):
                own = tree[part.start : part.stop]
                inside = (own > part.start) & (own <= part.stop)
                heads[row, : len(own)] = np.where(inside, own - part.start, 0)
        best = np.asarray(_best_labels(outputs, jnp.maximum(jnp.asarray(heads), 0), count))
        return [
            Decoded(head_parts.labels_of_words(best, parts, rows), tuple(tree.tolist()))
            for (parts, rows), tree in zip(with_rows(examples), trees, strict=True)
        ]


class Parser(nn.Module):
    """Scores of arcs, and what scores of labels are made of."""

    config: ParserConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, words: jax.Array, mask: jax.Array, ctx: Context) -> Parse:
        """words: [B, W, D], mask: [B, W] -> Parse."""
        cfg = self.config
        words = jnp.where(mask[..., None], words, 0).astype(self.dtype)
        root = param(self, "root", root_normal, ("embed",), words.shape[-1:])
        root = jnp.broadcast_to(root.astype(self.dtype), (len(words), 1, words.shape[-1]))
        nodes = Dropout(cfg.dropout, name="input_dropout")(
            jnp.concatenate([root, words], axis=1), ctx
        )
        arc_heads = self.features("arc_head", cfg.arc_dim, nodes, ctx)
        arc_dependents = self.features("arc_dependent", cfg.arc_dim, nodes, ctx)
        shape = (cfg.arc_dim + 1, cfg.arc_dim)
        kernel = param(self, "arc_kernel", zeros, (None, None), shape)
        into = jnp.matmul(with_one(arc_dependents), kernel.astype(self.dtype))
        arcs = jnp.einsum("bdi,bhi->bhd", into, arc_heads, preferred_element_type=jnp.float32)
        cube = (cfg.label_dim + 1, cfg.labels, cfg.label_dim + 1)
        labels = param(self, "label_kernel", zeros, (None, None, None), cube)
        return Parse(
            jnp.where(possible(mask), arcs, NEVER),
            mask,
            self.features("label_head", cfg.label_dim, nodes, ctx),
            self.features("label_dependent", cfg.label_dim, nodes[:, 1:], ctx),
            labels,
        )

    def features(self, name: str, width: int, nodes: jax.Array, ctx: Context) -> jax.Array:
        """One MLP: [B, N, D] -> [B, N, width]."""
        h = Projection(width, self.dtype, name=name)(nodes)
        h = nn.leaky_relu(h, 0.1)
        return Dropout(self.config.dropout, name=f"{name}_dropout")(h, ctx)


def with_one(x: jax.Array) -> jax.Array:
    """[..., K] -> [..., K + 1]: a one at the end, so that a bilinear form has its linear parts."""
    return jnp.concatenate([x, jnp.ones((*x.shape[:-1], 1), x.dtype)], axis=-1)


def possible(mask: jax.Array) -> jax.Array:
    """mask [B, W] -> [B, N, N] bool: the head exists and is not the dependent itself."""
    heads = jnp.concatenate([jnp.ones_like(mask[:, :1]), mask], axis=1)
    return heads[:, :, None] & ~jnp.eye(heads.shape[1], dtype=bool)


def label_scores(parse: Parse, heads: jax.Array) -> jax.Array:
    """Returns float32 [B, W, labels]: the labels of the arcs from heads [B, W] (below 0: none)."""
    index = jnp.maximum(heads, 0)[..., None]
    found = jnp.take_along_axis(parse.label_heads, index, axis=1, mode="clip")
    kernel = parse.label_kernel.astype(found.dtype)
    into = jnp.einsum("bwi,icj->bwcj", with_one(parse.label_dependents), kernel)
    return jnp.einsum("bwcj,bwj->bwc", into, with_one(found), preferred_element_type=jnp.float32)


@functools.partial(jax.jit, static_argnames="count")
def _best_labels(parse: Parse, heads: jax.Array, count: int) -> jax.Array:
    """The best of the first `count` labels of the arcs from heads [B, W] -> [B, W]."""
    return jnp.argmax(label_scores(parse, heads)[..., :count], axis=-1)


def _joined(parts: Example, arcs: np.ndarray, rows: range) -> np.ndarray:
    """Arc scores [N + 1, N + 1] of an example from those of its parts, each word's from one part.

    A part's scores are made log-probabilities of heads first: raw ones of two parts have no common
    measure.
    """
    count = parts[-1].stop
    joined = np.full((count + 1, count + 1), NEVER, np.float64)
    for row, part in zip(rows, parts, strict=True):
        size = part.stop - part.start
        own = arcs[row, : size + 1, : size + 1].astype(np.float64)
        own -= own.max(0, keepdims=True)
        own -= np.log(np.exp(own).sum(0, keepdims=True))
        nodes = np.array([0, *range(part.start + 1, part.stop + 1)])
        words = np.arange(part.first, part.last) + 1
        joined[np.ix_(nodes, words)] = own[:, words - part.start]
    return joined
