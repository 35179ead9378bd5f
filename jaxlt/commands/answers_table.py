"""The scores of answers as rows of results.jsonl and as tables: languages as rows, in groups.

A score of translation is of one direction; its means are over targets (each the mean over its
sources), into each target and from each source.
"""

from collections.abc import Iterable
from typing import Any

from jaxlt.commands.answers import Judged
from jaxlt.commands.language_groups import Groups, Mean, heading, title


def rows(judged: list[Judged], groups: Groups) -> list[dict[str, Any]]:
    """Returns the rows of results.jsonl: one a task, language and metric, then the means."""
    sources = list(groups.sources)
    return [_row(one) | {"sources": sources} for one in judged] + _means(judged, groups)


def _row(one: Judged) -> dict[str, Any]:
    found = one.score
    return {
        "task": one.task,
        "language": one.language,
        "source_language": one.source or one.language,
        "metric": one.metric,
        "value": found.value,
        "n": found.n,
        "interval": None if found.low is None else [found.low, found.high],
        "details": dict(found.details),
    }


def _by_metric(judged: list[Judged]) -> dict[tuple[str, str], dict[str, Judged]]:
    """Scores by (kind of task, metric) and then by task and direction."""
    out: dict[tuple[str, str], dict[str, Judged]] = {}
    for one in judged:
        kind = one.task.partition(".")[0]
        out.setdefault((kind, one.metric), {})[f"{one.task} {one.direction}"] = one
    return out


def _averages(scores: dict[str, Judged], groups: Groups) -> dict[str, Mean]:
    """Means over target languages; of one, over its sources (and over a source's corpora) first."""
    found: dict[str, dict[str, list[float]]] = {}
    for one in scores.values():
        by_source = found.setdefault(one.language, {})
        by_source.setdefault(one.source, []).append(one.score.value)
    each = {name: _mean(map(_mean, of.values())) for name, of in found.items()}
    return groups.means(each) | _by_end(found)


def _mean(values: Iterable[float]) -> float:
    each = list(values)
    return sum(each) / len(each)


def _by_end(found: dict[str, dict[str, list[float]]]) -> dict[str, Mean]:
    """The means into each target of several sources, and from each source of several targets."""
    ends: dict[str, list[float]] = {}
    for target, by_source in found.items():
        for source, values in by_source.items():
            if source not in ("", target):
                ends.setdefault(f"into {target}", []).append(_mean(values))
                ends.setdefault(f"from {source}", []).append(_mean(values))
    return {name: Mean(_mean(v), len(v)) for name, v in sorted(ends.items()) if len(v) > 1}


def _means(judged: list[Judged], groups: Groups) -> list[dict[str, Any]]:
    out = []
    for (kind, metric), scores in _by_metric(judged).items():
        for name, mean in _averages(scores, groups).items():
            row = {"task": kind, "language": name, "metric": metric}
            out.append(row | {"value": mean.value, "n": mean.n, "sources": list(groups.sources)})
    return out


def show(judged: list[Judged], groups: Groups) -> None:
    """Prints a table a kind of task: languages as rows, metrics as columns, intervals beside."""
    from rich.console import Console

    console = Console(highlight=False)
    by_metric = _by_metric(judged)
    for kind in dict.fromkeys(kind for kind, _ in by_metric):
        scores = {metric: found for (k, metric), found in by_metric.items() if k == kind}
        table = _table(scores, groups)
        room, needed = console.width, _width(console, table)
        if console.is_terminal and needed > room:
            table = _table(scores, groups, intervals=False)
            table.caption = f"Intervals are in results.jsonl, and here from {needed} columns on."
        elif needed > room:  # a file has room
            console.width = needed
        console.print(table)
        console.print()


def _width(console: Any, table: Any) -> int:
    return int(console.measure(table, options=console.options.update(width=1000)).maximum)


def _table(scores: dict[str, dict[str, Judged]], groups: Groups, intervals: bool = True) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 3 if intervals else 1, 0, 0))
    for name in ("task", "language"):
        table.add_column(name, overflow="fold")
    table.add_column("examples", justify="right", no_wrap=True)
    for metric in scores:
        table.add_column(metric, justify="right", no_wrap=True)
    means = {metric: _averages(found, groups) for metric, found in scores.items()}

    def mean_row(name: str) -> None:
        cells = [f"{m[name].value:.4g}" if name in m else "" for m in means.values()]
        table.add_row("", Text(title(name)), "", *cells, style="bold")

    lines: dict[str, Judged] = {}
    for found in scores.values():  # not every metric is measured in every language
        lines = {**found, **lines}
    named = sorted({one.language for one in lines.values()})
    sections = groups.sections(named)
    for key, languages in sections:
        if key:
            table.add_row(Text(heading(key, len(languages)), style="italic"))
        for language in languages:
            mark = " (source)" if language in groups.sources else ""
            for line in sorted(k for k, one in lines.items() if one.language == language):
                cells = [_shown(found.get(line), intervals) for found in scores.values()]
                first = lines[line]
                where = Text(f"{first.direction}{mark}")
                table.add_row(Text(first.task), where, f"{first.score.n:,}", *cells)
        if key and len(languages) > 1:
            mean_row(key)
    inner = {key for key, _ in sections}
    for name in dict.fromkeys(n for m in means.values() for n in m):
        if name not in inner and not name.startswith("family/"):
            mean_row(name)
    return table


def _shown(one: Judged | None, interval: bool) -> str:
    if one is None:
        return "-"
    found = one.score
    span = "" if found.low is None or not interval else f" [{found.low:.3g}, {found.high:.3g}]"
    return f"{found.value:.4g}{span}"
