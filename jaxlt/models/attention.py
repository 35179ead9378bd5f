"""Multi-head attention with T5's relative position bias, and the description of that bias."""

import functools
from collections.abc import Callable

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxlt.models.config import T5Config
from jaxlt.models.layers import Context, Dense, Dropout, constrain, fan_in_normal
from jaxlt.modules.boxed import boxed
from jaxlt.modules.site import Site

MASKED = -1e10  # T5's own; finite, so that a row with nothing to see is uniform rather than NaN


class Bias(flax.struct.PyTreeNode):
    """What is added to the attention logits, described rather than spelt out.

    A fused attention reads the description; plain attention materialises it.

    table: [H, Q, K] relative position bias, or None. query_valid [B, Q], key_valid [B, K]: which
    positions are text. query_segments, key_segments: packed rows see their own segment only.
    causal: later positions are hidden. prefix: that many keys in front are visible to all.
    """

    table: jax.Array | None = None
    query_valid: jax.Array | None = None
    key_valid: jax.Array | None = None
    query_segments: jax.Array | None = None
    key_segments: jax.Array | None = None
    causal: bool = flax.struct.field(pytree_node=False, default=False)
    prefix: int = flax.struct.field(pytree_node=False, default=0)

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
        if self.causal:
            see = np.arange(keys)[None, :] <= np.arange(queries)[:, None]
            mask = both(mask, jnp.asarray(see)[None, None])
        bias = None if mask is None else jnp.where(mask, 0.0, MASKED).astype(jnp.float32)
        if self.table is not None:
            table = self.table[None].astype(jnp.float32)
            bias = table if bias is None else bias + table
        if bias is not None and self.prefix:
            bias = jnp.pad(bias, ((0, 0), (0, 0), (0, 0), (self.prefix, 0)))
        return bias


def relative_buckets(
    relative: np.ndarray, bidirectional: bool, buckets: int, max_distance: int
) -> np.ndarray:
    """T5's buckets: exact for small distances, logarithmic up to max_distance.

    relative: key position - query position, any shape, int -> bucket numbers, same shape.
    """
    bucket = np.zeros_like(relative)
    distance = -relative
    if bidirectional:
        buckets //= 2
        bucket = bucket + (distance < 0).astype(np.int32) * buckets
        distance = np.abs(distance)
    else:
        distance = np.maximum(distance, 0)
    exact = buckets // 2
    # float32 as T5X computes it: at the bounds of a bucket float64 would round the other way.
    ratio = np.log(distance.astype(np.float32) / exact + np.finfo(np.float32).eps)
    ratio = ratio / np.float32(np.log(max_distance / exact)) * (buckets - exact)
    log_bucket = np.minimum(exact + ratio.astype(np.int32), buckets - 1)
    return (bucket + np.where(distance < exact, distance, log_bucket)).astype(np.int32)


# Initialisers are made once: drawing compiles a program for each distinct one.
relative_init = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")


class RelativeBias(nn.Module):
    """The learned bias by bucket of distance: one table, `rel_embedding` [H, buckets]."""

    config: T5Config
    bidirectional: bool

    @nn.compact
    def __call__(self, queries: int, keys: int) -> jax.Array:
        """Returns [H, queries, keys]."""
        cfg = self.config
        table = self.param(
            "rel_embedding",
            boxed(relative_init, ("relpos_heads", None)),
            (cfg.num_heads, cfg.relpos_buckets),
            jnp.float32,
        )
        relative = np.arange(keys)[None, :] - np.arange(queries)[:, None]
        bucket = relative_buckets(
            relative, self.bidirectional, cfg.relpos_buckets, cfg.relpos_max_distance
        )
        # Distances repeat along diagonals: gather the 2D-1 of them, then slice, would save little
        # here; one gather a stack is small beside the attention itself.
        return jnp.take(table, jnp.asarray(bucket), axis=1)


@functools.lru_cache
def query_init(head_dim: int) -> Callable[..., jax.Array]:
    """T5 puts the 1 / sqrt(head_dim) of the logits into the query's initialisation."""
    return nn.initializers.variance_scaling(1.0 / head_dim, "fan_in", "normal")


class Attention(nn.Module):
    """Multi-head attention; sites on each projection, on `kv`."""

    config: T5Config
    place: str

    @nn.compact
    def __call__(
        self, x: jax.Array, memory: jax.Array, bias: Bias, ctx: Context, layer: jax.Array | int
    ) -> jax.Array:
        """x: [B, Q, D] attends to memory: [B, K, D] -> [B, Q, D]."""
        cfg = self.config
        joined = cfg.num_heads * cfg.head_dim

        def project(name, inputs, init=fan_in_normal):
            place = f"{self.place}/{name}"
            y = Dense(cfg, joined, ("embed", "heads"), place, init, name=name)(inputs, ctx)
            y = y.reshape(*y.shape[:-1], cfg.num_heads, cfg.head_dim)
            return constrain(y, "batch", "length", "heads", None)

        q = project("query", x, query_init(cfg.head_dim if cfg.logit_scale == 1.0 else 1))
        k, v = project("key", memory), project("value", memory)
        kv_site = Site(f"{self.place}/kv", cfg.plugs, cfg.compute_dtype, name="kv")
        k, v, bias = kv_site((k, v, bias), memory, ctx.ids)

        logits = jnp.einsum("bqhd,bkhd->bhqk", q, k, preferred_element_type=jnp.float32)
        if cfg.logit_scale != 1.0:
            logits = logits * cfg.logit_scale
        added = bias.materialise(x.shape[1], memory.shape[1])
        if added is not None:
            logits = logits + added
        weights = jax.nn.softmax(logits, axis=-1).astype(cfg.compute_dtype)
        weights = Dropout(cfg, name="dropout")(weights, ctx, layer)
        y = jnp.einsum("bhqk,bkhd->bqhd", weights, v)
        y = y.reshape(*y.shape[:-2], joined)
        out = Dense(cfg, cfg.emb_dim, ("heads", "embed"), f"{self.place}/out", name="out")
        return out(y, ctx)
