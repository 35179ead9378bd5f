"""`jaxlt eval --answers`: a task's examples answered, judged by its own metrics, written down."""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxlt.commands import session, trained
from jaxlt.commands.answers import Example, Judged, decode_examples, kinds_of, score_examples
from jaxlt.errors import UserError
from jaxlt.metrics.groups import averages

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.data.views import EvaluationBatches
    from jaxlt.data.vocabularies import Vocabulary
    from jaxlt.engine.predictor import Predictor

GROUPS = {"all": "mean of languages", "without_source": "mean without the source"}


def evaluate(
    run: "RunConfig",
    predictor: "Predictor",
    vocabulary: "Vocabulary",
    source: "EvaluationBatches",
    split: str,
    args: argparse.Namespace,
) -> list[dict[str, Any]]:
    """Decodes, scores, shows the table and saves the answers; returns the rows of results.jsonl."""
    if not run.data.paired:
        raise UserError(
            f"--answers is for tasks of inputs and targets, and this run's objective is "
            f"'{run.data.objective}': its loss is what can be evaluated."
        )
    inputs, targets = session.lengths(run)
    examples, cut = decode_examples(
        predictor,
        source,
        vocabulary,
        inputs_length=inputs,
        length=args.max_length or targets,
        batch_size=source.batch_size,
        objective=run.data.objective,
        decoding=trained.decoding_of(args),
    )
    if cut:
        trained.say(
            f"{cut} of {len(examples)} inputs were longer than DataConfig.inputs_length = {inputs} "
            "and were cut; raise it to read them whole."
        )
    judged = list(score_examples(examples, kinds_of(run.data)))
    sources = tuple(name for name, _ in run.data.rates)
    show(judged, sources)
    saved = save(run, predictor, examples, split)
    trained.say(f"The answers are in {saved}")
    return [_row(one, sources) for one in judged] + _means(judged, sources)


def _row(one: Judged, sources: tuple[str, ...]) -> dict[str, Any]:
    found = one.score
    return {
        "task": one.task,
        "language": one.language,
        "metric": one.metric,
        "value": found.value,
        "n": found.n,
        "interval": None if found.low is None else [found.low, found.high],
        "details": dict(found.details),
        "trained_on": list(sources),
    }


def _by_metric(judged: list[Judged]) -> dict[tuple[str, str], dict[str, Judged]]:
    """Scores by (kind of task, metric) and then by task and language."""
    out: dict[tuple[str, str], dict[str, Judged]] = {}
    for one in judged:
        kind = one.task.partition(".")[0]
        out.setdefault((kind, one.metric), {})[f"{one.task} {one.language}"] = one
    return out


def _averages(scores: dict[str, Judged], sources: tuple[str, ...]) -> dict[str, float]:
    """Means over languages; where a language has several corpora, over these first."""
    by_language: dict[str, list[float]] = {}
    for one in scores.values():
        by_language.setdefault(one.language, []).append(one.score.value)
    means = {language: sum(v) / len(v) for language, v in by_language.items()}
    found = averages(means, source=sources)
    return {name: found[name] for name in GROUPS if name in found and len(means) > 1}


def _means(judged: list[Judged], sources: tuple[str, ...]) -> list[dict[str, Any]]:
    out = []
    for (kind, metric), scores in _by_metric(judged).items():
        languages = {one.language for one in scores.values()}
        for name, value in _averages(scores, sources).items():
            n = len(languages - set(sources)) if name == "without_source" else len(languages)
            out.append({"task": kind, "language": name, "metric": metric, "value": value, "n": n})
    return out


def save(run: "RunConfig", predictor: "Predictor", examples: list[Example], split: str) -> Path:
    """Writes one JSON line an example beside the results; returns the file."""
    from jaxlt.data.files import write_atomically

    modules = "-".join(predictor.modules) or "none"
    path = Path(run.workdir) / "answers" / f"{split}-{predictor.step}-{modules}.jsonl"
    path.parent.mkdir(exist_ok=True)
    lines = [json.dumps(dataclasses.asdict(one), ensure_ascii=False) for one in examples]
    write_atomically(path, "\n".join(lines) + "\n")
    return path


def show(judged: list[Judged], sources: tuple[str, ...]) -> None:
    """Prints a table a kind of task: languages as rows, metrics as columns, intervals beside."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    groups = _by_metric(judged)
    for kind in dict.fromkeys(kind for kind, _ in groups):
        metrics = [metric for k, metric in groups if k == kind]
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
        table.add_column("task")
        table.add_column("language")
        table.add_column("examples", justify="right")
        for metric in metrics:
            table.add_column(metric, justify="right")
        for key, first in groups[kind, metrics[0]].items():
            cells = [_shown(groups[kind, metric][key]) for metric in metrics]
            mark = " (trained on)" if first.language in sources else ""
            table.add_row(first.task, f"{first.language}{mark}", f"{first.score.n:,}", *cells)
        means = [_averages(groups[kind, metric], sources) for metric in metrics]
        for name in means[0]:
            cells = [f"{mean[name]:.4g}" for mean in means]
            table.add_row("", GROUPS[name], "", *cells, style="bold")
        console.print(table)
        console.print()


def _shown(one: Judged) -> str:
    found = one.score
    span = "" if found.low is None else f" [{found.low:.3g}, {found.high:.3g}]"
    return f"{found.value:.4g}{span}"
