"""What a model answers to a task's examples, and how good that is, by task and language.

    examples = decode_examples(predictor, source, vocabulary, ...)
    scores = score_examples(examples, kinds)

A kind of task says how its answers are read and by which metrics they are judged.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlt import progress
from jaxlt.data.tasks.kind import kind_of
from jaxlt.errors import UserError
from jaxlt.inference.judging import Judging
from jaxlt.inference.own_tokens import own_tokens
from jaxlt.metrics.scores import Score, score

if TYPE_CHECKING:
    from jaxlt.data.config import DataConfig
    from jaxlt.data.rows.views import EvaluationBatches
    from jaxlt.data.vocabulary.vocabularies import Vocabulary
    from jaxlt.engine.decode.config import DecodingConfig
    from jaxlt.inference.constraints import Constraint
    from jaxlt.inference.predictor import Predictor


@dataclasses.dataclass(frozen=True)
class Example:
    """An example of a task as its files have it, with what the model answered."""

    task: str  # 'tagging.en_ewt', or the objective of a run without tasks
    language: str  # of the target
    inputs: str  # these two before any vocabulary
    target: str
    answer: str
    source: str = ""  # language of the inputs
    tags: tuple[str, str] = ("", "")  # of entities by a head: the right IOB2 tags, and those given


@dataclasses.dataclass(frozen=True)
class Judged:
    """A score of one task in one language, of translation in one direction."""

    task: str
    language: str  # of the targets
    metric: str
    score: Score
    source: str = ""  # language of the inputs
    method: str = ""  # 'baseline/copy': no model's
    chance: float | None = None  # the score of answers that know no input

    @property
    def what(self) -> tuple[str, str, str, str]:
        """What is measured, whoever answered."""
        return self.task, self.source, self.language, self.metric

    @property
    def direction(self) -> str:
        """Its language, or both where they differ."""
        if self.source in ("", self.language):
            return self.language
        return f"{self.source} > {self.language}"


def kinds_of(config: "DataConfig") -> dict[str, str]:
    """The kind behind the first part of each task's name."""
    return {task.label: task.kind for task in config.tasks} or {config.objective: config.objective}


def asked(source: "EvaluationBatches", vocabulary: "Vocabulary", objective: str) -> list[Example]:
    """Returns the examples of a pass, not answered yet, in their order.

    A vocabulary's normaliser changes texts (full-width punctuation, for one), and an answer is held
    against what was there: texts are the files' own where the data can read them anew.
    """
    found = []
    for (text, *ids), form in zip(source.examples(), source.forms(), strict=True):
        task = text.task.rpartition(".")[0] or objective
        inputs, target = form or map(vocabulary.decode, ids)
        found.append(Example(task, text.target, inputs, target, "", text.source))
    return found


def decode_examples(
    predictor: "Predictor",
    source: "EvaluationBatches",
    vocabulary: "Vocabulary",
    *,
    inputs_length: int,
    length: int,
    batch_size: int,
    objective: str,
    decoding: "DecodingConfig",
    kinds: Mapping[str, str] | None = None,
    constraint: "Constraint | None" = None,
    own_text: str | None = None,
) -> tuple[list[Example], int]:
    """Answers every example of a pass; returns them, and how many inputs were cut to fit.

    Inputs and targets are texts that no vocabulary has touched, where the data has such.

    constraint: what answers may be, where they are not free; `kinds` then says of which tasks each
    word has a label. own_text: a folder of text by language, whose tokens alone answers may have.
    """
    from jaxlt.engine.decode.config import EOS

    rows, languages, targets, cut = [], [], [], 0
    known = asked(source, vocabulary, objective)
    for text, inputs, _ in source.examples():
        cut += len(inputs) >= inputs_length
        rows.append([*inputs[: inputs_length - 1], EOS])
        languages.append(source.languages.index(text.source))
        targets.append(source.languages.index(text.target))
    given = _given(constraint, known, kinds or {})
    if own_text is not None:
        if "trie" in given:
            raise UserError("--language_tokens and labels both say what answers may be: give one.")
        given |= own_tokens(own_text, [one.language for one in known], vocabulary)
    with progress.doing("Decoding answers", len(rows)):
        progress.detail("compiling")
        decoded = predictor.decode_tokens(
            [np.asarray(row, np.int32) for row in rows],
            constraint.length(given, length) if constraint else length,
            batch_size=batch_size,
            languages=languages,
            targets=targets,
            decoding=decoding,
            **given,
        )
    said = (vocabulary.decode(ids) for ids in decoded)
    answers = (constraint.named(answer) if constraint else answer for answer in said)
    pairs = zip(known, answers, strict=True)
    return [dataclasses.replace(one, answer=answer) for one, answer in pairs], cut


def _given(
    constraint: "Constraint | None", known: Sequence[Example], kinds: Mapping[str, str]
) -> dict[str, Any]:
    """What decoding is given of a constraint: labels are each word's where a task tags words."""
    if constraint is None:
        return {}
    labels = {task: kind_of(kind).labels for task, kind in kinds.items()}
    by_word = {labels[example.task.partition(".")[0]] == "word" for example in known}
    if constraint.labels and len(by_word) > 1:
        raise UserError(
            "Labels are of one kind of task, and this run both tags words and answers otherwise: "
            "leave --labels and --choices out."
        )
    if by_word != {True}:
        return constraint.given()
    return constraint.given([max(1, len(example.target.split())) for example in known])


def score_examples(
    examples: Sequence[Example],
    kinds: Mapping[str, str],
    seed: int = 0,
    judging: Judging | None = None,
) -> Iterator[Judged]:
    """Yields each score of each task and direction, in the order of their first examples.

    Examples of a task belong together where both their languages are the same.
    """
    rules = judging or Judging()
    groups: dict[tuple[str, str, str], list[Example]] = {}
    for example in examples:
        key = example.task, example.source or example.language, example.language
        groups.setdefault(key, []).append(example)
    for (task, source, language), group in groups.items():
        kind = kind_of(kinds[task.partition(".")[0]])
        predictions, references = kind.judged([(e.inputs, e.answer, e.target) for e in group])
        for metric in kind.metrics:
            own = rules.settings(metric, task, language) if kind.by_language else {}
            found = score(rules.metric(metric), predictions, references, seed=seed, **own)
            yield Judged(task, language, rules.metric(metric), found, source)
        if all(example.tags[0] for example in group):  # then they have places, as conlleval wants
            right, given = zip(*([tags.split() for tags in e.tags] for e in group), strict=True)
            found = score("span_f1", given, right, seed=seed)
            yield Judged(task, language, "span_f1", found, source)
