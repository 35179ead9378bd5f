"""Multi-head attention with T5's relative position bias."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxlt.models.bias import Bias, Step
from jaxlt.models.config import T5Config
from jaxlt.models.fused_attention import fused, way_of
from jaxlt.models.fused_attention_shape import Distances, distances
from jaxlt.models.layers import Context, Dense, Dropout, constrain, fan_in_normal
from jaxlt.modules.boxed import param
from jaxlt.modules.site import Site


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

AWAY = -4.0  # what a local start has for the direction that a head does not look in


def local_start(heads: int, buckets: int, bidirectional: bool) -> np.ndarray:
    """A bias by which heads look at what is near: float32 [H, buckets].

    T5's own start is nearly flat and moves by about a learning rate a step, so that a small encoder
    without another source of order learns none for hundreds of steps. By a bucket's number d within
    its direction, heads in turn have (reach 1; 2 of heads 4 to 7, and so on):

        0  behind      -2 abs(d - reach) / reach, and AWAY for what is ahead
        1  ahead       its mirror; where nothing is ahead (`bidirectional` is False), twice as far
        2  near        -d / reach
        3  anywhere    0

    local_start(4, 8, True)[0] is [-2, 0, -2, -4 | -4, -4, -4, -4]: 0 to 3 behind | ahead.
    """
    half = buckets // 2 if bidirectional else buckets
    d = np.arange(half)
    table = np.zeros((heads, buckets), np.float32)
    for head in range(heads):
        kind, reach = head % 4, head // 4 + 1
        if kind == 1 and not bidirectional:
            kind, reach = 0, 2 * reach
        there, away = -2 * np.abs(d - reach) / reach, np.full(half, AWAY)
        near, anywhere = -d / reach, np.zeros(half)
        table[head, :half] = (there, away, near, anywhere)[kind]
        if bidirectional:
            table[head, half : 2 * half] = (away, there, near, anywhere)[kind]
        if kind == 1:
            table[head, 0] = there[0]  # itself stands in the first bucket behind
    return table


@functools.lru_cache
def local_init(bidirectional: bool) -> Callable[..., jax.Array]:
    """`local_start` as an initialiser."""

    def init(key: jax.Array, shape: tuple[int, int], dtype: Any) -> jax.Array:
        return jnp.asarray(local_start(shape[0], shape[1], bidirectional), dtype)

    return init


class RelativeBias(nn.Module):
    """The learned bias by bucket of distance: one table, `rel_embedding` [H, buckets]."""

    config: T5Config
    bidirectional: bool

    @nn.compact
    def __call__(self, queries: int, keys: int, step: Step | None = None) -> jax.Array | Distances:
        """Returns [H, queries, keys], or for fused attention the same by distance.

        Decoding with a cache, [H, 1, step.length * queries].
        """
        cfg = self.config
        local = cfg.relpos_start == "local"
        init = local_init(self.bidirectional) if local else relative_init
        shape = (cfg.num_heads, cfg.relpos_buckets)
        table = param(self, "rel_embedding", init, ("relpos_heads", None), shape)
        if step is not None:
            back = relative_buckets(  # by distance, 0 to length - 1
                -np.arange(step.length), False, cfg.relpos_buckets, cfg.relpos_max_distance
            )
            distance = jnp.maximum(step.position - jnp.arange(step.length), 0)
            row = jnp.take(table, jnp.asarray(back)[distance], axis=1)
            return jnp.repeat(row, queries, axis=1)[:, None]
        place = "encoder/attention" if self.bidirectional else "decoder/self_attention"
        plain = way_of(cfg, place, queries, keys) == "plain"
        bucket = relative_buckets(
            distances(queries, keys) if plain else np.arange(1 - queries, keys),
            self.bidirectional,
            cfg.relpos_buckets,
            cfg.relpos_max_distance,
        )
        # Distances repeat along diagonals: gather the 2D-1 of them, then slice, would save little
        # for plain attention; one gather a stack is small beside the attention itself.
        found = jnp.take(table, jnp.asarray(bucket), axis=1)
        return found if plain else Distances(found)


@functools.lru_cache
def query_init(head_dim: int) -> Callable[..., jax.Array]:
    """T5 puts the 1 / sqrt(head_dim) of the logits into the query's initialisation."""
    return nn.initializers.variance_scaling(1.0 / head_dim, "fan_in", "normal")


