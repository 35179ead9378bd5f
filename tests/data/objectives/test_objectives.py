"""Span corruption, masked LM and text to text against T5's definitions, row by row."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlt.data.config import DataConfig
from jaxlt.data.mixtures import build_objective
from jaxlt.data.objectives.objectives import (
    FEW_SPANS,
    MaskedLM,
    SpanCorruption,
    TextToText,
    fitting_span,
    noise_mask,
    raw_length,
    span_counts,
)
from jaxlt.data.rows.batches import uniforms
from jaxlt.data.vocabulary.vocabularies import VocabularyConfig, open_vocabulary
from jaxlt.errors import UserError
from tests.pieces import train_pieces

BYTES = open_vocabulary(VocabularyConfig())
EXTRA = open_vocabulary(VocabularyConfig(sentinels="extra"))


def draw(rows, count):
    return uniforms(0, "test", rows, count)


def texts(rows, length, seed=0):
    tokens = np.random.default_rng(seed).integers(3, 120, (rows, length)).astype(np.int32)
    return tokens, np.full(rows, length)


def plain_noise_mask(length, density, mean_span, numbers):
    """T5's random_spans_noise_mask for one row, word for word but for where chance comes from."""

    def segmentation(items, segments, chance):
        order = np.argsort(np.argsort(chance))  # a shuffle of T5's indicator of segment starts
        first = np.concatenate([[0], order < segments - 1])
        ids = np.cumsum(first)
        return np.array([(ids == i).sum() for i in range(segments)])

    noise, spans = span_counts(length, density, mean_span)
    noise_lengths = segmentation(noise, spans, numbers[: noise - 1])
    text_lengths = segmentation(length - noise, spans, numbers[noise - 1 :])
    mask = []
    for text, noised in zip(text_lengths, noise_lengths, strict=True):
        mask += [False] * text + [True] * noised
    return np.array(mask)


def t5_random_spans_helper(inputs_length, density, mean_span):
    """T5's own, word for word."""

    def lengths(tokens):
        noise = round(tokens * density)
        spans = round(noise / mean_span)
        return tokens - noise + spans + 1, noise + spans + 1

    tokens = inputs_length
    while lengths(tokens + 1)[0] <= inputs_length:
        tokens += 1
    return tokens, lengths(tokens)[1]


@pytest.mark.parametrize(
    ("inputs", "mean_span", "targets"), [(1024, 3.0, 229), (512, 3.0, 114), (1024, 20.0, 189)]
)
def test_lengths_are_t5s(inputs, mean_span, targets):
    """The published numbers: mT5 1024 -> 229, T5 512 -> 114, ByT5 1024 -> 189."""
    assert raw_length(inputs, 0.15, mean_span)[1] == targets
    for length in (inputs, 100, 256, 777):
        expected = t5_random_spans_helper(length, 0.15, mean_span)
        assert raw_length(length, 0.15, mean_span) == expected


@settings(max_examples=80, deadline=None)
@given(
    st.integers(2, 400), st.floats(0.05, 0.6), st.sampled_from([1.0, 3.0, 20.0]), st.integers(0, 99)
)
def test_noise_mask_equals_the_plain_one(length, density, mean_span, seed):
    numbers = np.random.default_rng(seed).random((3, length - 2))
    fast = noise_mask(length, density, mean_span, numbers)
    for row in range(3):
        plain = plain_noise_mask(length, density, mean_span, numbers[row])
        assert np.array_equal(fast[row], plain)


def rebuild(inputs, targets, sentinels):
    """Puts the spans of the targets back where the inputs have their sentinels."""
    known = {int(s): i for i, s in enumerate(sentinels)}
    spans, current = {}, None
    for token in targets[targets > 1]:
        if int(token) in known:
            current = int(token)
            spans[current] = []
        else:
            spans[current].append(int(token))
    out = []
    for token in inputs[inputs > 1]:
        out += spans[int(token)] if int(token) in known else [int(token)]
    return out


