"""Score a trained run on held-out text: loss, accuracy and bits per byte, by language.

The table goes to the screen, and each number as a row to results.jsonl in the run's folder.

  jaxlt eval --workdir=runs/pretrained
  jaxlt eval --workdir=runs/pretrained --step=best --languages=deu_Latn,swh_Latn --limit=200
"""

import argparse
import dataclasses
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxlt import progress
from jaxlt.commands import evaluate_answers, labels, language_groups, session, trained
from jaxlt.commands.language_groups import Groups
from jaxlt.data.near import nearest_language
from jaxlt.errors import UserError

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.data.config import DataConfig
    from jaxlt.data.views import EvaluationBatches
    from jaxlt.engine.predictor import Predictor


class Score(NamedTuple):
    """What one language (or all, or their mean) scored; nll is in nats a token."""

    language: str
    rows: int
    tokens: int
    bytes: int
    nll: float
    accuracy: float
    bpb: float  # bits per byte; nan where the targets are no text
    error: float = math.nan  # its standard error

    @property
    def interval(self) -> tuple[float, float] | None:
        """Where bits per byte lie with 95% confidence; None where too few rows say it."""
        if not math.isfinite(self.error):
            return None
        return self.bpb - 1.96 * self.error, self.bpb + 1.96 * self.error


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
    from jaxlt.engine import distributed, results

    predictor, vocabulary = trained.open_model(run, args)
    names = tuple(n for n in (args.languages or "").split(",") if n)
    with progress.doing("Opening the data"):
        source, split = open_data(run, predictor, args.split, names, args.limit)
    if args.answers:
        found = evaluate_answers.evaluate(run, predictor, vocabulary, source, split, args)
        rows = [common_of(run, predictor) | row for row in found]
    else:
        groups = language_groups.open_groups(run, source.languages, args)
        scores = evaluate(predictor, source)
        rows = as_rows(run, predictor, scores, groups)
        if distributed.is_primary():
            show(run, predictor, scores, groups, f"{run.data.objective}, {split} split")
    if distributed.is_primary() and not args.no_results:
        path = f"{str(run.workdir).rstrip('/')}/results.jsonl"
        extra = {"split": split, "limit": args.limit, "data": source.fingerprint}
        results.append(path, [row | extra for row in rows])
        print(f"{len(rows)} rows added to {path}")
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


def evaluate(predictor: "Predictor", source: "EvaluationBatches") -> list[Score]:
    """Scores a pass: a Score a language, then 'all' text as one, then the 'mean' of languages."""
    from jaxlt.engine.evaluator import LossEvaluator

    with progress.doing("Evaluating", source.num_batches):
        progress.detail("compiling")
        totals = LossEvaluator(source).totals(predictor.program, predictor.params)
    present = [i for i in range(len(source.languages)) if totals["rows"][i]]
    zeros = np.zeros(len(source.languages))
    sums = {**totals, "target_bytes": totals.get("target_bytes", zeros)}
    each = [_score(source.languages[i], {k: v[i] for k, v in sums.items()}) for i in present]
    if len(each) < 2:
        return each
    whole = _score("all", {k: v.sum() for k, v in sums.items()})
    means = [float(np.mean([getattr(s, m) for s in each])) for m in ("nll", "accuracy", "bpb")]
    error = float(np.sqrt(np.sum([s.error**2 for s in each]))) / len(each)
    mean = Score("mean", whole.rows, whole.tokens, whole.bytes, *means)
    return [*each, whole, mean._replace(error=error)]


def _score(language: str, sums: dict[str, Any]) -> Score:
    from jaxlt.engine.evaluator import bpb_error

    tokens, size = float(sums["row_weight"]), float(sums["target_bytes"])
    return Score(
        language,
        int(sums["rows"]),
        int(tokens),
        int(size),
        float(sums["row_nll"] / max(tokens, 1.0)),
        float(sums["row_correct"] / max(tokens, 1.0)),
        float(sums["row_nll"] / math.log(2) / size) if size else math.nan,
        bpb_error(sums) if size else math.nan,
    )


def common_of(run: "RunConfig", predictor: "Predictor") -> dict[str, Any]:
    """What all rows of a run's results have in common."""
    return {
        "run": str(run.workdir).rstrip("/").rpartition("/")[2],
        "task": run.data.objective,
        "modules": list(predictor.modules),
        "seed": predictor.seed,
        "config_hash": trained.trained_hash(run),
        "base_fingerprint": predictor.base_fingerprint,
        "step": predictor.step,
        **setting_of(run),
    }


