"""The scores of answers as Results and as tables: languages as rows, in groups.

A score of translation is of one direction; its means are over targets (each the mean over its
sources), into each target and from each source. Tables show all shares as percents, BLEU and chrF,
which are percents, among them; rows keep a metric's own value, and its scale.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from jaxlt.inference.groups import Groups, Mean, section_heading, title
from jaxlt.inference.scoring import Direction, Judged
from jaxlt.metrics.result import ALL, Result
from jaxlt.metrics.scores import METRICS
from jaxlt.screen import plain_table


def results(
    judged: list[Judged],
    groups: Groups,
    common: Mapping[str, Any] | None = None,
    references: Mapping[Direction, str] | None = None,
) -> list[Result]:
    """Returns one Result a task, direction and metric, then the means.

    common: fields that all of them have. references: fingerprints of the right answers by task and
    the languages of inputs and answers.
    """
    out = [_result(one, common or {}, references or {}) for one in judged]
    for method in dict.fromkeys(one.method for one in judged):
        for (kind, _), scores in _by_metric(judged, method).items():
            first = _result(next(iter(scores.values())), common or {}, {})
            like = dataclasses.replace(first, task=kind, chance=None)
            out += [mean.result(name, like) for name, mean in _averages(scores, groups).items()]
    return out


# What a trivial baseline has not, whatever the model's Results have.
_NO_MODEL = {"modules": (), "parameters": None, "decoding": None, "step": None, "base": ""}


def _result(one: Judged, common: Mapping[str, Any], references: Mapping[Direction, str]) -> Result:
    score, known = one.score, METRICS[one.metric]
    source = one.source or one.language
    own: dict[str, Any] = {
        "task": one.task,
        "source": source,
        "target": one.language,
        "metric": one.metric,
        "value": score.value,
        "n": score.n,
        "interval": None if score.low is None or score.high is None else (score.low, score.high),
        "higher_is_better": known.higher_is_better,
        "scale": known.scale,
        "references": references.get((one.task, source, one.language), ""),
        "details": dict(score.details),
        "method": one.method,
        "chance": one.chance,
    }
    return Result(**{**common, **own, **(_NO_MODEL if one.method else {})})


Scores = dict[tuple[str, str], dict[str, Judged]]


def _by_metric(judged: list[Judged], method: str = "") -> Scores:
    """Scores of a method by (kind of task, metric) and then by task and direction."""
    out: Scores = {}
    for one in judged:
        if one.method != method:
            continue
        kind = one.task.partition(".")[0]
        out.setdefault((kind, one.metric), {})[f"{one.task} {one.direction}"] = one
    return out


def _averages(scores: Mapping[str, Judged], groups: Groups) -> dict[str, Mean]:
    """Means over target languages; of one, over its sources (and over a source's corpora) first."""
    values: dict[str, dict[str, list[float]]] = {}
    for one in scores.values():
        by_source = values.setdefault(one.language, {})
        by_source.setdefault(one.source, []).append(one.score.value)
    each = {name: _mean(map(_mean, of.values())) for name, of in values.items()}
    return groups.means(each) | _by_end(values)


def _mean(values: Iterable[float]) -> float:
    each = list(values)
    return sum(each) / len(each)


def _by_end(by_target: dict[str, dict[str, list[float]]]) -> dict[str, Mean]:
    """The means into each target of several sources, and from each source of several targets."""
    ends: dict[str, dict[str, float]] = {}
    for target, by_source in by_target.items():
        for source, values in by_source.items():
            if source not in ("", target):
                ends.setdefault(f"into {target}", {})[source] = _mean(values)
                ends.setdefault(f"from {source}", {})[target] = _mean(values)
    return {
        name: Mean(_mean(v.values()), len(v), tuple(v))
        for name, v in sorted(ends.items())
        if len(v) > 1
    }


def show(judged: list[Judged], groups: Groups) -> None:
    """Prints a table a kind of task: languages as rows, metrics as columns, intervals beside.

    Baselines have lines of their own beneath those of the model.
    """
    from rich.console import Console

    console = Console(highlight=False)
    methods = list(dict.fromkeys(one.method for one in judged))
    by_method = {method: _by_metric(judged, method) for method in methods}
    for kind in dict.fromkeys(kind for kind, _ in by_method.get("", {})):
        scores = {
            method: {metric: lines for (k, metric), lines in of.items() if k == kind}
            for method, of in by_method.items()
        }
        table = _table(scores, groups)
        wide = console.options.update(width=1000)
        room, needed = console.width, console.measure(table, options=wide).maximum
        if console.is_terminal and needed > room:
            table = _table(scores, groups, intervals=False)
            table.caption = f"Intervals are in results.jsonl, and here from {needed} columns on."
        elif needed > room:  # a file has room
            console.width = needed
        console.print(table)
        console.print()


Lines = Mapping[str, Mapping[str, Judged]]  # of a method: by metric, and by line of the table
Means = Mapping[str, Mapping[str, Mean]]


def _table(by_method: Mapping[str, Lines], groups: Groups, intervals: bool = True) -> Any:
    """The table of a kind of task: scores by method ("": the model), metric and line."""
    from rich.text import Text

    scores = by_method[""]
    columns = ("task", "language", ">examples", *(f">{headed(metric)}" for metric in scores))
    table = plain_table(*columns, fold=True, padding=(0, 3 if intervals else 1, 0, 0))
    for column in table.columns[2:]:
        column.no_wrap = True
    means = {
        method: {metric: _averages(of[metric], groups) for metric in scores if metric in of}
        for method, of in by_method.items()
    }
    lines: dict[str, Judged] = {}
    for scored in scores.values():  # not every metric is measured in every language
        lines = {**scored, **lines}
    named = sorted({one.language for one in lines.values()})
    sections = groups.sections(named)
    for key, languages in sections:
        if key:
            table.add_row(Text(section_heading(key, len(languages)), style="italic"))
        for language in languages:
            mark = " (source)" if language in groups.sources else ""
            for line in sorted(k for k, one in lines.items() if one.language == language):
                _add_line(table, by_method, line, f"{lines[line].direction}{mark}", intervals)
        if key and len(languages) > 1:
            _add_mean(table, means, key)
    inner = {key for key, _ in sections}
    for name in dict.fromkeys(n for m in means[""].values() for n in m):
        if name not in inner and not name.startswith("family/"):
            _add_mean(table, means, name)
    return table


def _add_line(
    table: Any, by_method: Mapping[str, Lines], line: str, name: str, intervals: bool
) -> None:
    """Adds the scores of a task and direction: the model's, and beneath them the baselines'."""
    from rich.text import Text

    for method, of in by_method.items():
        each = [of.get(metric, {}).get(line) for metric in by_method[""]]
        first = next(filter(None, each), None)
        if first is None:
            continue
        cells = [_shown(one, intervals) for one in each]
        if method:
            table.add_row("", Text(_called(method)), "", *cells, style=_DIM)
        else:
            table.add_row(Text(first.task), Text(name), f"{first.score.n:,}", *cells)


def _add_mean(table: Any, by_method: Mapping[str, Means], group: str) -> None:
    """Adds the means of a group of languages, of the model and of the baselines."""
    from rich.text import Text

    for method, of in by_method.items():
        each = {metric: of.get(metric, {}).get(group) for metric in by_method[""]}
        cells = [percent(m, mean.value) if mean else "" for m, mean in each.items()]
        if any(cells):
            name = _called(method) if method else title(group)
            table.add_row("", Text(name), "", *cells, style=_DIM if method else "bold")


_DIM = "dim"


def _called(method: str) -> str:
    return f"  {method.removeprefix('baseline/')}"


def headed(metric: str) -> str:
    """Returns a metric's name with its unit: of 1 or of 100, all shares are shown as percents."""
    return f"{metric} %" if METRICS[metric].scale else metric


def percent(metric: str, value: float) -> str:
    """Returns a score as a table shows it: a share in percents, to a tenth."""
    scale = METRICS[metric].scale
    return f"{100 * value / scale:.1f}" if scale else f"{value:.3g}"


def _shown(one: Judged | None, interval: bool) -> str:
    if one is None:
        return "-"
    score = one.score
    if score.low is None or score.high is None or not interval:
        return percent(one.metric, score.value)
    bounds = f"[{percent(one.metric, score.low)}, {percent(one.metric, score.high)}]"
    return f"{percent(one.metric, score.value)} {bounds}"


def show_losses(heading: str, results: list[Result], groups: Groups) -> None:
    """Prints the losses of an evaluation: languages as rows, in groups."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    console.print(Text(heading, style="bold"), soft_wrap=True)
    counted = (">rows", ">tokens", ">bytes", ">nll", ">accuracy", ">bits/byte")
    table = plain_table("language", *counted, padding=(0, 3, 0, 0))
    lines: dict[tuple[str, str], dict[str, Result]] = {}
    for one in results:
        lines.setdefault((one.aggregate, one.language), {})[one.metric] = one

    def line(name: str, scores: dict[str, Result], bold: bool = False) -> None:
        table.add_row(Text(name), *_cells(scores), style="bold" if bold else "")

    means = {key: scores for (kind, key), scores in lines.items() if kind not in ("none", "pooled")}
    languages = [name for kind, name in lines if kind == "none"]
    sections = groups.sections(languages)
    for key, members in sections:
        if key:
            named = section_heading(key, len(members))
            table.add_row(Text(named, style="italic"))
        for language in members:
            mark = " (source)" if language in groups.sources else ""
            line(f"{language}{mark}", lines["none", language])
        if key and len(members) > 1:
            line(title(key), means[key], bold=True)
    if ("pooled", ALL) in lines:
        line("all text as one", lines["pooled", ALL], bold=True)
    for key in means:
        if key not in dict(sections) and not key.startswith("family/"):
            line(title(key), means[key], bold=True)
    console.print()
    console.print(table)
    console.print()


def _cells(scores: dict[str, Result]) -> list[str]:
    """Rows, tokens and bytes (of means none), nll, accuracy and bits a byte of a line."""
    nll, bpb = scores["nll"], scores.get("bpb")
    counted = nll.unit == "tokens"
    counts = (nll.details["rows"], nll.n, bpb.n if bpb else 0) if counted else ()
    right = scores["accuracy"].value
    return [
        *([f"{count:,}" for count in counts] or [""] * 3),
        "-" if nll.value is None else f"{nll.value:.4f}",
        "-" if right is None else f"{right:.1%}",
        "-" if bpb is None or bpb.value is None else f"{bpb.value:.4f}{_spread(bpb)}",
    ]


def _spread(one: Result) -> str:
    """Half of its interval, where it has one."""
    return f" ± {(one.interval.high - one.interval.low) / 2:.4f}" if one.interval else ""
