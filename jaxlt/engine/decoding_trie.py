"""Constrained decoding: what may come next is a table of arrays, and the rest is at -inf.

constraint = trie([[codec.encode("NOUN"), codec.encode("VERB")]])     # one set of labels
constraint = trie([labels_of_task_0, labels_of_task_1])               # batch["label_set"] picks
"""

from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxlt.engine.decoding_choice import NEVER
from jaxlt.errors import UserError

PAD = 0


class Trie(flax.struct.PyTreeNode):
    """Sets of token sequences, each a tree; a hypothesis stands at a node.

    tokens, nodes: [M, C] int32; the C tokens that may follow at a node, and the nodes they lead to;
    where there are fewer, token -1. Set s begins at node s. depth: tokens of the longest sequence,
    its end included.
    """

    tokens: jax.Array
    nodes: jax.Array
    sets: int = flax.struct.field(pytree_node=False, default=1)
    depth: int = flax.struct.field(pytree_node=False, default=0)

    def masked(self, values: jax.Array, at: jax.Array) -> jax.Array:
        """Values [B, N, V], -inf where a token may not follow at nodes `at` [B, N]."""
        allowed = self.tokens[at]
        b, n = jnp.ix_(*(jnp.arange(size) for size in at.shape))
        # Out of range where there is no token, and such writes are dropped.
        place = jnp.where(allowed < 0, values.shape[-1], allowed)
        kept = jnp.full_like(values, NEVER)
        given = jnp.take_along_axis(values, jnp.maximum(allowed, 0), axis=-1)
        return kept.at[b[..., None], n[..., None], place].set(given, mode="drop")

    def after(self, at: jax.Array, token: jax.Array) -> jax.Array:
        """Nodes [B, N] that a token [B, N] leads to; where it leads nowhere, the same node."""
        hit = self.tokens[at] == token[..., None]
        return jnp.where(hit.any(-1), jnp.max(jnp.where(hit, self.nodes[at], 0), -1), at)


def trie(sets: Sequence[Sequence[Sequence[int] | np.ndarray]], end: int = 1) -> Trie:
    """Makes the Trie of sets of sequences of token ids, each of which `end` will follow.

    Sizes are rounded up to powers of two, so that sets of about one size share a compilation.
    """
    if not sets:
        raise UserError("Constrained decoding needs at least one set of token sequences; got none.")
    children: list[dict[int, int]] = [{} for _ in sets]
    depth = 0
    for s, sequences in enumerate(sets):
        if not len(sequences):
            raise UserError(f"Set {s} of the constraint has no sequence: nothing could be decoded.")
        for ids in sequences:
            tokens = [int(t) for t in ids]
            if not tokens or min(tokens) <= PAD or end in tokens:
                raise UserError(
                    f"A sequence of set {s} of the constraint is {tokens}: it needs at least one "
                    f"token, none of them padding ({PAD}) or the end ({end}), which is added."
                )
            at = s
            for token in [*tokens, end]:
                if token not in children[at]:
                    children[at][token] = len(children)
                    children.append({})
                at = children[at][token]
            depth = max(depth, len(tokens) + 1)
    shape = (_rounded(len(children)), _rounded(max(map(len, children))))
    table, nodes = np.full(shape, -1, np.int32), np.zeros(shape, np.int32)
    for at, following in enumerate(children):
        for c, (token, node) in enumerate(sorted(following.items())):
            table[at, c], nodes[at, c] = token, node
    return Trie(jnp.asarray(table), jnp.asarray(nodes), len(sets), depth)


def _rounded(size: int) -> int:
    return 1 << (size - 1).bit_length()
