"""Which words of a system are which of the treebank, by the letters that they stand for.

The rule of the CoNLL 2018 shared task: a word that is a token is another one if both span the same
letters. Words of a multiword token have no letters of their own: within the smallest stretch of
text that no multiword token sticks out of, words are paired by the longest common subsequence of
their forms.
"""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple


class Word(NamedTuple):
    """A word: its lower-cased form, and the letters [start, end) of the token it is (part of)."""

    form: str
    start: int
    end: int
    multiword: bool


def letters(form: str) -> str:
    """Returns a form without its spaces, of any kind: tokens may hold them, alignment does not."""
    return "".join(c for c in form if unicodedata.category(c) != "Zs")


def align(gold: Sequence[Word], system: Sequence[Word]) -> list[tuple[int, int]]:
    """Words of two texts with the same letters -> pairs (gold, system), in order."""
    pairs: list[tuple[int, int]] = []
    g = s = 0
    while g < len(gold) and s < len(system):
        ours, theirs = gold[g], system[s]
        if ours.multiword or theirs.multiword:
            g, s, g_end, s_end = _stretch(gold, system, g, s)
            common = _common(gold[g:g_end], system[s:s_end])
            pairs.extend((g + i, s + j) for i, j in common)
            g, s = g_end, s_end
        elif ours[1:3] == theirs[1:3]:
            pairs.append((g, s))
            g, s = g + 1, s + 1
        elif ours.start <= theirs.start:
            g += 1
        else:
            s += 1
    return pairs


def _stretch(
    gold: Sequence[Word], system: Sequence[Word], g: int, s: int
) -> tuple[int, int, int, int]:
    """The stretch that begins at a multiword token: first words and ends, (g, s, g_end, s_end)."""
    if gold[g].multiword:
        limit = gold[g].end
        s += not system[s].multiword and system[s].start < gold[g].start
    else:
        limit = system[s].end
        g += not gold[g].multiword and gold[g].start < system[s].start

    def within(words: Sequence[Word], at: int) -> bool:
        if at >= len(words):
            return False
        word = words[at]
        return word.start < limit if word.multiword else word.end <= limit

    g_end, s_end = g, s
    while within(gold, g_end) or within(system, s_end):
        left = s_end >= len(system) or (
            g_end < len(gold) and gold[g_end].start <= system[s_end].start
        )
        word = gold[g_end] if left else system[s_end]
        if word.multiword:
            limit = max(limit, word.end)
        g_end, s_end = g_end + left, s_end + (not left)
    return g, s, g_end, s_end


def _common(gold: Sequence[Word], system: Sequence[Word]) -> list[tuple[int, int]]:
    """The longest common subsequence of forms, as pairs of places."""
    best = [[0] * (len(system) + 1) for _ in range(len(gold) + 1)]
    for i in reversed(range(len(gold))):
        for j in reversed(range(len(system))):
            same = gold[i].form == system[j].form
            best[i][j] = max(best[i + 1][j], best[i][j + 1], 1 + best[i + 1][j + 1] if same else 0)
    pairs, i, j = [], 0, 0
    while i < len(gold) and j < len(system):
        if gold[i].form == system[j].form:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return pairs
