"""Examples for heads as batch fields: the objective 'heads', and what it stores of an example.

    labels = Labels((Task("tagging", "tags"),), reader, inventory, inputs_length=256)
    for piece in labels.pieces("tagging", example):      # one, or several of what is too long
        piece.fields                                    # {"encoder_input_tokens": ids, ...}

Fields are those of `jaxlt.models.heads`. They are stored with 0 for what is unknown or not there,
so numbers that may be 0 are one higher in the store than in a batch.
"""

import copy
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jaxlt.data.head_example import WORDS, HeadExample
from jaxlt.data.inventory import Inventory
from jaxlt.data.objectives.objectives import Draw, Features
from jaxlt.data.rows.batches import Spec
from jaxlt.data.text.unicode import Span
from jaxlt.data.vocabulary.label_units import Reader, Units
from jaxlt.errors import UserError

Overlength = Literal["refuse", "leave_out", "window"]
NUMBER = "example"  # stored beside the fields: which example of its split a row is of
SAID = "said"  # and, where it is spelt anew at each visit, what it says
_INT = np.dtype(np.int32)
_SHIFTED = ("word_first", "word_labels", "word_heads", "label", "span")  # stored one higher
_NONE = np.zeros(0, np.int32)
_NOTHING = Units(_NONE, _NONE, _NONE, _NONE)


@dataclass(frozen=True)
class Task:
    """A head's name, and the shape of what it labels."""

    name: str
    shape: str


@dataclass(frozen=True)
class Piece:
    """What is read at once: stored fields, and the words [start, stop) of the example it holds.

    The labels of the words [first, last) are taken from here; other pieces know the rest better.
    """

    fields: dict[str, np.ndarray]
    start: int = 0
    stop: int = 0
    first: int = 0
    last: int = 0


class _Growing(dict[str, int]):
    """Numbers of labels, of which one that is asked for first gets the next."""

    def get(self, label: str, default: int = -1) -> int:  # type: ignore[override]
        return self.setdefault(label, len(self))


class TooLong(UserError):
    """An example is longer than a row."""


