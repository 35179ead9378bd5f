"""Floating-point work of a step, counted by hand: the matrix products of the model itself.

Recomputation under remat is not counted (it is not model work), nor are norms and softmaxes.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from jaxlt.engine.open import LOSSES
from jaxlt.models.config import BiLSTMConfig, ModelConfig

if TYPE_CHECKING:
    from jaxlt.engine.state import Layout

_TARGETS = "decoder_target_tokens"


def forward_flops(config: ModelConfig, rows: int, inputs: int, targets: int) -> float:
    """FLOPs of a forward pass over [rows, inputs] and, with a decoder, [rows, targets].

    Of an encoder, `targets` positions a row have logits (`tokens_of`); all where it is 0.

    Heads that label are not counted, nor are the characters of words.
    """
    cfg = config
    if isinstance(cfg, BiLSTMConfig):
        first = cfg.word_dim * bool(cfg.word_rows) + cfg.char_units * bool(cfg.char_rows)
        seen = first + (cfg.layers - 1) * cfg.width + cfg.layers * cfg.units  # inputs and own state
        return 2.0 * rows * inputs * 4 * cfg.width * seen
    joined = cfg.num_heads * cfg.head_dim
    square = cfg.emb_dim * joined
    mlp = (len(cfg.mlp_activations) + 1) * cfg.emb_dim * cfg.mlp_dim
    encoder = cfg.encoder_layers * (inputs * (4 * square + mlp) + 2 * inputs**2 * joined)
    logits = 0 if cfg.heads else cfg.emb_dim * cfg.vocab_rows * (targets or inputs)
    if cfg.is_encoder:
        return 2.0 * rows * (encoder + logits)
    own = targets * (4 * square + mlp) + 2 * targets**2 * joined
    cross = targets * 2 * square + inputs * 2 * square + 2 * inputs * targets * joined
    return 2.0 * rows * (encoder + cfg.decoder_layers * (own + cross) + logits)


def step_flops(
    config: ModelConfig, rows: int, inputs: int, targets: int, trainable_share: float = 1.0
) -> float:
    """FLOPs of a training step: forward, backward to activations, backward to trained weights."""
    return forward_flops(config, rows, inputs, targets) * (2.0 + min(1.0, trainable_share))


def model_flops(
    config: ModelConfig, layout: "Layout", rows: int, inputs: int, targets: int
) -> float:
    """FLOPs of a step over all devices; the weight-gradient part counts for what trains only."""
    mine = (leaf.shape for n, leaf in layout.leaves.items() if not n.startswith(LOSSES))
    share = layout.trained_values / max(1, sum(map(math.prod, mine)))
    return step_flops(config, rows, inputs, targets, share)


def tokens_of(spec: Mapping[str, tuple[tuple[int, ...], object]]) -> tuple[int, int, int]:
    """(inputs, targets, those of either that have logits) a row, from a batch source's spec.

    An encoder alone has no targets, and makes logits where they are asked for; 0: everywhere.
    """
    from jaxlt.models.encoder import PLACES
    from jaxlt.models.head_parts import read_field

    inputs = math.prod(spec[read_field(spec)][0])
    targets, places = (math.prod(spec[n][0]) if n in spec else 0 for n in (_TARGETS, PLACES))
    return inputs, targets, targets or places