@pytest.mark.parametrize("vocabulary", [BYTES, EXTRA])
@pytest.mark.parametrize("mean_span", [3.0, 20.0])
def test_span_corruption_loses_nothing(vocabulary, mean_span):
    objective = SpanCorruption(vocabulary, 128, mean_span=mean_span)
    tokens, lengths = texts(6, objective.window)
    lengths[3:] = [2, 17, 1]  # rows at the end of a text are short
    batch = objective({"targets": (tokens, lengths)}, draw)
    sentinels = vocabulary.sentinels(span_counts(objective.window, 0.15, mean_span)[1])
    for row in range(5):
        inputs, targets = batch["encoder_input_tokens"][row], batch["decoder_target_tokens"][row]
        assert rebuild(inputs, targets, sentinels) == tokens[row, : lengths[row]].tolist()
        assert inputs[inputs > 0][-1] == 1 and targets[targets > 0][-1] == 1
        asked = targets[(targets > 1) & ~np.isin(targets, sentinels)]
        assert (
            batch["target_bytes"][row]
            == len(asked)
            == span_counts(int(lengths[row]), 0.15, mean_span)[0]
        )
    assert not batch["decoder_loss_weights"][5].any()  # one token cannot be corrupted


def test_span_corruption_fills_its_rows_exactly():
    objective = SpanCorruption(BYTES, 1024, mean_span=20.0)
    batch = objective({"targets": texts(4, objective.window)}, draw)
    assert (batch["encoder_input_tokens"] > 0).all()
    assert batch["decoder_target_tokens"].shape == (4, 189)
    assert (batch["decoder_loss_weights"] == 1).all()
    assert (batch["encoder_input_tokens"][:, -1] == 1).all()
    for name, (shape, dtype) in objective.spec().items():
        assert batch[name].shape == (4, *shape) and batch[name].dtype == dtype
    inputs, targets = batch["decoder_input_tokens"], batch["decoder_target_tokens"]
    assert (inputs[:, 0] == 0).all() and np.array_equal(inputs[:, 1:], targets[:, :-1])
    assert (targets[:, 0] == 258).all()


def test_rows_do_not_depend_on_their_batch():
    objective = SpanCorruption(BYTES, 64)
    tokens, lengths = texts(6, objective.window)
    lengths[4] = 20
    whole = objective({"targets": (tokens, lengths)}, draw)
    for row in range(6):
        part = {"targets": (tokens[row : row + 1], lengths[row : row + 1])}
        alone = objective(part, lambda r, n, row=row: draw(r + row, n))
        for name, values in alone.items():
            assert np.array_equal(values[0], whole[name][row]), name


def test_masked_lm_is_80_10_10():
    objective = MaskedLM(BYTES, 513)
    tokens, lengths = texts(60, 512)
    batch = objective({"targets": (tokens, lengths)}, draw)
    seen, asked = batch["encoder_input_tokens"][:, :-1], batch["encoder_loss_weights"][:, :-1] == 1
    assert (asked.sum(1) == 77).all() and (batch["target_bytes"] == 77).all()  # 0.15 * 512
    assert np.array_equal(batch["encoder_target_tokens"][:, :-1], tokens)
    assert (batch["encoder_target_tokens"][:, -1] == 1).all()
    assert np.array_equal(seen[~asked], tokens[~asked])
    places = batch["encoder_target_places"]
    assert all(np.array_equal(np.flatnonzero(a), p) for a, p in zip(asked, places, strict=True))
    masked, kept = (seen == 258)[asked].mean(), (seen == tokens)[asked].mean()
    assert abs(masked - 0.8) < 0.02 and abs(kept - 0.1) < 0.02
    for name, (shape, dtype) in objective.spec().items():
        assert batch[name].shape == (60, *shape) and batch[name].dtype == dtype


def test_masked_lm_of_short_rows():
    batch = MaskedLM(BYTES, 10)({"targets": (texts(3, 9)[0], np.array([4, 9, 0]))}, draw)
    assert (batch["encoder_target_tokens"] > 0).sum(1).tolist() == [5, 10, 0]
    assert batch["encoder_loss_weights"].sum(1).tolist() == [1, 1, 0]


@pytest.mark.parametrize("density", [0.01, 0.15, 0.3, 0.97])
def test_no_target_of_masked_lm_is_at_another_place_than_those_named(density):
    objective = MaskedLM(BYTES, 24, density)
    lengths = np.arange(24)
    batch = objective({"targets": (texts(24, 23)[0], lengths)}, draw)
    weights, places = batch["encoder_loss_weights"], batch["encoder_target_places"]
    assert (
        weights.sum(1).max() == places.shape[1] == objective.spec()["encoder_target_places"][0][0]
    )
    assert np.array_equal(np.take_along_axis(weights, places, 1).sum(1), weights.sum(1))
    assert all(len(set(row)) == len(row) and max(row) < 23 for row in places.tolist())


