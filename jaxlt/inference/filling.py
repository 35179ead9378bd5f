"""Records of a file answered and written: what `jaxlt infer` does once it is told.

kinds = {task: model.kinds[task] for task in tasks_of(run, "conllu", model.kinds)}
with Output("out.conllu", decided_by(model, how, None, None, None)) as output:
    fill_in(model, format_for("conllu", kinds), Lines("in.conllu"), output, how)
"""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from typing import TYPE_CHECKING, Any

from jaxlt import progress
from jaxlt.config import derived
from jaxlt.data.tasks.kind import kind_of
from jaxlt.data.tasks.registry import KINDS
from jaxlt.errors import UserError, nearest
from jaxlt.inference import trained
from jaxlt.inference.asking import BY_WORD, Settings
from jaxlt.inference.formats import (
    TABLES,
    Format,
    Kinds,
    Record,
    Running,
    asked_in,
    nothing,
)
from jaxlt.inference.output import Output

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.inference.model import Model

WINDOW = 16  # batches that are read ahead and sorted by length


def tasks_of(
    run: "RunConfig",
    form: str,
    kinds: Kinds,
    wanted: str | None = None,
    target: str | None = None,
    column: str | None = None,
) -> tuple[str, ...]:
    """Returns what is to be filled in: what is wanted ('tag,parse'), or what the run trained for.

    form: the name of a format. target: the language that is asked for, by which plain text is
    translated. column: of a table, where the answers go.
    """
    can = asked_in(form, kinds)
    if wanted:
        tasks = tuple(dict.fromkeys(wanted.split(",")))
        for task in tasks:
            if task not in can:
                raise UserError(
                    f"--task={task} is nothing that {form} has a place for: give some of "
                    f"{', '.join(can)}.{nearest(task, can)}"
                )
    elif form == "text" and target:
        tasks = ("translate",)
    else:
        trained_for = [str(task.kind) for task in run.data.tasks] or [str(run.data.objective)]
        own = dict.fromkeys(
            kind_of(name).task if run.data.tasks or name in KINDS else "generate"
            for name in trained_for
        )
        tasks = tuple(task for task in own if task in can)
        if form == "text" and not run.model.heads and (len(tasks) != 1 or "translate" in tasks):
            tasks = ("generate",)  # lines may say themselves what is asked: `pos: a dog`
        if len(tasks) != 1:
            raise UserError(
                f"What is to be filled in? Give --task, some of {', '.join(can)}: the run was "
                f"trained for {', '.join(trained_for)}."
            )
    one_line = form == "text" and any(kinds[task].shape not in BY_WORD for task in tasks)
    if len(tasks) > 1 and (column or one_line):
        what = "--column names the answers" if column else "A line of text has room"
        raise UserError(f"{what} of one task, and --task={wanted} are {len(tasks)}.")
    if column and form not in TABLES:
        raise UserError(f"--column is for tables (tsv, jsonl), and this is {form}.")
    return tasks


def decided_by(
    model: "Model", how: Settings, modules: str | None, language: str | None, target: str | None
) -> dict[str, Any]:
    """Returns all that decides the answers, for a later call that goes on with them."""
    inputs, targets = derived.lengths(model.run)
    return {
        "run": trained.trained_hash(model.run),
        "step": model.predictor.step,
        "modules": modules,
        "inputs_length": inputs,
        "length": how.length or targets,
        "long": how.overlength,  # its first name: outputs of before are gone on with
        "labels": how.labels,
        "force": how.force,
        "language": language,
        "target": target,
        "decoding": dataclasses.asdict(how.decoding),
    }


def fill_in(
    model: "Model",
    form: Format,
    lines: "Lines",
    output: Output,
    how: Settings,
    language: str | None = None,
    target: str | None = None,
) -> None:
    """Answers the records that `output` does not have yet, a window of batches at a time."""
    size = 1 if lines.interactive else WINDOW * how.batch_size
    records = form.records(lines, lines.name)
    shown = progress.doing("Answering lines", lines.total)
    with nullcontext() if lines.interactive else shown:
        left = output.skip(records)
        while window := list(islice(left, size)):
            # What is shown are lines of the file; where they are answered, texts are counted.
            with progress.towards(lines.done, sum(len(record.asked) for record in window)):
                answers = _answered(model, form, window, output.records + 1, how, language, target)
            filled = (
                form.render(record, own) if record.filled else record.raw
                for record, own in zip(window, answers, strict=True)
            )
            output.write(window, list(filled))
    if not output.records:
        raise UserError(f"'{lines.name}' is empty: there is nothing to decode.")
    if isinstance(form, Running):
        _say_words(form)
    _say_cut(model, how)


def _answered(
    model: "Model",
    form: Format,
    window: Sequence[Record],
    first: int,
    how: Settings,
    language: str | None,
    target: str | None,
) -> list[dict[str, Any]]:
    """Returns the answers to what each record asks for, by task; `first` is the first's number."""
    returns, by_source = how.decoding.returns, model.predictor.routed_by("source")
    answers = [{task: nothing(kind, returns) for task, kind in form.kinds.items()} for _ in window]
    for task in form.kinds:
        which = [i for i, record in enumerate(window) if task in record.asked]
        if not which:
            continue
        records = [window[i] for i in which]
        languages: str | list[str] | None = language
        targets: str | list[str] | None = target
        if by_source:
            languages = [record.language or language or "" for record in records]
        if task == "translate" or model.predictor.routed_by("target"):
            targets = [record.target or target or "" for record in records]
        settings = {field.name: getattr(how, field.name) for field in dataclasses.fields(how)}
        settings |= {"names": [r.place for r in records], "numbers": [first + i for i in which]}
        asked = [record.asked[task] for record in records]
        answered = model.ask(task, asked, languages, targets, **settings)
        for i, answer in zip(which, answered, strict=True):
            answers[i][task] = answer
    return answers


def _say_words(form: Running) -> None:
    """Says that running text was split into words, and where that was done without knowing them."""
    progress.say("The text's lines were taken for sentences, and split at spaces and punctuation.")
    if form.unparted:
        progress.say(
            f"It is partly in {', '.join(sorted(form.unparted))}, which parts no words: every "
            "character was taken for one. Better give CoNLL-U or IOB2 of a tool for the language."
        )


def _say_cut(model: "Model", how: Settings) -> None:
    """Says which inputs were cut, and which answers about words have no end."""
    inputs, targets = derived.lengths(model.run)
    cut, unfinished = how.notes.cut, how.notes.unfinished
    if cut.count:
        progress.say(f"Inputs cut to {inputs} tokens: {cut.count} ({cut.first} first).")
    if unfinished.count:
        progress.say(
            f"Answers that did not end within {how.length or targets} tokens: {unfinished.count} "
            f"({unfinished.first} first). Words beyond have X, dep or O: raise --max_length, or "
            "give --overlength=window (tag, entities)."
        )


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
