"""Tables of rows: arms over languages, means of seeds, and which of them the seeds tell apart.

    table = pivot(rows, "accuracy", by="method", over="language")
    table.lines[0].label, table.lines[0].cells[0].text      # 'source', '0.812 ± 0.013'
    table.lines[0].cells[0].mark                            # 'best'
    csv(table), latex(table)

In each column the best arm is tested against each other one by t over seeds' paired differences,
corrected by Holm; 'tied' marks those that were not shown to differ from it.
"""

import csv as _csv
import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from jaxlt.metrics.axes import Value, cell_of
from jaxlt.metrics.effects import difference, over_seeds
from jaxlt.metrics.result import Result
from jaxlt.metrics.significance import holm
from jaxlt.report.numbers import number, plus_minus, spread
from jaxlt.report.selection import (
    BASELINE,
    CONFIDENCE,
    groups,
    mean_over_seeds,
    scores,
    select,
)

Mark = Literal["", "best", "tied"]
MEAN = "mean"  # the column over all others
_WORDS = ("method", "stage", "run", "source", "target", "language", "task", "metric")  # say it all


@dataclasses.dataclass(frozen=True)
class Cell:
    """What stands in a table: a number with its interval, or a text."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    seeds: int = 0
    mark: Mark = ""
    words: str = ""

    @property
    def text(self) -> str:
        """As a reader sees it."""
        return self.words or plus_minus(self.value, self.low, self.high)


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of a table. quiet: a baseline, of no model. apart: the first of a block."""

    label: str
    cells: tuple[Cell, ...]
    quiet: bool = False
    apart: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """head: the corner's word, then the columns. note: how to read it, below the table.

    sorted_by: the column (from 1) that the lines come in the order of, 0: in an order of their own.
    folded: it opens on demand.
    """

    name: str
    title: str
    head: tuple[str, ...]
    lines: tuple[Line, ...]
    note: str = ""
    sorted_by: int = 0
    descending: bool = True
    folded: bool = False


def pivot(
    rows: Iterable[Result],
    metric: str,
    by: str | Sequence[str] = "method",
    over: str = "language",
    name: str = "",
    added: Mapping[str, Value] | None = None,
    **narrowed: Any,
) -> Table:
    """Returns the table of one metric: `by` down (one axis of rows or several), `over` across.

    narrowed: task, split, where, methods, languages (see `select`). Baselines come last, untested.
    """
    rows, down = list(rows), (by,) if isinstance(by, str) else tuple(by)
    few = select(rows, metric, added=added, **narrowed)
    if over == "language" and len({row.source for row in few}) == 1 and all(r.target for r in few):
        over = "target"  # 'glv' says as much as 'eng-glv' where all come from one source
    better = few[0].higher_is_better
    columns = [column for (column,) in groups(few, (over,), added)]
    base = cell_of("", added)
    blocks: dict[tuple[Value, ...], dict[str, list[Result]]] = {}  # arms that are compared
    for key, some in groups(few, down, added).items():
        blocks.setdefault(key[1:], {})[_label(down, key, base)] = some
    left = {
        key: [name in base and base[name] != at for name, at in zip(down[1:], key, strict=True)]
        for key in blocks
    }
    order = sorted(blocks, key=lambda key: (sum(left[key]), [not each for each in left[key]]))
    means = len(columns) > 1 and over in ("language", "target")
    lines: list[Line] = []
    for block in map(blocks.__getitem__, order):
        table = _block(block, columns, over, means, better, added)
        keys = {label: _sort_key(some, better is not False) for label, some in table.items()}
        ordered = sorted(table, key=keys.__getitem__)
        lines += [
            Line(label, tuple(table[label]), apart=bool(lines) and not at)
            for at, label in enumerate(ordered)
        ]
    columns += [MEAN] * means
    if not narrowed.get("methods"):
        lines += _baselines(rows, metric, over, columns, added, narrowed)
    seeds = [cell.seeds for line in lines for cell in line.cells if cell.seeds]
    what = ", ".join(filter(None, (few[0].bare_task, few[0].split)))
    shown, of = ", ".join(down), over.rpartition(" ")[2]
    return Table(
        name or "-".join((metric, *down, *over.split())),
        f"{metric}{f' ({what})' if what else ''} by {shown} and {of}",
        (shown, *map(str, columns)),
        tuple(lines),
        _note(seeds, better, max(map(len, blocks.values()))),
        len(columns) if len(blocks) == 1 else 0,
        better is not False,
    )