def test_text_to_text_ends_and_shifts():
    rows = {
        "inputs": (np.array([[5, 6, 7, 8, 9]], np.int32), np.array([5])),
        "targets": (np.array([[70, 80, 0, 0, 0]], np.int32), np.array([2])),
    }
    batch = TextToText(BYTES, 4, 5)(rows, draw)
    assert batch["encoder_input_tokens"].tolist() == [[5, 6, 7, 1]]
    assert batch["decoder_target_tokens"].tolist() == [[70, 80, 1, 0, 0]]
    assert batch["decoder_input_tokens"].tolist() == [[0, 70, 80, 1, 0]]
    assert batch["decoder_loss_weights"].tolist() == [[1, 1, 1, 0, 0]]
    assert batch["target_bytes"].tolist() == [2]


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(UserError, match="inputs_length=2 is too small"):
        SpanCorruption(BYTES, 2)
    with pytest.raises(UserError, match="make it 229"):
        SpanCorruption(BYTES, 1024, 228)
    with pytest.raises(UserError, match=r"noise_density=1\.5"):
        SpanCorruption(BYTES, 64, density=1.5)
    with pytest.raises(UserError, match="sentinels"):
        SpanCorruption(EXTRA, 4096)
    with pytest.raises(UserError, match="too small"):
        MaskedLM(BYTES, 2)
    with pytest.raises(UserError, match="too small"):
        TextToText(BYTES, 1, 5)


def test_short_rows_have_a_few_spans_in_places_of_their_own():
    config = DataConfig(inputs_length=64, mean_span=20.0)
    assert config.span == pytest.approx(11 / 3) and replace(config, revision=1).span == 20.0
    assert replace(config, inputs_length=1024).span == 20.0  # a long row has them already
    assert replace(config, mean_span=3.0).span == 3.0
    objective = build_objective(config, BYTES)
    tokens, lengths = texts(400, objective.window)
    inputs = objective({"targets": (tokens, lengths)}, draw)["encoder_input_tokens"]
    first = np.argmax(np.isin(inputs, BYTES.sentinels(3)), axis=1)  # where a row's first span is
    assert len(set(first.tolist())) > 20 and (first < 32).mean() > 0.4
    alone = build_objective(replace(config, revision=1), BYTES)
    tokens, lengths = texts(400, alone.window)
    rows = alone({"targets": (tokens, lengths)}, draw)["encoder_input_tokens"]
    assert len(set(np.argmax(rows == BYTES.sentinels(1)[0], axis=1).tolist())) == 1  # the row's end


def test_spans_fit_rows_of_every_length():
    for length in range(4, 200):
        span = fitting_span(length, 0.15, 20.0)
        raw, _ = raw_length(length, 0.15, span)
        noise, spans = span_counts(raw, 0.15, span)
        assert spans >= min(FEW_SPANS, noise) - (noise < 2 * FEW_SPANS)


def test_masked_lm_draws_ordinary_pieces_alone(tmp_path):
    lines = [f"the cat number {i} sat on mat {i * 7}" for i in range(200)]
    sentinels = [f"<extra_id_{i}>" for i in range(9, -1, -1)]
    path = train_pieces(
        tmp_path / "small", lines, 420, byte_fallback=True, user_defined_symbols=sentinels
    )
    vocabulary = open_vocabulary(VocabularyConfig("sentencepiece", path))
    special = set(np.flatnonzero(vocabulary.byte_lengths == 0)) | set(
        np.flatnonzero(vocabulary.unknown_ids)
    )
    assert len(special) >= 3 + 10 + 256
    tokens = np.tile(vocabulary.encode("the cat sat on mat"), (300, 6))[:, :32]
    rows = {"targets": (tokens, np.full(300, 32))}

    def drawn(objective):
        seen = objective(rows, draw)["encoder_input_tokens"][:, :-1]
        changed = seen[(seen != tokens) & (seen != vocabulary.sentinels(1)[0])]
        return set(changed.tolist())

    assert len(drawn(MaskedLM(vocabulary, 33, 0.5))) > 20
    assert not drawn(MaskedLM(vocabulary, 33, 0.5)) & special
    assert drawn(MaskedLM(vocabulary, 33, 0.5, ordinary=False)) & special  # as it was
