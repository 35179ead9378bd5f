"""Constrained decoding and forced tokens, against loops that know the sets as lists."""

import numpy as np
import pytest

from jaxlt.engine.decode.decoding import DecodingConfig, decode
from jaxlt.engine.decode.trie import among, repeated, trie
from jaxlt.errors import UserError
from tests.conftest import make_batch, make_config, random_params
from tests.engine.plain_decoding import log_p_of, plain_beam, plain_greedy, rows_of

pytestmark = pytest.mark.usefixtures("quick_compile")

CONFIG = make_config(encoder_layers=1, decoder_layers=1)
SETS = (((5, 6), (5, 6, 7), (5, 9), (12,)), ((20, 21), (5, 30, 31)))
FORCED = (33, 34)
LENGTH = 8


@pytest.fixture(scope="module")
def params():
    return random_params(CONFIG)


@pytest.fixture(scope="module")
def inputs():
    batch = make_batch(6)
    return {n: batch[n] for n in ("encoder_input_tokens", "language")}


def following(labels):
    """What may follow tokens so far, by looking at every label."""

    def allowed(tokens):
        whole = [[*label, 1] for label in labels]
        return sorted(
            {w[len(tokens)] for w in whole if w[: len(tokens)] == tokens and len(w) > len(tokens)}
        )

    return allowed


def test_greedy_within_sets_by_row(params, inputs):
    which = np.array([0, 1, 0, 1, 1, 0], np.int32)
    tokens, scores = decode(
        CONFIG, params, inputs | {"label_set": which}, DecodingConfig(LENGTH), trie(SETS)
    )
    for s in (0, 1):
        wanted = plain_greedy(CONFIG, params, inputs, LENGTH, allowed=following(SETS[s]))
        np.testing.assert_array_equal(tokens[which == s, 0], wanted[which == s])
    labels = {(*label, 1) for labels in SETS for label in labels}
    assert {tuple(t[t > 0]) for t in tokens[:, 0]} <= labels
    assert np.all(np.isfinite(scores))


def test_a_beam_as_wide_as_the_set_ranks_all_labels_exactly(params, inputs):
    decoding = DecodingConfig(LENGTH, method="beam", beams=5, returns=5, length_penalty=0.0)
    forced = np.tile(np.array(FORCED, np.int32), (6, 1))
    tokens, scores = decode(
        CONFIG, params, inputs | {"decoder_prefix_tokens": forced}, decoding, trie(SETS[:1])
    )
    for row, fields in enumerate(rows_of(inputs)):
        exact = []
        for label in SETS[0]:
            whole, score = [*FORCED, *label, 1], 0.0
            for i in range(2, len(whole)):
                score += log_p_of(CONFIG, params, fields, [whole[:i]], LENGTH)[0, whole[i]]
            exact.append((score, whole))
        exact.sort(reverse=True)
        assert [t[t > 0].tolist() for t in tokens[row, :4]] == [w for _, w in exact]
        np.testing.assert_allclose(scores[row, :4], [s for s, _ in exact], rtol=2e-5)
        assert scores[row, 4] == -np.inf and not tokens[row, 4].any()  # there is no fifth


@pytest.mark.slow
def test_beams_equal_the_loop_with_sets_and_forced_tokens(params, inputs):
    decoding = DecodingConfig(LENGTH, method="beam", beams=2, returns=2)
    forced = np.tile(np.array([*FORCED, 0], np.int32), (6, 1))  # padded: the third is free
    given, labels = inputs | {"decoder_prefix_tokens": forced}, SETS[0]
    tokens, scores = decode(CONFIG, params, given, decoding, trie([labels]))
    allowed = following(labels)
    wanted = plain_beam(CONFIG, params, inputs, LENGTH, 2, 0.6, forced=FORCED, allowed=allowed)
    for row, best in enumerate(wanted):
        assert [t for t, _ in best[:2]] == tokens[row].tolist(), row
        np.testing.assert_allclose(scores[row], [s for _, s in best[:2]], rtol=2e-5)


def test_forced_tokens_of_a_rows_own(params, inputs):
    forced = np.array([[33, 34], [35, 0], [0, 0], [36, 37], [33, 0], [38, 34]], np.int32)
    tokens, _ = decode(
        CONFIG, params, inputs | {"decoder_prefix_tokens": forced}, DecodingConfig(LENGTH)
    )
    for row in range(6):
        one = {n: v[row : row + 1] for n, v in inputs.items()}
        start = [int(t) for t in forced[row] if t]
        wanted = plain_greedy(CONFIG, params, one, LENGTH, forced=start)
        np.testing.assert_array_equal(tokens[row], wanted)


