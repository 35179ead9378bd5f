"""Maximum spanning trees against all trees there are."""

import functools
import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from jaxlt.errors import UserError
from jaxlt.models import trees
from jaxlt.models.trees import best_trees
from tests.models.tree_checks import is_tree, tree_scores


@functools.cache
def all_trees(n):
    """Returns [trees, n]: the heads of every tree over n words with one root."""
    if n == 1:
        return np.zeros((1, 1), np.int64)
    heads = np.array(list(itertools.product(range(n + 1), repeat=n)))
    heads = heads[(heads == 0).sum(1) == 1]
    reached = heads == 0
    for _ in range(n):
        reached |= (heads > 0) & np.take_along_axis(reached, np.maximum(heads - 1, 0), 1)
    return heads[reached.all(1)]


def best_score(scores):
    """The score of the best of all trees over [n+1, n+1] scores."""
    n = len(scores) - 1
    found = all_trees(n)
    return scores.astype(np.float64)[found, np.arange(1, n + 1)].sum(1).max()


def check(scores, lengths=None):
    """Best trees of a batch, compared with all trees there are."""
    lengths = np.full(len(scores), scores.shape[1] - 1) if lengths is None else lengths
    heads = best_trees(scores, lengths)
    assert heads.shape == (len(scores), scores.shape[1] - 1) and heads.dtype == np.int32
    found = tree_scores(scores, heads)
    for row, n in enumerate(lengths):
        assert is_tree(heads[row], n) and (heads[row, n:] == -1).all()
        np.testing.assert_allclose(
            found[row], best_score(scores[row, : n + 1, : n + 1]), rtol=1e-12, atol=1e-12
        )
    return heads


def test_all_trees_are_counted_as_cayley_does():
    assert [len(all_trees(n)) for n in range(1, 7)] == [n ** (n - 1) for n in range(1, 7)]


@pytest.mark.parametrize("n", range(1, 7))
def test_best_of_all_trees(n):
    rng = np.random.default_rng(n)
    check(rng.normal(size=(150, n + 1, n + 1)).astype(np.float32))
    check(rng.integers(-2, 3, (150, n + 1, n + 1)).astype(np.float32))  # many ties
    check(np.zeros((1, n + 1, n + 1)))


@pytest.mark.parametrize("n", [4, 6])
def test_one_root_though_many_would_score_more(n):
    rng = np.random.default_rng(n)
    scores = rng.normal(size=(200, n + 1, n + 1))
    scores[:, 0] += 5  # every word would hang on the root
    heads = check(scores)
    assert ((heads == 0).sum(1) == 1).all()


def test_the_best_root_is_not_the_word_that_likes_the_root_most():
    """Cutting all but the best root arc of the unconstrained tree would go wrong here."""
    scores = np.full((1, 4, 4), -10.0)
    scores[0, 0, 1:] = 10, 9, 0  # roots: 1 likes it best
    scores[0, 2, 1], scores[0, 1, 2] = 8, 0
    scores[0, 2, 3] = 3
    assert check(scores).tolist() == [[2, 0, 2]]


finite = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_scores(data):
    n = data.draw(st.integers(1, 5))
    values = data.draw(st.sampled_from([finite, st.sampled_from([-1.0, 0.0, 1.0, 1e5])]))
    scores = data.draw(arrays.arrays(np.float32, (2, n + 1, n + 1), elements=values))
    lengths = data.draw(st.tuples(st.integers(0, n), st.just(n)))
    heads = best_trees(scores, lengths)
    for row, length in enumerate(lengths):
        assert length == 0 or is_tree(heads[row], length)
        if length:
            part = scores[row, : length + 1, : length + 1]
            found = tree_scores(part[None], heads[row : row + 1, :length])[0]
            np.testing.assert_allclose(found, best_score(part), rtol=1e-9, atol=1e-6)


def test_lengths_and_padding():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(40, 7, 7)).astype(np.float32)
    lengths = rng.integers(0, 7, 40)
    heads = best_trees(scores, lengths)
    check(scores[lengths > 0], lengths[lengths > 0])
    for row, n in enumerate(lengths):
        scores[row, n + 1 :], scores[row, :, n + 1 :] = np.nan, np.inf  # never read
        scores[row, :, 0] = np.nan
        np.fill_diagonal(scores[row], np.nan)
        alone = best_trees(scores[row : row + 1, : n + 1, : n + 1], [n])
        np.testing.assert_array_equal(heads[row, :n], alone[0])
    np.testing.assert_array_equal(best_trees(scores, lengths), heads)


def test_chunks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    scores = rng.integers(-2, 3, (30, 9, 9))
    lengths = rng.integers(0, 9, 30)
    heads = best_trees(scores, lengths)
    monkeypatch.setattr(trees, "_CHUNK_ENTRIES", 100)
    np.testing.assert_array_equal(best_trees(scores, lengths), heads)


def test_no_sentences_and_no_words():
    assert best_trees(np.zeros((0, 3, 3)), np.zeros(0)).shape == (0, 2)
    assert best_trees(np.zeros((2, 1, 1)), [0, 0]).shape == (2, 0)


def test_long_sentences_hold_optimality():
    """A tree is planted: its arcs beat all others of their words, so it is the best."""
    rng = np.random.default_rng(0)
    scores = rng.uniform(0, 1, (4, 301, 301)).astype(np.float32)
    planted = np.empty((4, 300), np.int64)
    for row in range(4):
        words = rng.permutation(300) + 1
        for i, word in enumerate(words):
            planted[row, word - 1] = 0 if i == 0 else words[rng.integers(0, i)]
        scores[row, planted[row], np.arange(1, 301)] += 1
    start = time.process_time()
    np.testing.assert_array_equal(best_trees(scores, [300] * 4), planted)
    assert time.process_time() - start < 10
    scores = rng.normal(size=(4, 301, 301)).astype(np.float32)
    heads = best_trees(scores, [300] * 4)
    assert all(is_tree(h) for h in heads)
    base = tree_scores(scores, heads)
    for _ in range(300):  # no arc can be exchanged for a better one
        word = rng.integers(0, 300, 4)
        other = heads.copy()
        other[np.arange(4), word] = rng.integers(1, 301, 4)
        better = tree_scores(scores, other) > base
        assert not any(is_tree(o) for o in other[better])


def test_is_tree():
    assert is_tree([0]) and is_tree([2, 0, 2]) and is_tree([0, 1, 2, -1], 3)
    for heads in ([], [0, 0], [2, 1], [1], [0, 3, 2], [0, 4, 1], [0, -1]):
        assert not is_tree(heads)


def test_bad_input():
    for bad in (np.nan, np.inf, -np.inf):
        scores = np.zeros((2, 4, 4))
        scores[1, 3, 2] = bad
        with pytest.raises(UserError, match="Sentence 1: the score of the arc from 3 to 2"):
            best_trees(scores, [3, 3])
    with pytest.raises(UserError, match="shape"):
        best_trees(np.zeros((2, 3, 4)), [2, 2])
    with pytest.raises(UserError, match="one number a sentence"):
        best_trees(np.zeros((2, 4, 4)), [2])
    with pytest.raises(UserError, match="do not fit"):
        best_trees(np.zeros((2, 4, 4)), [2, 4])
