"""Write a trained run's answers: text, CoNLL-U, IOB2, TSV or JSONL in, the same out, filled in.

  jaxlt infer --workdir=runs/translator --output=out.txt in.txt
  echo 'Guten Tag, <extra_id_0> geht es?' | jaxlt infer --workdir=runs/pretrained
  jaxlt infer --workdir=runs/tagging --output=tagged.conllu raw.conllu.gz
  jaxlt infer --workdir=runs/topics --labels=sports,health --output=out.tsv in.tsv
  jaxlt infer --workdir=runs/translator --format=jsonl --target=swh_Latn <in.jsonl

Order and bytes stay as they are; --task says what is filled in: UPOS (tag), HEAD and DEPREL (parse)
of CoNLL-U, the tags of IOB2 (entities), a new column or field of tables. Plain text is a text a
line, and an answer a line: a newline in it is shown as \\n, an empty line stays empty. Where words
are asked about, a line is a sentence, split at spaces and punctuation (of Han, Hiragana, Thai, Lao,
Khmer and Myanmar every character is a word), and comes out as CoNLL-U (tag, parse) or IOB2
(entities) with a comment that says so. Decoding is greedy unless flags say otherwise. A
span-corruption model reads and writes its sentinels as <extra_id_0>, <extra_id_1>, ... With
--output, what is there is kept in FILE.part until all is; --resume goes on after a kill.
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jaxlt.commands import run_flags
from jaxlt.config import derived
from jaxlt.data.sources.files import PACKED
from jaxlt.errors import UserError, nearest
from jaxlt.inference import trained
from jaxlt.inference.formats import (
    FORMATS,
    TASKS,
    TEXTS,
    WORDS,
    Format,
    Record,
    Running,
    format_for,
    format_of,
    nothing,
)
from jaxlt.inference.output import Output

if TYPE_CHECKING:
    from jaxlt.api import Model
    from jaxlt.config import RunConfig
    from jaxlt.inference.asking import Settings

_WINDOW = 16  # batches that are read ahead and sorted by length
_METHODS = {"questions": "answer"}  # of jaxlt.api.Model, where it is not named as the task
_TASK_OF = {  # what a run was trained for, by the kinds of its tasks or its objective; or generate
    "tagging": "tag",
    "parsing": "parse",
    "entities": "entities",
    "topics": "classify",
    "sentiment": "classify",
    "mixed": "tag",
    "pairs": "pairs",
    "questions": "questions",
    "translation": "translate",
    "words": "translate",
    "parallel": "translate",
    "dictionary": "translate",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    run_flags.add_run_arguments(parser)
    run_flags.add_module_arguments(parser)
    group = parser.add_argument_group("input and output")
    group.add_argument(
        "input", nargs="?", default="-", help="a file of UTF-8, .gz and .zst too (standard input)"
    )
    group.add_argument("--output", metavar="FILE", help="where it goes (standard output)")
    group.add_argument("--resume", action="store_true", help="go on with FILE.part")
    group.add_argument("--overwrite", action="store_true", help="replace FILE if it is there")
    group.add_argument(
        "--format", choices=tuple(FORMATS), help="of input and output (what the input's name says)"
    )
    group.add_argument(
        "--task",
        metavar="A,B",
        help=f"what is filled in, of {', '.join(TASKS)} (what the run was trained for; of text "
        "where that is nothing or several, generate)",
    )
    group.add_argument("--column", metavar="NAME", help="of the answers in a table (the task's)")
    group.add_argument(
        "--language",
        metavar="NAME",
        help="the texts' language where modules go by it and a record itself (column `language`, "
        "comment `# lang = `) does not say it",
    )
    group.add_argument(
        "--target",
        metavar="NAME",
        help="the answers' language likewise (column `target_language`); of text: --task=translate",
    )
    group.add_argument(
        "--max_length", type=int, metavar="N", help="tokens of an answer at most (as in training)"
    )
    group.add_argument(
        "--overlength",
        choices=("refuse", "truncate", "window"),
        default="refuse",
        help="inputs above DataConfig.inputs_length tokens are errors (refuse), read in part "
        "(truncate), or their words answered in pieces (window: tag, entities)",
    )
    group.add_argument(
        "--batch_size", type=int, default=32, metavar="N", help="texts decoded together (32)"
    )
    group.add_argument(
        "--returns", type=int, default=1, metavar="N", help="answers to a text, a list in tables"
    )
    run_flags.add_decoding_arguments(parser)
    run_flags.add_machine_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Infers what the flags describe."""
    for flag in ("batch_size", "max_length", "returns"):
        value = getattr(args, flag)
        if value is not None and value < 1:
            raise UserError(f"--{flag} is at least 1, not {value}.")
    if args.resume and not args.output:
        raise UserError("--resume goes on with an --output file: give it.")
    if args.output and args.output.endswith(PACKED):
        raise UserError(
            f"--output={args.output} is to be packed, and what is written line by line is plain: "
            "give a name without that ending, and pack the file when it is whole."
        )
    if args.resume and not args.overwrite and os.path.exists(args.output):
        trained.say(f"'{args.output}' is there already, and whole.")
        return 0
    run = run_flags.load_run(args)
    name = args.format or format_of(args.input)
    form = format_for(name, tasks_of(run, name, args), args.column)
    run_flags.start_jax(args)
    from jaxlt.api import Model
    from jaxlt.engine.hosts import distributed

    if run.model.is_encoder and not run.model.heads:
        raise UserError(
            f"The model of '{run.workdir}' is an encoder alone (T5Config.decoder_layers = 0): it "
            "has no decoder that could write text."
        )
    if distributed.process_count() > 1:
        raise UserError(
            "`jaxlt infer` runs in one process: start it on one host, over all of its devices."
        )
    how = settings_of(args, form)
    lines = Lines(args.input)
    model = Model(run, *run_flags.open_model(run, args))
    said = said_of(model, how, args) | {"format": name, "tasks": form.tasks}
    with Output(args.output, said, args.resume, args.overwrite) as output:
        try:
            infer(model, form, lines, output, how, args.language, args.target)
        except BrokenPipeError:  # who reads us (`| head`) has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def tasks_of(run: "RunConfig", name: str, args: argparse.Namespace) -> tuple[str, ...]:
    """Returns what is to be filled in: what --task says, or what the run was trained for."""
    can = FORMATS[name].can
    if args.task:
        tasks = tuple(dict.fromkeys(args.task.split(",")))
        for task in tasks:
            if task not in can:
                raise UserError(
                    f"--task={task} is nothing that {name} has a place for: give some of "
                    f"{', '.join(can)}.{nearest(task, can)}"
                )
    elif name == "text" and args.target:
        tasks = ("translate",)
    else:
        kinds = [str(task.kind) for task in run.data.tasks] or [str(run.data.objective)]
        found = (_TASK_OF.get(kind.removeprefix("synthetic_"), "generate") for kind in kinds)
        tasks = tuple(dict.fromkeys(task for task in found if task in can))
        if name == "text" and not run.model.heads and (len(tasks) != 1 or "translate" in tasks):
            tasks = ("generate",)  # lines may say themselves what is asked: `pos: a dog`
        if len(tasks) != 1:
            raise UserError(
                f"What is to be filled in? Give --task, some of {', '.join(can)}: the run was "
                f"trained for {', '.join(kinds)}."
            )
    one_line = name == "text" and not set(TEXTS).isdisjoint(tasks)
    if len(tasks) > 1 and (args.column or one_line):
        what = "--column names the answers" if args.column else "A line of text has room"
        raise UserError(f"{what} of one task, and --task={args.task} are {len(tasks)}.")
    if args.column and name not in ("tsv", "jsonl"):
        raise UserError(f"--column is for tables (tsv, jsonl), and this is {name}.")
    return tasks


