"""What a model answers to a task's examples, and how good that is, by task and language.

    examples = decode_examples(predictor, source, vocabulary, ...)
    scores = score_examples(examples, kinds)

A kind of task says how its answers are read and by which metrics they are judged.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlt.data import text_forms
from jaxlt.metrics.scores import Score, score
from jaxlt.metrics.trees import Parse

if TYPE_CHECKING:
    from jaxlt.data.mixtures import DataConfig
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
KINDS: Mapping[str, tuple[Callable[[Example], tuple[Any, Any]], tuple[str, ...]]] = {
    "tagging": _WORDS,
    "parsing": _TREES,
    "entities": _NAMES,
    "topics": _CLASS,
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
) -> tuple[list[Example], int]:
    """Answers every example of a pass; returns them, and how many inputs were cut to fit."""
    from jaxlt.engine.decoding_config import EOS

    rows, languages, known, cut = [], [], [], 0
    for text, inputs, target in source.examples():
        cut += len(inputs) >= inputs_length
        rows.append([*inputs[: inputs_length - 1], EOS])
        languages.append(source.languages.index(text.source))
        task = text.task.rpartition(".")[0] or objective
        known.append((task, text.target, vocabulary.decode(inputs), vocabulary.decode(target)))
    decoded = predictor.decode_tokens(
        [np.asarray(row, np.int32) for row in rows],
        length,
        batch_size=batch_size,
        languages=languages,
        decoding=decoding,
    )
    answers = (vocabulary.decode(ids) for ids in decoded)
    return [Example(*one, answer) for one, answer in zip(known, answers, strict=True)], cut


def score_examples(
    examples: Sequence[Example], kinds: Mapping[str, str], seed: int = 0
) -> Iterator[Judged]:
    """Yields each score of each task and language, in the order of their first examples."""
    groups: dict[tuple[str, str], list[Example]] = {}
    for example in examples:
        groups.setdefault((example.task, example.language), []).append(example)
    for (task, language), group in groups.items():
        read, metrics = KINDS[kinds[task.partition(".")[0]]]
        answers, targets = zip(*map(read, group), strict=True)
        for metric in metrics:
            yield Judged(task, language, metric, score(metric, answers, targets, seed=seed))
