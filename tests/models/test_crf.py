"""The chain against sums and maxima over all label sequences."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from jaxlt.models.crf import Chain, log_likelihood, log_partition, viterbi

# Compiled once for all tests of the same shapes.
partition, likelihood, best_path = (jax.jit(f) for f in (log_partition, log_likelihood, viterbi))


def problem(rows=6, words=4, classes=3, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    draw = lambda *shape: (scale * rng.normal(size=shape)).astype(np.float32)  # noqa: E731
    chain = Chain(draw(classes), draw(classes, classes), draw(classes))
    emissions, labels = draw(rows, words, classes), rng.integers(0, classes, (rows, words))
    mask = rng.random((rows, words)) < 0.7
    mask[0], mask[1] = True, np.arange(words) < 1
    return chain, emissions, labels.astype(np.int32), mask


def every(chain, emissions, mask):
    """Returns (sequences [N, words of the mask], float64 scores [N]) of one row."""
    start, transitions, end = (np.float64(w) for w in chain)
    emissions = np.float64(emissions)[mask]
    sequences = np.array(list(itertools.product(range(len(start)), repeat=len(emissions))))
    scores = start[sequences[:, 0]] + end[sequences[:, -1]]
    scores = scores + emissions[np.arange(len(emissions)), sequences].sum(1)
    return sequences, scores + transitions[sequences[:, :-1], sequences[:, 1:]].sum(1)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_against_all_sequences(scale):
    chain, emissions, labels, mask = problem(scale=scale)
    totals = partition(chain, emissions, mask)
    likely = likelihood(chain, emissions, labels, mask)
    found, best = best_path(chain, emissions, mask)
    for row in range(len(mask)):
        sequences, scores = every(chain, emissions[row], mask[row])
        gold = scores[(sequences == labels[row][mask[row]]).all(1)][0]
        np.testing.assert_allclose(totals[row], logsumexp(scores), rtol=1e-5)
        np.testing.assert_allclose(
            likely[row], gold - logsumexp(scores), rtol=1e-5, atol=1e-5 * scale
        )
        np.testing.assert_array_equal(found[row][mask[row]], sequences[scores.argmax()])
        np.testing.assert_allclose(best[row], scores.max(), rtol=1e-5)
    assert not np.asarray(found)[~mask].any()


def test_unknown_labels_are_summed_over():
    chain, emissions, labels, mask = problem()
    known = np.random.default_rng(1).random(labels.shape) < 0.5
    partly = np.where(known, labels, -1)
    found = likelihood(chain, emissions, partly, mask)
    for row in range(len(mask)):
        sequences, scores = every(chain, emissions[row], mask[row])
        given = partly[row][mask[row]]
        fits = ((sequences == given) | (given < 0)).all(1)
        np.testing.assert_allclose(
            found[row], logsumexp(scores[fits]) - logsumexp(scores), atol=1e-5
        )
    nothing = likelihood(chain, emissions, np.full_like(labels, -1), mask)
    np.testing.assert_array_equal(nothing, 0.0)


def test_probabilities_sum_to_one():
    chain, emissions, _, _ = problem()
    labels, full = np.array(list(itertools.product(range(3), repeat=4))), np.ones((6, 4), bool)
    padded = np.concatenate([labels, labels[:3]]).reshape(14, 6, 4)  # rows in sixes
    many = np.repeat(emissions[:1], 6, 0)
    likely = np.concatenate([likelihood(chain, many, six, full) for six in padded])[: len(labels)]
    total = np.exp(likely).sum()
    np.testing.assert_allclose(total, 1.0, rtol=1e-5)


def test_padding_changes_nothing():
    chain, emissions, labels, _ = problem()
    wide = np.concatenate([emissions, np.full((6, 7, 3), 1e9, np.float32)], 1)
    more = np.pad(labels, ((0, 0), (0, 7)), constant_values=2)
    mask = np.arange(11) < np.full((6, 1), 4)
    inner = mask[:, :4]
    found, wanted = likelihood(chain, wide, more, mask), likelihood(chain, emissions, labels, inner)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    paths = best_path(chain, wide, mask)[0][:, :4], best_path(chain, emissions, inner)[0]
    np.testing.assert_array_equal(*paths)


def test_rows_without_words():
    chain, emissions, labels, mask = problem()
    mask[2] = False
    assert partition(chain, emissions, mask)[2] == 0
    assert likelihood(chain, emissions, labels, mask)[2] == 0
    best, score = best_path(chain, emissions, mask)
    assert not best[2].any() and score[2] == 0


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_gradients_are_finite_on_long_rows_with_extreme_scores(dtype):
    chain, emissions, labels, _ = problem(rows=3, words=300, classes=9, scale=200.0)
    mask = np.arange(300) < np.array([[300], [1], [0]])
    labels = np.where(np.arange(300) % 7 == 3, -1, labels)

    def loss(chain, emissions):
        return -jnp.sum(log_likelihood(chain, emissions.astype(dtype), labels, mask))

    value, grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(chain, emissions)
    assert np.isfinite(value) and value.dtype == jnp.float32
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    assert not np.asarray(grads[1])[~mask].any()


def test_the_gradient_is_expected_less_observed():
    chain, emissions, labels, mask = problem()
    observe = jax.jit(jax.grad(lambda e: jnp.sum(log_likelihood(chain, e, labels, mask))))
    grads = observe(emissions)
    for row in range(len(mask)):
        sequences, scores = every(chain, emissions[row], mask[row])
        share = np.exp(scores - logsumexp(scores))
        expected = np.stack([((sequences == c) * share[:, None]).sum(0) for c in range(3)], -1)
        observed = np.eye(3)[labels[row][mask[row]]]
        np.testing.assert_allclose(grads[row][mask[row]], observed - expected, atol=1e-5)
