"""Are two systems different? Paired tests on the same examples, and Holm's correction of many.

Two runs on the same examples say nothing of another seed: of those, see jaxlt.metrics.effects.
"""

from collections.abc import Sequence
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


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Returns the p values of tests made together, corrected by Holm's steps, in their order.

    [.01, .04, .03, .005] -> [.03, .06, .06, .02]. None, a test not made yet, counts among them as
    one that shows nothing, and stays None: once it is made, the others can but become clearer.
    """
    for p in p_values:
        if p is not None and not 0 <= p <= 1:
            raise UserError(f"A p value lies between 0 and 1, and {p} does not.")
    filled = np.array([1.0 if p is None else p for p in p_values])
    order = np.argsort(filled, kind="stable")
    steps = filled[order] * np.arange(len(filled), 0, -1)
    corrected = np.empty_like(filled)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    pairs = zip(p_values, corrected.tolist(), strict=True)
    return [None if p is None else value for p, value in pairs]


def _difference(first: Statistics, second: Statistics) -> float:
    if first.rows.shape != second.rows.shape:
        raise UserError(
            f"Two systems are compared on the same examples with the same settings; one has "
            f"statistics of shape {first.rows.shape}, the other of {second.rows.shape}."
        )
    return first.total() - second.total()
