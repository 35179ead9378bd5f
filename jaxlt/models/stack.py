"""Blocks, and the stack of them, scanned or unrolled over the same parameters."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from jaxlt.errors import UserError
from jaxlt.models import fused_attention
from jaxlt.models.attention import Attention, RelativeBias
from jaxlt.models.bias import Bias
from jaxlt.models.config import T5Config
from jaxlt.models.layers import Context, Dropout, Embed, Mlp, Norm, constrain
from jaxlt.models.manual import SLOTS, Manual, manual_now, run_by_hand
from jaxlt.modules.boxed import fan_in, param
from jaxlt.modules.site import Plug, Site

OUTSIDE = ("embed", "unembed", "final_norm")  # sites that are in no layer
POLICIES = {
    "full": jax.checkpoint_policies.nothing_saveable,
    # What a fused attention says is no product that JAX can see, and dear to compute again; slots
    # of banks are small, and dear to send again.
    "dots": jax.checkpoint_policies.save_from_both_policies(
        jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
        jax.checkpoint_policies.save_only_these_names(fused_attention.NAME, SLOTS),
    ),
    "dots_all": jax.checkpoint_policies.dots_saveable,
}


def reaches(plug: Plug, stack: str) -> bool:
    """Says whether a plug may have a site inside of the layers of 'encoder' or 'decoder'."""
    other = "encoder/" if stack == "decoder" else "decoder/"
    outside = lambda site: site.startswith(other) or site.rpartition("/")[2] in OUTSIDE  # noqa: E731
    return stack in plug.stacks and not all(outside(site) for site in plug.sites)


def lowest_layer(plugs: tuple[Plug, ...], stack: str, layers: int) -> int:
    """Returns the lowest layer that a plug of this stack works in; 0 where there is none."""
    here = [p for p in plugs if reaches(p, stack)]
    return min((i for i in range(layers) if any(p.works_in(i, layers) for p in here)), default=0)


_ATTENTIONS = ("encoder/attention", "decoder/self_attention", "decoder/encoder_decoder_attention")
KERNELS = (  # sites of the weights in a layer
    *(f"{a}/{name}/kernel" for a in _ATTENTIONS for name in ("query", "key", "value", "out")),
    *(f"{s}/mlp/{w}/kernel" for s in ("encoder", "decoder") for w in ("wi", "wi_0", "wi_1", "wo")),
)


def changes_kernels(plug: Plug) -> bool:
    """Says whether a plug works on weights of layers rather than on what comes out of them."""
    return any(plug.matches(place) for place in KERNELS)


class Block(nn.Module):
    """One layer: self-attention, cross-attention in a decoder, MLP; T5X's names for each."""

    config: T5Config
    stack: str  # 'encoder' or 'decoder'

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        layer: jax.Array | int,
        bias: Bias,
        ctx: Context,
        memory: jax.Array | None = None,
        cross: Bias | None = None,
    ) -> tuple[jax.Array, None]:
        """x: [B, T, D] -> ([B, T, D], None): the pair is what nn.scan wants."""
        cfg, inputs, ctx = self.config, x, ctx.at_layer(layer)
        decoder = self.stack == "decoder"
        if cfg.positions == "relative" and cfg.relpos_per_layer:
            relative = RelativeBias(cfg, not decoder, name="relpos_bias")
            bias = bias.replace(table=relative(x.shape[1], x.shape[1], bias.step))
        own = "self_attention" if decoder else "attention"
        attention = Attention(cfg, f"{self.stack}/{own}", name=own)
        norm_name = "pre_self_attention_layer_norm" if decoder else "pre_attention_layer_norm"
        sublayer = functools.partial(self.sublayer, ctx=ctx, layer=layer)
        x = sublayer(x, norm_name, "attn_out", lambda h: attention(h, h, bias, ctx, layer))
        if memory is not None and cross is not None:
            place = f"{self.stack}/encoder_decoder_attention"
            across = Attention(cfg, place, name="encoder_decoder_attention")
            norm_name = "pre_cross_attention_layer_norm"
            attend = lambda h: across(h, memory, cross, ctx, layer)  # noqa: E731
            x = sublayer(x, norm_name, "cross_attn_out", attend)
        mlp = Mlp(cfg, f"{self.stack}/mlp", name="mlp")
        x = sublayer(x, "pre_mlp_layer_norm", "mlp_out", lambda h: mlp(h, ctx, layer))
        x = self.site("block_out")(x, inputs, ctx.ids)
        return constrain(x, "batch", "length", "embed_act"), None

    def site(self, name: str) -> Site:
        """Makes the Site of that name in this block."""
        cfg = self.config
        layers = cfg.layers_of(self.stack)
        return Site(f"{self.stack}/{name}", cfg.plugs, cfg.compute_dtype, layers, name=name)

    def sublayer(self, x, norm_name, site, inner, ctx: Context, layer) -> jax.Array:
        """x + site(dropout(inner(norm(x)))), or norm(x + ...(inner(x))) where the norm is after."""
        norm, norm_site = Norm(self.config, name=norm_name), site.replace("_out", "_norm")

        def normed(value: jax.Array) -> jax.Array:
            return self.site(norm_site)(norm(value), value, ctx.ids)

        h = normed(x) if self.config.norm_place == "pre" else x
        h = Dropout(self.config.dropout, name=f"{site}_dropout")(inner(h), ctx, layer)
        h = self.site(site)(h, x, ctx.ids)
        return x + h if self.config.norm_place == "pre" else normed(x + h)


