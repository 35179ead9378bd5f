"""Are two systems different? Paired tests on the same examples, from sufficient statistics."""

from dataclasses import dataclass

import numpy as np

from jaxlt.errors import UserError
from jaxlt.metrics.intervals import counts, percentiles
from jaxlt.metrics.statistics import Statistics

_SLACK = 1e-12  # sums in another order are the same score


@dataclass(frozen=True)
class Comparison:
    """Two systems on n examples: `difference` is the first's score less the second's.

    `low` and `high` bound the difference (bootstrap; None for a randomization test), `p_value` is
    two-sided, `wins` the share of resamples in which the first is better.
    """

    first: float
    second: float
    difference: float
    low: float | None
    high: float | None
    p_value: float
    wins: float | None
    n: int
    test: str


def paired_bootstrap(
    first: Statistics,
    second: Statistics,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Returns the comparison by resamples that both systems share.

    p: how often a resampled difference lies as far from the observed one as that lies from 0.
    (sacrebleu's `paired-bs` counts one tail alone, and so gives about half of it.)
    """
    observed = _difference(first, second)
    gaps = np.empty(resamples)
    for which, weights in counts(first.rows.shape[0], resamples, seed):
        ours = first.value(np.asarray(weights @ first.rows))
        gaps[which] = ours - second.value(np.asarray(weights @ second.rows))
    extreme = int((np.abs(gaps - observed) >= abs(observed) - _SLACK).sum())
    low, high = percentiles(gaps, confidence)
    p, wins = (extreme + 1) / (resamples + 1), float((gaps > _SLACK).mean())
    return Comparison(
        first.total(), second.total(), observed, low, high, p, wins, first.n, "bootstrap"
    )


def approximate_randomization(
    first: Statistics, second: Statistics, trials: int = 10_000, seed: int = 0
) -> Comparison:
    """Returns the comparison by exchanging the systems' outputs, each example by a coin.

    p: how often systems made so differ at least as much as the two do (as sacrebleu's `paired-ar`,
    save that a tie counts: a system does not differ from itself).
    """
    observed = _difference(first, second)
    rng = np.random.default_rng(seed)
    examples, change = first.rows.shape[0], second.rows - first.rows
    sums = [np.asarray(s.rows.sum(axis=0)).reshape(1, -1) for s in (first, second)]
    size, extreme = max(1, 2**21 // examples), 0
    for start in range(0, trials, size):
        coins = rng.integers(2, size=(min(size, trials - start), examples)).astype(np.float64)
        moved = np.asarray(coins @ change)
        gaps = first.value(sums[0] + moved) - first.value(sums[1] - moved)
        extreme += int((np.abs(gaps) >= abs(observed) - _SLACK).sum())
    p = (extreme + 1) / (trials + 1)
    return Comparison(
        first.total(), second.total(), observed, None, None, p, None, first.n, "randomization"
    )


def _difference(first: Statistics, second: Statistics) -> float:
    if first.rows.shape != second.rows.shape:
        raise UserError(
            f"Two systems are compared on the same examples with the same settings; one has "
            f"statistics of shape {first.rows.shape}, the other of {second.rows.shape}."
        )
    return first.total() - second.total()