class Attention(nn.Module):
    """Multi-head attention; sites on each projection, on `kv` and on its `weights`."""

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
        layers = cfg.layers_of(self.place.split("/")[0])
        kv_site = Site(f"{self.place}/kv", cfg.plugs, cfg.compute_dtype, layers, name="kv")
        keys = lambda: (project("key", memory), project("value", memory))  # noqa: E731
        if bias.step is None:
            k, v, bias = kv_site((*keys(), bias), memory, ctx.ids)
        else:
            k, v = self.recall(keys, bias)
            if any(plug.matches(kv_site.place) for plug in cfg.plugs):
                k, v, bias = kv_site((*positions_first(k, v), bias), memory, ctx.ids)
                k, v = heads_first(k, v)

        packed, stepping = bias.query_segments is not None, bias.step is not None
        way = way_of(cfg, self.place, x.shape[1], k.shape[1], packed, stepping)
        if way != "plain" and not bias.prefix and not isinstance(bias.table, jax.Array):
            if cfg.dropout and ctx.dropout_key is not None:
                # Masks are the same for all queries, so a key's value may as well be dropped.
                ones = jnp.ones((k.shape[0], cfg.num_heads, 1, k.shape[1]), jnp.float32)
                kept = Dropout(cfg.dropout, name="dropout")(ones, ctx, layer)
                v = (v * kept.transpose(0, 3, 1, 2)).astype(v.dtype)
            y = fused(way, q, k, v, bias, cfg.logit_scale)
        else:
            y = self.plain(q, k, v, bias, ctx, layer)
        y = y.reshape(*y.shape[:-2], joined)
        out = Dense(cfg, cfg.emb_dim, ("heads", "embed"), f"{self.place}/out", name="out")
        return out(y, ctx)

    def plain(
        self,
        q: jax.Array,
        k: jax.Array,
        v: jax.Array,
        bias: Bias,
        ctx: Context,
        layer: jax.Array | int,
    ) -> jax.Array:
        """q: [B, Q, H, d], k and v: [B, K, H, d], or as `recall` has them -> [B, Q, H, d]."""
        cfg = self.config
        keys = "bkhd" if bias.step is None else "bhdk"
        logits = jnp.einsum(f"bqhd,{keys}->bhqk", q, k, preferred_element_type=jnp.float32)
        if cfg.logit_scale != 1.0:
            logits = logits * cfg.logit_scale
        added = bias.materialise(q.shape[1], logits.shape[-1] - bias.prefix)
        if added is not None:
            logits = logits + added
        weights = jax.nn.softmax(logits, axis=-1).astype(cfg.compute_dtype)
        layers, place = cfg.layers_of(self.place.split("/")[0]), f"{self.place}/weights"
        site = Site(place, cfg.plugs, cfg.compute_dtype, layers, name="weights_site")
        weights = site(weights, None, ctx.ids)
        # Prefixes are never dropped: so masks are the same with and without them.
        own = Dropout(cfg.dropout, name="dropout")(weights[..., bias.prefix :], ctx, layer)
        weights = jnp.concatenate([weights[..., : bias.prefix], own], -1) if bias.prefix else own
        if bias.step is None:
            return jnp.einsum("bhqk,bkhd->bqhd", weights, v)
        # Without the barrier XLA has the product write transposed, at several times the cost.
        y = jax.lax.optimization_barrier(jnp.einsum("bhqk,bhkd->bhqd", weights, v))
        return y.swapaxes(1, 2)

    def recall(
        self, project: Callable[[], tuple[jax.Array, jax.Array]], bias: Bias
    ) -> tuple[jax.Array, jax.Array]:
        """All keys and values that a step sees, as `heads_first` has them, before the site `kv`.

        Self-attention adds those of this position to the collection `cache`, which has room for
        length * N; attention to the encoder's states keeps its own in `memory` from the first step.
        """
        step = bias.step
        assert step is not None
        if not bias.causal:
            if self.is_mutable_collection("memory"):
                for name, new in zip(("keys", "values"), heads_first(*project()), strict=True):
                    self.put_variable("memory", name, new)
            return self.get_variable("memory", "keys"), self.get_variable("memory", "values")
        found = []
        both = zip(("keys", "values"), (3, 2), heads_first(*project()), strict=True)
        for name, axis, new in both:
            count = new.shape[axis]
            shape = (*new.shape[:axis], step.length * count, *new.shape[axis + 1 :])
            kept = self.variable("cache", name, jnp.zeros, shape, new.dtype)
            kept.value = jax.lax.dynamic_update_slice_in_dim(
                kept.value, new, step.position * count, axis
            )
            found.append(kept.value)
        return found[0], found[1]


def heads_first(k: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
    """[B, N, H, d] each -> keys [B, H, d, N], values [B, H, N, d]: how a cache keeps them.

    So that a step's products read them as they lie; otherwise they would be copied every time.
    """
    return k.transpose(0, 2, 3, 1), v.transpose(0, 2, 1, 3)


def positions_first(k: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The inverse of `heads_first`."""
    return k.transpose(0, 3, 1, 2), v.transpose(0, 2, 1, 3)
