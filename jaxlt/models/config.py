"""The sizes and choices of a backbone, as one frozen value."""

import dataclasses

import jax.numpy as jnp

from jaxlt.errors import UserError, nearest
from jaxlt.modules.deltas import Delta
from jaxlt.modules.site import Plug

REMAT = ("none", "full", "dots", "dots_all")
_CHOICES = {
    "positions": ("relative", "absolute"),
    "norm": ("rms", "layer"),
    "norm_place": ("pre", "post"),
    "dtype": ("float32", "bfloat16", "float16"),
    "remat": REMAT,
}


@dataclasses.dataclass(frozen=True)
class T5Config:
    """A T5.1.1-style backbone: mT5, ByT5, umT5, or its encoder alone (`decoder_layers = 0`).

    The defaults are T5.1.1's own. The rest (layer norm after the add, biases, absolute positions,
    scaled logits) makes room for BERT and XLM-R shapes.
    """

    vocab_rows: int  # rows of the embedding and of the logits
    emb_dim: int  # D, width of the residual stream
    mlp_dim: int  # F, inner width of the MLP
    num_heads: int
    encoder_layers: int
    decoder_layers: int = 0  # 0: an encoder alone, with an MLM head
    head_dim: int = 64
    mlp_activations: tuple[str, ...] = ("gelu", "linear")  # product of one projection each
    dropout: float = 0.0
    relpos_buckets: int = 32
    relpos_max_distance: int = 128
    relpos_per_layer: bool = False  # umT5: a bias table a layer rather than one a stack
    positions: str = "relative"
    max_positions: int = 512  # of absolute positions
    norm: str = "rms"
    norm_place: str = "pre"
    norm_eps: float = 1e-6
    bias: bool = False
    logit_scale: float = 1.0  # T5 scales the query's initialisation instead of the logits
    tie_logits: bool = False
    dtype: str = "float32"  # of the computation; parameters are float32
    scan_layers: bool = True
    remat: str = "none"
    plugs: tuple[Plug, ...] = ()
    deltas: tuple[Delta, ...] = ()  # added to the parameters before they are used

    def __post_init__(self) -> None:
        for field, choices in _CHOICES.items():
            value = getattr(self, field)
            if value not in choices:
                raise UserError(
                    f"T5Config.{field} is one of {', '.join(choices)}, not '{value}'."
                    + nearest(str(value), choices)
                )
        sizes = ("vocab_rows", "emb_dim", "mlp_dim", "num_heads", "encoder_layers", "head_dim")
        for field in sizes:
            if getattr(self, field) < 1:
                raise UserError(f"T5Config.{field} is at least 1, not {getattr(self, field)}.")
        if self.decoder_layers < 0:
            raise UserError(f"T5Config.decoder_layers is 0 or more, not {self.decoder_layers}.")
        if not 0.0 <= self.dropout < 1.0:
            raise UserError(f"T5Config.dropout is at least 0 and below 1, not {self.dropout}.")
        names = [p.name for p in self.plugs]
        if len(set(names)) < len(names):
            raise UserError(f"T5Config.plugs: two plugs share a name: {', '.join(names)}.")
        names = [d.name for d in self.deltas]
        if len(set(names)) < len(names):
            raise UserError(f"T5Config.deltas: two deltas share a name: {', '.join(names)}.")

    @property
    def compute_dtype(self) -> jnp.dtype:
        """The dtype of activations."""
        return jnp.dtype(self.dtype)

    def layers_of(self, stack: str) -> int:
        """Number of layers of 'encoder' or 'decoder'."""
        return self.decoder_layers if stack == "decoder" else self.encoder_layers

    @property
    def is_encoder(self) -> bool:
        """True where there is no decoder."""
        return self.decoder_layers == 0