def test_draws_stay_within_the_set(params, inputs):
    decoding = DecodingConfig(LENGTH, method="sample", returns=8, temperature=2.0)
    tokens, _ = decode(CONFIG, params, inputs, decoding, trie(SETS[:1]))
    found = {tuple(t[t > 0]) for t in tokens.reshape(-1, LENGTH)}
    assert found <= {(*label, 1) for label in SETS[0]} and len(found) > 1


def test_what_cannot_be_a_trie(params, inputs):
    for sets, message in (
        ([], "at least one set"),
        ([[]], "Set 0 of the constraint has no sequence"),
        ([[[3], []]], "at least one token"),
        ([[[3, 0]]], "none of them padding"),
        ([[[3, 1]]], "the end"),
    ):
        with pytest.raises(UserError, match=message):
            trie(sets)
    wide = trie(SETS)
    with pytest.raises(UserError, match=r"too short for 0 forced tokens .* 4 tokens with its end"):
        decode(CONFIG, params, inputs, DecodingConfig(3), wide)
    with pytest.raises(UserError, match="has token 40, and the model's last is 39"):
        decode(CONFIG, params, inputs, DecodingConfig(8), trie([[[40]]]))
    with pytest.raises(UserError, match="label_set has a 2"):
        outside = {"label_set": np.full(6, 2, np.int32)}
        decode(CONFIG, params, inputs | outside, DecodingConfig(8), wide)


def test_sets_of_about_one_size_share_shapes():
    one, other = trie([[[3, 4], [5, 6, 7]]]), trie([[[3, 4], [5, 6, 8]]])
    assert one.tokens.shape == other.tokens.shape == (8, 2)
    assert trie([[[3]]]).tokens.dtype == np.int32


WIDE = {"method": "beam", "beams": 12, "returns": 12, "length_penalty": 0.0}


@pytest.mark.parametrize(
    "between, others",
    [
        ((25, 26), ()),
        pytest.param((), ({}, {"method": "sample", "temperature": 3.0}), marks=pytest.mark.slow),
    ],
)
def test_as_many_labels_as_a_row_wants(params, inputs, between, others):
    labels = ((5, 6), (5, 6, 7), (12,))
    wanted = np.array([1, 3, 2, 1, 4, 2], np.int32)
    given = inputs | {"label_set": wanted - 1}
    constraint = repeated(labels, 4, between)
    assert constraint.sets == 4
    for how in (*others, WIDE):
        tokens, scores = decode(CONFIG, params, given, DecodingConfig(20, **how), constraint)
        for row, count in zip(tokens[:, 0], wanted, strict=True):
            (end,) = np.flatnonzero(row == 1)
            assert tuple(row[:end]) in _all_of(labels, between, count), (how, row)
    ways = _all_of(labels, between, 2)
    found = {tuple(t[t > 1]) for t, s in zip(tokens[2], scores[2], strict=True) if s > -np.inf}
    assert found == ways  # each of them can be come to


def _all_of(labels, between, count):
    """Every sequence of `count` labels."""
    if count == 1:
        return set(labels)
    rest = _all_of(labels, between, count - 1)
    return {(*label, *between, *other) for label in labels for other in rest}


def test_what_cannot_be_repeated():
    for labels, most, message in (
        ([], 2, "has no sequence"),
        ([[3, 1]], 2, "the end"),
        ([[3]], 0, "at least 1"),
    ):
        with pytest.raises(UserError, match=message):
            repeated(labels, most)


# --- any tokens of a set -------------------------------------------------------------------------

OWN = [[5, 9, 11, 30, 31], list(range(20, 29))]


def test_rows_have_tokens_of_their_sets_alone_and_all_tokens_are_no_constraint(params, inputs):
    which = np.array([0, 1, 2, 0, 1, 2], np.int32)
    fields = inputs | {"label_set": which}
    sets = among([*OWN, np.arange(1, CONFIG.vocab_rows)])
    found = decode(CONFIG, params, fields, DecodingConfig(LENGTH), sets).tokens[:, 0]
    for s, own in enumerate((*OWN, None)):
        allowed = own and (lambda tokens, own=own: sorted([1, *own]))
        wanted = plain_greedy(CONFIG, params, inputs, LENGTH, allowed=allowed)
        np.testing.assert_array_equal(found[which == s], wanted[which == s])


def test_what_cannot_be_a_set():
    for sets, told in (([], "at least one"), ([[]], "has 0 tokens"), ([[0, 4]], "no padding")):
        with pytest.raises(UserError, match=told):
            among(sets)
