"""Constrained decoding: what may come next is a table of arrays, and the rest is at -inf.

constraint = trie([[codec.encode("NOUN"), codec.encode("VERB")]])     # one set of labels
constraint = trie([labels_of_task_0, labels_of_task_1])               # batch["label_set"] picks
constraint = repeated(labels, 40, codec.encode(" "))        # n labels for a row whose set is n - 1
constraint = among([tokens_of_swahili, tokens_of_turkish])            # any tokens of a language
"""

from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxlt.engine.decode.choice import NEVER
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
        for at, tokens in _grown(children, s, _checked(sequences, s, end)):
            children[at][end] = _new(children)
            depth = max(depth, tokens + 1)
    return _as_arrays(children, len(sets), depth)


def repeated(
    labels: Sequence[Sequence[int] | np.ndarray],
    most: int,
    between: Sequence[int] | np.ndarray = (),
    end: int = 1,
) -> Trie:
    """Makes the Trie of exactly n labels, one after the other: set n - 1 is that of n, 1 to `most`.

    labels: their token ids; between: those that stand between two labels. Where nothing does, a
    token that could go on with a label or begin the next goes on.
    """
    if most < 1:
        raise UserError(f"A constraint to repeated labels is for at least 1 of them, not {most}.")
    sequences, inner = _checked(labels, 0, end), [int(t) for t in between]
    children: list[dict[int, int]] = [{} for _ in range(most)]
    for s in range(most):
        for at, _ in _grown(children, s, sequences):
            if s == 0:
                children[at][end] = _new(children)
                continue
            for token in inner[:-1]:
                at = _child(children, at, token)
            following = {inner[-1]: s - 1} if inner else children[s - 1]
            children[at] = {**following, **children[at]}
    longest = max(map(len, sequences))
    return _as_arrays(children, most, most * longest + (most - 1) * len(inner) + 1)


def among(sets: Sequence[Sequence[int] | np.ndarray], end: int = 1) -> Trie:
    """Makes the Trie by which a row has tokens of its set alone, any number of them, or ends.

    It has a node a set, and all its tokens lead back to it. Sets are rounded up in size to powers
    of two, so that those of about one size share a compilation.
    """
    kept = []
    for s, ids in enumerate(sets):
        tokens = np.unique(np.asarray(ids, np.int64))
        if not len(tokens) or tokens[0] <= PAD:
            raise UserError(
                f"Set {s} of the tokens to decode among has {len(tokens)} tokens, the first "
                f"{tokens[0] if len(tokens) else 'none'}: it needs one or more, and no padding."
            )
        kept.append(np.union1d(tokens, [end]))
    if not kept:
        raise UserError("Decoding among some tokens needs at least one set of them; got none.")
    width = _rounded(max(map(len, kept)))
    table = np.full((len(kept), width), -1, np.int32)
    for row, tokens in zip(table, kept, strict=True):
        row[: len(tokens)] = tokens
    nodes = np.broadcast_to(np.arange(len(kept), dtype=np.int32)[:, None], table.shape)
    return Trie(jnp.asarray(table), jnp.asarray(nodes), len(kept), 1)


Children = list[dict[int, int]]  # of each node: token -> node


def _checked(sequences: Sequence[Sequence[int] | np.ndarray], s: int, end: int) -> list[list[int]]:
    if not len(sequences):
        raise UserError(f"Set {s} of the constraint has no sequence: nothing could be decoded.")
    checked = [[int(t) for t in ids] for ids in sequences]
    for tokens in checked:
        if not tokens or min(tokens) <= PAD or end in tokens:
            raise UserError(
                f"A sequence of set {s} of the constraint is {tokens}: it needs at least one "
                f"token, none of them padding ({PAD}) or the end ({end}), which is added."
            )
    return checked


def _grown(children: Children, root: int, sequences: list[list[int]]) -> list[tuple[int, int]]:
    """Adds sequences below a root; returns the node at the end of each, and its length."""
    ends: dict[int, int] = {}
    for tokens in sequences:
        at = root
        for token in tokens:
            at = _child(children, at, token)
        ends[at] = len(tokens)
    return list(ends.items())


def _child(children: Children, at: int, token: int) -> int:
    if token not in children[at]:
        children[at][token] = _new(children)
    return children[at][token]


def _new(children: Children) -> int:
    children.append({})
    return len(children) - 1


def _as_arrays(children: Children, sets: int, depth: int) -> Trie:
    shape = (_rounded(len(children)), _rounded(max(map(len, children))))
    table, nodes = np.full(shape, -1, np.int32), np.zeros(shape, np.int32)
    for at, following in enumerate(children):
        for c, (token, node) in enumerate(sorted(following.items())):
            table[at, c], nodes[at, c] = token, node
    return Trie(jnp.asarray(table), jnp.asarray(nodes), sets, depth)


def _rounded(size: int) -> int:
    return 1 << (size - 1).bit_length()