class Logits(nn.Module):
    """The output projection's weight, `kernel` [D, V]: the loss multiplies, maybe in chunks."""

    config: T5Config

    @nn.compact
    def __call__(self) -> jax.Array:
        """Returns the weight."""
        shape = (self.config.emb_dim, self.config.vocab_rows)
        return param(self, "kernel", fan_in, ("embed", "vocab"), shape)


class Stack(nn.Module):
    """Embedded tokens through all blocks of an encoder or a decoder."""

    config: T5Config
    stack: str
    layers: int
    with_logits: bool = False  # T5X keeps `logits_dense` inside the decoder

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        bias: Bias,
        ctx: Context,
        memory: jax.Array | None = None,
        cross: Bias | None = None,
        positions: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array | None]:
        """x: [B, T, D] embedded tokens -> ([B, T, D] normalised, logits kernel [D, V] or None).

        `positions` [B, T] are given for packed rows and used by absolute positions alone.
        """
        cfg, decoder = self.config, self.stack == "decoder"
        if cfg.positions == "absolute":
            if positions is None and x.shape[1] > cfg.max_positions:  # a gather would clamp them
                raise UserError(
                    f"Rows of {x.shape[1]} positions are longer than T5Config.max_positions = "
                    f"{cfg.max_positions}: raise it, or lower DataConfig.inputs_length or "
                    "targets_length."
                )
            table = Embed(
                cfg.max_positions,
                cfg.emb_dim,
                cfg.compute_dtype,
                (None, "embed"),
                cfg.embedding_std,
                name="positions",
            )
            x = x + table(jnp.arange(x.shape[1])[None] if positions is None else positions)
        elif not cfg.relpos_per_layer:
            relative = RelativeBias(cfg, not decoder, name="relpos_bias")
            bias = bias.replace(table=relative(x.shape[1], x.shape[1], bias.step))
        if cfg.norm_place == "post":
            x = Norm(cfg, name="embedding_norm")(x)
        x = constrain(x, "batch", "length", "embed_act")
        x = Dropout(cfg.dropout, name="input_dropout")(x, ctx)
        x = self.blocks(x, bias, ctx, memory, cross)
        if cfg.norm_place == "pre":
            place = f"{self.stack}/final_norm"
            final = Site(place, cfg.plugs, cfg.compute_dtype, name="final_norm")
            x = final(Norm(cfg, name=f"{self.stack}_norm")(x), x, ctx.ids)
        x = Dropout(cfg.dropout, name="output_dropout")(x, ctx)
        return x, Logits(cfg, name="logits_dense")() if self.with_logits else None

    def blocks(self, x: jax.Array, *rest: Any) -> jax.Array:
        """All blocks: one scanned body, or each layer spelt out (fast on CPU, slow to compile)."""
        cfg = self.config
        block: Any = Block
        if cfg.remat != "none":
            block = nn.remat(
                Block,
                policy=POLICIES[cfg.remat],
                prevent_cse=not cfg.scan_layers,
                static_argnums=() if cfg.scan_layers else (2,),  # the layer's number
            )
        if not cfg.scan_layers:
            for i in range(self.layers):
                x, _ = block(cfg, self.stack, name=f"layers_{i}")(x, i, *rest)
            return x
        # Whoever makes parameters or fills a cache needs all layers in one.
        if not (self.scope and self.scope.mutable):
            lowest, manual = lowest_layer(cfg.plugs, self.stack, self.layers), manual_now()
            if lowest or manual:
                return self.in_parts(lowest, manual, x, *rest)
        scanned = nn.scan(
            block,
            variable_axes=dict.fromkeys(("params", "modules", "cache", "memory"), 0),
            split_rngs={"params": True},
            in_axes=(0, *(nn.broadcast for _ in rest)),
            length=self.layers,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )
        x, _ = scanned(cfg, self.stack, name="layers")(x, jnp.arange(self.layers), *rest)
        return x

    def in_parts(
        self,
        lowest: int,
        manual: Manual | None,
        x: jax.Array,
        bias: Bias,
        ctx: Context,
        memory: jax.Array | None,
        cross: Bias | None,
    ) -> jax.Array:
        """All blocks in scans over parts of the same parameters: those below `lowest`, the rest.

        No plug works below, so where the base is frozen nothing of a backward pass goes there: in
        one scan all layers would share the program of those with plugs.
        """
        cfg, ctx = self.config, ctx.replace(path=(*self.path, "layers"))
        kinds = {kind: self.variables.get(kind, {}) for kind in ("params", "modules")}
        weights = {kind: tree["layers"] for kind, tree in kinds.items() if "layers" in tree}
        run = functools.partial(run_layers, cfg, self.stack, lowest, self.layers)
        rest = (bias, ctx, memory, cross)
        if manual is None:
            return run(weights, None, x, *rest)
        rows = PartitionSpec(manual.batch)
        specs = (bias.specs(rows), ctx.specs(rows), memory if memory is None else rows)
        return run_by_hand(
            manual,
            run,
            "/".join((*self.path, "layers")),
            weights,
            x,
            rest,
            (*specs, cross if cross is None else cross.specs(rows)),
            # Plugs that work on a weight itself do so in its own precision.
            None if any(changes_kernels(plug) for plug in cfg.plugs) else cfg.compute_dtype,
            {plug.name: plug.key for plug in cfg.plugs if plug.routes > 1},
        )


