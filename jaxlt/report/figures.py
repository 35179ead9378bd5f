"""A figure: which rows, drawn how: from rows to numbers. How it looks: jaxlt.report.specs.

    figure = Figure("curve", metric="bpb", x="log2 languages", by="method")
    drawing = draw(figure, rows)
    drawing.data["points"][0]      # {'panel': '', 'series': 'shared', 'x': 1, 'mean': 2.31, ...}
    picture(drawing, 720).svg      # jaxlt.report.drawing

| kind    | x                          | what is drawn                                       |
| ------- | -------------------------- | --------------------------------------------------- |
| curve   | an axis: 'log2 languages'  | a mean over seeds with its band, a line for a `by`  |
| heat    | 'target', or an axis       | a cell for each x and y ('source')                  |
| dots    | 'method', or an axis       | an arm's mean and interval, its seeds in pairs      |
| bars    | an axis: 'layer'           | a mean and interval, a bar for a `by`               |
| scatter | an axis, or another metric | a point for a language, the rank correlation        |
"""

import dataclasses
import functools
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from jaxlt.errors import UserError, check_choices, nearest
from jaxlt.identity import as_tuples
from jaxlt.metrics.axes import Value, axis_of, cell_of
from jaxlt.metrics.correlation import by_seed, correlation
from jaxlt.metrics.effects import over_seeds
from jaxlt.metrics.result import Result
from jaxlt.report.numbers import number, spread
from jaxlt.report.selection import (
    BASELINE,
    Mean,
    at_base,
    groups,
    mean_of,
    mean_over_seeds,
    scores,
    seed_means,
    select,
)

Kind = Literal["curve", "heat", "dots", "bars", "scatter"]
Data = dict[str, list[dict[str, Any]]]
_X = {"heat": "target", "dots": "method"}
_BY = {"curve": "method", "bars": "method", "scatter": "method"}


@dataclasses.dataclass(frozen=True)
class Figure:
    """What gin says of a figure: `study.figures = [@arms/figure()]`, `arms/figure.kind = 'dots'`.

    x, y, by, facet: axes of rows (jaxlt.metrics.axes); `by` has a colour of its own, `facet` a
    panel. where: 'width=64' narrows rows; methods, languages: which take part, in this order.
    against: an arm from which others differ, in pairs: beside the dots, or in the place of means.
    text: what a reader should see.
    """

    kind: Kind
    metric: str = "accuracy"
    x: str = ""
    y: str = "source"
    by: str = ""
    facet: str = ""
    where: str = ""
    methods: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    task: str = ""
    split: str = ""
    against: str = ""
    name: str = ""
    title: str = ""
    text: str = ""

    def __post_init__(self) -> None:
        check_choices(self, "figure.", kind=Kind)
        as_tuples(self, "methods", "languages")
        object.__setattr__(self, "x", self.x or _X.get(self.kind, ""))
        object.__setattr__(self, "by", self.by or _BY.get(self.kind, ""))
        if not self.x:
            raise UserError(f"figure.x names the axis of a figure of the kind '{self.kind}'.")
        if self.against and self.kind not in ("dots", "curve", "bars"):
            raise UserError(
                "figure.against is for figures of the kinds 'dots', 'curve' and 'bars'."
            )
        if self.against and self.kind == "dots" and self.facet:
            raise UserError(
                "figure.against of a figure of the kind 'dots' leaves no room for facet."
            )
        if self.kind == "heat" and self.by:
            raise UserError("figure.by has no place in a figure of the kind 'heat': use facet.")


@dataclasses.dataclass(frozen=True, eq=False)
class Drawing:
    """A figure with its numbers.

    data: 'points', and of 'dots' 'pairs' and 'differences': what is drawn, by the columns that
    jaxlt.report.specs reads. series: what `by` has, and the number of each one's colour: a method
    has one colour in all figures of a study. notes: what a reader has to know.
    """

    figure: Figure
    name: str
    title: str
    subtitle: str
    data: Data
    series: Mapping[str, int]
    split: str = ""
    notes: tuple[str, ...] = ()


def draw(
    figure: Figure, rows: Iterable[Result], added: Mapping[str, Value] | None = None
) -> Drawing:
    """Returns a figure's numbers; rows that do not fit it are a UserError.

    added: values of axes that a cell does not name. Axes among them that the figure does not name
    stay at these values.
    """
    rows = list(rows)
    methods = dict.fromkeys(row.method for row in rows)
    rows = at_base(rows, _named(figure), added)
    few = select(
        rows, figure.metric, figure.task, figure.split, figure.where,
        figure.methods, figure.languages, added,
    )  # fmt: skip
    for names, key in ((figure.methods, "method"), (figure.languages, "language")):
        few.sort(key=lambda row, n=names, k=key: n.index(getattr(row, k)) if n else 0)  # type: ignore[misc]
    if figure.kind == "scatter":
        data, notes = _scatter(figure, few, rows, added)
    else:
        kinds: dict[str, Callable[..., tuple[Data, list[str]]]] = {"heat": _heat, "dots": _dots}
        data, notes = kinds.get(figure.kind, _means)(figure, few, added)
    named = [one["series"] for one in (*data["points"], *data.get("pairs", ())) if "series" in one]
    known = sorted(methods, key=lambda method: method.startswith(BASELINE))
    series = dict.fromkeys([*(one for one in figure.methods or known if one in named), *named])
    places = {one: known.index(one) if figure.by == "method" else n for n, one in enumerate(series)}
    seeds = [point["seeds"] for point in data["points"]]
    return Drawing(
        figure,
        figure.name or "-".join(filter(None, (figure.kind, figure.metric, *figure.x.split()))),
        figure.title or _title(figure),
        _subtitle(figure, few, seeds),
        data,
        places,
        few[0].split,
        tuple(notes),
    )


