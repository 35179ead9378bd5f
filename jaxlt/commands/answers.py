"""What a model answers to a task's examples, and how good that is, by task and language.

    examples = decode_examples(predictor, source, vocabulary, ...)
    scores = score_examples(examples, kinds)

A kind of task says how its answers are read and by which metrics they are judged.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlt.commands.own_tokens import own_tokens
from jaxlt.data import text_forms
from jaxlt.errors import UserError
from jaxlt.metrics.scores import Score, score
from jaxlt.metrics.trees import Parse

if TYPE_CHECKING:
    from jaxlt.commands.constraints import Constraint
    from jaxlt.data.config import DataConfig
    from jaxlt.data.views import EvaluationBatches
    from jaxlt.data.vocabularies import Vocabulary
    from jaxlt.engine.decoding_config import DecodingConfig
    from jaxlt.engine.predictor import Predictor


@dataclasses.dataclass(frozen=True)
class Example:
    """An example of a task, with what the model answered."""

    task: str  # 'tagging.en_ewt', or the objective of a run without tasks
    language: str  # of the target
    inputs: str
    target: str
    answer: str
    source: str = ""  # language of the inputs
    tags: tuple[str, str] = ("", "")  # of entities by a head: the right IOB2 tags, and those given


@dataclasses.dataclass(frozen=True)
class Judged:
    """A score of one task in one language."""

    task: str
    language: str
    metric: str
    score: Score


def _tags(example: Example) -> tuple[Any, Any]:
    gold = tuple(example.target.split())
    return text_forms.tags_from(example.answer, len(gold)), gold


def _arcs(example: Example) -> tuple[Any, Any]:
    words = example.inputs.split(" ")[1:]  # after the task's prefix

    def tree(text: str) -> Parse:
        return Parse(words, *text_forms.arcs_from(text, len(words)))

    return tree(example.answer), tree(example.target)


def _plain(example: Example) -> tuple[Any, Any]:
    return example.answer, example.target


_TEXT = (_plain, ("chrf++", "bleu", "length_ratio"))
_CLASS = (_plain, ("accuracy", "macro_f1"))
_WORDS = (_tags, ("accuracy",))
_TREES = (_arcs, ("uas", "las", "clas"))
_NAMES = (_plain, ("entity_f1",))
_FACTS = (_plain, ("p@1",))
_EXACT = (_plain, ("exact_match", "chrf++"))
_SPANS = (_plain, ("exact_match", "answer_f1"))
KINDS: Mapping[str, tuple[Callable[[Example], tuple[Any, Any]], tuple[str, ...]]] = {
    "tagging": _WORDS,
    "parsing": _TREES,
    "entities": _NAMES,
    "topics": _CLASS,
    "pairs": _CLASS,
    "questions": _SPANS,
    "translation": _TEXT,
    "words": _EXACT,
    "texts": _EXACT,
    "facts": _FACTS,
    "synthetic_tagging": _WORDS,
    "synthetic_parsing": _TREES,
    "synthetic_entities": _NAMES,
    "synthetic_sentiment": _CLASS,
    "synthetic_facts": _FACTS,
    "synthetic_parallel": _TEXT,
    "synthetic_dictionary": _EXACT,
    "synthetic_mixed": _WORDS,
    "synthetic_pairs": _CLASS,
    "synthetic_questions": _SPANS,
    "text_to_text": _EXACT,  # files of a user's own
}


def kinds_of(config: "DataConfig") -> dict[str, str]:
    """The kind behind the first part of each task's name."""
    return {task.label: task.kind for task in config.tasks} or {config.objective: config.objective}


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

    constraint: what answers may be, where they are not free; `kinds` then says of which tasks each
    word has a label. own_text: a folder of text by language, whose tokens alone answers may have.
    """
    from jaxlt.engine.decoding_config import EOS

    rows, languages, targets, known, cut = [], [], [], [], 0
    for text, inputs, target in source.examples():
        cut += len(inputs) >= inputs_length
        rows.append([*inputs[: inputs_length - 1], EOS])
        languages.append(source.languages.index(text.source))
        targets.append(source.languages.index(text.target))
        task = text.task.rpartition(".")[0] or objective
        texts = vocabulary.decode(inputs), vocabulary.decode(target)
        known.append(Example(task, text.target, *texts, "", text.source))
    given = _given(constraint, known, kinds or {})
    if own_text is not None:
        if "trie" in given:
            raise UserError("--own_tokens and labels both say what answers may be: give one.")
        given |= own_tokens(own_text, [one.language for one in known], vocabulary)
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
    by_word = {KINDS[kinds[example.task.partition(".")[0]]] is _WORDS for example in known}
    if constraint.labels and len(by_word) > 1:
        raise UserError(
            "Labels are of one kind of task, and this run both tags words and answers otherwise: "
            "leave --labels and --choices out."
        )
    if by_word != {True}:
        return constraint.given()
    return constraint.given([max(1, len(example.target.split())) for example in known])


def _by_question(group: Sequence[Example]) -> list[tuple[Any, Any]]:
    """Returns (answer, right answers) of each question: its examples are one a right answer."""
    found: dict[str, tuple[str, list[str]]] = {}
    for example in group:
        found.setdefault(example.inputs, (example.answer, []))[1].append(example.target)
    return list(found.values())


def score_examples(
    examples: Sequence[Example], kinds: Mapping[str, str], seed: int = 0
) -> Iterator[Judged]:
    """Yields each score of each task and language, in the order of their first examples."""
    groups: dict[tuple[str, str], list[Example]] = {}
    for example in examples:
        groups.setdefault((example.task, example.language), []).append(example)
    for (task, language), group in groups.items():
        read, metrics = KINDS[kinds[task.partition(".")[0]]]
        spans = "answer_f1" in metrics
        pairs = _by_question(group) if spans else map(read, group)
        answers, targets = zip(*pairs, strict=True)
        settings: dict[str, Any] = {"language": language} if spans else {}
        for metric in metrics:
            found = score(metric, answers, targets, seed=seed, **settings)
            yield Judged(task, language, metric, found)
        if all(example.tags[0] for example in group):  # then they have places, as conlleval wants
            right, given = zip(*([tags.split() for tags in e.tags] for e in group), strict=True)
            yield Judged(task, language, "span_f1", score("span_f1", given, right, seed=seed))
