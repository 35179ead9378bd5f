"""Text made of other text: a corpus glossed word by word by a dictionary.

glosser = Glosser(read_dictionary("gatitos.tsv", where={"lang": "wo"}))
glosser("The man drinks water.")                  # its words in Wolof, casing and stops kept
"""

import re
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple, get_args

import numpy as np

from jaxlt.data.readers import tables
from jaxlt.data.readers.problems import Problems
from jaxlt.data.text.unicode import JOINERS, mark_class
from jaxlt.errors import UserError, check_one_of, nearest

Unknown = Literal["keep", "drop", "mark"]

UNKNOWN_MARK = "*"  # after a word that the dictionary has not, with unknown='mark'


class Dictionary(NamedTuple):
    """Translations by lower-case source phrase (words parted by single spaces)."""

    entries: Mapping[str, tuple[str, ...]]
    longest: int  # words of the longest phrase


def make_dictionary(pairs: Iterable[tuple[str, str]]) -> Dictionary:
    """Returns the dictionary of (source, translation); several translations keep their order."""
    entries: dict[str, list[str]] = {}
    for source, translation in pairs:
        key, phrase = " ".join(source.lower().split()), " ".join(translation.split())
        if key and phrase and phrase not in entries.setdefault(key, []):
            entries[key].append(phrase)
    filled = {key: tuple(phrase) for key, phrase in entries.items() if phrase}
    if not filled:
        raise UserError("The dictionary has no entry with both a word and a translation.")
    return Dictionary(filled, max(key.count(" ") + 1 for key in filled))


def read_dictionary(
    path: str,
    source: str = "english",
    target: str = "translation",
    where: Mapping[str, str] | None = None,
) -> Dictionary:
    """Returns the dictionary in two columns of a TSV file with a header.

    `where` keeps the rows that have these values in other columns, such as {"lang": "wo"}.
    """
    pairs: list[tuple[str, str]] = []
    seen: dict[str, set[str]] = {name: set() for name in where or {}}
    columns = tables.header(path)
    for name in (source, target, *seen):
        if name not in columns:
            raise UserError(
                f"{path}, line 1: no column '{name}' in {', '.join(columns)}."
                f"{nearest(name, columns)}"
            )
    for _, row in tables.rows(path, Problems()):
        for name, values in seen.items():
            values.add(row[name])
        if all(row[name] == value for name, value in (where or {}).items()):
            pairs.append((row[source], row[target]))
    if not pairs:
        for name, value in (where or {}).items():
            if value not in seen[name]:
                raise UserError(
                    f"{path} has no row with {name} '{value}'.{nearest(value, seen[name])}"
                )
        raise UserError(f"{path} has no entries.")
    try:
        return make_dictionary(pairs)
    except UserError as err:
        raise UserError(f"{path}: {err}") from None


class Glosser:
    """Replaces the words of a text by their translations; the longest phrase goes first.

    Casing (Title, UPPER), punctuation and white space stay; digits are never looked up. `unknown`
    says what becomes of words that the dictionary has not: they are kept, dropped, or kept with
    '*' after them. With a generator one of several translations is drawn, else the first is taken.
    """

    def __init__(self, dictionary: Dictionary, unknown: Unknown = "keep"):
        check_one_of("Unknown words", unknown, get_args(Unknown), "are")
        self._dictionary, self._unknown = dictionary, unknown
        letters = f"[^\\W\\d_][\\w{mark_class()}{JOINERS}]*"
        self._word = re.compile(f"({letters}(?:['’ʼ-]{letters})*)")

    def __call__(self, text: str, generator: np.random.Generator | None = None) -> str:
        """Returns the glossed text."""
        parts = self._word.split(text)  # what stands between, word, what stands between, ...
        words = parts[1::2]
        out = [parts[0]]
        place = 0
        while place < len(words):
            size = self._phrase(words, parts, place)
            between = parts[2 * (place + max(size, 1))]
            if size:
                phrase = words[place : place + size]
                out += [self._translated(phrase, generator), between]
            elif self._unknown == "drop":
                # One space goes with the word, a stop does not.
                if out[-1].endswith(" "):
                    out[-1] = out[-1][:-1]
                else:
                    between = between.removeprefix(" ")
                out.append(between)
            else:
                out += [words[place] + UNKNOWN_MARK * (self._unknown == "mark"), between]
            place += max(size, 1)
        return "".join(out)

    def _phrase(self, words: list[str], parts: list[str], place: int) -> int:
        """Returns how many words from `place` on the dictionary translates as one; 0 for none."""
        reach = 1
        while (
            reach < self._dictionary.longest
            and place + reach < len(words)
            and parts[2 * (place + reach)] == " "
        ):
            reach += 1
        for size in range(reach, 0, -1):
            if " ".join(words[place : place + size]).lower() in self._dictionary.entries:
                return size
        return 0

    def _translated(self, phrase: list[str], generator: np.random.Generator | None) -> str:
        ways = self._dictionary.entries[" ".join(phrase).lower()]
        drawn = generator is not None and len(ways) > 1
        translation = ways[int(generator.integers(len(ways)))] if generator and drawn else ways[0]
        source = "".join(phrase)
        if source.isupper() and len(source) > 1:
            return translation.upper()
        return translation[:1].upper() + translation[1:] if source[0].isupper() else translation
