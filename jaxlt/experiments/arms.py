"""An effect by seed and language, from the rows of its arms.

found = measured("@target - @source", rows, "accuracy", split="test", seeds=range(5))
found.effects.values                     # [S, L]; NaN where a score is missing
"""

import dataclasses
import functools
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxlt.errors import UserError, nearest, some_of
from jaxlt.experiments.axes import Axes, cell_name, short
from jaxlt.experiments.effect import BEST, Arm, Term, parsed
from jaxlt.metrics.axes import Value, axis_of, cell_of, check_axis, number_of, scaled
from jaxlt.metrics.correlation import by_seed
from jaxlt.metrics.effects import Effects, Scores, contrast, of_rows, slope_weights
from jaxlt.metrics.result import ALL, Result


@dataclasses.dataclass(frozen=True)
class Grid:
    """Which cells a study has, as rows alone do not say.

    cells: names of them. base: values where a cell names no axis: the old ones of axes that were
    added, and those that `vary` leaves. vary: these axes.
    """

    cells: tuple[str, ...] = ()
    base: Mapping[str, Value] = dataclasses.field(default_factory=dict)
    vary: tuple[str, ...] = ()

    @functools.cached_property
    def settings(self) -> tuple[dict[str, Value], ...]:
        """The axes of each cell."""
        return tuple(cell_of(cell, self.base) for cell in self.cells)

    def has(self, axis: str) -> bool:
        """Whether cells have an axis of this name."""
        return any(axis in setting for setting in self.settings)

    def values(self, axis: str, arm: Arm) -> list[Value]:
        """The values of an axis over the cells that an arm speaks of."""
        named = {name for name, _ in arm.at} | {axis}
        found = dict.fromkeys(
            setting[axis]
            for setting in self.settings
            if axis in setting
            and all(is_one(setting.get(n), of) for n, of in arm.at if self.has(n) and of != (BEST,))
            and all(setting.get(name) == self.base.get(name) for name in {*self.vary} - named)
        )
        return list(found)


def grid_of(axes: Axes, base: Mapping[str, object]) -> Grid:
    """The cells of a study; base: what its axes are where none of them leaves it, by full name."""
    vary = [axis for axis, _ in axes.vary]
    left = [(axis, base[axis]) for axis in vary if axis in base]
    cells = dict.fromkeys(setting.name for setting in axes.cells(base))
    values = cell_of(cell_name([*left, *axes.added]))
    return Grid(tuple(cells), values, tuple(map(short, vary)))


class Measured(NamedTuple):
    """An effect, the arms that lack rows of it, and what was chosen as best, in words."""

    effects: Effects
    lacking: tuple[str, ...] = ()
    chosen: tuple[str, ...] = ()


def measured(
    text: str,
    rows: Iterable[Result],
    metric: str,
    *,
    seeds: Iterable[int],
    task: str = "",
    split: str = "",
    languages: Sequence[str] = (),
    grid: Grid | None = None,
    by_language: bool = True,
) -> Measured:
    """Returns an effect over these seeds; raises UserError where arms name nothing there is.

    by_language: pairs are of one seed and language, and all seeds have the same languages; else of
    one seed, which has languages of its own, and an arm's score there is their mean.
    """
    own = {"metric": metric, "task": task, "split": split}
    table = _Table(rows, own, tuple(languages), tuple(seeds), grid or Grid(), by_language)
    terms = parsed(text)
    if len({term.of == "spearman" for term in terms}) > 1:
        raise UserError(f"The effect '{text}' adds a correlation to what is none.")
    if terms[0].of == "spearman":
        effects = table.correlations(terms)
    else:
        effects = table.sum_of([part for term in terms for part in table.parts(term)])
    return Measured(effects, tuple(dict.fromkeys(table.lacking)), tuple(table.chosen))


class _Part(NamedTuple):
    """Rows of an arm of one setting, what to weigh their scores by, and what to call them."""

    weight: float
    arm: Arm
    rows: list[Result]