class Labels:
    """The objective 'heads'; see jaxlt.data.objectives.objectives.Objective."""

    window = 0

    def __init__(
        self,
        tasks: Sequence[Task],
        reader: Reader,
        inventory: Inventory,
        inputs_length: int,
        words_length: int,
        overlength: Overlength = "refuse",
    ):
        self.tasks, self.reader, self.inventory = tuple(tasks), reader, inventory
        self._places = {task.name: i for i, task in enumerate(self.tasks)}
        self._numbers = {
            head: {label: i for i, label in enumerate(names)}
            for head, names in inventory.labels.items()
        }
        self._words = words_length
        self._length = words_length if reader.chars else inputs_length
        self._end = len(reader.end(_NOTHING).ids)  # units of the mark that ends a text
        self._overlength = overlength
        self.features = tuple(self.spec())

    def spec(self) -> Spec:
        """Returns the shape and dtype of one row of each field."""
        shapes = {task.shape for task in self.tasks}
        length, words = (self._length,), (self._words,)
        fields: dict[str, tuple[int, ...]] = {self.reader.input: length, "head": ()}
        if self.reader.chars:
            fields["chars"] = (self._length, self.reader.chars)
        if shapes & set(WORDS):
            fields |= {"word_labels": words} | ({} if self.reader.chars else {"word_first": words})
        if "tree" in shapes:
            fields["word_heads"] = words
        if shapes & {"class", "pair"}:
            fields |= {"label": (), "sentence": length}
        if "span" in shapes:
            fields |= {"span": (2,), "context": length}
        return {name: (shape, _INT) for name, shape in fields.items()}

    @property
    def identity(self) -> list[object]:
        """JSON of all that decides what is stored of an example."""
        tasks = [[task.name, task.shape] for task in self.tasks]
        known = [self.inventory.fingerprint, self.reader.fingerprint]
        return ["heads", tasks, *known, self._length, self._words, self._overlength]

    @property
    def stored_identity(self) -> list[object]:
        """JSON of all that decides what `storing` makes of an example: no inventory's labels."""
        tasks = [[task.name, task.shape] for task in self.tasks]
        return ["stored", tasks, self.reader.stored, self._length, self._words, self._overlength]

    def storing(self) -> "Labels":
        """Returns what numbers labels as they come, so that a store outlives an inventory."""
        other = copy.copy(self)
        other._numbers = {task.name: _Growing() for task in self.tasks}
        return other

    def names(self, head: str) -> list[str]:
        """Returns the labels of a head by their numbers."""
        return list(self._numbers.get(head, ()))

    def renumbered(self, head: str, stored: Sequence[str]) -> dict[str, np.ndarray]:
        """Returns, of fields that hold labels, the values in place of those stored by `names`."""
        numbers = self._numbers.get(head, {})
        values = np.array([0, *(numbers.get(label, -1) + 1 for label in stored)], np.int32)
        return {name: values for name in ("word_labels", "label") if name in self.features}

    def __call__(self, features: Features, draw: Draw) -> dict[str, np.ndarray]:
        """Returns the batch fields, each [R, ...], from stored ones; nothing is drawn."""
        fields = {}
        for name, (shape, _) in self.spec().items():
            values = features[name][0].reshape(-1, *shape)
            fields[name] = values - 1 if name in _SHIFTED else values
        return fields

    def batch(self, pieces: Sequence[Piece]) -> dict[str, np.ndarray]:
        """Returns the fields of pieces as rows of a batch."""
        rows: Features = {}
        for name, (shape, _) in self.spec().items():
            out = np.zeros((len(pieces), math.prod(shape)), np.int32)
            for row, piece in zip(out, pieces, strict=True):
                row[: len(piece.fields[name])] = piece.fields[name]
            rows[name] = (out, np.zeros(0))
        return self(rows, lambda rows, count: np.zeros((len(rows), count)))

    def pieces(self, head: str, example: HeadExample) -> list[Piece]:
        """Returns an example as rows: one, or where it is too long as DataConfig.overlength says.
        Without words there is none. A label that the inventory does not have is unknown, and weighs
        nothing.
        """
        try:
            if example.shape in WORDS:
                rows = list(self._of_words(head, example))
            else:
                rows = list(self._of_texts(head, example))
        except TooLong:
            if self._overlength == "leave_out":
                return []
            raise
        if len(rows) > 1 and self._overlength != "window":
            if self._overlength == "leave_out":
                return []
            raise self._too_long(example, "longer than a row")
        return rows

    def nothing(self, head: str) -> Piece:
        """Returns the row of an example that is not read: it holds nothing, and weighs nothing."""
        return Piece(self._fields(head, _NOTHING))

    def said(self, example: HeadExample, piece: Piece) -> list[str]:
        """Returns what a row of an example says: its words or texts, of a long text a part."""
        if example.words:
            return list(example.words[piece.start : piece.stop])
        size = len(piece.fields[self.reader.input]) - self._end
        if example.shape == "pair" or (not piece.start and size < self._length - self._end):
            return list(example.texts)
        (text,) = example.texts
        first, stop = self.reader.characters(text, piece.start, piece.start + size)
        return [text[first:stop]]

    def respelt(self, example: HeadExample, room: int | None = None) -> dict[str, np.ndarray]:
        """Returns the stored fields that hold the spelling of a row which says all of an example.

        Words that are more than `room` units (None: those of a row) have none; texts lose their
        end, the longer one of a pair first.
        """
        room = (room or self._length) - self._end * max(len(example.texts), 1)
        own: dict[str, np.ndarray] = {}
        if example.words:
            units = self.reader.of_words(example.words, example.cut)
            low, high = int(units.first[0]), int(units.stop[-1])
            if high - low > room:
                return {}
            own["word_first"] = units.first - low + 1
            units = self.reader.end(units.cut(low, high))
        else:
            texts = [self.reader.of_text(text, cut=example.cut) for text in example.texts]
            most = [room]
            if len(texts) > 1:
                first = min(len(texts[0].ids), max(room - len(texts[1].ids), room // 2))
                most = [first, room - first]
            texts = [
                self.reader.end(text.cut(0, size)) for text, size in zip(texts, most, strict=True)
            ]
            units = _joined(texts)
            own["sentence"] = _sentences(texts)
        own |= {self.reader.input: units.ids, "chars": units.chars.reshape(-1)}
        return {name: values for name, values in own.items() if name in self.features}

    def _fields(self, head: str, units: Units, **own: Sequence[int] | np.ndarray) -> dict:
        fields = {name: np.zeros(0, np.int32) for name in self.features}
        fields |= {self.reader.input: units.ids, "head": np.array([self._places[head]], np.int32)}
        if self.reader.chars:
            fields["chars"] = units.chars.reshape(-1)
        return fields | {n: np.asarray(v, np.int32) for n, v in own.items() if n in fields}

    def _of_words(self, head: str, example: HeadExample) -> Iterator[Piece]:
        if not example.words:
            return
        units = self.reader.of_words(example.words, example.cut)
        numbers = self._numbers.get(head, {})
        labels = np.array([numbers.get(label, -1) for label in example.labels], np.int32)
        heads = np.array(example.heads, np.int32)
        windows = self._windows(units, example)
        for i, (start, stop) in enumerate(windows):
            low = int(units.first[start])
            high = min(int(units.stop[stop - 1]), low + self._length - self._end)
            first = (start + windows[i - 1][1]) // 2 if i else start
            last = (windows[i + 1][0] + stop) // 2 if i + 1 < len(windows) else stop
            mine = (np.arange(start, stop) >= first) & (np.arange(start, stop) < last)
            fields = {"word_first": units.first[start:stop] - low + 1}
            if len(labels):
                fields["word_labels"] = np.where(mine, labels[start:stop] + 1, 0)
            if len(heads):
                # Within the piece, or not known in it.
                inside = (heads[start:stop] > start) & (heads[start:stop] <= stop)
                moved = np.where(inside, heads[start:stop] - start, -1)
                moved = np.where(heads[start:stop] == 0, 0, moved)
                fields["word_heads"] = np.where(mine, moved + 1, 0)
            read = self.reader.end(units.cut(low, high))
            yield Piece(self._fields(head, read, **fields), start, stop, first, last)

    def _windows(self, units: Units, example: HeadExample) -> list[tuple[int, int]]:
        """Runs of words that fit a row; each begins in the last quarter of the one before.

        Of a word that is longer than a row the beginning is read, in a row of its own.
        """
        room = self._length - self._end
        count, out, start = len(example.words), [], 0
        while True:
            reach = int(np.searchsorted(units.stop, units.first[start] + room, "right"))
            stop = min(reach, start + self._words, count)
            if stop <= start:
                if self._overlength != "window":
                    size = int(units.stop[start] - units.first[start])
                    raise self._too_long(example, f"its word {start + 1} alone has {size} tokens")
                stop = start + 1  # of which the beginning is read
            out.append((start, stop))
            if stop == count:
                return out
            start = max(stop - (stop - start) // 4, start + 1)

    def _of_texts(self, head: str, example: HeadExample) -> Iterator[Piece]:
        end = self.reader.end
        label = [self._numbers.get(head, {}).get(example.label, -1) + 1]
        if example.shape == "pair":
            parts = [end(self.reader.of_text(text, cut=example.cut)) for text in example.texts]
            size = sum(len(part.ids) for part in parts)
            if size > self._length:
                raise self._too_long(example, f"a pair of {size} tokens, which cannot be parted")
            sentence = _sentences(parts)
            yield Piece(self._fields(head, _joined(parts), label=label, sentence=sentence))
            return
        if example.shape == "span":
            yield from self._of_question(head, example)
            return
        text = self.reader.of_text(example.texts[0], cut=example.cut)
        room = self._length - self._end
        for start in range(0, max(len(text.ids), 1), room):
            part = end(text.cut(start, start + room))
            sentence = _sentences([part])
            yield Piece(self._fields(head, part, label=label, sentence=sentence), start)

    def _of_question(self, head: str, example: HeadExample) -> Iterator[Piece]:
        """A question with its context, or with parts of it, each half as far on as it is long.

        start and stop of a piece are units of the context.
        """
        asked, context = example.texts
        spans = _spans(example, context)
        question, text = (
            self.reader.end(self.reader.of_text(asked)),
            self.reader.of_text(context, spans),
        )
        room = self._length - len(question.ids) - self._end
        if room < 2:
            raise self._too_long(example, f"its question alone has {len(question.ids)} tokens")
        before, count, start = len(question.ids), len(text.ids), 0
        while True:
            stop = min(start + room, count)
            part = text.cut(start, stop)
            mask = np.repeat([0, 1, 0], [before, stop - start, self._length])[: self._length]
            span: list[int] = []
            if spans and start <= text.first[0] and text.stop[0] <= stop:
                first, last = int(text.first[0]) - start, int(text.stop[0]) - start - 1
                span = [before + first + 1, before + last + 1]
            read = _joined([question, self.reader.end(part)])
            yield Piece(self._fields(head, read, span=span, context=mask), start, stop)
            if stop == count:
                return
            start += max(room // 2, 1)

    def _too_long(self, example: HeadExample, why: str) -> TooLong:
        text = " ".join(example.words or example.texts)
        shown = text if len(text) <= 40 else f"{text[:37]}..."
        limit = "words_length" if self.reader.chars else "inputs_length"
        in_parts = " read it in parts (DataConfig.overlength = 'window'),"
        parts = "" if self._overlength == "window" else in_parts
        return TooLong(
            f"'{shown}' is longer than DataConfig.{limit} = {self._length} or words_length = "
            f"{self._words} ({why}): raise them,{parts} or leave such examples out "
            "(DataConfig.overlength = 'leave_out')."
        )


def _spans(example: HeadExample, context: str) -> list[Span]:
    """Where an answer stands in its context: at its place; where none is said, the first there is.

    That is the first among whole words, or else within one.
    """
    answer = example.label
    if not answer:
        return []
    if example.place >= 0 and context.startswith(answer, example.place):
        return [(example.place, example.place + len(answer))]
    match = re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", context)
    place = match.start() if match else context.find(answer)
    return [(place, place + len(answer))] if place >= 0 else []


def _joined(parts: Sequence[Units]) -> Units:
    ids, chars = ([getattr(part, name) for part in parts] for name in ("ids", "chars"))
    return Units(np.concatenate(ids), _NONE, _NONE, np.concatenate(chars))


def _sentences(texts: Sequence[Units]) -> np.ndarray:
    """Which of a row's texts, from 1, each of its units is of."""
    return np.repeat(np.arange(1, len(texts) + 1), [len(text.ids) for text in texts])
