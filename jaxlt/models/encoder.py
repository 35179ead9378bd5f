"""The same stack as an encoder alone: masked-language modelling, or the half of an mT5 or ByT5.

Its names are those of the encoder in an encoder-decoder, so the encoder of an imported backbone is
a subset of that backbone's parameters; only the MLM head (`mlm_head`) is its own. With
`T5Config.heads` it labels text instead, and their parameters stand beside the backbone's.
"""

import jax

from jaxlt.models.bilstm import BiLSTM
from jaxlt.models.config import BiLSTMConfig, ModelConfig
from jaxlt.models.heads import Heads, Outputs, heads_weights
from jaxlt.models.layers import Context, make_context
from jaxlt.models.stack import Logits
from jaxlt.models.t5 import T5, Batch, Embedded, Hidden, logits_of


class Encoder(Embedded):
    """Encoder stack with an MLM head: its own logits layer, or the tied embedding."""

    def setup(self) -> None:
        super().setup()
        cfg = self.config
        self.encoder_unembed = self.site("encoder/unembed")
        if cfg.heads:
            self.heads = Heads(cfg.heads, cfg.compute_dtype)
        elif not cfg.tie_logits:
            self.mlm_head = Logits(cfg)

    def encode(self, batch: Batch, ctx: Context) -> jax.Array:
        """Encodes `encoder_input_tokens` [B, S] -> [B, S, D], without the soft prompts."""
        return super().encode(batch, ctx)[:, -batch["encoder_input_tokens"].shape[1] :]

    def hidden(self, batch: Batch, ctx: Context) -> Hidden:
        """States and the weight of the MLM head."""
        x = self.encoder_unembed(self.encode(batch, ctx), None, ctx.ids)
        return self.to_logits(x, None if self.config.tie_logits else self.mlm_head())

    def outputs(self, batch: Batch, ctx: Context, only: str | None = None) -> Outputs:
        """Returns what each head says, or the one that `only` names."""
        return self.heads(self.encode(batch, ctx), batch, ctx, only)

    def __call__(self, batch: Batch, ctx: Context | None = None) -> jax.Array | Outputs:
        """Returns float32 logits [B, S, V], or what the heads say."""
        ctx = make_context(batch) if ctx is None else ctx
        return self.outputs(batch, ctx) if self.config.heads else logits_of(self.hidden(batch, ctx))


def model_of(config: ModelConfig) -> T5 | Encoder | BiLSTM:
    """Makes the network that a config describes."""
    if isinstance(config, BiLSTMConfig):
        return BiLSTM(config)
    return Encoder(config) if config.is_encoder else T5(config)


# Batch field [B, P], where there is one: the places of a row that may have a target.
PLACES = "encoder_target_places"


def target_fields(config: ModelConfig) -> tuple[str, str]:
    """Names the batch fields that hold the targets [B, T] and their weights [B, T]."""
    side = "encoder" if config.is_encoder else "decoder"
    return f"{side}_target_tokens", f"{side}_loss_weights"


def loss_weights(config: ModelConfig, batch: Batch) -> jax.Array:
    """Returns [B, .] float32: what the loss of a batch weighs, position by position."""
    return heads_weights(config.heads, batch) if config.heads else batch[target_fields(config)[1]]