def _named(figure: Figure) -> set[str]:
    """The axes that a figure speaks of."""
    axes = (figure.x, figure.y, figure.by, figure.facet, *cell_of(figure.where))
    return {name.rpartition(" ")[2].rpartition(".")[2] for name in axes}


def _title(figure: Figure) -> str:
    if figure.kind == "heat":
        return f"{figure.metric} by {figure.y} and {figure.x}"
    return f"{figure.metric} by {figure.x.rpartition(' ')[2]}"


def _subtitle(figure: Figure, rows: Sequence[Result], seeds: Sequence[int]) -> str:
    of = [figure.metric, *filter(None, (rows[0].bare_task, rows[0].split))]
    repeated = f"mean of {spread(seeds)} seeds" if max(seeds) > 1 else "one seed"
    if max(seeds) > 1 and figure.kind not in ("heat", "scatter"):
        repeated += ", 95% interval"
    chances = {row.chance for row in rows}
    chance = chances.pop() if len(chances) == 1 else None
    if figure.against and figure.kind != "dots":
        of[0] += f" less that of {figure.against}, paired"
    told = [", ".join(of), repeated, *([f"chance {number(chance)}"] if chance is not None else [])]
    return " · ".join(told)


def _point(mean: Mean) -> dict[str, Any]:
    return {"mean": mean.value, "low": mean.low, "high": mean.high, "seeds": mean.seeds}


def _means(
    figure: Figure, rows: list[Result], added: Mapping[str, Value] | None
) -> tuple[Data, list[str]]:
    """Curves and bars: a mean for each panel, series and place."""
    of = figure.x.rpartition(" ")[2]
    points, notes = [], []
    found = groups(rows, (figure.facet, figure.by, of), added)
    out = [x for *_, x in found if of != figure.x and (isinstance(x, str) or x <= 0)]
    if out:
        notes.append(f"What lies at {of} {out[0]} has no place on a logarithmic axis.")
    found = {key: some for key, some in found.items() if key[-1] not in out}
    if figure.against:
        _check_against(figure, {str(series) for _, series, _ in found})
    for (panel, series, x), some in found.items():
        names = {"panel": _name(figure.facet, panel), "series": str(series), "x": x}
        point = _point(mean_over_seeds(some))
        if figure.against:
            point = _less(some, found.get((panel, figure.against, x), some))
        if point["mean"] is not None:
            points.append(names | point)
    places = {point["x"] for point in points}
    if figure.kind == "curve" and len(places) < 2:
        there = f"at {of} {places.pop()}" if places else "at no place of its axis"
        raise UserError(f"All rows so far are {there}, and a curve needs two places.")
    return {"points": points}, [*notes, *_uneven(figure, found)]


def _uneven(figure: Figure, points: Mapping[tuple[Value, ...], Sequence[Result]]) -> list[str]:
    """What to say where the points of a panel are means of different languages."""
    if {"language", "target", "source"} & {figure.facet, figure.by, figure.x}:
        return []
    panels: dict[Value, list[frozenset[str]]] = {}
    for key, some in points.items():
        panels.setdefault(key[0], []).append(frozenset(row.language for row in some))
    for of in panels.values():
        if len(set(of)) > 1:
            core = functools.reduce(frozenset.intersection, of)
            return [
                f"Points are means of different languages ({spread([len(one) for one in of])}, "
                f"{len(core)} of them in all points)."
            ]
    return []


def _heat(
    figure: Figure, rows: list[Result], added: Mapping[str, Value] | None
) -> tuple[Data, list[str]]:
    points = []
    for (panel, y, x), some in groups(rows, (figure.facet, figure.y, figure.x), added).items():
        names = {"panel": _name(figure.facet, panel), "y": str(y), "x": str(x)}
        points.append(names | _point(mean_over_seeds(some)))
    return {"points": points}, []


def _dots(
    figure: Figure, rows: list[Result], added: Mapping[str, Value] | None
) -> tuple[Data, list[str]]:
    """Arms: means with intervals; the seeds (or, by `by`, what else repeats) paired over arms."""
    points, pairs = [], []
    found = groups(rows, (figure.facet, figure.x), added)
    for (panel, arm), some in found.items():
        names = {"panel": _name(figure.facet, panel), "arm": str(arm)}
        points.append(names | _point(mean_over_seeds(some)))
        for (of,), few in groups(some, (figure.by,), added).items():
            for seed, value in seed_means(few).items():
                pair = {"pair": f"seed {seed}" + (f", {of}" if figure.by else ""), "value": value}
                pairs.append(names | pair | ({"series": str(of)} if figure.by else {}))
    data = {"points": points, "pairs": pairs}
    if figure.against:
        arms = {str(arm): some for (_, arm), some in found.items()}
        _check_against(figure, arms)
        data["differences"] = [
            {"arm": arm} | _less(some, arms[figure.against]) for arm, some in arms.items()
        ]
    return data, _uneven(figure, found)


