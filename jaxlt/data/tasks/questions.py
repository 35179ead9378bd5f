"""Questions about a text, in mT5's form of XQuAD, MLQA and TyDi QA: spaces around all punctuation.

    question: Who ? context: By Ada .       ->  Ada

Heads learn where the answer stands in the context: `Ada<TAB>5`, counted from the context's end.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import regex

from jaxlt.data.head_example import HeadExample
from jaxlt.data.readers.questions import Question
from jaxlt.data.tasks.baselines import Answered
from jaxlt.data.tasks.examples import language_streams
from jaxlt.data.tasks.kind import USUAL, Kind, Reading, Stream, Wording
from jaxlt.data.text_forms import Form
from jaxlt.metrics.baselines import FirstWords

_SPACES = r"\t\n\f\r "  # what \s means to RE2, with which mT5 made its texts
_PUNCTUATION = regex.compile(rf"([^_{_SPACES}\p{{N}}\p{{L}}\p{{M}}])")
_RUN = regex.compile(rf"[{_SPACES}]+")


def spaced(text: str) -> str:
    """Returns a text with spaces around all punctuation, and runs of them as one.

    Where it begins or ends with punctuation its space stays, as in the texts mT5 learned from.
    """
    return str(_RUN.sub(" ", _PUNCTUATION.sub(r" \1 ", text)))


def placed_answer(context: str, answer: str, start: int) -> str:
    """Returns what a head learns of a question: the answer, and where it stands in the context.

    The place, of the answer that begins at character `start`, is counted from the end of the
    context as the form writes it: `answer_from` reads both back.
    """
    written, places = _spaced_places(context)
    before = _RUN.match(answer)
    if before and before.end() < len(answer):  # the spaces that it begins with are not kept
        start += before.end()
    return f"{spaced(answer).strip(' ')}\t{len(written) - places[start]}"


def answer_from(said: str, context: str) -> tuple[str, int]:
    """Returns (answer, where it begins in the context or -1 where that is not said)."""
    answer, tab, left = said.partition("\t")
    return answer.strip(" "), len(context) - int(left) if tab else -1


def _spaced_places(text: str) -> tuple[str, list[int]]:
    """Returns (spaced(text), where each character of the text stands in that)."""
    out: list[str] = []
    places: list[int] = []
    for char in text:
        wide = spaced(char)
        parts = list(wide[1:] if out and out[-1] == " " and wide[0] == " " else wide)
        # A space that was there already is the last one; punctuation follows its own.
        places.append(len(out) - 1 if not parts else len(out) + parts.index(wide.strip(" ") or " "))
        out += parts
    return "".join(out), places


class Questions(Kind):
    """Questions whose answers are parts of a text.

    In training a question has its first right answer; elsewhere it is there once for each of them,
    so that a loss is over right answers, and a score can know them all. Heads learn each where the
    table says that it stands.
    """

    shape = "span"
    metrics, by_language = ("exact_match", "answer_f1"), True
    blind = "first_words"
    task, columns, formats = "questions", (("question",), ("context",)), ()

    def streams(self, reading: Reading) -> list[Stream]:
        placed = ["places"] if reading.config.rules.answers_placed else []
        return language_streams(self, reading, "questions", lambda r: r.id or r.context, placed)

    def forms(self, record: Question, reading: Reading, split: str) -> Iterable[Form]:
        """Yields the question with each right answer, in training with the first."""
        asked = self.inputs((record.question, record.context))
        right = dict.fromkeys(map(spaced, record.answers))
        for answer in list(right)[:1] if split == "train" else right:
            yield asked, answer

    def head_forms(self, record: Question, reading: Reading, split: str) -> Iterable[Form]:
        """Yields the question with each right answer and its place."""
        if not reading.config.rules.answers_placed:
            yield from self.forms(record, reading, split)
            return
        asked = self.inputs((record.question, record.context))
        right: dict[str, str] = {}
        for answer, start in zip(record.answers, record.starts, strict=True):
            right.setdefault(spaced(answer), placed_answer(record.context, answer, start))
        for placed in list(right.values())[:1] if split == "train" else right.values():
            yield asked, placed

    def inputs(self, asked: tuple[str, str], wording: Wording = USUAL) -> str:
        return str(_RUN.sub(" ", f"question: {spaced(asked[0])} context: {spaced(asked[1])}"))

    def example(self, inputs: str, targets: str) -> HeadExample:
        one, _, two = inputs.removeprefix("question: ").partition(" context: ")
        answer, place = answer_from(targets, two)
        return HeadExample(self.shape, texts=(one, two), label=answer, place=place)

    def judged(self, examples: Sequence[tuple[str, str, str]]) -> tuple[list[Any], list[Any]]:
        """An answer a question, and all its right ones: its examples are one a right answer."""
        asked: dict[str, tuple[str, list[str]]] = {}
        for inputs, answer, target in examples:
            asked.setdefault(inputs, (answer, []))[1].append(target)
        return [answer for answer, _ in asked.values()], [right for _, right in asked.values()]

    def learner(self, heads: bool) -> "Beginnings":
        return Beginnings(self)


class Beginnings:
    """The first words of the context, as many as answers have."""

    def __init__(self, kind: Questions):
        self._kind, self._first = kind, FirstWords()

    def add(self, inputs: str, targets: str) -> None:
        self._first.add(targets)

    def answers(self, inputs: str, tag: str) -> Mapping[str, Answered]:
        context = self._kind.example(inputs, "").texts[1]
        return {"first_words": Answered(self._first.answer(context))}