def settings_of(args: argparse.Namespace, form: Format) -> "Settings":
    """Returns how the flags want records answered."""
    from jaxlt.inference.asking import Settings

    if args.returns > 1 and not (form.several and set(WORDS).isdisjoint(form.tasks)):
        raise UserError(
            f"--returns={args.returns} is for answers that are text (classify, translate, ...), in "
            "tables (tsv, jsonl), where they are a list."
        )
    decoding = dataclasses.replace(run_flags.decoding_of(args), returns=args.returns)
    return Settings(
        labels=run_flags.labels_of(args),
        force=args.force or "",
        length=args.max_length,
        overlength=args.overlength,
        batch_size=args.batch_size,
        decoding=decoding,
    )


def said_of(model: "Model", how: "Settings", args: argparse.Namespace) -> dict[str, Any]:
    """Returns all that decides the answers, for a later call that goes on with them."""
    inputs, targets = derived.lengths(model.run)
    return {
        "run": trained.trained_hash(model.run),
        "step": model.predictor.step,
        "modules": args.modules,
        "inputs_length": inputs,
        "length": how.length or targets,
        "long": how.overlength,  # its first name: outputs of before are gone on with
        "labels": how.labels,
        "force": how.force,
        "language": args.language,
        "target": args.target,
        "column": args.column,
        "decoding": dataclasses.asdict(how.decoding),
    }


