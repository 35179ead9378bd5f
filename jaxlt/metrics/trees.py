"""UAS, LAS and CLAS, as the scorer of the CoNLL 2018 shared task counts them.

Words of the system and of the treebank are aligned by their characters, so that a parse of raw
text can be scored too: F1 over words, which is plain accuracy on gold tokens. An example is a
sentence, or a list of sentences over the same text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from jaxlt.errors import UserError
from jaxlt.metrics.statistics import Statistics, check_pairs, f1, precision_recall
from jaxlt.metrics.word_alignment import Word, align, letters

CONTENT = frozenset(
    ("nsubj", "obj", "iobj", "csubj", "ccomp", "xcomp", "obl", "vocative", "expl", "dislocated",
     "advcl", "advmod", "discourse", "nmod", "appos", "nummod", "acl", "amod", "conj", "fixed",
     "flat", "compound", "list", "parataxis", "orphan", "goeswith", "reparandum", "root", "dep")
)  # neither the function words (aux cop mark det clf case cc) nor punct  # fmt: skip
_ROOT = -1
NO_HEAD = -1  # of a word whose head nobody knows


class Tree(Protocol):
    """A sentence of n words: forms, heads and relations [n]; heads count from 1, 0 is the root.

    `ranges` are its multiword tokens, each with `first`, `last` (from 1) and `columns`, the form
    foremost. The sentences that the project reads from CoNLL-U are such trees.
    """

    @property
    def forms(self) -> Sequence[str]: ...
    @property
    def heads(self) -> Sequence[int]: ...
    @property
    def deprels(self) -> Sequence[str]: ...
    @property
    def ranges(self) -> Sequence[Any]: ...


@dataclass(frozen=True)
class Parse:
    """A tree over gold words, for those who have no CoNLL-U."""

    forms: Sequence[str]
    heads: Sequence[int]
    deprels: Sequence[str]
    ranges: Sequence[Any] = ()


Example = Tree | Sequence[Tree]


def uas(predictions: Sequence[Example], references: Sequence[Example]) -> Statistics:
    """Returns F1 of words with the right head."""
    return _scored(predictions, references, "uas")


def las(predictions: Sequence[Example], references: Sequence[Example]) -> Statistics:
    """Returns F1 of words with the right head and relation, its subtype (`obl:tmod`) cut."""
    return _scored(predictions, references, "las")


def clas(predictions: Sequence[Example], references: Sequence[Example]) -> Statistics:
    """Returns LAS over content words: those whose relation is neither a function word's nor punct.

    What is expected goes by the treebank's relations, what is predicted by the system's.
    """
    return _scored(predictions, references, "clas")


@dataclass(frozen=True)
class _Text:
    """An example in one piece: its words, their heads (places in it, or _ROOT) and relations."""

    words: list[Word]
    heads: list[int | None]
    relations: list[str]
    letters: str
    are_trees: bool


def _scored(
    predictions: Sequence[Example], references: Sequence[Example], which: str
) -> Statistics:
    check_pairs(predictions, references)
    rows = np.zeros((len(predictions), 3))
    aligned = malformed = 0
    for place, (ours, gold) in enumerate(zip(predictions, references, strict=True)):
        system, treebank = _text(ours, place, "prediction"), _text(gold, place, "reference")
        malformed += not system.are_trees
        if None in treebank.heads:
            raise UserError(
                f"The reference tree of example {place} has a head that is not within its sentence."
            )
        _same_letters(system.letters, treebank.letters, place)
        pairs = align(treebank.words, system.words)
        aligned += len(pairs)
        rows[place] = _counts(treebank, system, dict(pairs), which)
    sums = rows.sum(axis=0)
    details = precision_recall(*map(float, sums)) | {
        "aligned_words": aligned,
        "malformed_trees": malformed,
    }
    return Statistics(rows, f1, len(rows), details)


def _counts(gold: _Text, system: _Text, pairs: dict[int, int], which: str) -> tuple[int, int, int]:
    """Words that are right, of the system, and of the treebank; `pairs` are gold -> system."""
    back = {ours: theirs for theirs, ours in pairs.items()} | {_ROOT: _ROOT}
    correct = 0
    for word, ours in pairs.items():
        if which == "clas" and gold.relations[word] not in CONTENT:
            continue
        head = system.heads[ours]
        right = head is not None and back.get(head) == gold.heads[word]
        correct += right and (which == "uas" or gold.relations[word] == system.relations[ours])
    if which == "clas":
        sizes = [sum(r in CONTENT for r in text.relations) for text in (system, gold)]
    else:
        sizes = [len(system.words), len(gold.words)]
    return correct, sizes[0], sizes[1]


def _text(example: Example, place: int, what: str) -> _Text:
    sentences: list[Any] = [example] if hasattr(example, "forms") else list(example)
    text = _Text([], [], [], "", True)
    spelled: list[str] = []
    at = 0
    for tree in sentences:
        forms, heads, relations = tree.forms, tree.heads, tree.deprels
        if not forms or not len(forms) == len(heads) == len(relations):
            raise UserError(
                f"The {what} of example {place} has {len(forms)} words, {len(heads)} heads and "
                f"{len(relations)} relations: at least one word, and as many of each, are expected."
            )
        first = len(text.words)
        for token, members in _tokens(tree):
            spelling = letters(token)
            if not spelling:
                raise UserError(f"The {what} of example {place} has a token without letters.")
            several = members is not None
            for index in members or [len(text.words) - first]:
                form = forms[index] if several else spelling
                text.words.append(Word(form.lower(), at, at + len(spelling), several))
            spelled.append(spelling)
            at += len(spelling)
        for head in heads:
            inside = 0 <= head <= len(forms)
            text.heads.append((first + head - 1 if head else _ROOT) if inside else None)
        text.relations.extend(relation.split(":")[0] for relation in relations)
    are_trees = all(fault_of(list(tree.heads)) is None for tree in sentences)
    return replace(text, letters="".join(spelled), are_trees=are_trees)


def _tokens(tree: Tree) -> list[tuple[str, range | None]]:
    """The tokens of a sentence in order: (form, its words, or None where it is one itself)."""
    starts = {wide.first: wide for wide in tree.ranges}
    tokens: list[tuple[str, range | None]] = []
    index = 1
    while index <= len(tree.forms):
        wide = starts.get(index)
        if wide is None:
            tokens.append((tree.forms[index - 1], None))
            index += 1
        elif wide.first <= wide.last <= len(tree.forms):
            tokens.append((wide.columns[0], range(wide.first - 1, wide.last)))
            index = wide.last + 1
        else:
            raise UserError(
                f"A multiword token spans the words {wide.first} to {wide.last} of a sentence of "
                f"{len(tree.forms)}."
            )
    return tokens


def fault_of(heads: Sequence[int], trees: bool = True) -> tuple[int, str] | None:
    """Returns (word from 0, what is wrong) of a sentence's heads [n], None where they are a tree.

    Without `trees` they need only be words, 0, or NO_HEAD.
    """
    count = len(heads)
    lowest = 0 if trees else NO_HEAD
    if min(heads) < lowest or max(heads) > count:
        word = next(i for i, head in enumerate(heads) if not lowest <= head <= count)
        return word, f"the HEAD {heads[word]} is not a word of this sentence (0 to {count})."
    if not trees:
        return None
    roots = heads.count(0)
    if roots != 1:
        if not roots:
            return 0, "the sentence has no root: expected one word with HEAD 0."
        second = heads.index(0, heads.index(0) + 1)
        return second, f"the sentence has {roots} roots: expected one word with HEAD 0."
    seen = [0] * (count + 1)
    seen[0] = count + 1
    for word in range(1, count + 1):
        at = word
        while not seen[at]:
            seen[at] = word
            at = heads[at - 1]
        if seen[at] == word:
            return at - 1, f"the word {at} is in a cycle: its heads lead back to it, not to a root."
    return None


def _same_letters(ours: str, gold: str, place: int) -> None:
    if ours == gold:
        return
    same = next((i for i, (a, b) in enumerate(zip(ours, gold, strict=False)) if a != b), None)
    at = min(len(ours), len(gold)) if same is None else same
    raise UserError(
        f"The words of the predicted tree of example {place} do not spell the reference's text: "
        f"after {at} letters it has {ours[at : at + 20]!r}, where {gold[at : at + 20]!r} is "
        "expected."
    )
