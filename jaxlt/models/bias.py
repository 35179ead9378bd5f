"""What is added to the attention logits, as a description that plain attention spells out."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from jaxlt.errors import UserError
from jaxlt.models.fused_attention_shape import HIDDEN, MASKED, Distances


class Step(flax.struct.PyTreeNode):
    """Where decoding with a cache stands: the queries of a row are its hypotheses, not positions.

    position: int32 [], the position that all hypotheses of all rows are at. length: positions that
    the cache has room for. ancestry: int32 [B, N, length], whose keys a hypothesis n sees at each
    earlier position; None where every hypothesis goes on from itself alone.
    """

    position: jax.Array
    ancestry: jax.Array | None = None
    length: int = flax.struct.field(pytree_node=False, default=0)

    def visible(self, count: int) -> jax.Array:
        """Which of the cached keys a hypothesis sees: [B or 1, count, length * count].

        The key of hypothesis j at position t stands at t * count + j.
        """
        here = jnp.arange(self.length)
        own = jnp.arange(count)[None, :, None, None]
        parent = own if self.ancestry is None else self.ancestry[..., None]
        parent = jnp.where(here[None, None, :, None] == self.position, own, parent)
        sees = (parent == jnp.arange(count)) & (here[:, None] <= self.position)
        return sees.reshape(*sees.shape[:2], -1)


class Bias(flax.struct.PyTreeNode):
    """What is added to the attention logits, described rather than spelt out.

    A fused attention reads the description; plain attention materialises it.

    table: [H, Q, K] relative position bias, the same by distance, or None. query_valid [B, Q],
    key_valid [B, K]: which positions are text. query_segments, key_segments: packed rows see their
    own segment only. causal: later positions are hidden. prefix: that many keys in front are
    visible to all, but for those that `prefix_shown` [prefix], bool, hides (prefixes that a layer
    leaves out).
    """

    table: jax.Array | Distances | None = None
    query_valid: jax.Array | None = None
    key_valid: jax.Array | None = None
    query_segments: jax.Array | None = None
    key_segments: jax.Array | None = None
    step: Step | None = None
    causal: bool = flax.struct.field(pytree_node=False, default=False)
    prefix: int = flax.struct.field(pytree_node=False, default=0)
    prefix_shown: jax.Array | None = None

    def prefixed(self, length: int, shown: jax.Array | None = None) -> "Bias":
        """Returns the same with `length` keys more in front; shown: [] bool, False hides them."""
        before = self.prefix_shown
        if shown is not None or before is not None:
            own = jnp.broadcast_to(True if shown is None else shown, (length,))
            rest = jnp.ones(self.prefix, bool) if before is None else before
            before = jnp.concatenate([own, rest])
        return self.replace(prefix=self.prefix + length, prefix_shown=before)

    def lengthened(self, queries: int, keys: int) -> "Bias":
        """Returns the same with positions more in front, all of them text (soft prompts)."""
        if not queries and not keys:
            return self
        if self.query_segments is not None or self.key_segments is not None:
            raise UserError(
                "Soft prompts stand before one text a row, and this batch is packed (its rows have "
                "segments): leave packing off, or plug in a prefix, which every segment sees."
            )

        def longer(valid: jax.Array | None, more: int) -> jax.Array | None:
            if valid is None:
                return None
            return jnp.pad(valid, ((0, 0), (more, 0)), constant_values=True)

        return self.replace(
            query_valid=longer(self.query_valid, queries), key_valid=longer(self.key_valid, keys)
        )

    def specs(self, rows: PartitionSpec) -> "Bias":
        """How it lies where rows are split, in a Bias's place; rows: the spec of [B, ...]."""
        fields = ("query_valid", "key_valid", "query_segments", "key_segments")
        split = {name: None if getattr(self, name) is None else rows for name in fields}
        whole = {
            name: None if getattr(self, name) is None else PartitionSpec()
            for name in ("table", "prefix_shown")
        }
        return self.replace(**split, **whole)

    def materialise(self, queries: int, keys: int) -> jax.Array | None:
        """Returns the bias, float32, broadcastable to [B, H, queries, prefix + keys]."""
        mask = None

        def both(a: jax.Array | None, b: jax.Array) -> jax.Array:
            return b if a is None else a & b

        if self.key_valid is not None:
            mask = both(mask, self.key_valid[:, None, None, :])
        if self.query_valid is not None:
            mask = both(mask, self.query_valid[:, None, :, None])
        if self.query_segments is not None and self.key_segments is not None:
            same = self.query_segments[:, :, None] == self.key_segments[:, None, :]
            mask = both(mask, same[:, None])
        if self.causal and self.step is not None:
            mask = both(mask, self.step.visible(queries)[:, None])
        elif self.causal:
            see = np.arange(keys)[None, :] <= np.arange(queries)[:, None]
            mask = both(mask, jnp.asarray(see)[None, None])
        bias = None if mask is None else jnp.where(mask, 0.0, MASKED).astype(jnp.float32)
        if self.table is not None:
            table = self.table
            if isinstance(table, Distances):
                table = table.spelt_out(queries, keys)
            table = table[None].astype(jnp.float32)
            bias = table if bias is None else bias + table
        if not self.prefix or (bias is None and self.prefix_shown is None):
            return bias
        if bias is None:
            bias = jnp.zeros((1, 1, queries, keys), jnp.float32)
        shown = True if self.prefix_shown is None else self.prefix_shown
        own = jnp.where(jnp.broadcast_to(shown, (self.prefix,)), 0.0, HIDDEN)
        own = jnp.broadcast_to(own.astype(jnp.float32), (*bias.shape[:-1], self.prefix))
        return jnp.concatenate([own, bias], axis=-1)
