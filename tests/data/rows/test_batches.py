"""Permutations, streams, schedules and array batches: pure functions of seed and place."""

import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlt.data.rows.batches import (
    ArrayBatches,
    BatchSource,
    Schedule,
    mixed,
    permute,
    stream,
    uniforms,
)
from jaxlt.errors import UserError


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 2**63), st.integers(0, 10))
def test_permutation_is_a_bijection(size, seed, epoch):
    out = permute(np.arange(size), size, mixed(seed, epoch))
    assert np.array_equal(np.sort(out), np.arange(size))


def test_permutation_of_a_huge_range_needs_no_memory():
    index = np.array([0, 1, 2, 10**12 - 1])
    out = permute(index, 10**12, mixed(3, 0))
    assert len(set(out.tolist())) == 4 and out.max() < 10**12 and out.min() >= 0


def test_permutation_looks_random():
    """Neighbours land as far apart, and early items as late, as chance would have it."""
    size = 10_007
    out = permute(np.arange(size), size, mixed(1, 2))
    assert abs(np.abs(np.diff(out)).mean() / size - 1 / 3) < 0.02
    assert abs(np.corrcoef(np.arange(size), out)[0, 1]) < 0.03
    other = permute(np.arange(size), size, mixed(1, 3))
    assert (out == other).mean() < 0.001


def test_permutations_of_many_sizes_at_once_equal_one_at_a_time():
    sizes, keys = np.array([1, 2, 5, 100]), mixed(7, np.arange(4))
    index = np.array([0, 1, 3, 42])
    alone = [permute(i, s, k)[0] for i, s, k in zip(index, sizes, keys, strict=True)]
    assert permute(index, sizes, keys).tolist() == alone


def test_streams_are_addressed_by_place():
    first = stream(1, "noise", 5).random(4)
    assert np.array_equal(first, stream(1, "noise", 5).random(4))
    for other in (stream(2, "noise", 5), stream(1, "order", 5), stream(1, "noise", 5, 1)):
        assert not np.isin(other.random(4), first).any()
    together = uniforms(1, "noise", np.array([5, 6]), 4)
    assert np.array_equal(together[0], first)
    assert np.array_equal(together[1], stream(1, "noise", 6).random(4))


def test_schedule_holds_rates_exactly_and_counts_in_order():
    schedule = Schedule(np.array([0.7, 0.299999, 0.000001]), seed=0, block=1000)
    language, visit = schedule(np.arange(3000))
    assert np.bincount(language).tolist() == [2100, 897, 3]  # the rarest still has its row
    for name in range(3):
        assert np.array_equal(visit[language == name], np.arange((language == name).sum()))


def test_schedule_is_the_same_from_anywhere():
    rows = np.arange(990, 2015)
    whole, ranks = Schedule(np.ones(5), seed=4, block=1000)(rows)
    for row, language, rank in zip(rows[::50], whole[::50], ranks[::50], strict=True):
        one = Schedule(np.ones(5), seed=4, block=1000)(np.array([row]))
        assert (one[0][0], one[1][0]) == (language, rank)


def _arrays(count=10):
    return {"tokens": np.arange(count * 3).reshape(count, 3), "weight": np.ones(count)}


def test_array_batches_visit_every_row_once_an_epoch():
    source = ArrayBatches(_arrays(), batch_size=4, seed=1)
    assert isinstance(source, BatchSource)
    first = np.concatenate([source.rows(step, 0, 4)["tokens"][:, 0] for step in range(5)])
    assert sorted(first[:10]) == sorted(first[10:]) == list(range(0, 30, 3))
    assert first[:10].tolist() != first[10:].tolist()
    assert source.spec() == {
        "tokens": ((3,), np.dtype("int32")),
        "weight": ((), np.dtype("float32")),
        "language": ((), np.dtype("int32")),
    }


def test_array_batches_rows_are_parts_of_the_batch():
    source = ArrayBatches(_arrays(), batch_size=8, seed=1)
    whole, left, right = source.rows(3, 0, 8), source.rows(3, 0, 4), source.rows(3, 4, 8)
    for name, rows in whole.items():
        assert np.array_equal(rows, np.concatenate([left[name], right[name]]))


def test_array_batches_fingerprint_follows_content_and_seed():
    base = ArrayBatches(_arrays(), 4, seed=1).fingerprint
    assert base == ArrayBatches(_arrays(), 4, seed=1).fingerprint
    assert base != ArrayBatches(_arrays(), 4, seed=2).fingerprint
    assert base != ArrayBatches(_arrays(12), 4, seed=1).fingerprint


def test_array_batches_seek_at_once():
    source = ArrayBatches(_arrays(1000), 8)
    began = time.perf_counter()
    source.rows(10**9, 0, 8)
    assert time.perf_counter() - began < 0.5


@pytest.mark.parametrize(
    "arrays",
    [{}, {"a": np.ones(0)}, {"a": np.ones(2), "b": np.ones(3)}, {"a": np.array(["x", "y"])}],
)
def test_array_batches_refuse_what_is_no_batch(arrays):
    with pytest.raises(UserError):
        ArrayBatches(arrays, 2)


def test_array_batches_refuse_unknown_languages():
    with pytest.raises(UserError, match="language 3"):
        ArrayBatches({"a": np.ones(2), "language": np.array([0, 3])}, 2, languages=("x", "y"))


def test_batches_and_mixtures_import_neither_tensorflow_nor_seqio():
    code = "import sys, jaxlt.data.mixtures, jaxlt.data.config as c; c.DataConfig(); "
    code += (
        "print([n for n in ('tensorflow', 'seqio', 'jax', 'sentencepiece') if n in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
