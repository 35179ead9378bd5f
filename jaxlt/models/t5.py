"""The encoder-decoder: mT5, ByT5, umT5. Parameter names and numerics are T5X's."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlt.models.bias import Bias, Step
from jaxlt.models.config import T5Config
from jaxlt.models.layers import Context, Embed, constrain, make_context
from jaxlt.models.manual import manual_now
from jaxlt.models.stack import Stack
from jaxlt.modules.site import Home, Site

Batch = Mapping[str, jax.Array]


class Hidden(NamedTuple):
    """Last hidden states and what turns them into logits, so that a loss can do it in chunks."""

    states: jax.Array  # [B, T, D]
    kernel: jax.Array  # [D, V], or [V, D] when transposed; in the compute dtype
    transposed: bool


def logits_of(hidden: Hidden) -> jax.Array:
    """[B, T, D] -> float32 logits [B, T, V], all at once."""
    form = "btd,vd->btv" if hidden.transposed else "btd,dv->btv"
    return jnp.einsum(form, hidden.states, hidden.kernel, preferred_element_type=jnp.float32)


def for_loss(kernel: jax.Array, dtype: Any) -> jax.Array:
    """The logits' kernel [D, V] as the loss takes it."""
    kernel = kernel.astype(dtype)
    if manual_now() is not None:  # tokens travel, not the kernel
        return kernel
    # Gathered over fsdp once here, rather than once a use in the loss.
    return constrain(kernel, None, "vocab")


def encoder_bias(batch: Batch) -> Bias:
    """What the encoder may see: its text, and in packed rows its own segment."""
    valid, segments = batch["encoder_input_tokens"] > 0, batch.get("encoder_segment_ids")
    # Padding attends evenly to everything, as in T5X; no text ever looks at it.
    return Bias(query_valid=valid, key_valid=valid, query_segments=segments, key_segments=segments)


class Embedded(nn.Module):
    """An embedding, and the encoder over it: what models with and without a decoder share."""

    config: T5Config

    def setup(self) -> None:
        cfg = self.config
        self.token_embedder = Embed(
            cfg.vocab_rows, cfg.emb_dim, cfg.compute_dtype, std=cfg.embedding_std
        )
        self.encoder = Stack(cfg, "encoder", cfg.encoder_layers)
        self.embedding_site = Home()
        self.encoder_embed = self.site("encoder/embed")

    def site(self, place: str) -> Site:
        """A Site at the embedding, or at its inverse."""
        cfg = self.config
        return Site(place, cfg.plugs, cfg.compute_dtype, home=self.embedding_site)

    def encode(self, batch: Batch, ctx: Context) -> jax.Array:
        """Encodes `encoder_input_tokens` [B, S] -> [B, S, D]; soft prompts stand before the S."""
        x = self.token_embedder(batch["encoder_input_tokens"])
        x = constrain(self.encoder_embed(x, None, ctx.ids), "batch", "length", "embed_act")
        more = x.shape[1] - batch["encoder_input_tokens"].shape[1]
        bias = encoder_bias(batch).lengthened(more, more)
        return self.encoder(x, bias, ctx, positions=batch.get("encoder_positions"))[0]

    def to_logits(self, x: jax.Array, kernel: jax.Array | None) -> Hidden:
        """The last states and what makes logits of them: a kernel, or (None) the embedding."""
        if kernel is None:  # tied logits are scaled by the width, as T5 does where it ties them
            table = constrain(self.token_embedder.table().astype(x.dtype), "vocab", None)
            return Hidden(x * self.config.emb_dim**-0.5, table, True)
        return Hidden(x, for_loss(kernel, x.dtype), False)


class T5(Embedded):
    """Encoder and decoder over one embedding, with a logits layer of its own (or tied)."""

    def setup(self) -> None:
        super().setup()
        cfg = self.config
        self.decoder = Stack(cfg, "decoder", cfg.decoder_layers, not cfg.tie_logits)
        self.decoder_embed = self.site("decoder/embed")
        self.decoder_unembed = self.site("decoder/unembed")

    def decode(self, memory: jax.Array, batch: Batch, ctx: Context) -> Hidden:
        """Decodes `decoder_input_tokens` [B, T], teacher-forced, over memory [B, S, D].

        Where `decoder_target_tokens` are given, positions without a target are hidden, as T5X does.
        """
        inputs = batch["decoder_input_tokens"]
        valid = batch["decoder_target_tokens"] > 0 if "decoder_target_tokens" in batch else None
        segments, read = batch.get("decoder_segment_ids"), encoder_bias(batch)
        queries = Bias(query_valid=valid, query_segments=segments)
        own = queries.replace(key_valid=valid, key_segments=segments, causal=True)
        cross = queries.replace(key_valid=read.key_valid, key_segments=read.key_segments)
        x = self.token_embedder(inputs)
        x = constrain(self.decoder_embed(x, None, ctx.ids), "batch", "length", "embed_act")
        more = x.shape[1] - inputs.shape[1]
        own = own.lengthened(more, more)
        cross = cross.lengthened(more, memory.shape[1] - batch["encoder_input_tokens"].shape[1])
        x, kernel = self.decoder(x, own, ctx, memory, cross, batch.get("decoder_positions"))
        return self.to_logits(self.decoder_unembed(x[:, more:], None, ctx.ids), kernel)

    def embed_step(self, tokens: jax.Array, ctx: Context) -> jax.Array:
        """Embeds a token a hypothesis, [B, N] -> [B, M + N, D]: M soft prompts stand before them.

        The prompts are there at every call; they are to be gone through once, before the tokens.
        """
        x = self.decoder_embed(self.token_embedder(tokens), None, ctx.ids)
        return constrain(x, "batch", "length", "embed_act")

    def step(
        self, x: jax.Array, memory: jax.Array, batch: Batch, ctx: Context, step: Step
    ) -> Hidden:
        """One position of N hypotheses a row, embedded [B, N, D], over memory [B, S, D].

        Reads and writes the collections `cache` (to be made mutable) and `memory` (at the first
        call, where it is mutable). As `decode` does for whole rows, to rounding.
        """
        cross = Bias(key_valid=batch["encoder_input_tokens"] > 0, step=step)
        cross = cross.lengthened(0, memory.shape[1] - batch["encoder_input_tokens"].shape[1])
        own, here = Bias(causal=True, step=step), step.position[None, None]
        x, kernel = self.decoder(x, own, ctx, memory, cross, here)
        return self.to_logits(self.decoder_unembed(x, None, ctx.ids), kernel)

    def hidden(self, batch: Batch, ctx: Context) -> Hidden:
        """The whole network up to the logits layer."""
        return self.decode(self.encode(batch, ctx), batch, ctx)

    def __call__(self, batch: Batch, ctx: Context | None = None) -> jax.Array:
        """Returns float32 logits [B, T, V] for a batch (data/rows/batches.py lists its fields)."""
        return logits_of(self.hidden(batch, make_context(batch) if ctx is None else ctx))