def infer(
    model: "Model",
    form: Format,
    lines: "Lines",
    output: Output,
    how: "Settings",
    language: str | None = None,
    target: str | None = None,
) -> None:
    """Answers the records that `output` does not have yet, a window of batches at a time."""
    size = 1 if lines.interactive else _WINDOW * how.batch_size
    records = form.records(lines, lines.name)
    with _progress(lines.total) as advance:
        for window in _windows(output.skip(records), size):
            first = output.records + 1
            answers: list[dict[str, Any]] = [{} for _ in window]
            for task in form.tasks:
                which = [i for i, record in enumerate(window) if task in record.asked]
                own = dataclasses.replace(
                    how,
                    names=[window[i].place for i in which],
                    numbers=[first + i for i in which],
                )
                found = answer(model, task, [window[i] for i in which], own, language, target)
                for known in answers:
                    known[task] = nothing(task, how.decoding.returns)
                for i, one in zip(which, found, strict=True):
                    answers[i][task] = one
            filled = (
                form.render(record, given) if record.filled else record.raw
                for record, given in zip(window, answers, strict=True)
            )
            output.write(window, list(filled))
            advance(lines.done)
    if not output.records:
        raise UserError(f"'{lines.name}' is empty: there is nothing to decode.")
    if isinstance(form, Running):
        report_words(form)
    report(model, how)


def report_words(form: Running) -> None:
    """Says that running text was split into words, and where that was done without knowing them."""
    trained.say("The text's lines were taken for sentences, and split at spaces and punctuation.")
    if form.unparted:
        trained.say(
            f"It is partly in {', '.join(sorted(form.unparted))}, which parts no words: every "
            "character was taken for one. Better give CoNLL-U or IOB2 of a tool for the language."
        )


def answer(
    model: "Model",
    task: str,
    records: Sequence[Record],
    how: "Settings",
    language: str | None,
    target: str | None,
) -> list[Any]:
    """Returns the answers to a task's questions, by the method of the API that is named so."""
    if not records:
        return []
    languages: str | list[str] | None = language
    targets: str | list[str] | None = target
    if model.predictor.routed_by("source"):
        languages = [record.language or language or "" for record in records]
    if task == "translate" or model.predictor.routed_by("target"):
        targets = [record.target or target or "" for record in records]
    given = {field.name: getattr(how, field.name) for field in dataclasses.fields(how)}
    method = getattr(model, _METHODS.get(task, task))
    asked = [record.asked[task] for record in records]
    found: list[Any] = method(asked, language=languages, target=targets, **given)
    return found


def report(model: "Model", how: "Settings") -> None:
    """Says which inputs were cut, and which answers about words have no end."""
    inputs, targets = derived.lengths(model.run)
    cut, unfinished = how.notes.cut, how.notes.unfinished
    if cut.count:
        trained.say(f"Inputs cut to {inputs} tokens: {cut.count} ({cut.first} first).")
    if unfinished.count:
        trained.say(
            f"Answers that did not end within {how.length or targets} tokens: {unfinished.count} "
            f"({unfinished.first} first). Words beyond have X, dep or O: raise --max_length, or "
            "give --overlength=window (tag, entities)."
        )


def _windows(records: Iterator[Record], size: int) -> Iterator[list[Record]]:
    window: list[Record] = []
    for record in records:
        window.append(record)
        if len(window) == size:
            yield window
            window = []
    if window:
        yield window


class Lines:
    """The numbered lines of a file or of standard input, with their ends; `done` were read."""

    def __init__(self, path: str):
        self._path, self.done = path, 0
        self.name = "standard input" if path == "-" else path
        self.interactive = path == "-" and sys.stdin.buffer.isatty()
        self.total = None if path == "-" else sum(1 for _ in self._read())

    def _read(self) -> Iterator[tuple[int, bytes]]:
        from jaxlt.data.readers.lines import raw_lines

        if self._path == "-":
            return enumerate(sys.stdin.buffer, 1)
        return raw_lines(self._path, mark=True)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        for number, line in self._read():
            self.done = number
            yield number, line


@contextmanager
def _progress(total: int | None):
    """Yields a function that takes the number of lines read; shown on a terminal's stderr alone."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal or (sys.stdin.isatty() and total is None):
        yield lambda done: None
        return
    times = TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()
    columns = (TextColumn("lines"), BarColumn(24), MofNCompleteColumn(), *times)
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("lines", total=total)
        yield lambda done: progress.update(task, completed=done)