def run_layers(
    cfg: T5Config,
    stack: str,
    lowest: int,
    layers: int,
    weights: dict[str, Any],
    whole: Callable[[Any], Any] | None,
    x: jax.Array,
    *rest: Any,
) -> jax.Array:
    """All blocks by their stacked weights, {kind: {... [layers, ...]}}; see `Stack.in_parts`.

    whole: gathers the weights of a layer, again in the backward pass where layers are
    recomputed. rest: what a Block is given beside x and its number.
    """
    plain = dataclasses.replace(cfg, plugs=())
    for config, start, stop in ((plain, 0, lowest), (cfg, lowest, layers)):
        if start == stop:
            continue
        used = weights if config.plugs else {"params": weights["params"]}
        block: Any = Block(config, stack, parent=None)

        def body(x: jax.Array, part: Any, block: Any = block) -> tuple[jax.Array, None]:
            own = part[1] if whole is None else whole(part[1])
            return block.apply(own, x, part[0], *rest)

        if cfg.remat != "none":
            body = jax.checkpoint(body, policy=POLICIES[cfg.remat], prevent_cse=False)
        parts = jax.tree.map(lambda a, s=start, e=stop: a[s:e], used)
        x, _ = jax.lax.scan(body, x, (jnp.arange(start, stop), parts))
    return x