def _label(axes: Sequence[str], values: Sequence[Value], base: Mapping[str, Value]) -> str:
    """('method', 'width'), ('shared', 48) -> 'shared, width 48'; 'shared' where 48 is the base."""
    named = {a: v for a, v in zip(axes, values, strict=True) if a not in base or base[a] != v}
    words = [v if a in _WORDS else f"{a} {v}" for a, v in named.items()]
    return ", ".join(map(str, words))


def _block(
    arms: Mapping[str, list[Result]],
    columns: Sequence[Value],
    over: str,
    means: bool,
    better: bool | None,
    added: Mapping[str, Value] | None,
) -> dict[str, list[Cell]]:
    """The cells of arms that are compared with each other: those alike but for the first axis."""
    table: dict[str, list[Cell]] = {label: [] for label in arms}

    def fill(some: Mapping[str, Sequence[Result]]) -> None:
        marks = _marks(some, better)
        for label in arms:
            table[label].append(_cell(some.get(label, ()), marks.get(label, "")))

    by_column = {label: groups(some, (over,), added) for label, some in arms.items()}
    for column in columns:
        fill({label: found.get((column,), []) for label, found in by_column.items()})
    if means:
        fill({label: arms[label] for label in arms if all(cell.seeds for cell in table[label])})
    return table


def _sort_key(cells: Sequence[Cell], descending: bool) -> tuple[bool, float]:
    """By the last column; those without a number there come after, by the last one they have."""
    known = [cell.value for cell in cells if cell.value is not None]
    value = known[-1] if known else 0.0
    return cells[-1].value is None, -value if descending else value


def _cell(rows: Sequence[Result], mark: Mark) -> Cell:
    if not rows:
        return Cell()
    mean = mean_over_seeds(rows)
    return Cell(mean.value, mean.low, mean.high, mean.seeds, mark)


def _marks(arms: Mapping[str, Sequence[Result]], higher_is_better: bool | None) -> dict[str, Mark]:
    """The best arm of a column, and those that paired tests do not tell from it."""
    known = {arm: rows for arm, rows in arms.items() if rows}
    if higher_is_better is None or len(known) < 2:
        return {}
    sign = 1 if higher_is_better else -1
    best = max(known, key=lambda arm: sign * mean_over_seeds(known[arm]).value)
    found: dict[str, Mark] = {best: "best"}
    others = [arm for arm in known if arm != best]
    p_values = [_p_value(known[best], known[arm]) for arm in others]
    for arm, first, p in zip(others, p_values, holm(p_values), strict=True):
        if first is not None and p is not None and p >= 1 - CONFIDENCE:
            found[arm] = "tied"
    return found


def _p_value(first: Sequence[Result], second: Sequence[Result]) -> float | None:
    """Of the paired difference over the seeds and languages that both have; None: untestable."""
    ours, theirs = scores(first), scores(second)
    both = ours.keys() & theirs.keys()
    seeds = {seed for seed, _ in both}
    languages = {language for _, language in both}
    if len(seeds) < 2 or len(both) != len(seeds) * len(languages):
        return None
    return over_seeds(difference(ours, theirs, seeds, sorted(languages)), CONFIDENCE).p_value


def _baselines(
    rows: Sequence[Result],
    metric: str,
    over: str,
    columns: Sequence[Value],
    added: Mapping[str, Value] | None,
    narrowed: Mapping[str, Any],
) -> list[Line]:
    """A quiet line for each baseline; one that many cells have measured counts once."""
    known = {row.method for row in rows if row.metric == metric}
    lines: list[Line] = []
    for method in sorted(m for m in known if m.startswith(BASELINE)):
        few = select(rows, metric, added=added, **dict(narrowed) | {"methods": (method,)})
        found: dict[Value, Cell] = {}
        for (column,), some in groups(few, (over,), added).items():
            found[column] = _cell(_once(some), "")
        if len(found) == len(columns) - 1 and columns[-1] == MEAN:
            found[MEAN] = _cell(_once(few), "")
        cells = tuple(found.get(column, Cell()) for column in columns)
        lines.append(Line(method.removeprefix(BASELINE), cells, quiet=True, apart=not lines))
    return lines


