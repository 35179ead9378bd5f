"""Character noise: text of a source language, misspelled as if it were the target's cousin.

    noise = CharacterNoise(alphabet_of(target_lines), share=(0.10, 0.15))
    noise(text, stream(seed, "noise", row))             # a text with as many words
    noise.words(words, generator)                       # a label for each word still fits

Nothing is remembered between calls: the generator passed in decides. Edits are made to whole
letters with their marks, so no vowel sign of an abugida is left without its consonant.
"""

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import numpy as np

from jaxlt.data.text.unicode import JOINERS, mark_class
from jaxlt.errors import UserError, check_one_of

Edit = Literal["swap", "delete", "insert", "replace"]
EDITS: tuple[Edit, ...] = get_args(Edit)

_SPACES = re.compile(r"(\s+)")


def alphabet_of(lines: Iterable[str], cover: float = 0.999) -> str:
    """Returns the letters of a text, lower case, the most frequent first.

    Those that make up the last `1 - cover` of the text, foreign names mostly, are left out.
    """
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(line.lower())
    letters = [(char, n) for char, n in counts.most_common() if _is_letter(char)]
    total, seen, kept = sum(n for _, n in letters), 0, []
    for char, n in letters:
        if seen >= cover * total:
            break
        kept.append(char)
        seen += n
    return "".join(kept)


@functools.cache
def _clusters() -> re.Pattern[str]:
    """A character with the marks on it; made when it is needed, from a walk over all of Unicode."""
    return re.compile(f"[\\s\\S][{mark_class()}{JOINERS}]*")


def _is_letter(char: str) -> bool:
    return unicodedata.category(char)[0] == "L"


class CharacterNoise:
    """Edits one letter in a share of the words: swaps two, deletes, inserts or replaces one.

    `alphabet` is where inserted and replacing letters come from, all with equal chances. `share` is
    a chance for each word, or a range that every call draws its chance from. A word without letters
    stays; no word is made empty, and none is parted or joined.
    """

    def __init__(
        self,
        alphabet: str,
        share: float | tuple[float, float] = (0.10, 0.15),
        edits: Sequence[Edit] = EDITS,
    ):
        low, high = (share, share) if isinstance(share, int | float) else share
        if not 0 <= low <= high <= 1:
            raise UserError(f"The share of noisy words is in [0, 1], low to high, not {share}.")
        for edit in edits:
            check_one_of("An edit", edit, EDITS)
        if not edits:
            raise UserError(f"Character noise needs at least one edit of {', '.join(EDITS)}.")
        letters = list(dict.fromkeys(char for char in alphabet if _is_letter(char)))
        if len(letters) < 2 and {"insert", "replace"} & set(edits):
            raise UserError("The alphabet of character noise has fewer than two letters.")
        self._letters, self._share, self._edits = letters, (low, high), tuple(edits)

    def __call__(self, text: str, generator: np.random.Generator) -> str:
        """Returns a noisy text; all white space stays as it is."""
        parts = _SPACES.split(text)
        parts[::2] = self.words(parts[::2], generator)
        return "".join(parts)

    def words(self, words: Sequence[str], generator: np.random.Generator) -> list[str]:
        """Returns as many words, a share of them with one edit."""
        out = list(words)
        low, high = self._share
        share = low if low == high else float(generator.uniform(low, high))
        chosen = np.flatnonzero(generator.random(len(out)) < share)
        draws = generator.random((len(chosen), 3)).tolist()
        for place, draw in zip(chosen.tolist(), draws, strict=True):
            out[place] = self._edited(out[place], draw)
        return out

    def _edited(self, word: str, draw: list[float]) -> str:
        """Makes the edit that draw[0] chooses, or the first after it that the word allows."""
        clusters = list(word) if word.isascii() else _clusters().findall(word)
        places = [i for i, cluster in enumerate(clusters) if cluster[0].isalpha()]
        if not places:
            return word
        first = int(draw[0] * len(self._edits))
        for edit in self._edits[first:] + self._edits[:first]:
            if edit == "swap":
                pairs = [
                    i
                    for i in places
                    if i + 1 < len(clusters)
                    and clusters[i + 1][0].isalpha()
                    and clusters[i + 1].lower() != clusters[i].lower()
                ]
                if pairs:
                    i = pairs[int(draw[1] * len(pairs))]
                    a, b = clusters[i], clusters[i + 1]
                    clusters[i], clusters[i + 1] = _cased(b, a), _cased(a, b)
                    break
            elif edit == "delete":
                if len(places) > 1:
                    del clusters[places[int(draw[1] * len(places))]]
                    break
            elif edit == "insert":
                i = places[int(draw[1] * len(places))]  # after a letter: capitals stay first
                letter = self._letters[int(draw[2] * len(self._letters))]
                loud = len(places) > 1 and word.isupper()
                clusters.insert(i + 1, _cased(letter, "A" if loud else "a"))
                break
            else:
                i = places[int(draw[1] * len(places))]
                old = clusters[i]
                others = [x for x in self._letters if x != old[0].lower()]
                clusters[i] = _cased(others[int(draw[2] * len(others))], old) + old[1:]
                break
        return "".join(clusters)


def _cased(letter: str, like: str) -> str:
    """Returns a letter in the case of another, if it has cases."""
    if like[0].isupper():
        upper = letter.upper()
        return upper if len(upper) == len(letter) else letter
    return letter.lower() if letter[0].isupper() and like[0].islower() else letter
