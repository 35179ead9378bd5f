"""Score a trained run on held-out text: loss, accuracy and bits per byte, by language.

The table goes to the screen, and each number as a row to results.jsonl in the run's folder.

  jaxlt eval --workdir=runs/pretrained
  jaxlt eval --workdir=runs/pretrained --step=best --languages=deu_Latn,swh_Latn --limit=200
"""

import argparse
import dataclasses
import functools
from typing import TYPE_CHECKING

from jaxlt import progress
from jaxlt.data.near import nearest_language
from jaxlt.errors import UserError
from jaxlt.inference import evaluate_answers, labels, language_groups, measured, session, trained
from jaxlt.inference.language_groups import Groups
from jaxlt.metrics import result_file
from jaxlt.metrics.result import ALL, Result

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.data.config import DataConfig
    from jaxlt.data.rows.views import EvaluationBatches
    from jaxlt.inference.predictor import Predictor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    trained.add_arguments(parser)
    trained.add_module_arguments(parser)
    group = parser.add_argument_group("what is scored")
    group.add_argument(
        "--split",
        help="split of the run's evaluation data (eval/DataConfig's own, or 'validation')",
    )
    group.add_argument(
        "--languages", metavar="A,B", help="only these (all that the evaluation data has)"
    )
    group.add_argument("--limit", type=int, metavar="N", help="rows a language at most (all)")
    group.add_argument(
        "--no_results", action="store_true", help="show the table, write no results.jsonl"
    )
    evaluate_answers.add_arguments(parser)
    language_groups.add_arguments(parser)
    trained.add_decoding_arguments(parser)
    session.add_machine_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Evaluates the run that the flags name."""
    if args.from_answers:
        evaluate_answers.judge_saved(args)
        return 0
    run = trained.load(args)
    if args.limit is not None and args.limit < 1:
        raise UserError(f"--limit is at least 1, not {args.limit}.")
    session.start_jax(args)
    from jaxlt.engine.hosts import distributed

    path = f"{str(run.workdir).rstrip('/')}/results.jsonl"
    if not args.no_results:  # before time is spent
        check = functools.partial(result_file.check_writable, path)
        distributed.on_primary(check, "Opening the results")
    predictor, vocabulary = trained.open_model(run, args)
    names = tuple(n for n in (args.languages or "").split(",") if n)
    with progress.doing("Opening the data"):
        source, split = open_data(run, predictor, args.split, names, args.limit)
    if args.answers:
        found = evaluate_answers.evaluate(run, predictor, vocabulary, source, split, args)
    else:
        groups = language_groups.open_groups(run, source.languages, args)
        common = measured.common_of(run, predictor, source, split, args)
        found = [dataclasses.replace(one, **common) for one in evaluate(predictor, source, groups)]
        if distributed.is_primary():
            show(run, predictor, found, groups, f"{run.data.objective}, {split} split")
    if distributed.is_primary() and not args.no_results:
        result_file.append(path, found)
        print(f"{len(found)} rows added to {path}")
    return 0


def open_data(
    run: "RunConfig",
    predictor: "Predictor",
    split: str | None = None,
    languages: tuple[str, ...] = (),
    limit: int | None = None,
) -> "tuple[EvaluationBatches, str]":
    """Opens one pass over the run's evaluation data; returns it and the name of its split.

    Without evaluation data it is the training data's validation split. Where modules are routed by
    language, languages keep the ids that they had in training. With a setting of transfer all its
    sources and targets are scored, whatever trained.
    """
    from jaxlt.data.mixtures import open_evaluation
    from jaxlt.data.transfer import Choice
    from jaxlt.engine.partitioning import batch_shards

    inventory = labels.inventory_of(run)
    config = run.eval_data or dataclasses.replace(run.data, split="validation")
    split = split or config.split
    shards = batch_shards(predictor.program.spec.mesh)
    config = dataclasses.replace(config, batch_size=-(-config.batch_size // shards) * shards)
    if languages:
        _check_languages(languages, config)
    if config.transfer:
        present = languages or Choice.of(config).every
        if predictor.is_routed:
            for name in present:
                predictor.language_id(name)
            config = dataclasses.replace(config, languages=predictor.languages)
        return open_evaluation(config, split, limit, present, inventory), split
    if predictor.is_routed:
        present = languages or trained.languages_of(config)
        for name in present:
            predictor.language_id(name)
        # A pass mixes nothing: rates only say here which of the languages take part.
        rates = tuple((name, 1.0) for name in present)
        config = dataclasses.replace(config, languages=predictor.languages, rates=rates)
    elif languages:
        # Tasks are chosen by rates, texts by their languages.
        chosen = tuple((name, 1.0) for name in languages) if config.tasks else ()
        kept = config.languages if config.tasks else languages
        config = dataclasses.replace(config, languages=kept, rates=chosen)
    return open_evaluation(config, split, limit, inventory=inventory), split


def _check_languages(wanted: tuple[str, ...], config: "DataConfig") -> None:
    from jaxlt.data.transfer import Choice

    if not (config.sources or config.tasks):
        raise UserError(
            f"--languages chooses among texts (DataConfig.sources); '{config.mixture}' is a "
            "registered mixture, which is scored as a whole."
        )
    known = Choice.of(config).every if config.transfer else trained.languages_of(config)
    for name in wanted:
        if name not in known:
            raise UserError(
                f"--languages names '{name}', which the evaluation data has not."
                f"{nearest_language(name, known)} It has {', '.join(known)}."
            )


def evaluate(
    predictor: "Predictor", source: "EvaluationBatches", groups: Groups | None = None
) -> list[Result]:
    """Scores a pass: Results of each language, of all text as one, and means over languages."""
    from jaxlt.engine.evaluator import LossEvaluator
    from jaxlt.engine.loss.results import METRICS, by_language, loss_results, mean_interval

    with progress.doing("Evaluating", source.num_batches):
        progress.detail("compiling")
        totals = LossEvaluator(source).totals(predictor.program, predictor.params)
    found = loss_results(totals, source.languages)
    for metric in METRICS:
        each = by_language(found, metric)
        values = {name: one.value for name, one in each.items() if one.value is not None}
        for name, mean in (groups or Groups()).means(values).items():
            of = [each[member] for member in mean.members if member in each]  # no family is
            interval = mean_interval(mean.value, of) if of else None
            like = next(iter(each.values()))
            found.append(dataclasses.replace(mean.result(name, like), interval=interval))
    return found


def show(
    run: "RunConfig", predictor: "Predictor", found: list[Result], groups: Groups, what: str
) -> None:
    """Prints the table."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    names = ", ".join(module.name for module in predictor.modules)
    heading = f"{run.workdir}, step {predictor.step:,}: {what}{names and f', modules {names}'}"
    console.print(Text(heading, style="bold"), soft_wrap=True)
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("language")
    for name in ("rows", "tokens", "bytes", "nll", "accuracy", "bits/byte"):
        table.add_column(name, justify="right")
    lines: dict[tuple[str, str], dict[str, Result]] = {}
    for one in found:
        lines.setdefault((one.aggregate, one.language), {})[one.metric] = one

    def line(name: str, scores: dict[str, Result], bold: bool = False) -> None:
        table.add_row(Text(name), *_cells(scores), style="bold" if bold else "")

    means = {key: scores for (kind, key), scores in lines.items() if kind not in ("none", "pooled")}
    languages = [name for kind, name in lines if kind == "none"]
    sections = groups.sections(languages)
    for key, members in sections:
        if key:
            named = language_groups.heading(key, len(members))
            table.add_row(Text(named, style="italic"))
        for language in members:
            mark = " (source)" if language in groups.sources else ""
            line(f"{language}{mark}", lines["none", language])
        if key and len(members) > 1:
            line(language_groups.title(key), means[key], bold=True)
    if ("pooled", ALL) in lines:
        line("all text as one", lines["pooled", ALL], bold=True)
    for key in means:
        if key not in dict(sections) and not key.startswith("family/"):
            line(language_groups.title(key), means[key], bold=True)
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
