"""What a model answers to a task's examples: decoded or labelled, saved, and read again.

    examples = decode_examples(run, predictor, source, vocabulary, Evaluation(max_length=64))
    path = place(workdir, asked_of(common))
    save(path, asked_of(common), examples)
    asked, examples = read(path)

Saved answers are `answers/*.jsonl` in a run's folder, an example a line, what was asked first. A
file's name is made of that: split, step, modules, decoding, and a hash of it all, so that two ways
of asking never write to one file.
"""

import dataclasses
import hashlib
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from etils import epath

from jaxlt import progress
from jaxlt.config import derived
from jaxlt.data.sources import files
from jaxlt.data.tasks.kind import kind_of
from jaxlt.engine.decode.config import EOS
from jaxlt.errors import UserError
from jaxlt.inference import opening
from jaxlt.inference.constraints import Constraint, language_tokens
from jaxlt.metrics.result import Result
from jaxlt.metrics.result_file import to_json

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.data.config import DataConfig
    from jaxlt.data.inventory import Inventory
    from jaxlt.data.labelling import Labels
    from jaxlt.data.rows.views import EvaluationBatches
    from jaxlt.data.vocabulary.vocabularies import Vocabulary
    from jaxlt.inference.predictor import Predictor
    from jaxlt.inference.provenance import Evaluation

_HEADER = "asked"  # the one key of the first line; files without one are older
_NAMED = ("split", "step", "modules", "decoding", "settings", "base", "config", "seed", "data")
_BYTES = 48  # of a name before its hash


@dataclasses.dataclass(frozen=True)
class Example:
    """An example of a task as its files have it, with what the model answered."""

    task: str  # 'tagging.en_ewt', or the objective of a run without tasks
    language: str  # of the target
    inputs: str  # these two before any vocabulary
    target: str
    answer: str
    source: str = ""  # language of the inputs
    tags: tuple[str, str] = ("", "")  # of entities by a head: gold IOB2, and predicted


def kinds_of(config: "DataConfig") -> dict[str, str]:
    """The kind behind the first part of each task's name."""
    return {task.label: task.kind for task in config.tasks} or {config.objective: config.objective}


def unanswered(
    source: "EvaluationBatches", vocabulary: "Vocabulary", objective: str
) -> list[Example]:
    """Returns the examples of a pass, not answered yet, in their order.

    A vocabulary's normaliser changes texts (full-width punctuation, for one), and an answer is held
    against what was there: texts are the files' own where the data can read them anew.
    """
    examples = []
    for (text, *ids), form in zip(source.examples(), source.forms(), strict=True):
        task = text.task.rpartition(".")[0] or objective
        inputs, target = form or map(vocabulary.decode, ids)
        examples.append(Example(task, text.target, inputs, target, "", text.source))
    return examples


def decode_examples(
    run: "RunConfig",
    predictor: "Predictor",
    source: "EvaluationBatches",
    vocabulary: "Vocabulary",
    asked: "Evaluation",
) -> list[Example]:
    """Has a decoder answer every example of a pass.

    Inputs and targets are texts that no vocabulary has touched, where the data has such.
    """
    inputs_length, length = derived.lengths(run)
    rows, languages, targets, cut = [], [], [], 0
    examples = unanswered(source, vocabulary, run.data.objective)
    for text, inputs, _ in source.examples():
        cut += len(inputs) >= inputs_length
        rows.append(np.asarray([*inputs[: inputs_length - 1], EOS], np.int32))
        languages.append(source.languages.index(text.source))
        targets.append(source.languages.index(text.target))
    constraint = Constraint(vocabulary, asked.labels, asked.force)
    constrained = _constrained(constraint, examples, kinds_of(run.data))
    if asked.language_tokens is not None:
        if "trie" in constrained:
            raise UserError("--language_tokens and labels both say what answers may be: give one.")
        own = [example.language for example in examples]
        constrained |= language_tokens(asked.language_tokens, own, vocabulary)
    with progress.doing("Decoding answers", len(rows)):
        progress.detail("compiling")
        decoded = predictor.decode_tokens(
            rows,
            constraint.length(constrained, asked.max_length or length),
            batch_size=source.batch_size,
            languages=languages,
            targets=targets,
            decoding=asked.decoding,
            **constrained,
        )
    if cut:
        progress.say(
            f"{cut} of {len(examples)} inputs were longer than DataConfig.inputs_length = "
            f"{inputs_length} and were cut; raise it to read them whole."
        )
    return [
        dataclasses.replace(example, answer=constraint.named(vocabulary.decode(ids)))
        for example, ids in zip(examples, decoded, strict=True)
    ]


def _constrained(
    constraint: Constraint, examples: Sequence[Example], kinds: Mapping[str, str]
) -> dict[str, Any]:
    """What decoding is given of a constraint: labels are each word's where a task tags words."""
    labels = {task: kind_of(kind).labels for task, kind in kinds.items()}
    by_word = {labels[example.task.partition(".")[0]] == "word" for example in examples}
    if constraint.labels and len(by_word) > 1:
        raise UserError(
            "Labels are of one kind of task, and this run both tags words and answers otherwise: "
            "leave --labels and --choices out."
        )
    if by_word != {True}:
        return constraint.decoding()
    return constraint.decoding([max(1, len(example.target.split())) for example in examples])


