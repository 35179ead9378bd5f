"""From a study's rows to its section of the page: its figures, and a table of each metric.

    section = section_of("mad_x", rows, question="...", figures=[Figure("dots")])

Without figures of its own a study gets what its rows are fit for: a curve over an axis of numbers,
a heat map of sources and targets, dots of arms.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxlt.errors import UserError
from jaxlt.metrics.axes import Value, axis_of, cell_of
from jaxlt.metrics.result import Result, latest
from jaxlt.report.figures import Drawing, Figure, draw
from jaxlt.report.page import Section
from jaxlt.report.selection import BASELINE
from jaxlt.report.tables import Table, pivot

_MOST = 12  # figures that nobody asked for, and arms in one of them


def section_of(
    name: str,
    rows: Iterable[Result],
    figures: Sequence[Figure] = (),
    added: Mapping[str, Value] | None = None,
    notes: Sequence[str] = (),
    **words: Any,
) -> Section:
    """Returns a section; a figure or a table that rows do not fit is a note in it.

    added: the values of axes that a cell does not name. words: title, question, claims, how_to_run,
    samples, links of the Section.
    """
    every = latest(rows)
    rows = _last_steps(every)
    told = list(notes)
    if len(rows) < len(every):
        told.append("Of rows of several steps the last one's count.")
    kinds = list(dict.fromkeys((row.metric, row.task, row.split) for row in _of_models(rows)))
    drawn: list[Drawing] = []
    tables: list[Table] = []
    if not kinds:
        told.append("There are no rows of single languages here yet.")
    for figure in figures or _fit(rows, kinds, added):
        try:
            drawn.append(draw(figure, rows, added))
        except UserError as error:
            told.append(f"The figure '{figure.title or figure.kind}' is left out: {error}")
    for metric, task, split in kinds:
        of = [row for row in rows if (row.metric, row.task, row.split) == (metric, task, split)]
        down, over = layout(of, added)
        try:
            label = "-".join(filter(None, (metric, task, split)))
            tables.append(pivot(of, metric, down, over, label, added))
        except UserError as error:
            told.append(f"The table of {metric} is left out: {error}")
    return Section(
        name,
        figures=tuple(_named_apart(drawn)),
        tables=tuple(_named_apart(tables)),
        notes=tuple(dict.fromkeys(told)),
        **words,
    )


def _of_models(rows: Iterable[Result]) -> list[Result]:
    return [
        row
        for row in rows
        if row.aggregate == "none" and row.value is not None and not row.method.startswith(BASELINE)
    ]


def _last_steps(rows: Sequence[Result]) -> list[Result]:
    """Rows without those of steps before the last of what is else the same."""
    last: dict[Any, int] = {}

    def key(row: Result) -> Any:
        return dataclasses.replace(row, step=None, config="").asked

    for row in rows:
        last[key(row)] = max(last.get(key(row), 0), row.step or 0)
    return [row for row in rows if (row.step or 0) == last[key(row)]]


def layout(
    rows: Sequence[Result], added: Mapping[str, Value] | None = None
) -> tuple[tuple[str, ...], str]:
    """Returns (axes down, the axis across) of a table: (('method', 'width'), 'languages').

    Across lies the axis of most values, where cells or settings have one; else the languages. What
    never varies, or says no more than the method does, is no axis.
    """
    few = _of_models(rows)
    arm = next((a for a in ("method", "run", "stage") if axis_of(few[0], a) is not None), "metric")
    names = dict.fromkeys(name for row in few for name in cell_of(row.cell, added))
    names |= dict.fromkeys(name for row in few for name, _ in row.settings)
    values = {name: {axis_of(row, name, added) for row in few} for name in names}
    by_arm: dict[str, dict[Any, set[Any]]] = {name: {} for name in names}
    for row in few:
        for name in names:
            at = by_arm[name].setdefault(axis_of(row, arm, added), set())
            at.add(axis_of(row, name, added))
    varied = [
        name
        for name in names
        if len(values[name] - {None}) > 1 and any(len(each) > 1 for each in by_arm[name].values())
    ]
    if not varied and _many_pairs(few):
        arms = {axis_of(row, arm, added) for row in few}
        return ((arm, "source") if len(arms) > 1 else ("source",)), "target"
    if not varied:
        return (arm,), "language"
    over = max(varied, key=lambda name: len(values[name]))
    return (arm, *(name for name in varied if name != over)), over


def _many_pairs(rows: Iterable[Result]) -> bool:
    """Whether several languages are the source of several targets."""
    pairs = {(row.source, row.target) for row in rows if row.source}
    sources, targets = ({pair[at] for pair in pairs} for at in (0, 1))
    return len(sources) > 1 and len(targets) > 1 and len(pairs) > max(len(sources), len(targets))


def _fit(
    rows: Sequence[Result],
    kinds: Sequence[tuple[str, str, str]],
    added: Mapping[str, Value] | None,
) -> list[Figure]:
    """Figures of what rows are fit for."""
    found = []
    for metric, task, split in kinds[:_MOST]:
        few = _of_models(
            [row for row in rows if (row.metric, row.task, row.split) == (metric, task, split)]
        )
        (arm, *rest), over = layout(few, added)
        arms = {axis_of(row, arm, added) for row in few}
        of: dict[str, Any] = {"metric": metric, "task": task, "split": split}
        of["name"] = "-".join(filter(None, (metric, task, split)))
        numbers = [axis_of(row, over, added) for row in few]
        if _many_pairs(few) and over == "target":
            found.append(Figure("heat", facet=arm if rest else "", **of))
        elif over != "language":
            kind = "bars" if any(isinstance(value, str) for value in numbers) else "curve"
            facet = rest[0] if rest else ""
            if len(rest) < 2 and len(arms) <= _MOST:
                found.append(Figure(kind, x=over, by=arm, facet=facet, **of))  # type: ignore[arg-type]
        elif 1 < len(arms) <= _MOST:
            found.append(Figure("dots", x=arm, **of))
    return found


def _named_apart(parts: Sequence[Any]) -> list[Any]:
    """Parts with names of their own, since each has a file: 'accuracy', 'accuracy-2'."""
    seen: dict[str, int] = {}
    out = []
    for part in parts:
        seen[part.name] = seen.get(part.name, 0) + 1
        at = seen[part.name]
        out.append(part if at == 1 else dataclasses.replace(part, name=f"{part.name}-{at}"))
    return out