def _once(rows: Iterable[Result]) -> list[Result]:
    return list({(row.seed, row.language): row for row in rows}.values())


def _note(seeds: Sequence[int], higher_is_better: bool | None, arms: int) -> str:
    if max(seeds) < 2:
        return "One seed: nothing is tested."
    told = f"Means of {spread(seeds)} seeds ± half a 95% interval by t over seeds."
    if higher_is_better is None or arms < 2:
        return told
    order = "highest" if higher_is_better else "lowest"
    return (
        f"{told} Bold: the best ({order}); ≈: not shown to differ from it (paired t over seeds, "
        "Holm's correction in each column)."
    )


def csv(table: Table) -> str:
    """A line for each number: label, column, value, low, high, seeds, mark; of words, as it is."""
    if all(cell.words for line in table.lines for cell in line.cells):
        words = ([line.label, *(cell.words for cell in line.cells)] for line in table.lines)
        return _written([table.head, *words])
    lines: list[Sequence[Any]] = [
        (table.head[0], "column", "value", "low", "high", "seeds", "mark")
    ]
    for line in table.lines:
        for column, cell in zip(table.head[1:], line.cells, strict=True):
            if cell.words or cell.value is not None:
                first = cell.words or cell.value
                at = (line.label, column, first, cell.low, cell.high, cell.seeds, cell.mark)
                lines.append(at)
    return _written(lines)


def points_csv(points: Sequence[Mapping[str, Any]]) -> str:
    """A figure's numbers, a line each, with the names that jaxlt.report.figures gives them."""
    names = dict.fromkeys(name for point in points for name in point)
    return _written([tuple(names), *([point.get(name) for name in names] for point in points)])


def _written(lines: Iterable[Sequence[Any]]) -> str:
    out = io.StringIO()
    _csv.writer(out, lineterminator="\n").writerows(lines)
    return out.getvalue()


def markdown(table: Table) -> str:
    """A table for a README: the best bold, what is tied with a sign."""
    signs = {"best": "**{}**", "tied": "{} ≈", "": "{}"}
    lines = [table.head, ["---"] * len(table.head)]
    for line in table.lines:
        lines.append([line.label, *(signs[c.mark].format(c.text) for c in line.cells)])
    clean = ([" ".join(word.replace("|", "\\|").split()) for word in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in clean)


_LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    **{c: "\\" + c for c in "&%$#_{}"}, "±": r"$\pm$", "−": "$-$", "–": "--", "≈": r"$\approx$",
}  # fmt: skip


def latex(table: Table) -> str:
    """A tabular with booktabs' rules: the best bold, what is tied with a dagger."""
    head = " & ".join(map(_tex, table.head))
    lines = [
        rf"% {' '.join(table.title.split())}",
        rf"\begin{{tabular}}{{l{'r' * (len(table.head) - 1)}}}",
        r"\toprule",
        rf"{head} \\",
        r"\midrule",
    ]
    for line in table.lines:
        if line.apart:
            lines.append(r"\midrule")
        cells = [_tex(line.label), *map(_tex_cell, line.cells)]
        lines.append(rf"{' & '.join(cells)} \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _tex_cell(cell: Cell) -> str:
    text = _tex(cell.text)
    if cell.mark == "best":
        return rf"\textbf{{{text}}}"
    return rf"{text}$^\dagger$" if cell.mark == "tied" else text


def _tex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()))


def of_points(name: str, title: str, points: Sequence[Mapping[str, Any]]) -> Table:
    """A figure's numbers as a table: its places, then mean, interval and seeds."""
    shown = [key for key in points[0] if key not in ("low", "high")]
    shown = [key for key in shown if any(point.get(key) != "" for point in points)]
    head = tuple(key for key in shown if key not in ("mean", "seeds"))
    lines = []
    for point in points:
        words = [point[key] for key in head]
        cells = [Cell(words=_word(word)) for word in words[1:]]
        cells.append(Cell(point["mean"], point["low"], point["high"], point["seeds"]))
        lines.append(Line(_word(words[0]), (*cells, Cell(words=str(point["seeds"])))))
    return Table(name, title, (*head, "mean", "seeds"), tuple(lines))


def _word(value: Any) -> str:
    if isinstance(value, float) and not value.is_integer():
        return number(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