def objective_of(
    run: "RunConfig", vocabulary: "Vocabulary", inventory: "Inventory | None" = None
) -> "Labels":
    """How a run's heads read examples; inventory: the names of its labels, where in memory."""
    from jaxlt.data.labelling import Labels
    from jaxlt.data.objectives.build import build_objective

    objective = build_objective(run.data, vocabulary, opening.inventory_of(run, inventory))
    assert isinstance(objective, Labels)
    return objective


def label_examples(
    run: "RunConfig",
    predictor: "Predictor",
    source: "EvaluationBatches",
    vocabulary: "Vocabulary",
    split: str,
) -> list[Example]:
    """Labels every example of a pass."""
    from jaxlt.data.mixtures import examples_of
    from jaxlt.inference.labelling import label

    objective, kinds = objective_of(run, vocabulary, predictor.inventory), kinds_of(run.data)
    out: list[Example] = []
    left = 0
    for text, asked in examples_of(run.eval_data or run.data, split, source):
        head = text.task.partition(".")[0]
        kind = kind_of(kinds[head])
        route = [source.languages.index(text.source)] * len(asked)
        unlabelled = [one for _, one in asked]
        answers = label(
            predictor,
            objective,
            head,
            unlabelled,
            languages=route if predictor.is_routed else None,
            batch_size=source.batch_size,
        )
        task = text.task.rpartition(".")[0]
        left += sum(not answer.labels for answer in answers)
        for (inputs, one), answer in zip(asked, answers, strict=True):
            gold = kind.answer(one, one.labels or (one.label,), one.heads)
            # Of an example that was left out there is no answer.
            predicted = kind.answer(one, answer.labels, answer.heads) if answer.labels else ""
            tags = ("", "")
            if one.shape == "entities":
                tags_of_head = answer.labels or ("O",) * len(one.words)
                tags = (" ".join(one.labels), " ".join(tags_of_head))
            out.append(Example(task, text.language, inputs, gold, predicted, text.language, tags))
    if left:
        progress.say(
            f"{left} of {len(out)} examples are longer than a row and were left out "
            "(DataConfig.overlength): they count as wrong. 'window' reads them in parts."
        )
    return out


def asked_of(common: Mapping[str, Any]) -> dict[str, Any]:
    """What saved answers say of how they came about, as JSON: fields of their Results."""
    fields = {name: common[name] for name in _NAMED if name in common}
    written = to_json(Result(metric="", value=None, n=0, **fields))
    return {name: value for name, value in written.items() if name in _NAMED}


def place(workdir: epath.PathLike, asked: Mapping[str, Any]) -> epath.Path:
    """Returns the file for answers to what was asked; see `asked_of`."""
    modules = "+".join(name for name, *_ in asked.get("modules", ()))
    how = asked.get("decoding", {})
    beams = f"beams{how['beams']}" if "beams" in how else ""
    words = [asked.get("split"), asked.get("step"), modules, beams, "drawn" * ("draws" in how)]
    name = "-".join(
        re.sub(r"[^\w=+.]+", "_", str(word)) for word in words if word not in ("", None)
    )
    text = json.dumps(asked, sort_keys=True, ensure_ascii=False)
    code = hashlib.sha256(text.encode()).hexdigest()[:8]
    short = name.encode()[:_BYTES].decode(errors="ignore")  # which no file system refuses
    return epath.Path(workdir).expanduser() / "answers" / f"{short}-{code}.jsonl"


def check_writable(folder: epath.Path) -> None:
    """Raises UserError where no file can be made in a folder (which is made)."""
    probe = folder / f".{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"Nothing can be written to '{folder}': {error.strerror or error}. Mend its "
            "permissions, or copy the run to where you may write."
        ) from error


def save(path: epath.Path, asked: Mapping[str, Any], examples: Sequence[Example]) -> None:
    """Writes what was asked, and then one JSON line an example."""
    records = [{_HEADER: dict(asked)}, *(dataclasses.asdict(one) for one in examples)]
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    try:
        files.write_chunks(str(path), (f"{line}\n".encode() for line in lines))
    except OSError as error:
        raise UserError(f"'{path}' cannot be written: {error.strerror or error}.") from error


def read(path: epath.Path) -> tuple[dict[str, Any], list[Example]]:
    """Returns what was asked ({} in older files) and the answers, or says which line is none."""
    if not path.is_file():
        there = sorted(str(p) for p in path.parent.glob("*.jsonl")) if path.parent.is_dir() else []
        beside = f" There are {', '.join(there)}." if there else ""
        raise UserError(f"There is no file of answers '{path}'.{beside}")
    asked: dict[str, Any] = {}
    examples = []
    # Only a newline ends a line: JSON has the other ends that Unicode knows (U+2028) as they are.
    lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            if number == 1 and list(record) == [_HEADER]:
                asked = dict(record[_HEADER])
                continue
            gold, predicted = record.pop("tags", ("", ""))
            examples.append(Example(**record, tags=(gold, predicted)))
        except (ValueError, TypeError) as error:
            names = ", ".join(field.name for field in dataclasses.fields(Example))
            raise UserError(
                f"'{path}', line {number} is no saved answer ({error}): a JSON object of {names}."
            ) from None
    if not examples:
        raise UserError(f"'{path}' holds no answers.")
    return asked, examples
