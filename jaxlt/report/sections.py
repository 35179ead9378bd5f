"""From a study's rows to its section of the page: its figures, and a table of each metric.

    section = section_of("mad_x", rows, question="...", figures=[Figure("dots")])

Without figures of its own a study gets what its rows are fit for: a curve over an axis of numbers,
a heat map of sources and targets, dots of arms.
"""

import dataclasses
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxlt.errors import UserError
from jaxlt.metrics.axes import Value, axis_of, cell_of
from jaxlt.metrics.result import Result, latest
from jaxlt.report.figures import Drawing, Figure, draw
from jaxlt.report.page import Section
from jaxlt.report.selection import BASELINE, groups
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
    kinds = list(dict.fromkeys(map(_kind, _of_models(rows))))
    drawn: list[Drawing] = []
    tables: list[Table] = []
    if not kinds:
        told.append("There are no rows of single languages here yet.")
    for figure in figures or _fit(rows, kinds, added):
        figure, lacking = _so_far(figure, rows)
        if lacking:
            title = figure.title or figure.kind
            told.append(f"The figure '{title}' has no rows of {', '.join(lacking)} so far.")
        try:
            drawn.append(draw(figure, rows, added))
        except UserError as error:
            told.append(f"The figure '{figure.title or figure.kind}' is left out: {error}")
    shown = {(d.figure.metric, d.split) for d in drawn} if figures else set()
    for kind in kinds:
        metric, task, split = kind
        of = [row for row in rows if _kind(row) == kind]
        down, over = layout(of, added)
        label = "-".join(filter(None, kind))
        try:
            table = pivot(of, metric, down, over, label, added, task=task, split=split)
        except UserError as error:
            told.append(f"The table of {metric} is left out: {error}")
        else:
            folded = bool(shown) and (metric, split) not in shown
            tables.append(dataclasses.replace(table, folded=folded))
    return Section(
        name,
        figures=tuple(_named_apart(drawn)),
        tables=tuple(_named_apart(sorted(tables, key=lambda table: table.folded))),
        notes=tuple(dict.fromkeys(told)),
        **words,
    )


def _so_far(figure: Figure, rows: Sequence[Result]) -> tuple[Figure, list[str]]:
    """A figure of those methods that have rows, and the others; of none it stays as it is."""
    there = {row.method for row in rows}
    shown = tuple(method for method in figure.methods if method in there)
    if not shown:
        return figure, []
    lacking = [method for method in figure.methods if method not in there]
    return dataclasses.replace(figure, methods=shown), lacking


def _kind(row: Result) -> tuple[str, str, str]:
    """What rows of one table have in common."""
    return row.metric, row.bare_task, row.split


def _of_models(rows: Iterable[Result]) -> list[Result]:
    return [
        row
        for row in rows
        if row.aggregate == "none" and row.value is not None and not row.method.startswith(BASELINE)
    ]


def _last_steps(rows: Sequence[Result]) -> list[Result]:
    """Rows without those of steps before the last of what is else the same."""
    last: dict[Any, int] = {}
    keys = [(*_alike(row), *(module.name for module in row.modules)) for row in rows]
    for key, row in zip(keys, rows, strict=True):
        last[key] = max(last.get(key, 0), row.step or 0)
    return [row for key, row in zip(keys, rows, strict=True) if (row.step or 0) == last[key]]


_alike = operator.attrgetter(
    *("metric", "task", "source", "target", "split", "aggregate", "group", "members", "study"),
    *("cell", "seed", "stage", "run", "method", "decoding", "settings"),
)


def layout(
    rows: Sequence[Result], added: Mapping[str, Value] | None = None
) -> tuple[tuple[str, ...], str]:
    """Returns (axes down, the axis across) of a table: (('method', 'width'), 'languages').

    Across lies the axis of most values, where cells or settings have one and are crossed; else the
    languages. What never varies, or says no more than the method does, is no axis. Where arms are
    of several stages, the stage is one.
    """
    few = _of_models(rows)
    named = (a for a in ("method", "stage", "run") if any(getattr(row, a) for row in few))
    arm = next(named, "metric")
    few = [row for row in few if axis_of(row, arm) is not None]
    names = dict.fromkeys(name for row in few for name in cell_of(row.cell, added))
    names |= dict.fromkeys(name for row in few for name, _ in row.settings)
    varied = [name for name in names if _varies(few, arm, name, added)]
    if not varied and _many_pairs(few):
        arms = {axis_of(row, arm, added) for row in few}
        return ((arm, "source") if len(arms) > 1 else ("source",)), "target"
    over = max(varied, key=lambda name: len({axis_of(r, name, added) for r in few}), default="")
    if len(varied) > 1 and _one_at_a_time(few, varied, added):
        over = ""
    down = (arm, *(name for name in varied if name != over))
    axes = (*filter(None, (*down, over)), "seed", "language")
    if arm != "stage" and any(len(some) > 1 for some in groups(few, axes, added).values()):
        down = (*down, "stage")
    return down, over or "language"


def _varies(rows: Sequence[Result], arm: str, name: str, added: Mapping[str, Value] | None) -> bool:
    """Whether an axis has several values, and not one for each arm."""
    values: dict[Any, set[Any]] = {}
    for row in rows:
        values.setdefault(axis_of(row, arm, added), set()).add(axis_of(row, name, added))
    every = set().union(*values.values()) - {None}
    return len(every) > 1 and any(len(each) > 1 for each in values.values())


def _one_at_a_time(
    rows: Iterable[Result], axes: Sequence[str], added: Mapping[str, Value] | None
) -> bool:
    """Whether no cell leaves the base on two axes: columns of one would be empty for the other."""
    base = cell_of("", added)
    cells = [cell_of(cell, added) for cell in {row.cell for row in rows}]
    return all(
        sum(name in base and cell.get(name) != base[name] for name in axes) < 2 for cell in cells
    ) and all(name in base for name in axes)


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
        few = _of_models([row for row in rows if _kind(row) == (metric, task, split)])
        (arm, *rest), over = layout(few, added)
        arms = {axis_of(row, arm, added) for row in few} - {None}
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
        elif 1 < len(arms) <= _MOST and not rest:
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