def _check_against(figure: Figure, arms: Collection[str]) -> None:
    if figure.against not in arms:
        known = ", ".join(sorted(arms))
        raise UserError(
            f"figure.against is one of {known}, not '{figure.against}'."
            f"{nearest(figure.against, arms)}"
        )


def _less(ours: list[Result], theirs: list[Result]) -> dict[str, Any]:
    """The mean paired difference of two arms over seeds that have both; of itself none."""
    first, second = scores(ours), scores(theirs)
    seeds: dict[Any, list[float]] = {}
    for pair in first:
        if pair in second:
            seeds.setdefault(pair[0], []).append(first[pair] - second[pair])
    if not seeds or ours is theirs:
        return {"mean": None, "low": None, "high": None, "seeds": 0}
    return _point(mean_of([sum(each) / len(each) for each in seeds.values()]))


def _scatter(
    figure: Figure, rows: list[Result], every: list[Result], added: Mapping[str, Value] | None
) -> tuple[Data, list[str]]:
    """A point for each panel, series and language; ranks are correlated within each seed."""
    at = _places(figure, rows, every, added)
    if not at:
        raise UserError(f"No row of '{figure.metric}' has a place on '{figure.x}'.")
    one_source = len({row.source for row in rows}) < 2
    language = "target" if one_source and all(row.target for row in rows) else "language"
    of = () if figure.x in {row.metric for row in every} else (figure.x.rpartition(" ")[2],)
    points, told = [], []
    for (panel, series), some in groups(rows, (figure.facet, figure.by), added).items():
        kept = [row for row in some if id(row) in at]
        name = _name(figure.facet, panel)
        for (label, *_), few in groups(kept, (language, *of), added).items():
            places = {row.seed: at[id(row)] for row in few}
            point = {"panel": name, "series": str(series), "label": str(label)}
            points.append(
                point | {"x": mean_of([*places.values()]).value} | _point(mean_over_seeds(few))
            )
        rank = _rank_correlation(kept, at)
        if rank:
            told.append(f"{', '.join(filter(None, (name, str(series))))}: {rank}")
    notes = [f"Spearman's rank correlation: {'; '.join(told)}."] if told else []
    return {"points": points}, notes


def _places(
    figure: Figure, rows: list[Result], every: list[Result], added: Mapping[str, Value] | None
) -> dict[int, float]:
    """Where rows lie on x, by their id: an axis, or the value of another metric's row like it."""
    if figure.x not in {row.metric for row in every}:
        found = {id(row): axis_of(row, figure.x, added) for row in rows}
        return {at: float(x) for at, x in found.items() if isinstance(x, (int, float))}
    others: dict[tuple[int, str], list[Result]] = {}
    for row in every:
        if row.metric == figure.x and row.value is not None and row.aggregate == "none":
            others.setdefault((row.seed, row.language), []).append(row)
    places = {}
    for row in rows:
        like = others.get((row.seed, row.language), [])
        for field in ("method", "cell", "split"):
            like = [one for one in like if getattr(one, field) == getattr(row, field)] or like
        if like and like[-1].value is not None:
            places[id(row)] = like[-1].value
    return places


def _rank_correlation(rows: Sequence[Result], at: Mapping[int, float]) -> str:
    """'0.71 [0.39, 0.88], 5 seeds'; '' of too few points."""
    pairs: list[tuple[Hashable, str]]
    pairs = [(row.seed, f"{row.language} {row.cell}") for row in rows]
    x: dict[tuple[Hashable, str], float | None]
    x = {pair: at[id(row)] for pair, row in zip(pairs, rows, strict=True)}
    y = {pair: row.value for pair, row in zip(pairs, rows, strict=True)}
    seeds = {seed for seed, _ in x}
    if len(x) < 3 * len(seeds) or not seeds:
        return ""
    try:
        if len(seeds) > 1:
            found, of = over_seeds(by_seed("spearman", x, y)), f"{len(seeds)} seeds"
        else:
            both = [np.array([*each.values()], np.float64) for each in (x, y)]
            found = correlation("spearman", both[0], both[1])
            of = f"{len(x)} points"
    except UserError:  # what never varies, or lies in too few points, is not correlated
        return ""
    interval = f" [{number(found.low)}, {number(found.high)}]" if found.interval else ""
    return f"{number(found.value)}{interval}, {of}"


def _name(axis: str, value: Value) -> str:
    """A panel's heading: '' without a facet, 'width 64' of a number, 'glv_Latn' of a text."""
    if not axis:
        return ""
    return str(value) if isinstance(value, str) else f"{axis} {value}"