class _Table:
    """The rows of one claim, found by arm."""

    def __init__(
        self,
        rows: Iterable[Result],
        own: Mapping[str, str],
        languages: tuple[str, ...],
        seeds: tuple[int, ...],
        grid: Grid,
        by_language: bool,
    ) -> None:
        self.own, self.languages, self.seeds, self.grid = own, languages, seeds, grid
        self.by_language = by_language
        self.rows = [row for row in rows if row.aggregate == "none"]
        self.found: dict[str, None] = {}  # languages
        self.lacking: list[str] = []
        self.chosen: list[str] = []

    def parts(self, term: Term) -> list[_Part]:
        """What is added up for a term: of a slope, a part for each value of its axis."""
        best = [axis for axis, values in term.arm.at if values == (BEST,)]
        if term.of == "slope":
            points = self._along(term.arm, term.axis)
            weights = slope_weights([scaled(term.axis, value) for value in points])
            return [
                _Part(term.weight * weight, *point)
                for weight, point in zip(weights, points.values(), strict=True)
            ]
        rows = self._best(term.arm, best[0]) if best else self._rows(term.arm)
        return [_Part(term.weight, term.arm, rows)]

    def sum_of(self, parts: Sequence[_Part]) -> Effects:
        """The sum of arms with weights, within each pair."""
        found = self._scores(parts)
        weighted = [(part.weight, scores) for part, scores in zip(parts, found, strict=True)]
        return contrast(weighted, self.seeds, self._names(found))

    def correlations(self, terms: Sequence[Term]) -> Effects:
        """The sum of correlations with weights."""
        found = [self._along_axis(t) if t.axis else self._over_languages(t) for t in terms]
        if len({each.values.shape for each in found}) > 1:
            raise UserError("Correlations that are added are all over languages, or over an axis.")
        values = sum(t.weight * each.values for t, each in zip(terms, found, strict=True))
        return Effects(np.asarray(values), self.seeds, found[0].languages)

    def _over_languages(self, term: Term) -> Effects:
        parts = [_Part(1.0, arm, self._rows(arm)) for arm in term.arms]
        x, y = (of_rows(part.rows)[0] for part in parts)  # of two metrics, perhaps
        for part, scores in zip(parts, (x, y), strict=True):
            self._note(part.arm, scores, list(self.languages or {key[1] for key in (*x, *y)}))
        return by_seed("spearman", x, y, self.seeds, self.languages or None)

    def _along_axis(self, term: Term) -> Effects:
        """Correlations over an axis, within each pair."""
        points = [self._along(arm, term.axis) for arm in term.arms]
        values = list(dict.fromkeys(value for of in points for value in of))
        sides = []
        for of in points:
            parts = [_Part(1.0, *of.get(value, (term.arm, []))) for value in values]
            sides.append(dict(zip(values, self._scores(parts), strict=True)))
        names = self._names([scores for side in sides for scores in side.values()])
        pairs = [(seed, name) for seed in self.seeds for name in names]
        if len(sides) == 1:
            numbers = {value: scaled(term.axis, value) for value in values}
            sides.append({v: dict.fromkeys(pairs, x) for v, x in numbers.items()})
        x, y = (_by_point(side, pairs) for side in sides)
        each = by_seed("spearman", x, y, pairs, [str(value) for value in values])
        return Effects(each.values.reshape(len(self.seeds), len(names)), self.seeds, names)

    def _scores(self, parts: Sequence[_Part]) -> list[Scores]:
        """The scores of parts by pair, checked to be comparable."""
        found: list[Scores] = list(of_rows(*(part.rows for part in parts)))
        if not self.by_language:
            found = [self._means(scores) for scores in found]
        names = self._names(found)
        for part, scores in zip(parts, found, strict=True):
            self._note(part.arm, scores, names)
        return found

    def _means(self, scores: Scores) -> Scores:
        """The mean of each seed's languages; none where a seed has fewer of them than another."""
        by: dict[Hashable, list[float]] = {}
        for (seed, _), value in scores.items():
            by.setdefault(seed, []).append(np.nan if value is None else value)
        most = max(map(len, by.values()), default=0)
        return {(s, ALL): float(np.mean(v)) for s, v in by.items() if len(v) == most}

    def _names(self, found: Iterable[Scores]) -> tuple[str, ...]:
        """The languages that every seed has to have."""
        if not self.by_language:
            return (ALL,)
        self.found |= dict.fromkeys(key[1] for scores in found for key in scores)
        return self.languages or tuple(self.found)

    def _note(self, arm: Arm, scores: Scores, names: Sequence[str]) -> None:
        """Remembers that an arm lacks a score."""
        for seed in self.seeds:
            if any(not _finite(scores.get((seed, name))) for name in names):
                self.lacking.append(str(arm))

    def _along(self, arm: Arm, axis: str) -> dict[Value, tuple[Arm, list[Result]]]:
        """An arm at each value of an axis, which brackets may narrow."""
        of = axis.rpartition(" ")[2]
        asked = dict(arm.at).get(of)
        rows = self._rows(arm, of)
        by: dict[Value | None, list[Result]] = {}
        for row in rows:
            by.setdefault(axis_of(row, of, self.grid.base), []).append(row)
        if self.grid.has(of):
            values = self.grid.values(of, arm)
        else:
            check_axis(of, rows, self.grid.base)
            values = [value for value in by if value is not None]
        found = {}
        for value in values:
            if asked in (None, (BEST,)) or is_one(value, asked or ()):
                others = tuple(pair for pair in arm.at if pair[0] != of)
                at = Arm(arm.name, (*others, (of, (str(value),))))
                found[value] = (at, by.get(value, []))
        return found

    def _best(self, arm: Arm, axis: str) -> list[Result]:
        """An arm's rows of each seed, at the value that is best by the other seeds."""
        if len(self.seeds) < 2:
            raise UserError(
                f"What is best in {arm} is chosen on other seeds: it takes two or more."
            )
        along = self._along(arm, axis)
        rows = [row for _, some in along.values() for row in some]
        better = {row.higher_is_better for row in rows}
        if len(better) != 1 or None in better:
            raise UserError(f"The rows of {arm} do not say whether higher or lower is better.")
        parts = [_Part(1.0, *point) for point in along.values()]
        found = self._scores(parts)
        names = self._names(found)
        means = np.array(
            [contrast([(1.0, each)], self.seeds, names).values.mean(1) for each in found]
        )  # [values, S]
        if np.isnan(means).any():
            return []
        others = means.sum(1, keepdims=True) - means
        which = (others if better == {True} else -others).argmax(0)
        values = list(along)
        told = [f"{values[at]} (for {sum(which == at)})" for at in dict.fromkeys(which.tolist())]
        self.chosen.append(f"best {axis} of @{arm.name} by the other seeds: {', '.join(told)}")
        return [
            row
            for seed, at in zip(self.seeds, which, strict=True)
            for row in along[values[at]][1]
            if row.seed == seed
        ]

    def _rows(self, arm: Arm, free: str = "") -> list[Result]:
        """The rows of an arm; free: the axis over which it is looked at."""
        named = {axis: values for axis, values in arm.at if axis != free and values != (BEST,)}
        rows = self.rows
        wanted = {"metric": self.own["metric"], "method": arm.name, **self.own}
        for field, value in wanted.items():
            values = named.pop(field, (value,))
            if value or values != (value,):
                rows = self._narrowed(rows, field, values, arm)
        for axis, values in named.items():
            check_axis(axis, rows, self.grid.base)
            rows = self._narrowed(rows, axis, values, arm)
        loose = {axis for setting in self.grid.settings for axis in setting}
        loose |= {axis for row in rows for axis in cell_of(row.cell)}
        for axis in sorted(loose - {free, *dict(arm.at)}):
            rows = self._at_one(rows, axis, arm)
        kept = [row for row in rows if row.seed in self.seeds]
        return [row for row in kept if not self.languages or row.language in self.languages]

    def _narrowed(
        self, rows: list[Result], axis: str, values: Sequence[str], arm: Arm
    ) -> list[Result]:
        """Rows with one of these values on an axis; there has to be one."""
        by = [(axis_of(row, axis, self.grid.base), row) for row in rows]
        if axis == "task":
            by = [(task if task in values else row.bare_task, row) for task, row in by]
        kept = [row for value, row in by if is_one(value, values)]
        if not kept:
            known = list(dict.fromkeys(str(value) for value, _ in by if value is not None))
            of = "" if axis in ("metric", "method") else f" of @{arm.name}"
            wanted = "|".join(values)
            raise UserError(
                f"No row{of} has the {axis} '{wanted}'.{nearest(wanted, known)} There "
                f"{'is' if len(known) == 1 else 'are'} {some_of(known, 12) or 'none at all'}."
            )
        return kept

    def _at_one(self, rows: list[Result], axis: str, arm: Arm) -> list[Result]:
        """Rows at the base of an axis that `vary` leaves; of another one, all have one value."""
        by = [(axis_of(row, axis, self.grid.base), row) for row in rows]
        if axis in self.grid.vary:
            base = self.grid.base.get(axis)
            kept = [row for value, row in by if value == base]
            if not kept:
                raise UserError(
                    f"No row of {arm} is at the base of '{axis}' ({base}): say which it is of, "
                    f"@{arm.name}[{axis}=VALUE]."
                )
            return kept
        known = list(dict.fromkeys(value for value, _ in by if value is not None))
        if len(known) > 1:
            raise UserError(
                f"{arm} is of several cells, those of {axis} {some_of(list(map(str, known)))}: say "
                f"of which, @{arm.name}[{axis}={known[0]}], or over all, slope({arm}, {axis})."
            )
        return rows


def _by_point(side: Mapping[Value, Scores], pairs: Iterable[tuple[int, str]]) -> Scores:
    """{value of an axis: scores by pair} -> scores by (pair, value)."""
    return {(pair, str(value)): of.get(pair) for value, of in side.items() for pair in pairs}


def _finite(value: float | None) -> bool:
    return value is not None and np.isfinite(value)


def is_one(value: Value | None, texts: Sequence[str]) -> bool:
    """Whether a value of an axis is one of these, as they are written."""
    return str(value) in texts or value in [number_of(text) for text in texts]
