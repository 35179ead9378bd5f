"""Text made of other text: a corpus glossed word by word by a dictionary, and copied targets.

glosser = Glosser(read_dictionary("gatitos.tsv", where={"lang": "wo"}))
glosser("The man drinks water.")                  # its words in Wolof, casing and stops kept
glosser.words(["The", "man"])                     # one for each: labels of words still fit
copied_target(wolof_lines)                        # bitext whose source is its target
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from jaxlt.data.sources import files
from jaxlt.data.text.unicode import JOINERS, mark_class
from jaxlt.errors import UserError, nearest

Unknown = Literal["keep", "drop", "mark"]

UNKNOWN_MARK = "*"  # after a word that the dictionary has not, with unknown='mark'


class Dictionary(NamedTuple):
    """Translations by lower-case source phrase (words parted by single spaces)."""

    entries: Mapping[str, tuple[str, ...]]
    longest: int  # words of the longest phrase


class Coverage(NamedTuple):
    """How many words were glossed, of how many."""

    found: int
    words: int


def make_dictionary(pairs: Iterable[tuple[str, str]]) -> Dictionary:
    """Returns the dictionary of (source, translation); several translations keep their order."""
    entries: dict[str, list[str]] = {}
    for source, translation in pairs:
        key, said = " ".join(source.lower().split()), " ".join(translation.split())
        if key and said and said not in entries.setdefault(key, []):
            entries[key].append(said)
    whole = {key: tuple(said) for key, said in entries.items() if said}
    if not whole:
        raise UserError("The dictionary has no entry with both a word and a translation.")
    return Dictionary(whole, max(key.count(" ") + 1 for key in whole))


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
    values: dict[str, set[str]] = {name: set() for name in where or {}}
    header: list[str] = []
    columns: tuple[int, int] = (0, 0)
    kept: list[tuple[int, str, set[str]]] = []  # column, value that is kept, values that occur
    with files.open_bytes(path) as file:
        for number, raw in enumerate(file, 1):
            try:
                row = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n").split("\t")
            except UnicodeDecodeError as err:
                raise UserError(f"{path}, line {number}: not UTF-8 ({err.reason}).") from None
            if not header:
                header = row
                for name in (source, target, *values):
                    if name not in header:
                        raise UserError(
                            f"{path}, line 1: no column '{name}' in {', '.join(header)}."
                            f"{nearest(name, header)}"
                        )
                columns = (header.index(source), header.index(target))
                kept = [(header.index(n), v, values[n]) for n, v in (where or {}).items()]
                continue
            if len(row) != len(header):
                raise UserError(
                    f"{path}, line {number}: {len(row)} columns, and the header has {len(header)}."
                )
            wanted = True
            for column, value, seen in kept:
                seen.add(row[column])
                wanted = wanted and row[column] == value
            if wanted:
                pairs.append((row[columns[0]], row[columns[1]]))
    if not pairs:
        for name, value in (where or {}).items():
            if value not in values[name]:
                raise UserError(
                    f"{path} has no row with {name} '{value}'.{nearest(value, values[name])}"
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
        if unknown not in get_args(Unknown):
            raise UserError(
                f"Unknown words are one of {', '.join(get_args(Unknown))}, not '{unknown}'."
                f"{nearest(unknown, get_args(Unknown))}"
            )
        self._dictionary, self._unknown = dictionary, unknown
        letters = f"[^\\W\\d_][\\w{mark_class()}{JOINERS}]*"
        self._word = re.compile(f"({letters}(?:['’ʼ-]{letters})*)")

    def __call__(self, text: str, generator: np.random.Generator | None = None) -> str:
        """Returns the glossed text."""
        return self.with_coverage(text, generator)[0]

    def with_coverage(
        self, text: str, generator: np.random.Generator | None = None
    ) -> tuple[str, Coverage]:
        """Returns the glossed text, and how much of it the dictionary had."""
        parts = self._word.split(text)  # what stands between, word, what stands between, ...
        words = parts[1::2]
        out = [parts[0]]
        place = found = 0
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
            found += size
            place += max(size, 1)
        return "".join(out), Coverage(found, len(words))

    def words(
        self, words: Sequence[str], generator: np.random.Generator | None = None
    ) -> list[str]:
        """Returns one word or phrase for each word; an unknown one is never dropped."""
        out = []
        for word in words:
            if word.lower() in self._dictionary.entries:
                out.append(self._translated([word], generator))
            else:
                lettered = self._word.fullmatch(word) is not None
                out.append(word + UNKNOWN_MARK * (lettered and self._unknown == "mark"))
        return out

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
        said = ways[int(generator.integers(len(ways)))] if generator and drawn else ways[0]
        whole = "".join(phrase)
        if whole.isupper() and len(whole) > 1:
            return said.upper()
        return said[:1].upper() + said[1:] if whole[0].isupper() else said


def copied_target(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yields (source, target) with the target's text as both: monolingual text as bitext.

    It teaches the decoder the target language and the copying of names (Currey et al., 2017), and
    is the control of back-translation. Empty lines are left out.
    """
    for line in lines:
        text = line.strip()
        if text:
            yield text, text
