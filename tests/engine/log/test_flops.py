"""Counted by hand, beside XLA's own count."""

import jax
import numpy as np
import pytest

from jaxlt.engine.log.flops import forward_flops, step_flops, tokens_of
from jaxlt.models.encoder import model_of
from jaxlt.models.init import describe, unflatten
from tests.conftest import make_config

SIZES = {"vocab_rows": 512, "emb_dim": 128, "mlp_dim": 256, "num_heads": 4, "head_dim": 32}
ROWS, INPUTS, TARGETS = 4, 96, 64


def by_xla(config):
    """FLOPs that XLA counts in the program of a forward pass; nothing is compiled or run."""
    tokens = jax.ShapeDtypeStruct((ROWS, INPUTS), np.int32)
    batch = {"encoder_input_tokens": tokens}
    if not config.is_encoder:
        batch["decoder_input_tokens"] = jax.ShapeDtypeStruct((ROWS, TARGETS), np.int32)
    leaves = describe(config).items()
    params = unflatten({n: jax.ShapeDtypeStruct(leaf.shape, np.float32) for n, leaf in leaves})
    return jax.jit(model_of(config).apply).lower(params, batch).cost_analysis()["flops"]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"encoder_layers": 3, "decoder_layers": 1},
        {"decoder_layers": 0},
        {"mlp_activations": ("relu",)},
    ],
    ids=["t5", "byt5", "encoder", "one gate"],
)
def test_forward_is_near_xlas_count(changes):
    config = make_config(scan_layers=False, **(SIZES | changes))
    ours = forward_flops(config, ROWS, INPUTS, 0 if config.is_encoder else TARGETS)
    counted = by_xla(config)
    assert ours == pytest.approx(counted, rel=0.1)
    assert ours <= counted  # norms and softmaxes are not counted by hand


def test_scanned_counts_as_unrolled():
    scanned, unrolled = (make_config(scan_layers=s, **SIZES) for s in (True, False))
    assert forward_flops(scanned, 2, 8, 4) == forward_flops(unrolled, 2, 8, 4)


def test_backward():
    config = make_config(**SIZES)
    forward = forward_flops(config, ROWS, INPUTS, TARGETS)
    assert step_flops(config, ROWS, INPUTS, TARGETS) == 3 * forward
    assert step_flops(config, ROWS, INPUTS, TARGETS, 0.0) == 2 * forward


def test_tokens_of_a_source():
    spec = {"encoder_input_tokens": ((9,), np.int32), "decoder_target_tokens": ((7,), np.int32)}
    assert tokens_of(spec) == (9, 7, 7)


def test_an_encoders_logits_are_made_at_its_places():
    fields = {"encoder_input_tokens": ((96,), np.int32)}
    assert tokens_of(fields) == (96, 0, 0)
    assert tokens_of(fields | {"encoder_target_places": ((14,), np.int32)}) == (96, 0, 14)
    config = make_config(decoder_layers=0, **SIZES)
    per_place = 2.0 * ROWS * SIZES["emb_dim"] * SIZES["vocab_rows"]
    few, all_of_them = (forward_flops(config, ROWS, INPUTS, n) for n in (14, 0))
    assert all_of_them - few == per_place * (INPUTS - 14)
