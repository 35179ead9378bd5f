"""Norms, projections, embeddings, MLP and dropout; the Sites of a layer live here."""

import functools
import math
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from jaxlt.errors import UserError, nearest
from jaxlt.models.config import T5Config
from jaxlt.models.traced import Traced
from jaxlt.modules import int8
from jaxlt.modules.boxed import fan_in, ones, param, zeros
from jaxlt.modules.routing import Ids, routes_of
from jaxlt.modules.site import Site

# Initialisers are made once: drawing compiles a program for each distinct one.
normal = functools.lru_cache(nn.initializers.normal)
fan_in_normal = nn.initializers.variance_scaling(1.0, "fan_in", "normal")

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": lambda x: nn.gelu(x, approximate=True),
    "gelu_exact": lambda x: nn.gelu(x, approximate=False),
    "relu": nn.relu,
    "swish": nn.swish,
    "linear": lambda x: x,
}


class Context(flax.struct.PyTreeNode):
    """What a forward pass carries beside its tensors.

    ids: routes by key. dropout_key: a key for the step, or None for no dropout. rows: [B] the
    global row number of each example, so that its dropout mask depends neither on the mesh nor on
    accumulation. path: names above the modules that the context goes through, where these are
    applied on their own rather than inside of the network. keeps: 1 - rate of dropouts whose rate
    is a mark (`jaxlt.models.traced`), by its name.
    """

    ids: Ids
    dropout_key: jax.Array | None = None
    rows: jax.Array | None = None
    path: tuple[str, ...] = flax.struct.field(pytree_node=False, default=())
    keeps: dict[str, jax.Array] = flax.struct.field(default_factory=dict)

    def at_layer(self, layer: jax.Array | int) -> "Context":
        """Returns the context as one layer sees it."""
        return self.replace(ids=self.ids.at_layer(layer))

    def specs(self, rows: PartitionSpec) -> "Context":
        """How it lies where rows are split, in a Context's place; rows: the spec of [B, ...]."""
        routes = {key: route.specs(rows) for key, route in self.ids.routes.items()}
        return self.replace(
            ids=Ids(routes),
            dropout_key=None if self.dropout_key is None else PartitionSpec(),
            rows=None if self.rows is None else rows,
            keeps=dict.fromkeys(self.keeps, PartitionSpec()),
        )


def make_context(batch: Mapping[str, Any], dropout_key: jax.Array | None = None) -> Context:
    """Makes the Context of a batch; its `row` field (default: 0, 1, ...) numbers the rows."""
    rows = batch.get("row")
    if rows is None:
        rows = jnp.arange(next(iter(batch.values())).shape[0], dtype=jnp.int32)
    return Context(routes_of(batch), dropout_key, rows)


def constrain(x: jax.Array, *axes: str | None) -> jax.Array:
    """Asks for a sharding by logical axes; does nothing outside a mesh with axis rules.

    As for parameters, a mesh axis that does not divide a dimension leaves it whole. Inside of
    shard_map there is nothing to ask for along its axes.
    """
    rules, mesh = nn.get_logical_axis_rules(), jax.sharding.get_abstract_mesh()
    if not rules or mesh.are_all_axes_manual:
        return x
    sizes = mesh.shape
    fitting: list[tuple[str, ...] | None] = []
    for size, target in zip(x.shape, nn.logical_to_mesh_axes(axes, rules) or (), strict=True):
        wanted = (target,) if isinstance(target, str) else tuple(target or ())
        ways = math.prod(sizes[axis] for axis in wanted)
        fitting.append(wanted if wanted and size % ways == 0 else None)
    return jax.lax.with_sharding_constraint(x, PartitionSpec(*fitting))


