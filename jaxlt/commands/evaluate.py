"""Score a trained run on held-out text: loss, accuracy and bits per byte, by language.

The table goes to the screen, and each number as a row to results.jsonl in the run's folder.

  jaxlt eval --workdir=runs/pretrained
  jaxlt eval --workdir=runs/pretrained --step=best --languages=deu_Latn,swh_Latn --limit=200
"""

import argparse
import functools
from typing import TYPE_CHECKING

from jaxlt import progress
from jaxlt.commands import flags, run_flags
from jaxlt.errors import check_positive
from jaxlt.inference import evaluation, tables
from jaxlt.inference.groups import BACKBONES, open_groups
from jaxlt.inference.provenance import Evaluation
from jaxlt.metrics import questions, result_file, text

if TYPE_CHECKING:
    from jaxlt.config import RunConfig

# Those that a command gives again where they were given.
_AGAIN = (
    *("modules", "library", "languages", "group", "backbone"),
    *("max_length", "beams", "temperature", "top_k", "top_p"),
    *("labels", "choices", "force", "language_tokens"),
    *("limit", "lid", "bleu_tokenizer", "questions_like"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    run_flags.add_run_arguments(parser)
    run_flags.add_module_arguments(parser)
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
    _add_answer_arguments(parser)
    _add_group_arguments(parser)
    run_flags.add_decoding_arguments(parser)
    run_flags.add_machine_arguments(parser)


def _add_answer_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags about answers."""
    group = parser.add_argument_group("answers")
    group.add_argument(
        "--answers",
        action="store_true",
        help="decode an answer to each example and judge it by its task's own metrics, with "
        "intervals (tagging: accuracy; parsing: UAS, LAS, CLAS; translation: chrF++, BLEU; ...)",
    )
    group.add_argument(
        "--lid",
        metavar="FOLDER|none",
        help="the language identifier that tells how often answers are in a wrong language (`jaxlt "
        "data lid train`); for translation one is trained on the references where none is named",
    )
    group.add_argument(
        "--bleu_tokenizer",
        metavar="NAME|FILE",
        help=f"of BLEU, for every language: {', '.join(text.TOKENIZERS)}, or a SentencePiece model "
        "(else the target language's own: zh, ja-mecab, char, 13a)",
    )
    group.add_argument(
        "--questions_like",
        metavar="BENCHMARK",
        help=f"by whose rules questions are normalised: {', '.join(questions.BENCHMARKS)}; for "
        "several tasks name=BENCHMARK,... (else a task named as a benchmark has its rules, and "
        "others MLQA's for their language)",
    )
    group.add_argument(
        "--language_tokens",
        metavar="FOLDER",
        help="text by language: an answer has only tokens that the text of its language has",
    )
    group.add_argument(
        "--from_answers",
        metavar="FILE",
        help="judge answers that an earlier --answers saved (answers/*.jsonl in the run's folder), "
        "without opening the model; shows the table and adds no results",
    )


def _add_group_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say how languages are grouped."""
    group = parser.add_argument_group("groups of languages")
    group.add_argument(
        "--group",
        choices=("family", "seen"),
        help="the table's languages by family, or by whether the backbone was pretrained on them; "
        "with the means of groups, in results.jsonl too",
    )
    group.add_argument(
        "--backbone",
        metavar="NAME",
        help=f"whose pretraining makes a language seen: {', '.join(BACKBONES)} (else the run that "
        "this one started from)",
    )


def evaluation_of(args: argparse.Namespace) -> Evaluation:
    """Returns how the flags want answers made, judged and grouped."""
    plain = (
        *("limit", "max_length", "choices", "language_tokens", "lid"),
        *("bleu_tokenizer", "questions_like", "group", "backbone"),
    )
    return Evaluation(
        **{name: getattr(args, name) for name in plain},
        decoding=run_flags.decoding_of(args),
        labels=run_flags.labels_of(args),
        force=args.force or "",
        overrides=tuple(args.gin_overrides),
        flags=tuple(flags_of(args)),
    )


def flags_of(args: argparse.Namespace) -> list[str]:
    """The flags that measure the same again, but for --workdir: the results lie in it."""
    words = [f"--{name}" for name in ("answers", "force_modules") if getattr(args, name)]
    there = {name for name in _AGAIN if getattr(args, name) is not None}
    words += [f"--{name}={getattr(args, name)}" for name in _AGAIN if name in there]
    if "beams" in there:
        words.append(f"--length_penalty={args.length_penalty}")
    if there & {"temperature", "top_k", "top_p"}:
        words.append(f"--decoding_seed={args.decoding_seed}")
    return words


def main(args: argparse.Namespace) -> int:
    """Evaluates the run that the flags name."""
    if args.from_answers:
        _judge_saved(args)
        return 0
    run = run_flags.load_run(args)
    check_positive("--limit", args.limit)
    asked = evaluation_of(args)
    run_flags.start_jax(args)
    from jaxlt.engine.hosts import distributed

    path = f"{str(run.workdir).rstrip('/')}/results.jsonl"
    if not args.no_results:  # before time is spent
        check = functools.partial(result_file.check_writable, path)
        distributed.on_primary(check, "Opening the results")
    predictor, vocabulary = run_flags.open_model(run, args)
    languages = flags.names(args.languages)
    with progress.doing("Opening the data"):
        source, split = evaluation.open_data(run, predictor, args.split, languages, args.limit)
    if args.answers:
        answered = evaluation.answers(run, predictor, vocabulary, source, split, asked)
        answered.show()
        results = answered.results
    else:
        results = evaluation.scored(run, predictor, source, split, asked)
        if distributed.is_primary():
            names = ", ".join(module.name for module in predictor.modules)
            what = f"{run.data.objective}, {split} split{names and f', modules {names}'}"
            heading = f"{run.workdir}, step {predictor.step:,}: {what}"
            groups = open_groups(run, source.languages, asked.group, asked.backbone)
            tables.show_losses(heading, results, groups)
    if distributed.is_primary() and not args.no_results:
        result_file.append(path, results)
        print(f"{len(results)} rows added to {path}")
    return 0


def _judge_saved(args: argparse.Namespace) -> None:
    """Judges the answers of --from_answers; the run is that of --workdir, or the file's own."""

    def open_run(folder: str) -> "RunConfig":
        if args.workdir is None and not args.gin_file:
            args.workdir = folder
        return run_flags.load_run(args)

    evaluation.judge_saved(args.from_answers, evaluation_of(args), open_run).show()
