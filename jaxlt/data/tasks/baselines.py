"""Trivial answers that several kinds of task share, by the names of the baselines that give them.

learner = kind_of("topics").learner(heads=False)
learner.add("topic: rain", "weather")
learner.answers("topic: sun", "")              # {"commonest_class": Answered("weather")}
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from jaxlt.data.head_example import HeadExample
from jaxlt.metrics.baselines import ByWord, Commonest

Read = Callable[[str, str], HeadExample]  # a kind's `example`


class Answered(NamedTuple):
    """A trivial answer: its text and, of entities, the IOB2 tags that it stands for."""

    text: str
    tags: str = ""


class Learner(Protocol):
    """Trivial answers, learnt from training examples."""

    def add(self, inputs: str, targets: str) -> None:
        """Takes an example in the form that heads learn, or the model writes."""

    def answers(self, inputs: str, tag: str) -> Mapping[str, Answered]:
        """Returns the answers to inputs; `tag` is what stands before a text to be translated."""


class Tags:
    """The commonest tag, and each word's own."""

    def __init__(self, read: Read):
        self._read, self._words, self._all = read, ByWord(), Commonest()

    def add(self, inputs: str, targets: str) -> None:
        example = self._read(inputs, targets)
        self._words.add(example.words, example.labels)
        self._all.add(example.labels)

    def answers(self, inputs: str, tag: str) -> Mapping[str, Answered]:
        words = self._read(inputs, "").words
        one, each = [self._all.answer] * len(words), map(self._words.label, words)
        return {
            "commonest_tag": Answered(" ".join(one)),
            "tag_by_word": Answered(" ".join(each)),
        }


class Usual:
    """The commonest answer of all; `name` is the baseline's, read(inputs, targets) an answer."""

    def __init__(self, name: str, read: Callable[[str, str], str] = lambda _, targets: targets):
        self._name, self._read, self._all = name, read, Commonest()

    def add(self, inputs: str, targets: str) -> None:
        self._all.add([self._read(inputs, targets)])

    def answers(self, inputs: str, tag: str) -> Mapping[str, Answered]:
        return {self._name: Answered(self._all.answer)}


class Copied:
    """The input as it is, without the tag of a language before it: there is nothing to learn."""

    def add(self, inputs: str, targets: str) -> None:
        """Learns nothing."""

    def answers(self, inputs: str, tag: str) -> Mapping[str, Answered]:
        return {"copy": Answered(inputs.removeprefix(tag))}


class UsualOrCopied(Usual):
    """The commonest answer, and the input as it is."""

    def answers(self, inputs: str, tag: str) -> Mapping[str, Answered]:
        return {**super().answers(inputs, tag), **Copied().answers(inputs, tag)}
