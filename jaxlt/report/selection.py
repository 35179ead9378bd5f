"""Which rows a figure or a table is of, and their means over seeds.

rows = select(rows, "accuracy", split="test", methods=("target", "source"))
mean_over_seeds(rows)      # Mean(0.71, 0.68, 0.74, seeds=5): t over seeds, each a mean of rows
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxlt.errors import UserError, nearest, some_of
from jaxlt.metrics.axes import Value, axis_of, cell_of, check_axis
from jaxlt.metrics.intervals import t_mean
from jaxlt.metrics.result import Result, latest

BASELINE = "baseline/"  # how the method of what is no model begins
CONFIDENCE = 0.95
TEST = "test"


class Mean(NamedTuple):
    """A mean over seeds with its interval, None of a single seed."""

    value: float
    low: float | None
    high: float | None
    seeds: int


def select(
    rows: Iterable[Result],
    metric: str,
    task: str = "",
    split: str = "",
    where: str = "",
    methods: Sequence[str] = (),
    languages: Sequence[str] = (),
    added: Mapping[str, Value] | None = None,
) -> list[Result]:
    """Returns the newest finite rows of single languages of one metric, task and split.

    A task counts without its language, 'tagging.glv' as 'tagging'. Where rows are of several splits
    and none is named, 'test' is meant. where: 'width=64,languages=4'. Baselines take part where
    `methods` names them. Raises UserError where nothing is left, saying what there is, and where
    rows are of several tasks.
    """
    found = _narrowed(latest(rows), "metric", lambda row: row.metric, metric)
    splits = {row.split for row in found}
    if split or (len(splits) > 1 and TEST in splits):
        found = _narrowed(found, "split", lambda row: row.split, split or TEST)
    if task:
        bare = next((row.bare_task for row in found if row.task == task), task)
        found = _narrowed(found, "task", lambda row: row.bare_task, bare)
    for method in methods:
        _narrowed(found, "method", lambda row: row.method, method)
    for name, at in cell_of(where).items():
        check_axis(name, found, added)
        found = [row for row in found if axis_of(row, name, added) == at]
    kept = [
        row
        for row in found
        if row.aggregate == "none"
        and row.value is not None
        and (not languages or row.language in languages or row.target in languages)
        and (row.method in methods if methods else not row.method.startswith(BASELINE))
    ]
    if not kept:
        narrowed = {"where": where, "methods": methods, "languages": languages}
        told = ", ".join(f"{name} {value!r}" for name, value in narrowed.items() if value)
        raise UserError(f"No row of '{metric}' is of single languages, finite, {told or 'a model'}")
    for field, of in (("task", lambda row: row.bare_task), ("split", lambda row: row.split)):
        several = sorted({of(row) for row in kept})
        if len(several) > 1:
            raise UserError(
                f"Rows of '{metric}' are of the {field}s {', '.join(several)}: one is to be named."
            )
    return kept


def _narrowed(
    rows: list[Result], field: str, of: Callable[[Result], str], value: str
) -> list[Result]:
    found = [row for row in rows if of(row) == value]
    if not found:
        known = sorted({of(row) for row in rows})
        raise UserError(
            f"No row has the {field} '{value}'.{nearest(value, known)} There are rows of "
            f"{some_of([each or 'none' for each in known], 12) or 'nothing'}."
        )
    return found


def at_base(
    rows: Iterable[Result], named: Collection[str], base: Mapping[str, Value] | None
) -> list[Result]:
    """Rows of cells that leave their base values only on the axes that are named."""
    fixed = {name: at for name, at in cell_of("", base).items() if name not in named}
    return [row for row in rows if fixed.items() <= cell_of(row.cell, base).items()]


def groups(
    rows: Iterable[Result], axes: Sequence[str], added: Mapping[str, Value] | None = None
) -> dict[tuple[Value, ...], list[Result]]:
    """Rows by their values on axes ('' is 'all' for every row), in order; what lacks one is out."""
    rows = list(rows)
    for name in filter(None, axes):
        check_axis(name, rows, added)
    found: dict[tuple[Value, ...], list[Result]] = {}
    for row in rows:
        key = tuple(axis_of(row, name, added) if name else "all" for name in axes)
        if None not in key:
            found.setdefault(key, []).append(row)  # type: ignore[arg-type]
    ranks = [_ranks([key[at] for key in found]) for at in range(len(axes))]
    return {
        key: found[key]
        for key in sorted(found, key=lambda key: [ranks[at][v] for at, v in enumerate(key)])
    }


def _ranks(values: Iterable[Value]) -> dict[Value, int]:
    """The place of each value: numbers by size, texts as they came, numbers before texts."""
    once = list(dict.fromkeys(values))
    numbers = sorted(value for value in once if not isinstance(value, str))
    ordered: list[Value] = [*numbers, *(value for value in once if isinstance(value, str))]
    return {value: at for at, value in enumerate(ordered)}


def scores(rows: Iterable[Result]) -> dict[tuple[Hashable, str], float]:
    """Rows of one arm -> its scores by (seed, language); two rows of one pair are a UserError."""
    found: dict[tuple[Hashable, str], Result] = {}
    for row in rows:
        other = found.setdefault((row.seed, row.language), row)
        if other is not row:
            raise UserError(
                f"Two rows of '{row.metric}' for seed {row.seed} and '{row.language}' fall on one "
                f"point; they differ in {_differ(other, row)}: name it as an axis, or say `where`."
            )
    return {pair: row.value for pair, row in found.items() if row.value is not None}


def _differ(first: Result, second: Result) -> str:
    names = ("cell", "method", "stage", "run", "step", "config", "modules", "settings")
    pairs = ((name, getattr(first, name), getattr(second, name)) for name in names)
    return "; ".join(f"{n} ({a!r} and {b!r})" for n, a, b in pairs if a != b) or "nothing known"


def seed_means(rows: Iterable[Result]) -> dict[Hashable, float]:
    """Rows of one arm -> the mean over languages of each seed."""
    by_seed: dict[Hashable, list[float]] = {}
    for (seed, _), value in scores(rows).items():
        by_seed.setdefault(seed, []).append(value)
    return {seed: float(np.mean(values)) for seed, values in by_seed.items()}


def mean_over_seeds(rows: Iterable[Result]) -> Mean:
    """The mean of seeds' means, with its interval by t."""
    return mean_of(list(seed_means(rows).values()))


def mean_of(values: Sequence[float]) -> Mean:
    """One value a seed -> their mean: [.01, .03, .02, .05, .04] -> Mean(.03, .0104, .0496, 5)."""
    if len(values) < 2:
        return Mean(float(values[0]), None, None, len(values))
    mean, _, half = t_mean(np.array(values, np.float64), CONFIDENCE)
    return Mean(float(mean), float(mean - half), float(mean + half), len(values))
