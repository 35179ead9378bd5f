"""Pearson's and Spearman's correlation, with an interval and a permutation test.

correlation("spearman", similarity, transfer)       # Estimate(value=.71, low=.39, high=.88, ...)
over_seeds(by_seed("spearman", x, y))               # x, y: {(seed, language): value}
"""

from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from jaxlt.errors import UserError, check_one_of
from jaxlt.metrics.effects import ROUNDING, Effects, Estimate, Scores, all_one
from jaxlt.metrics.intervals import check_confidence
from jaxlt.metrics.result import ALL

_KINDS = ("pearson", "spearman")


def correlation(
    kind: str,
    x: Sequence[float] | np.ndarray,
    y: Sequence[float] | np.ndarray,
    confidence: float = 0.95,
    permutations: int = 9999,
    seed: int = 0,
) -> Estimate:
    """Returns the correlation of n >= 4 independent points x [n], y [n].

    The interval is by Fisher's z (for ranks with Bonett and Wright's error); there is none of a
    perfect correlation. p: how often y in another order is correlated as much, either way.
    """
    from scipy.special import ndtri

    check_one_of("A correlation", kind, _KINDS)
    check_confidence(confidence)
    if permutations < 1:
        raise UserError(f"The permutations of a test are at least 1, not {permutations}.")
    ours, theirs = _points(x, y)
    first, second = _standard(kind, ours), _standard(kind, theirs)
    if first is None or second is None:
        name = "x" if first is None else "y"
        raise UserError(f"Nothing is correlated with what never varies: all {name} are equal.")
    value = float(np.clip(first @ second, -1, 1))
    rows = np.broadcast_to(second, (permutations, len(second)))
    orders = np.random.default_rng(seed).permuted(rows, axis=1)
    extreme = int((np.abs(orders @ first) >= abs(value) - ROUNDING).sum())
    p, method = (extreme + 1) / (permutations + 1), f"{kind}, by permutation"
    inflation = 1 + value**2 / 2 if kind == "spearman" else 1.0
    width = np.sqrt(inflation / (len(ours) - 3))  # of z
    error, low, high = float(width * (1 - value**2)), None, None
    if abs(value) < 1 - ROUNDING:
        half = ndtri((1 + confidence) / 2) * width
        low, high = (float(np.tanh(np.arctanh(value) + side)) for side in (-half, half))
    return Estimate(value, error, low, high, p, len(ours), confidence, method)


def by_seed(
    kind: str,
    x: Scores,
    y: Scores,
    seeds: Iterable[Hashable] | None = None,
    languages: Iterable[str] | None = None,
) -> Effects:
    """Returns the correlation over each seed's languages, as the effect of that seed.

    `languages` are those that every seed has; unless said, each has its own. NaN where a score is
    missing or one side never varies.
    """
    check_one_of("A correlation", kind, _KINDS)
    known = dict.fromkeys([*x, *y])
    asked = tuple(dict.fromkeys(seed for seed, _ in known) if seeds is None else seeds)
    fixed = None if languages is None else tuple(languages)
    values = []
    for seed in asked:
        names = fixed if fixed is not None else [name for at, name in known if at == seed]
        sides = [np.array([of.get((seed, name)) for name in names], np.float64) for of in (x, y)]
        if 0 < len(names) < 3:
            raise UserError(
                f"A correlation over languages needs three of them in each seed, or more; seed "
                f"{seed} has {', '.join(names)}."
            )
        first, second = (_standard(kind, side) for side in sides)
        values.append(np.nan if first is None or second is None else float(first @ second))
    return Effects(np.array(values), asked, (ALL,))


def _points(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> list[np.ndarray]:
    both = [np.asarray(each, np.float64) for each in (x, y)]
    if both[0].ndim != 1 or both[0].shape != both[1].shape or len(both[0]) < 4:
        raise UserError(
            "A correlation with an interval is of two lists of the same points, four or more, and "
            f"not of the shapes {list(both[0].shape)} and {list(both[1].shape)}."
        )
    for name, each in zip("xy", both, strict=True):
        bad = np.flatnonzero(~np.isfinite(each))
        if len(bad):
            raise UserError(f"Point {bad[0]} of a correlation has {each[bad[0]]} for {name}.")
    return both


def _standard(kind: str, values: np.ndarray) -> np.ndarray | None:
    """Values (or their ranks) less their mean, of length 1; None if they never vary or lack one."""
    if not values.size or not np.isfinite(values).all() or all_one(values, np.abs(values).max()):
        return None
    if kind == "spearman":
        values = _ranks(values)
    centred = values - values.mean()
    return centred / np.linalg.norm(centred)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, ties at their mean: [5, 7, 7, 9] -> [1, 2.5, 2.5, 4]."""
    _, which, many = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(many) - (many - 1) / 2)[which]
