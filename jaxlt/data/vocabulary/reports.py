"""How well a vocabulary fits a language: pieces a word, and what it does not know."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from jaxlt.data.text.unicode import script_word
from jaxlt.data.vocabulary.vocabularies import UNK, Vocabulary


@dataclass(frozen=True)
class Fit:
    """One language under one vocabulary; shares are in [0, 1].

    unknown: bytes of text behind unknown pieces, which are lost. in_bytes: those that pieces of one
    byte spell, where the vocabulary falls back on them. coverage: characters (by how often they
    occur) that the vocabulary has a piece for. split: words of more than one piece. script: that of
    most letters, and `script_coverage` the coverage of its letters alone.
    """

    language: str
    words: int
    characters: int
    tokens: int
    fertility: float  # tokens a word
    bytes_per_token: float
    split: float
    unknown: float
    in_bytes: float
    coverage: float
    script: str
    script_coverage: float


def fit(
    language: str, documents: Iterable[bytes], vocabulary: Vocabulary, most: int = 1 << 20
) -> Fit:
    """Returns how a vocabulary fits a language's text, by its first `most` bytes."""
    words = tokens = size = split = unknown = in_bytes = 0
    letters: Counter[str] = Counter()
    for document in documents:
        text = document.decode()
        ids = vocabulary.encode(text)
        letters.update(text)
        tokens += len(ids)
        size += len(document)
        lost, fallen = _strange_bytes(ids, len(document), vocabulary)
        unknown, in_bytes = unknown + lost, in_bytes + fallen
        for word in text.split():
            words += 1
            split += len(vocabulary.encode(word)) > 1
        if size >= most:
            break
    known = {c: _knows(vocabulary, c) for c in letters if not c.isspace()}
    total = sum(letters[c] for c in known)
    scripts: Counter[str] = Counter()
    for c in known:
        if c.isalpha():
            scripts[script_of(c)] += letters[c]
    script = scripts.most_common(1)[0][0] if scripts else "none"
    in_script = [c for c in known if c.isalpha() and script_of(c) == script]
    return Fit(
        language=language,
        words=words,
        characters=sum(letters.values()),
        tokens=tokens,
        fertility=tokens / max(words, 1),
        bytes_per_token=size / max(tokens, 1),
        split=split / max(words, 1),
        unknown=unknown / max(size, 1),
        in_bytes=in_bytes / max(size, 1),
        coverage=sum(letters[c] for c in known if known[c]) / max(total, 1),
        script=script,
        script_coverage=sum(letters[c] for c in in_script if known[c])
        / max(sum(letters[c] for c in in_script), 1),
    )


def _strange_bytes(ids: np.ndarray, size: int, vocabulary: Vocabulary) -> tuple[int, int]:
    """Returns the bytes of text that nothing spells, and those that pieces of one byte spell."""
    fallen = int((vocabulary.unknown_ids[ids] & (ids != UNK)).sum())
    if not (ids == UNK).any():
        return 0, fallen
    # An unknown piece spells nothing that could be counted: it is what the others leave over.
    return max(size - int(vocabulary.byte_lengths[ids[ids != UNK]].sum()), 0), fallen


def _knows(vocabulary: Vocabulary, character: str) -> bool:
    ids = vocabulary.encode(character)
    return len(ids) > 0 and not vocabulary.unknown_ids[ids].any()


def script_of(character: str) -> str:
    """Returns the script of a letter by the first word of its Unicode name: 'Latin', 'Cyrillic'."""
    name = script_word(character).split("-")[0] or "unknown"
    return "Han" if name == "CJK" else name.capitalize()
