"""Trivial answers to a task's examples, from the training data of a run, beside a model's.

    found = baselines(run.data, inventory, examples, kinds)      # {"tag_by_word": [Example, ...]}
    judged = judge(found, judged, kinds, judging)                # model and baselines, with chance

A language that trains learns from its own examples, any other from those of all that train: the
sources. The first baseline of a kind knows no input; its score is the chance of a metric.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from jaxlt.data import text_forms
from jaxlt.data.inventory import Inventory
from jaxlt.data.marked import SHAPES, Marked, answer_text, marked_of
from jaxlt.data.readers.iob2 import Span, Tagged, tags_of
from jaxlt.errors import UserError
from jaxlt.inference.answers import Example, Judged, score_examples
from jaxlt.inference.judging import Judging
from jaxlt.metrics.baselines import ByWord, Commonest, FirstWords, Names, Neighbour
from jaxlt.metrics.scores import METRICS

if TYPE_CHECKING:
    from jaxlt.data.config import DataConfig

MOST = 100_000  # examples of a task and language that are learnt from
_COPIED = ("translation", "words", "text_to_text", "synthetic_parallel", "synthetic_dictionary")
_TOLD = ("facts", "synthetic_facts", "text_to_text")  # by the commonest answer


class Learner(Protocol):
    """Answers of some baselines, by their names, once it has seen training examples."""

    def add(self, inputs: str, targets: str) -> None:
        """Takes an example in its text form (of entities for heads: tokens and tags)."""
        ...

    def answers(self, example: Example) -> dict[str, Example]:
        """Returns the example as each baseline answers it; the first knows no input."""
        ...


def _answered(example: Example, text: str) -> Example:
    return dataclasses.replace(example, answer=text)


class _Labels:
    """Tags and classes."""

    def __init__(self, kind: str):
        self._kind, self._tags = kind, SHAPES[kind] == "tags"
        self._words, self._all = ByWord(), Commonest()

    def add(self, inputs: str, targets: str) -> None:
        marked = marked_of(self._kind, inputs, targets)
        if self._tags:
            self._words.add(marked.words, marked.labels)
        self._all.add(marked.labels or [marked.label])

    def answers(self, example: Example) -> dict[str, Example]:
        if not self._tags:
            return {"commonest_class": _answered(example, self._all.answer)}
        words = marked_of(self._kind, example.inputs, "").words
        one = " ".join([self._all.answer] * len(words))
        each = " ".join(map(self._words.label, words))
        return {"commonest_tag": _answered(example, one), "tag_by_word": _answered(example, each)}


class _Trees:
    def __init__(self, kind: str):
        self._kind, self._trees = kind, Neighbour()

    def add(self, inputs: str, targets: str) -> None:
        marked = marked_of(self._kind, inputs, targets)
        self._trees.add(marked.words, marked.heads, marked.labels)

    def answers(self, example: Example) -> dict[str, Example]:
        heads, relations = self._trees.tree(marked_of(self._kind, example.inputs, "").words)
        return {"neighbour": _answered(example, text_forms.arcs_text(heads, relations))}


class _Entities:
    def __init__(self, kind: str, tags: bool):
        self._kind, self._tags, self._names = kind, tags, Names()

    def add(self, inputs: str, targets: str) -> None:
        marked = marked_of(self._kind, inputs, targets if self._tags else "")
        if self._tags:
            spans: Iterable[Any] = Tagged(marked.words, marked.labels).spans()
        else:
            spans = text_forms.entities_from(targets, marked.words)
        for span in spans:
            self._names.add(marked.words[span.start : span.end], span.label)

    def answers(self, example: Example) -> dict[str, Example]:
        words = marked_of(self._kind, example.inputs, "").words
        found = {"all_O": ("O",) * len(words), "known_names": self._tagged(words)}
        return {name: self._said(example, words, tags) for name, tags in found.items()}

    def _tagged(self, words: tuple[str, ...]) -> tuple[str, ...]:
        spans = self._names.spans(words)
        return tags_of((Span(*span) for span in spans), len(words))

    def _said(self, example: Example, words: tuple[str, ...], tags: Sequence[str]) -> Example:
        text = answer_text(Marked("entities", words), tags)
        own = (example.tags[0], " ".join(tags)) if example.tags[0] else ("", "")
        return dataclasses.replace(example, answer=text, tags=own)


class _Questions:
    def __init__(self, kind: str):
        self._kind, self._first = kind, FirstWords()

    def add(self, inputs: str, targets: str) -> None:
        self._first.add(targets)

    def answers(self, example: Example) -> dict[str, Example]:
        context = marked_of(self._kind, example.inputs, "").texts[1]
        return {"first_words": _answered(example, self._first.answer(context))}


class _Texts:
    """The input as it is, and the commonest answer."""

    def __init__(self, kind: str, tag: str):
        self._kind, self._tag, self._all = kind, tag, Commonest()

    def add(self, inputs: str, targets: str) -> None:
        self._all.add([targets])

    def answers(self, example: Example) -> dict[str, Example]:
        found = {}
        if self._kind in _TOLD:
            found["commonest_answer"] = _answered(example, self._all.answer)
        if self._kind in _COPIED:
            mark = self._tag.format(source=example.source, target=example.language)
            found["copy"] = _answered(example, example.inputs.removeprefix(mark))
        return found


def _learner(kind: str, heads: bool, tag: str) -> Learner:
    shape = SHAPES.get(kind)
    if shape in ("tags", "class", "pair"):
        return _Labels(kind)
    if shape == "tree":
        return _Trees(kind)
    if shape == "entities":
        return _Entities(kind, heads)
    return _Questions(kind) if shape == "span" else _Texts(kind, tag)


def baselines(
    config: "DataConfig",
    inventory: Inventory,
    examples: Sequence[Example],
    kinds: Mapping[str, str],
) -> dict[str, list[Example]]:
    """Returns the examples as each baseline answers them, by its name.

    inventory: of the labels of heads. A baseline that has nothing to learn from is left out.
    """
    make = functools.partial(_learner, heads=config.objective == "heads", tag=config.tag)
    learnt = _learnt(config, inventory, examples, kinds, make)
    out: dict[str, list[Example]] = {}
    for example in examples:
        label = example.task.partition(".")[0]
        learner = learnt.get((label, example.language)) or learnt.get((label, ""))
        if learner is None and kinds[label] in _COPIED and kinds[label] not in _TOLD:
            learner = learnt[label, ""] = make(kinds[label])  # a copy learns nothing
        for name, answered in (learner.answers(example) if learner else {}).items():
            out.setdefault(name, []).append(answered)
    return out


def _learnt(
    config: "DataConfig",
    inventory: Inventory,
    examples: Sequence[Example],
    kinds: Mapping[str, str],
    make: Callable[[str], Learner],
) -> dict[tuple[str, str], Learner]:
    """Learners by (task, language that trains and is asked), and by (task, "") over all."""
    asked = {(e.task.partition(".")[0], e.language) for e in examples}
    labels = {label for label, _ in asked}
    if {kinds[label] for label in labels} <= set(_COPIED) - set(_TOLD):
        return {}
    from jaxlt.data.mixtures import training_forms

    found: dict[tuple[str, str], Learner] = {}
    for text, forms in training_forms(config, inventory, MOST):
        label = text.task.partition(".")[0] or config.objective
        if label not in labels:
            continue
        keys = [key for key in ((label, text.target), (label, "")) if not key[1] or key in asked]
        for _, form in forms:
            for key in keys:
                if key not in found:
                    found[key] = make(kinds[label])
                found[key].add(*form)
    if not found:
        raise UserError(f"there are no examples of {', '.join(sorted(labels))} in what trains.")
    return found


def judge(
    found: Mapping[str, Sequence[Example]],
    judged: Sequence[Judged],
    kinds: Mapping[str, str],
    judging: Judging | None = None,
) -> list[Judged]:
    """Returns the judged scores with the chance of each, and those of the baselines behind them."""
    lines: dict[str, list[Judged]] = {}
    for name, examples in found.items():
        scores = score_examples(examples, kinds, judging=judging)
        lines[name] = [dataclasses.replace(one, method=f"baseline/{name}") for one in scores]
    chance: dict[tuple[str, ...], float] = {}
    for name in [name for name in lines if name in BLIND]:
        chance |= {one.what: one.score.value for one in lines[name]}
    every = [*judged, *(one for of in lines.values() for one in of)]
    return [dataclasses.replace(one, chance=chance.get(one.what)) for one in every]


BLIND = (
    "commonest_tag",
    "commonest_class",
    "neighbour",
    "all_O",
    "first_words",
    "commonest_answer",
)


def remarks(judged: Sequence[Judged]) -> Iterator[str]:
    """Yields what is to be said of scores that a trivial answer attains too."""
    best: dict[tuple[str, ...], Judged] = {}
    for one in judged:
        if one.method and (one.what not in best or one.score.value > best[one.what].score.value):
            best[one.what] = one
    for one in judged:
        other = best.get(one.what)
        if one.method or other is None or not METRICS[one.metric].scale:
            continue
        where = f"{one.task} {one.direction}: {one.metric} {one.score.value:.4g}"
        name = other.method.removeprefix("baseline/")
        if one.chance is not None and one.score.value <= one.chance:
            yield f"{where} is at chance ({one.chance:.4g})"
        elif one.score.value < other.score.value:
            yield f"{where} is below {name} ({other.score.value:.4g})"


def one_answer(examples: Sequence[Example], kinds: Mapping[str, str]) -> Iterator[str]:
    """Yields what is to be said of tasks whose answers are one label everywhere."""
    said: dict[tuple[str, str], set[str]] = {}
    for example in examples:
        kind = kinds[example.task.partition(".")[0]]
        shape = SHAPES.get(kind)
        if shape in ("tags", "entities"):
            given = set((example.tags[1] or example.answer).split()) or {"(nothing)"}
        elif shape in ("class", "pair"):
            given = {example.answer}
        else:
            continue
        said.setdefault((example.task, example.language), set()).update(given)
    for (task, language), labels in said.items():
        if len(labels) == 1:
            yield f"{task} {language}: every answer is '{labels.pop()}'"