class Norm(nn.Module):
    """RMS norm (T5's layer norm) or a plain layer norm: computed in float32, cast, then scaled."""

    config: T5Config

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., D] -> [..., D]."""
        cfg, width = self.config, x.shape[-1]
        x32 = x.astype(jnp.float32)
        if cfg.norm == "layer":
            x32 = x32 - jnp.mean(x32, -1, keepdims=True)
        x32 = x32 * jax.lax.rsqrt(jnp.mean(jnp.square(x32), -1, keepdims=True) + cfg.norm_eps)
        scale = param(self, "scale", ones, ("norm",), (width,))
        y = x32.astype(cfg.compute_dtype) * scale.astype(cfg.compute_dtype)
        if cfg.norm == "layer":
            bias = param(self, "bias", zeros, ("norm",), (width,))
            y = y + bias.astype(cfg.compute_dtype)
        return y


class Dense(nn.Module):
    """A projection [.., I] -> [.., O] with sites on its weight and on its output."""

    config: T5Config
    features: int
    axes: tuple[str | None, str | None]
    place: str
    kernel_init: Callable[..., jax.Array] = fan_in_normal

    @nn.compact
    def __call__(self, x: jax.Array, ctx: Context) -> jax.Array:
        """x: [..., I] -> [..., O]."""
        cfg, dtype = self.config, self.config.compute_dtype
        shape = (x.shape[-1], self.features)
        kernel = param(self, "kernel", self.kernel_init, self.axes, shape)
        layers, place = cfg.layers_of(self.place.split("/")[0]), self.place + "/kernel"
        if any(plug.matches(place) for plug in cfg.plugs):
            kernel = int8.dense(kernel)
        kernel = Site(place, cfg.plugs, dtype, layers, name="kernel_site")(kernel, None, ctx.ids)
        y = int8.matmul(x, kernel, dtype, barrier=not cfg.scan_layers)
        if cfg.bias:
            y = y + param(self, "bias", zeros, self.axes[1:], shape[1:]).astype(dtype)
        return Site(self.place, cfg.plugs, dtype, layers, name="site")(y, x, ctx.ids)


class Embed(nn.Module):
    """Embeddings by gather, drawn with a standard deviation of `std` (T5's own: 1)."""

    rows: int
    width: int
    dtype: Any
    axes: tuple[str | None, str | None] = ("vocab", "embed")
    std: float = 1.0

    def setup(self) -> None:
        shape = (self.rows, self.width)
        self.embedding = param(self, "embedding", normal(self.std), self.axes, shape)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """[B, T] int32 -> [B, T, D]."""
        x = int8.lookup(self.embedding, tokens).astype(self.dtype)
        # Left in the table's own sharding first: from there the way to the rows' sharding is an
        # exchange between neighbours. Without this stop, XLA hands every device the whole batch on
        # meshes that mix fsdp with data or tensor.
        return constrain(x, "lookup", "length", self.axes[1])

    def table(self) -> jax.Array:
        """Returns the table itself, [V, D]."""
        return self.embedding


class Dropout(nn.Module):
    """Dropout whose mask is drawn by (step, row, site) and shared along the length (axis 1 .. -2).

    x: [B, ..., K]; one mask [B, 1, ..., K] (attention weights [B, H, Q, K] keep their heads). The
    site is the module's path without its layer number, which is folded in by value, so that scanned
    and unrolled layers draw the same. With `words` whole positions of [B, T, K] are dropped, not
    whole columns: then a mask does not depend on the padded length either.
    """

    rate: float
    words: bool = False

    def __call__(self, x: jax.Array, ctx: Context, layer: jax.Array | int = 0) -> jax.Array:
        """[B, ..., K] -> the same shape."""
        x = jnp.swapaxes(x, 1, 2) if self.words else x
        if self.rate and ctx.dropout_key is not None:
            path = re.sub(r"layers_\d+", "layers", "/".join((*ctx.path, *self.path)))
            key = jax.random.fold_in(ctx.dropout_key, zlib.crc32(path.encode()))
            key = jax.random.fold_in(key, layer)
            keep: Any = 1.0 - self.rate
            if isinstance(self.rate, Traced):
                keep = ctx.keeps[self.rate.name]
            shape = (1, x.shape[-1]) if x.ndim == 3 else (x.shape[1], 1, x.shape[-1])
            draw = lambda row: jax.random.bernoulli(jax.random.fold_in(key, row), keep, shape)  # noqa: E731
            x = jnp.where(jax.vmap(draw)(ctx.rows), x / keep, 0).astype(x.dtype)
        return jnp.swapaxes(x, 1, 2) if self.words else x


class Mlp(nn.Module):
    """T5.1.1's gated MLP: the product of activations, then down again."""

    config: T5Config
    place: str

    @nn.compact
    def __call__(self, x: jax.Array, ctx: Context, layer: jax.Array | int) -> jax.Array:
        """[B, T, D] -> [B, T, D]."""
        cfg = self.config
        gates = []
        for i, name in enumerate(cfg.mlp_activations):
            if name not in ACTIVATIONS:
                raise UserError(
                    f"T5Config.mlp_activations has '{name}'; known are {', '.join(ACTIVATIONS)}."
                    + nearest(name, ACTIVATIONS)
                )
            wi = "wi" if len(cfg.mlp_activations) == 1 else f"wi_{i}"
            axes = ("embed", "mlp")
            dense = Dense(cfg, cfg.mlp_dim, axes, f"{self.place}/{wi}", fan_in, name=wi)
            gates.append(ACTIVATIONS[name](dense(x, ctx)))
        h = gates[0]
        for gate in gates[1:]:
            h = h * gate
        h = constrain(h, "batch", "length", "mlp")
        stack = self.place.split("/")[0]
        layers = cfg.layers_of(stack)
        inner = Site(f"{stack}/mlp_inner", cfg.plugs, cfg.compute_dtype, layers, name="mlp_inner")
        h = inner(h, x, ctx.ids)
        h = Dropout(cfg.dropout, name="dropout")(h, ctx, layer)
        wo = Dense(cfg, cfg.emb_dim, ("mlp", "embed"), f"{self.place}/wo", fan_in, name="wo")
        return wo(h, ctx)
