"""Words and texts as what an encoder reads: tokens of a vocabulary, or whole words and characters.

units = PieceUnits(vocabulary).of_words(("the", "AP", "story"))
units.ids, units.first, units.stop     # tokens [n]; the tokens [first, stop) of each word [w]
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from jaxlt.data.inventory import UNKNOWN, Inventory
from jaxlt.data.rows.batches import digest
from jaxlt.data.text.unicode import Span
from jaxlt.data.vocabulary.alignment import Cut, align, join_words
from jaxlt.data.vocabulary.vocabularies import EOS, Vocabulary

_NONE = np.zeros(0, np.int32)


@dataclass(frozen=True)
class Units:
    """What is read: ids [n] int32; the units [first, stop) of each word or span [w]; chars [n, C]

    (or [0, 0] where units have none).
    """

    ids: np.ndarray
    first: np.ndarray
    stop: np.ndarray
    chars: np.ndarray

    def cut(self, start: int, stop: int) -> "Units":
        """The units [start, stop), without words or spans."""
        return Units(self.ids[start:stop], _NONE, _NONE, self.chars[start:stop])


class Reader(Protocol):
    """Turns words and texts into units."""

    input: str  # the field that holds ids
    chars: int  # characters of a unit at most; 0 where units have none
    fingerprint: str
    stored: str  # as the fingerprint, whatever labels the inventory has
    size: int  # ids are below it

    def of_words(self, words: Sequence[str], cut: Cut | None = None) -> Units:
        """Units of words with a space between them; `cut` finds pieces, else they are the best."""

    def of_text(self, text: str, spans: Sequence[Span] = (), cut: Cut | None = None) -> Units:
        """Units of a text, and those of spans of its characters."""

    def end(self, units: Units) -> Units:
        """Adds the mark that ends a text."""

    def characters(self, text: str, first: int, stop: int) -> Span:
        """Returns the characters of a text that its units [first, stop) are of."""


class PieceUnits:
    """Tokens of a vocabulary; every word has its own."""

    input, chars = "encoder_input_tokens", 0

    def __init__(self, vocabulary: Vocabulary):
        self._vocabulary = vocabulary
        self.fingerprint = self.stored = vocabulary.fingerprint
        self.size = vocabulary.size

    def of_words(self, words: Sequence[str], cut: Cut | None = None) -> Units:
        return self.of_text(*join_words(words), cut)

    def of_text(self, text: str, spans: Sequence[Span] = (), cut: Cut | None = None) -> Units:
        aligned = align(self._vocabulary, text, spans, cut=cut)
        return Units(aligned.ids, aligned.first, aligned.stop, np.zeros((0, 0), np.int32))

    def end(self, units: Units) -> Units:
        """Adds the end-of-sequence that every input of an encoder has."""
        return Units(np.append(units.ids, EOS), units.first, units.stop, units.chars)

    def characters(self, text: str, first: int, stop: int) -> Span:
        return align(self._vocabulary, text, ()).back(first, stop)


class WordUnits:
    """Whole words by their numbers in an inventory, and their characters, `chars` at most."""

    input = "words"

    def __init__(self, inventory: Inventory, chars: int):
        self.chars = chars
        self._words = {word: i for i, word in enumerate(inventory.words, UNKNOWN + 1)}
        self._chars = {char: i for i, char in enumerate(inventory.chars, UNKNOWN + 1)}
        self.fingerprint = f"words and {chars} characters of {inventory.fingerprint}"
        self.stored = digest([chars, inventory.words, inventory.chars])
        self.size = UNKNOWN + 1 + max(len(self._words), len(self._chars))

    def of_words(self, words: Sequence[str], cut: Cut | None = None) -> Units:
        """Units are the words, which nothing cuts."""
        ids = np.array([self._words.get(word, UNKNOWN) for word in words], np.int32)
        chars = np.zeros((len(words), self.chars), np.int32)
        for row, word in zip(chars, words, strict=True):
            spelt = _ends(word, self.chars)
            row[: len(spelt)] = [self._chars.get(char, UNKNOWN) for char in spelt]
        place = np.arange(len(words), dtype=np.int32)
        return Units(ids, place, place + 1, chars)

    def of_text(self, text: str, spans: Sequence[Span] = (), cut: Cut | None = None) -> Units:
        """Units are what spaces separate; a span has those that it touches."""
        found = list(re.finditer(r"\S+", text))
        units = self.of_words([match[0] for match in found])
        starts = np.array([match.start() for match in found], np.int32)
        ends = np.array([match.end() for match in found], np.int32)
        first = [int(np.searchsorted(ends, start, "right")) for start, _ in spans]
        stop = [int(np.searchsorted(starts, end, "left")) for _, end in spans]
        return Units(units.ids, np.array(first, np.int32), np.array(stop, np.int32), units.chars)

    def end(self, units: Units) -> Units:
        """Words need no mark: what is not there is 0."""
        return units

    def characters(self, text: str, first: int, stop: int) -> Span:
        found = list(re.finditer(r"\S+", text))
        return found[first].start(), found[stop - 1].end()


def _ends(word: str, most: int) -> str:
    """A word's characters; of a longer one its beginning and its end, which say most."""
    if len(word) <= most:
        return word
    head = most - most // 2
    return word[:head] + word[len(word) - most // 2 :]
