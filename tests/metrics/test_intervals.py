"""Bootstrap from statistics against the plain way: draw texts, score them anew."""

import time

import numpy as np
import pytest
from sacrebleu.metrics import BLEU
from scipy import sparse

from jaxlt.errors import UserError
from jaxlt.metrics import intervals, text
from jaxlt.metrics.statistics import Statistics, f1, means
from tests.metrics.texts import REFERENCES, SYSTEM, noisy


def test_counts_are_drawn_with_replacement() -> None:
    chunks = list(intervals.counts(5, 700, seed=3))
    every = np.concatenate([c for _, c in chunks])
    assert every.shape == (700, 5)
    np.testing.assert_array_equal(every.sum(1), 5)
    # Binomial(5, 1/5): mean 1, variance 0.8
    assert abs(every.mean() - 1) < 1e-12
    assert abs(every.var() - 0.8) < 0.06


def test_chunks_cover_all_resamples(monkeypatch) -> None:
    monkeypatch.setattr(intervals, "_CHUNK", 12)
    chunks = list(intervals.counts(5, 7, seed=0))
    assert [(s.start, s.stop) for s, _ in chunks] == [(0, 2), (2, 4), (4, 6), (6, 7)]
    for which, weights in chunks:
        assert weights.shape == (which.stop - which.start, 5)
        np.testing.assert_array_equal(weights.sum(1), 5)


def test_draws_in_chunks_are_those_of_each(monkeypatch) -> None:
    monkeypatch.setattr(intervals, "_CHUNK", 12)
    some = means([1, 0, 1, 0.5, 0.25])
    rows = np.concatenate([rows for _, rows in intervals.counts(5, 7, seed=4)])
    np.testing.assert_allclose(intervals.draws(some, 7, seed=4), some.value(rows @ some.rows))


def test_draws_equal_scoring_every_resample_anew() -> None:
    """The same examples, repeated as often as they were drawn, scored by sacrebleu itself."""
    made = text.bleu(SYSTEM, REFERENCES)
    values = intervals.draws(made, 20, seed=7)
    (_, weights), *_ = intervals.counts(len(SYSTEM), 20, seed=7)
    for value, row in zip(values, weights.astype(int), strict=True):
        places = np.repeat(np.arange(len(SYSTEM)), row)
        ours, gold = [SYSTEM[i] for i in places], [REFERENCES[i] for i in places]
        assert value == pytest.approx(BLEU().corpus_score(ours, [gold]).score, abs=1e-9)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    inside = 0
    for trial in range(200):
        sample = means(rng.random(120) < 0.4)
        low, high = intervals.percentiles(intervals.draws(sample, 300, trial), 0.9)
        inside += low <= 0.4 <= high
    assert 165 <= inside <= 195  # 180 expected


def test_sparse_rows_are_as_dense_ones() -> None:
    rows = np.random.default_rng(0).integers(0, 3, (40, 3)).astype(float)
    dense = Statistics(rows, f1, 40)
    thin = Statistics(sparse.csr_array(rows), f1, 40)
    assert dense.total() == thin.total()
    np.testing.assert_allclose(intervals.draws(dense, 30), intervals.draws(thin, 30), rtol=1e-12)


def test_a_thousand_resamples_of_a_thousand_sentences_are_quick() -> None:
    made = text.bleu(*noisy(1000))
    least = 9.0
    for _ in range(3):  # the best of three: others may use the processor
        start = time.perf_counter()
        intervals.draws(made, 1000)
        least = min(least, time.perf_counter() - start)
    assert least < 0.5


def test_a_confidence_that_is_none() -> None:
    with pytest.raises(UserError, match="between 0 and 1"):
        intervals.percentiles(np.arange(5.0), 95)


def test_t_is_that_of_the_printed_tables() -> None:
    table = {  # df: t at 90%, 95%, 99% and 99.9% on both sides
        1: (6.314, 12.706, 63.657, 636.619),
        2: (2.920, 4.303, 9.925, 31.599),
        4: (2.132, 2.776, 4.604, 8.610),
        9: (1.833, 2.262, 3.250, 4.781),
        30: (1.697, 2.042, 2.750, 3.646),
        120: (1.658, 1.980, 2.617, 3.373),
    }
    for df, row in table.items():
        for confidence, wanted in zip((0.9, 0.95, 0.99, 0.999), row, strict=True):
            t = intervals.t_critical(df, confidence)
            assert t == pytest.approx(wanted, abs=6e-4)
            assert intervals.t_p_value(-t, df) == pytest.approx(1 - confidence)
    assert intervals.t_p_value(1e5, 4) > 0  # far out, and still no 0
    with pytest.raises(UserError, match="between 0 and 1"):
        intervals.t_critical(4, 1.0)


def test_a_mean_by_t_in_any_number_of_dimensions() -> None:
    mean, error, half = intervals.t_mean(
        np.array([[0.01, 0.03, 0.02, 0.05, 0.04], [1, 1, 1, 1, 1]])
    )
    np.testing.assert_allclose(mean, [0.03, 1])
    np.testing.assert_allclose(error, [np.sqrt(0.001 / 4 / 5), 0])
    np.testing.assert_allclose(half, error * 2.7764451)