def setting_of(run: "RunConfig") -> dict[str, Any]:
    """What rows say of the setting of transfer, where the run has one.

    `stopped_on`: whose held-out examples the evaluation while training was on, None without one.
    """
    transfer = run.data.transfer
    if transfer is None:
        return {}
    stopped_on = transfer.stopped_on if run.eval_data else None
    said: dict[str, Any] = {"setting": transfer.setting, "stopped_on": stopped_on}
    said["sources"] = list(language_groups.sources_of(run.data))
    if transfer.setting == "few_shot":
        said |= {"k": transfer.k, "draw": transfer.draw}
    return said


def as_rows(
    run: "RunConfig", predictor: "Predictor", scores: list[Score], groups: Groups
) -> list[dict[str, Any]]:
    """The rows of results.jsonl: one a language and metric, and one a group of languages."""
    languages = sum(s.language not in ("all", "mean") for s in scores)
    common = common_of(run, predictor)
    out = []
    for score in scores:
        counts = {"nll": score.tokens, "accuracy": score.tokens, "bpb": score.bytes}
        for metric, n in counts.items():
            if n:
                n = languages if score.language == "mean" else n
                row = {"language": score.language, "metric": metric, "n": n}
                row["value"] = getattr(score, metric)
                if metric == "bpb" and score.interval:
                    row["interval"] = list(score.interval)
                out.append(common | row)
    for metric in ("nll", "accuracy", "bpb"):
        for name, mean in _means(scores, metric, groups).items():
            row = {"language": name, "metric": metric, "value": mean.value, "n": mean.n}
            out.append(common | row)
    return out


def _means(scores: list[Score], metric: str, groups: Groups) -> dict[str, language_groups.Mean]:
    """The means of the groups of languages that are asked for, beside those of all."""
    each = {s.language: getattr(s, metric) for s in scores if s.language not in ("all", "mean")}
    found = groups.means({name: value for name, value in each.items() if not math.isnan(value)})
    return {name: mean for name, mean in found.items() if name != "all"}


def show(
    run: "RunConfig", predictor: "Predictor", scores: list[Score], groups: Groups, what: str
) -> None:
    """Prints the table."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    plugged = f", modules {', '.join(predictor.modules)}" if predictor.modules else ""
    heading = f"{run.workdir}, step {predictor.step:,}: {what}{plugged}"
    console.print(Text(heading, style="bold"), soft_wrap=True)
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("language")
    for name in ("rows", "tokens", "bytes", "nll", "accuracy", "bits/byte"):
        table.add_column(name, justify="right")
    by_name = {score.language: score for score in scores}

    def line(name: str, score: Score, counts: bool = True, bold: bool = False) -> None:
        numbers = [f"{n:,}" for n in (score.rows, score.tokens, score.bytes)]
        bpb = "-" if math.isnan(score.bpb) else f"{score.bpb:.4f}"
        if score.interval:
            bpb += f" ± {score.interval[1] - score.bpb:.4f}"
        cells = [*(numbers if counts else [""] * 3), f"{score.nll:.4f}", f"{score.accuracy:.1%}"]
        table.add_row(Text(name), *cells, bpb, style="bold" if bold else "")

    means = {metric: _means(scores, metric, groups) for metric in ("nll", "accuracy", "bpb")}

    def mean(key: str) -> None:
        values = [means[m][key].value if key in means[m] else math.nan for m in means]
        line(language_groups.title(key), Score(key, 0, 0, 0, *values), counts=False, bold=True)

    sections = groups.sections([name for name in by_name if name not in ("all", "mean")])
    for key, languages in sections:
        if key:
            named = language_groups.heading(key, len(languages))
            table.add_row(Text(named, style="italic"))
        for language in languages:
            mark = " (source)" if language in groups.sources else ""
            line(f"{language}{mark}", by_name[language])
        if key and len(languages) > 1:
            mean(key)
    for name, shown in (("all", "all"), ("mean", "mean of languages")):
        if name in by_name:
            line(shown, by_name[name], counts=name == "all", bold=True)
    for key in means["nll"]:
        if key not in dict(sections) and not key.startswith("family/"):
            mean(key)
    console.print()
    console.print(table)
    console.print()
