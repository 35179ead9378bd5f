"""The biaffine dependency parser of Dozat and Manning (2017): scores of arcs and of their labels.

    parse = Parser(config)(words, mask, ctx)            # inside a model's apply
    loss, sums = parser_loss(parse, heads, labels)
    heads = best_trees(parse.arcs, mask.sum(1))         # on the host, jaxlt.models.trees
    labels = label_scores(parse, heads).argmax(-1)

Heads are numbered from 1, and 0 is the root, which has a vector of its own. Labels are scored at
given heads alone: all of [B, W+1, W, labels] would not fit for long sentences.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlt.models.head_config import ParserConfig
from jaxlt.models.head_parts import (
    NEVER,
    Projection,
    RowDropout,
    Sums,
    known,
    label_terms,
    sums_of,
    zeros,
)
from jaxlt.models.layers import Context
from jaxlt.modules.boxed import boxed

root_normal = nn.initializers.normal(0.02)


class Parse(NamedTuple):
    """What a parser says of B sentences; N = W + 1, the root first."""

    arcs: jax.Array  # [B, N, N] float32, head by dependent; NEVER where there can be no arc
    mask: jax.Array  # [B, W] bool
    label_heads: jax.Array  # [B, N, L]
    label_dependents: jax.Array  # [B, W, L]
    label_kernel: jax.Array  # [L + 1, labels, L + 1], dependent by label by head


class Parser(nn.Module):
    """Scores of arcs, and what scores of labels are made of."""

    config: ParserConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, words: jax.Array, mask: jax.Array, ctx: Context) -> Parse:
        """words: [B, W, D], mask: [B, W] -> Parse."""
        cfg = self.config
        words = jnp.where(mask[..., None], words, 0).astype(self.dtype)
        root = self.param("root", boxed(root_normal, ("embed",)), words.shape[-1:], jnp.float32)
        root = jnp.broadcast_to(root.astype(self.dtype), (len(words), 1, words.shape[-1]))
        nodes = RowDropout(cfg.dropout, name="input_dropout")(
            jnp.concatenate([root, words], axis=1), ctx
        )
        arc_heads = self.features("arc_head", cfg.arc_dim, nodes, ctx)
        arc_dependents = self.features("arc_dependent", cfg.arc_dim, nodes, ctx)
        shape = (cfg.arc_dim + 1, cfg.arc_dim)
        kernel = self.param("arc_kernel", boxed(zeros, (None, None)), shape, jnp.float32)
        into = jnp.matmul(with_one(arc_dependents), kernel.astype(self.dtype))
        arcs = jnp.einsum("bdi,bhi->bhd", into, arc_heads, preferred_element_type=jnp.float32)
        cube = (cfg.label_dim + 1, cfg.labels, cfg.label_dim + 1)
        labels = self.param("label_kernel", boxed(zeros, (None, None, None)), cube, jnp.float32)
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
        return RowDropout(self.config.dropout, name=f"{name}_dropout")(h, ctx)


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


def parser_loss(
    parse: Parse, heads: jax.Array, labels: jax.Array, shares: jax.Array | None = None
) -> tuple[jax.Array, Sums]:
    """Cross-entropy of the heads and, at the true heads, of the labels.

    heads, labels: [B, W]; a head below 0 leaves the word out, a label below 0 only its label.
    `correct` counts words whose head and label are both right (each word by itself, not in a tree);
    `row_heads_correct` [B] counts the heads.
    """
    heads = jnp.where(parse.mask, heads, -1)
    labels = jnp.where(heads >= 0, labels, -1)
    by_word = jnp.swapaxes(parse.arcs[:, :, 1:], 1, 2)  # [B, W, N]
    arc_nll, arc_right = label_terms(by_word, heads)
    label_nll, label_right = label_terms(label_scores(parse, heads), labels)
    both = arc_right * jnp.where(labels >= 0, label_right, 1.0)
    return sums_of(
        jnp.sum(arc_nll + label_nll, axis=1),
        jnp.sum(both, axis=1),
        jnp.sum(known(heads), axis=1),
        shares,
        row_heads_correct=jnp.sum(arc_right, axis=1),
    )
