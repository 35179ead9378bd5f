"""What the heads share, against plain formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.errors import UserError
from jaxlt.models.head_parts import (
    check_words,
    label_terms,
    sums_of,
    token_mask,
    word_states,
    words_of,
)
from jaxlt.models.layers import Context, Dropout

KEY = jax.random.key(3)


def test_states_at_the_first_tokens_of_words():
    states = np.random.default_rng(0).normal(size=(2, 6, 3)).astype(np.float32)
    first = np.array([[0, 2, 5, -1], [1, -1, -1, -1]], np.int32)
    found, mask = word_states(states, first)
    np.testing.assert_array_equal(mask, first >= 0)
    np.testing.assert_array_equal(found[0, :3], states[0, [0, 2, 5]])
    np.testing.assert_array_equal(found[1, 0], states[1, 1])
    assert not np.asarray(found)[first < 0].any()


def test_only_first_tokens_have_a_gradient():
    first = np.array([[0, 2, -1]], np.int32)
    grads = jax.grad(lambda s: jnp.sum(word_states(s, first)[0]))(np.ones((1, 5, 2), np.float32))
    np.testing.assert_array_equal(grads[0, :, 0], [1, 0, 1, 0, 0])


def test_words_are_their_own_states_without_places():
    states = np.ones((1, 3, 2), np.float32)
    found, mask = words_of(states, {"words": np.array([[4, 1, 0]])})
    assert found is states
    np.testing.assert_array_equal(mask, [[True, True, False]])
    batch = {"encoder_input_tokens": np.array([[4, 1, 0]]), "word_first": np.array([[1]])}
    assert words_of(states, batch)[0].shape == (1, 1, 2)
    np.testing.assert_array_equal(token_mask(batch), [[True, True, False]])


def test_words_past_the_end_of_the_tokens_are_an_error():
    batch = {"encoder_input_tokens": np.ones((2, 4), np.int32), "word_first": np.array([[0], [3]])}
    check_words(batch)
    check_words({"words": np.ones((1, 2))})
    batch["encoder_input_tokens"][1, 3] = 0
    with pytest.raises(UserError, match="Row 1: word 1 begins at token 3, but the row has 3"):
        check_words(batch)
    batch["encoder_input_tokens"][1] = 0  # the row only fills the batch
    check_words(batch)


def test_label_terms_leave_unknown_labels_out():
    logits = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    labels = np.array([[0, -1, 3], [-1, -1, 2]], np.int32)
    nll, correct = label_terms(jnp.asarray(logits), labels)
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    for place in np.ndindex(2, 3):
        known = labels[place] >= 0
        np.testing.assert_allclose(
            nll[place], -logs[place][labels[place]] if known else 0, atol=1e-6
        )
        assert correct[place] == (known and logits[place].argmax() == labels[place])
    slope = jax.grad(lambda x: jnp.sum(label_terms(x, labels)[0]))(jnp.asarray(logits))
    assert not np.asarray(slope)[labels < 0].any()


def test_sums():
    rows = [jnp.float32([1, 2]), jnp.float32([1, 0]), jnp.float32([3, 4])]
    loss, sums = sums_of(*rows, row_more=rows[0])
    assert loss == 3 and sums["nll_sum"] == 3 and sums["correct_sum"] == 1
    assert sums["weight_sum"] == 7 and sums["z_sum"] == 0
    np.testing.assert_array_equal(sums["row_more"], [1, 2])


@pytest.mark.parametrize("words", [False, True])
def test_dropout_is_a_row_s_own_and_ignores_padding(words):
    def dropped(rows, length):
        ctx = Context({}, KEY, jnp.asarray(rows))
        x = jnp.ones((len(rows), length, 30))
        return np.asarray(jax.jit(lambda x: Dropout(0.4, words).apply({}, x, ctx))(x))

    base = dropped([0, 1, 2], 40)
    assert set(np.unique(base)) == {np.float32(0), np.float32(1 / 0.6)}
    np.testing.assert_array_equal(dropped([2, 0], 40), base[[2, 0]])
    np.testing.assert_array_equal(dropped([0, 1, 2], 25), base[:, :25])
    along = base[:, :, :1] if words else base[:, :1]
    np.testing.assert_array_equal(base, np.broadcast_to(along, base.shape))
    x = jnp.ones((1, 2, 3))
    np.testing.assert_array_equal(Dropout(0.4).apply({}, x, Context({})), x)
