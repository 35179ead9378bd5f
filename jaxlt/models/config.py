"""The sizes and choices of a backbone, as one frozen value."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

from jaxlt.errors import UserError, check_least, check_one_of, check_share
from jaxlt.identity import HARMLESS
from jaxlt.models.head import HeadConfig, check_heads
from jaxlt.models.traced import is_marked
from jaxlt.modules.config import Delta, Plug

REMAT = ("none", "full", "dots", "dots_all")
_CHOICES = {
    "positions": ("relative", "absolute"),
    "relpos_start": ("t5", "local"),
    "norm": ("rms", "layer"),
    "norm_place": ("pre", "post"),
    "dtype": ("float32", "bfloat16", "float16"),
    "remat": REMAT,
    "attention": ("auto", "plain", "fused"),
}


def _check(config: Any, choices: Mapping[str, tuple[str, ...]], sizes: Iterable[str]) -> None:
    """Raises UserError for a field that is not one of its choices, or a size below 1."""
    kind = type(config).__name__
    for field, known in choices.items():
        check_one_of(f"{kind}.{field}", getattr(config, field), known)
    check_least(config, 1, *sizes)
    rates = (f.name for f in dataclasses.fields(config) if f.name.endswith("dropout"))
    check_share(config, *(name for name in rates if not is_marked(config, name)))
    check_heads(config.heads, kind)


def _dtype(name: str) -> np.dtype:
    """The dtype of that name; numpy has no bfloat16 of its own."""
    return np.dtype(getattr(ml_dtypes, name, name))


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
    decoder_layers: int = 0  # 0: an encoder alone, with an MLM head or `heads`
    head_dim: int = 64
    mlp_activations: tuple[str, ...] = ("gelu", "linear")  # product of one projection each
    dropout: float = 0.0
    relpos_buckets: int = 32
    relpos_max_distance: int = 128
    relpos_per_layer: bool = False  # umT5: a bias table a layer rather than one a stack
    # 'local': heads begin by looking at what is near (models/attention.py); 't5': nearly flat
    relpos_start: str = "t5"
    embedding_std: float = 1.0  # what embeddings are drawn with
    positions: str = "relative"
    max_positions: int = 512  # of absolute positions
    norm: str = "rms"
    norm_place: str = "pre"
    norm_eps: float = 1e-6
    bias: bool = False
    logit_scale: float = 1.0  # T5 scales the query's initialisation instead of the logits
    tie_logits: bool = False
    dtype: str = "float32"  # of the computation; parameters are float32
    scan_layers: bool = dataclasses.field(default=True, metadata=HARMLESS)
    remat: str = dataclasses.field(default="none", metadata=HARMLESS)
    # 'auto': fused on TPUs, plain elsewhere; 'fused' falls back where it has to
    attention: str = dataclasses.field(default="auto", metadata=HARMLESS)
    plugs: tuple[Plug, ...] = ()
    deltas: tuple[Delta, ...] = ()  # added to the parameters before they are used
    heads: tuple[HeadConfig, ...] = ()  # of an encoder alone: what it labels

    def __post_init__(self) -> None:
        sizes = ("vocab_rows", "emb_dim", "mlp_dim", "num_heads", "encoder_layers", "head_dim")
        _check(self, _CHOICES, sizes)
        if self.decoder_layers < 0:
            raise UserError(f"T5Config.decoder_layers is 0 or more, not {self.decoder_layers}.")
        if not 0 < self.embedding_std < math.inf:
            raise UserError(
                f"T5Config.embedding_std is above 0 and finite, not {self.embedding_std}."
            )
        for field in ("plugs", "deltas"):
            names = [one.name for one in getattr(self, field)]
            if len(set(names)) < len(names):
                raise UserError(f"T5Config.{field}: two {field} share a name: {', '.join(names)}.")
        if self.heads and self.decoder_layers:
            raise UserError(
                f"T5Config.heads label what an encoder reads, and decoder_layers is "
                f"{self.decoder_layers}: set T5Config.decoder_layers = 0 (the encoder of an "
                "imported mT5 or ByT5 is used by itself)."
            )

    @property
    def compute_dtype(self) -> np.dtype:
        """The dtype of activations."""
        return _dtype(self.dtype)

    def layers_of(self, stack: str) -> int:
        """Number of layers of 'encoder' or 'decoder'."""
        return self.decoder_layers if stack == "decoder" else self.encoder_layers

    @property
    def is_encoder(self) -> bool:
        """True where there is no decoder."""
        return self.decoder_layers == 0


_BILSTM_CHOICES = {"chars": ("lstm", "cnn"), "dtype": ("float32", "bfloat16", "float16")}


@dataclasses.dataclass(frozen=True)
class BiLSTMConfig:
    """Sizes of a baseline.

    char_rows 0 leaves characters out, word_rows 0 words. `char_units` is the width of the vector
    that a word's characters make: two directions of half the width, or as many filters over three
    characters. `word_dropout` drops the embeddings of whole words, so that characters are learned
    from.
    """

    word_rows: int
    char_rows: int
    word_dim: int = 100
    char_dim: int = 32
    char_units: int = 100
    chars: str = "lstm"
    units: int = 200
    layers: int = 2
    dropout: float = 0.33
    word_dropout: float = 0.1
    dtype: str = "float32"
    heads: tuple[HeadConfig, ...] = ()

    def __post_init__(self) -> None:
        _check(self, _BILSTM_CHOICES, ("word_dim", "char_dim", "units", "layers"))
        if self.char_units < 2 or self.char_units % 2:
            raise UserError(
                "BiLSTMConfig.char_units is even and at least 2 (half of it a direction), not "
                f"{self.char_units}."
            )
        if self.word_rows < 0 or self.char_rows < 0 or not self.word_rows + self.char_rows:
            raise UserError(
                "BiLSTMConfig needs word_rows or char_rows: with neither there is nothing to read."
            )

    @property
    def compute_dtype(self) -> np.dtype:
        """The dtype of activations; the cells' memory is float32."""
        return _dtype(self.dtype)

    @property
    def width(self) -> int:
        """D of the states."""
        return 2 * self.units

    # What is asked of any model: it has no sites, and no parameters but its own.
    plugs: ClassVar[tuple[Plug, ...]] = ()
    deltas: ClassVar[tuple[Delta, ...]] = ()
    is_encoder: ClassVar[bool] = True
    scan_layers: ClassVar[bool] = False


ModelConfig = T5Config | BiLSTMConfig
