"""What the encoder-decoder may see, and what it computes in low precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.models.layers import make_context
from jaxlt.models.t5 import logits_of
from tests.conftest import forward, make_batch, make_config, random_params

CONFIG = make_config()
BATCH = make_batch()


@pytest.fixture(scope="module")
def flat():
    return random_params(CONFIG)


def logits(flat, batch, config=CONFIG, key=None):
    return forward(config, flat, batch, key)


@pytest.fixture(scope="module")
def base(flat):
    return logits(flat, BATCH)


def near(found, wanted):
    np.testing.assert_allclose(found, wanted, atol=2e-6 * np.abs(wanted).max(), rtol=0)


def test_padding_on_the_right_changes_no_text(flat, base):
    widths = {"encoder_input_tokens": 5, "decoder_input_tokens": 3, "decoder_target_tokens": 3}
    wide = {n: np.pad(BATCH[n], ((0, 0), (0, w))) for n, w in widths.items()}
    text = BATCH["decoder_target_tokens"] > 0
    near(logits(flat, wide)[:, :7][text], base[text])


def test_later_tokens_change_nothing_before_them(flat, base):
    inputs = BATCH["decoder_input_tokens"].copy()
    inputs[:, 3:] = np.where(inputs[:, 3:] > 0, 3 + (inputs[:, 3:] + 5) % 37, 0)
    found = logits(flat, BATCH | {"decoder_input_tokens": inputs})
    near(found[:, :3], base[:, :3])
    assert (np.abs(found[:, 3:] - base[:, 3:]).max(-1) > 1e-3).any()


def test_every_input_token_counts(flat, base):
    inputs = BATCH["encoder_input_tokens"].copy()
    inputs[:, -1] = np.where(inputs[:, 0] > 0, 7, 0)
    inputs[:, 0] = 3 + (inputs[:, 0] + 5) % 37
    found = logits(flat, BATCH | {"encoder_input_tokens": inputs})
    assert (np.abs(found - base).max((1, 2)) > 1e-3).all()


@pytest.mark.parametrize("positions", ["relative", "absolute"])
def test_packed_rows_equal_rows_apart(positions):
    config = CONFIG if positions == "relative" else make_config(positions=positions)
    flat = random_params(config, 1)
    apart = logits(flat, BATCH, config)
    packed = {}
    for side in ("encoder", "decoder"):
        tokens = BATCH[f"{side}_input_tokens"][:2]
        width = tokens.shape[1]
        packed[f"{side}_input_tokens"] = tokens.reshape(1, -1)
        target = BATCH["decoder_target_tokens" if side == "decoder" else "encoder_input_tokens"][:2]
        segments = np.where(target > 0, np.array([[1], [2]]), 0)
        packed[f"{side}_segment_ids"] = segments.reshape(1, -1)
        packed[f"{side}_positions"] = np.tile(np.arange(width), 2)[None]
    packed["decoder_target_tokens"] = BATCH["decoder_target_tokens"][:2].reshape(1, -1)
    found = logits(flat, packed, config).reshape(2, 7, -1)
    text = BATCH["decoder_target_tokens"][:2] > 0
    near(found[text], apart[:2][text])


def test_a_row_drops_the_same_alone_and_in_a_batch(flat):
    config, key = make_config(dropout=0.3), jax.random.key(11)
    numbers = np.arange(4, dtype=np.int32)
    np.testing.assert_array_equal(make_context(BATCH).rows, numbers)  # where nobody numbers them
    together = logits(flat, BATCH | {"row": numbers}, config, key)
    # copies of one row: one program, and only by its number does a row drop as it did
    copies = {n: np.repeat(v[3:], 4, axis=0) for n, v in BATCH.items()}
    alone = logits(flat, copies | {"row": np.array([3, 0, 1, 3], np.int32)}, config, key)
    near(alone[[0, 3]], together[[3, 3]])
    assert (np.abs(alone[1:3] - together[3]).max((1, 2)) > 1e-2).all()


@pytest.mark.parametrize("dtype, bound", [("bfloat16", 0.05), ("float16", 0.01)])
def test_low_precision_stays_near_and_logits_are_float32(flat, base, dtype, bound):
    config = make_config(dtype=dtype)
    hidden = forward(config, flat, BATCH, method="hidden")
    assert hidden.states.dtype == hidden.kernel.dtype == jnp.dtype(dtype)
    found = logits_of(hidden)
    assert found.dtype == jnp.float32
    text = BATCH["decoder_target_tokens"] > 0
    error = np.abs(np.asarray(found) - base)[text].max() / np.abs(base[text]).max()
    assert error < bound
    assert len(np.unique(np.asarray(found).astype(jnp.bfloat16))) < np.unique(found).size


def test_tied_logits_are_scaled_by_the_width():
    config = make_config(tie_logits=True)
    tied = random_params(config)
    assert "params/decoder/logits_dense/kernel" not in tied
    kernel = tied["params/token_embedder/embedding"].T * 16**-0.5
    untied = tied | {"params/decoder/logits_dense/kernel": kernel}
    near(logits(tied, BATCH, config), logits(untied, BATCH))


def test_scaled_logits_equal_a_scaled_query(flat, base):
    """T5 puts the scale into the query's weights; scaling the logits instead is the same."""
    scaled = {n: v * 8 if "query/kernel" in n else v for n, v in flat.items()}
    near(logits(scaled, BATCH, make_config(logit_scale=0.125)), base)
