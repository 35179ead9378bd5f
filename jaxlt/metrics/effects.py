"""An effect by seed and language, and its interval.

    target = {(0, "glv"): 0.71, (0, "sqi"): 0.64, (1, "glv"): 0.73, ...}  # of one arm; source alike
    effects = difference(target, source, seeds=range(5))
    over_seeds(effects)         # Estimate(value=0.031, low=0.012, high=0.050, p_value=0.011, n=5)

The seed is what is repeated: data, languages and initial weights drawn anew. Languages of one seed
share all of these, and so are one observation, their mean: t over the seeds' means. Where each seed
has new languages it speaks of others like them too; where all have the same, of these alone.
Differences, interactions and slopes are sums of arms with weights, within a seed and language.
"""

from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from jaxlt.errors import UserError, nearest
from jaxlt.metrics.intervals import check_confidence, counts, percentiles, t_mean, t_p_value
from jaxlt.metrics.result import Interval, Result, latest

Scores = Mapping[
    tuple[Hashable, str], float | None
]  # (seed, language) -> a score; None: not finite
ROUNDING = 1e-12  # a sum this much smaller than its terms is 0


@dataclass(frozen=True, eq=False)
class Effects:
    """`values` [S, L], or [S] of one language; NaN where a score is missing or not finite.

    `hint` says which names were perhaps meant by those that nothing is known of.
    """

    values: np.ndarray
    seeds: tuple[Hashable, ...] = ()
    languages: tuple[str, ...] = ()
    hint: str = ""

    def __post_init__(self) -> None:
        values = np.array(self.values, np.float64)
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim != 2 or not values.size:
            raise UserError(
                f"Effects are an array [seeds, languages], or [seeds], with at least one of each; "
                f"these have the shape {list(np.shape(self.values))}."
            )
        object.__setattr__(self, "values", np.where(np.isfinite(values), values, np.nan))
        for name, number in zip(("seeds", "languages"), values.shape, strict=True):
            names = tuple(getattr(self, name)) or tuple(range(number))
            object.__setattr__(self, name, names)
            if len(set(names)) != number:
                raise UserError(
                    f"Effects of {number} {name} need as many different names of them, not {names}."
                )

    def missing(self) -> list[tuple[Hashable, str]]:
        """Returns the (seed, language) pairs without a finite effect."""
        return [(self.seeds[s], self.languages[at]) for s, at in np.argwhere(np.isnan(self.values))]

    def incomplete(self) -> str:
        """Returns why nothing can be concluded yet, "" where it can."""
        missing = self.missing()
        if missing:
            named = "; ".join(f"seed {seed}, {language}" for seed, language in missing[:5])
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            return (
                f"{len(missing)} of {self.values.size} pairs lack a finite score: {named}{more}."
                f"{self.hint}"
            )
        if len(self.seeds) < 2:
            return "One seed says nothing of another: an interval needs two of them, or more."
        return ""


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error and interval; `p_value` is two-sided, against 0.

    `low`, `high` and `p_value` are None where nothing can be said: all n gave the same, not 0.
    """

    value: float
    error: float
    low: float | None
    high: float | None
    p_value: float | None
    n: int  # of seeds, or points
    confidence: float
    method: str

    @property
    def interval(self) -> Interval | None:
        """The interval as a row has it."""
        if self.low is None or self.high is None:
            return None
        return Interval(self.low, self.high, self.confidence)


def contrast(
    terms: Iterable[tuple[float, Scores]],
    seeds: Iterable[Hashable] | None = None,
    languages: Iterable[str] | None = None,
) -> Effects:
    """Returns the sum of (weight, an arm's scores) within each seed and language.

    An interaction: [(1, new_far), (-1, old_far), (-1, new_near), (1, old_near)]. `seeds` and
    `languages` are those the claim is over (others are left out, absent ones are missing); unless
    said, all that any arm has.
    """
    weighted = list(terms)
    known = list(dict.fromkeys(key for _, scores in weighted for key in scores))
    for key in known:
        if not isinstance(key, tuple) or len(key) != 2:
            raise UserError(f"Scores are by (seed, language), as (0, 'glv'), and not by {key!r}.")
    asked_seeds = tuple(dict.fromkeys(key[0] for key in known) if seeds is None else seeds)
    names = tuple(dict.fromkeys(key[1] for key in known))
    asked = names if languages is None else tuple(languages)
    if not (weighted and asked_seeds and asked):
        raise UserError(
            "There is nothing to compare: an effect is of at least one arm, seed and language, and "
            f"here are {len(weighted)} arms, {len(asked_seeds)} seeds and {len(asked)} languages."
        )
    weights = np.array([weight for weight, _ in weighted], np.float64)[:, None, None]
    table = [
        [[scores.get((seed, name)) for name in asked] for seed in asked_seeds]
        for _, scores in weighted
    ]
    parts = weights * np.array(table, np.float64)  # [arms, S, L]; None becomes NaN
    values = parts.sum(axis=0)
    values[np.abs(values) <= ROUNDING * np.abs(parts).max(axis=0)] = 0
    unknown = [name for name in asked if names and name not in names]
    hint = nearest(unknown[0], set(names) - set(asked)) if unknown else ""
    return Effects(values, asked_seeds, asked, hint)


def difference(
    first: Scores,
    second: Scores,
    seeds: Iterable[Hashable] | None = None,
    languages: Iterable[str] | None = None,
) -> Effects:
    """Returns the first's scores less the second's, in pairs of one seed and language."""
    return contrast([(1, first), (-1, second)], seeds, languages)


def slope(
    points: Mapping[float, Scores],
    minus: Mapping[float, Scores] | None = None,
    seeds: Iterable[Hashable] | None = None,
    languages: Iterable[str] | None = None,
) -> Effects:
    """Returns the least-squares slope over an axis, {its value: scores}: score by unit of the axis.

    With `minus`, another arm over an axis, it is less that arm's: their interaction. Of a doubling,
    give the axis as log2.
    """
    terms = list(zip(slope_weights(points), points.values(), strict=True))
    if minus is not None:
        terms += list(zip(-slope_weights(minus), minus.values(), strict=True))
    return contrast(terms, seeds, languages)


def over_seeds(effects: Effects, confidence: float = 0.95) -> Estimate:
    """Returns the mean effect with its interval by t over seeds, each the mean of its languages.

    It holds the truth as often as said where seeds' means are near normal (what it does elsewhere,
    and what others do: tests/metrics/test_effects.py).
    """
    means = _complete(effects).mean(axis=1)
    mean, error, half = (float(each) for each in t_mean(means, confidence))
    n, method = len(means), "t over seeds"
    if all_one(means, np.abs(effects.values).max()):
        return _without_spread(effects.values, confidence, method)
    p = t_p_value(mean / error, n - 1)
    return Estimate(mean, error, mean - half, mean + half, p, n, confidence, method)


def over_both(
    effects: Effects, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """Returns the mean effect with a bootstrap interval: seeds drawn anew and, crossed, languages.

    Of 5 seeds and 3 languages its 95% interval holds the truth in 84% to 96% of simulations, by
    what varies most (tests/metrics/test_effects.py): no verdict is made of it.
    """
    values = _complete(effects)
    if resamples < 1:
        raise UserError(f"The resamples of an interval are at least 1, not {resamples}.")
    check_confidence(confidence)
    mean, n, method = float(values.mean()), len(values), "bootstrap over seeds and languages"
    if all_one(values, np.abs(values).max()):
        return _without_spread(values, confidence, method)
    drawn = resampled_means(values, resamples, seed)
    low, high = percentiles(drawn, confidence)
    extreme = int((np.abs(drawn - mean) >= abs(mean) * (1 - ROUNDING)).sum())
    p = (extreme + 1) / (resamples + 1)
    return Estimate(mean, float(drawn.std(ddof=1)), low, high, p, n, confidence, method)


def resampled_means(values: np.ndarray, resamples: int, seed: int = 0) -> np.ndarray:
    """Values [..., S, L] -> means [B, ...] with seeds and languages drawn, each as a whole."""
    by = [
        np.concatenate([drawn for _, drawn in counts(number, resamples, (seed, which))])
        for which, number in enumerate(values.shape[-2:])
    ]
    weighted = np.einsum("bs,...sl,bl->b...", by[0], values, by[1], optimize=True)
    return weighted / np.prod(values.shape[-2:])


def of_rows(*arms: Iterable[Result]) -> list[dict[tuple[Hashable, str], float | None]]:
    """Rows of each arm -> its scores by (seed, language), checked to be comparable.

    Of what was measured twice the last counts. Arms differ in what they are of, never in the
    metric, the task, the split, or the right answers to a pair.
    """
    found: list[dict[tuple[Hashable, str], float | None]] = []
    seen: dict[tuple[Hashable, str], Result] = {}
    like: Result | None = None
    for arm in arms:
        scores: dict[tuple[Hashable, str], float | None] = {}
        for row in latest(arm):
            key, like = (row.seed, row.language), like or row
            for field in ("metric", "bare_task", "split"):
                name = field.removeprefix("bare_")
                _check_same(name, getattr(like, field), getattr(row, field), key)
            other = seen.setdefault(key, row)
            if other.references and row.references:
                _check_same("references", other.references, row.references, key)
            if key in scores:
                raise UserError(
                    f"One arm has two rows of '{row.metric}' for seed {key[0]} and '{key[1]}' "
                    f"(run '{row.run}', cell '{row.cell}', method '{row.method}', step {row.step}"
                    "): choose the rows of one setting for an arm."
                )
            scores[key] = row.value
        found.append(scores)
    return found


def _check_same(field: str, first: str, second: str, key: tuple[Hashable, str]) -> None:
    if first != second:
        raise UserError(
            f"Rows that are compared have the same {field}; that of seed {key[0]} and '{key[1]}' "
            f"is '{second}', where another row has '{first}'."
        )


def _complete(effects: Effects) -> np.ndarray:
    why = effects.incomplete()
    if why:
        raise UserError(f"There is no interval yet. {why}")
    return effects.values


def _without_spread(values: np.ndarray, confidence: float, method: str) -> Estimate:
    """An exact 0 where all pairs [S, L] are equal to the last bit; else a value, no interval."""
    low, p = (None, None) if np.any(values) else (0.0, 1.0)
    return Estimate(float(values.mean()), 0.0, low, low, p, len(values), confidence, method)


def all_one(numbers: np.ndarray, scale: float) -> bool:
    """Whether all are the same number, but for the rounding of numbers as large as `scale`."""
    return bool(np.ptp(numbers) <= 1e3 * ROUNDING * scale)


def slope_weights(points: Collection[float]) -> np.ndarray:
    """Values of an axis -> what to weigh scores there by, for the slope: 1, 2, 3 -> -.5, 0, .5."""
    axis = np.array(list(points), np.float64)
    if len(axis) < 2 or not np.isfinite(axis).all() or np.ptp(axis) == 0:
        raise UserError(
            f"A slope needs two different numbers on its axis at least, not {axis.tolist()}."
        )
    centred = axis - axis.mean()
    return centred / (centred**2).sum()
