"""Answers in tokens of their own language alone: those that some text of it has.

given = own_tokens("corpus/", ["swh_Latn", "tur_Latn", "swh_Latn"], vocabulary)
predictor.decode_tokens(rows, length, **given)
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlt.data.readers.problems import Problems
from jaxlt.data.sources import sources
from jaxlt.data.vocabulary.vocabularies import UNK

if TYPE_CHECKING:
    from jaxlt.data.vocabulary.vocabularies import Vocabulary

MOST = 100_000  # lines of a language: what these do not have is rare


def own_tokens(folder: str, languages: Sequence[str], vocabulary: "Vocabulary") -> dict[str, Any]:
    """Returns what decoding takes for answers in `languages`, one an answer.

    folder: text by language (swh_Latn.txt, ...), a text a line, of each of them.
    """
    from jaxlt.engine.decode.tokens import among

    names = sorted(set(languages))
    found = sources.discover((folder,), sources.TEXT, names)
    sets = [_tokens_of(found[name], vocabulary) for name in names]
    return {"trie": among(sets), "label_sets": [names.index(name) for name in languages]}


def _tokens_of(paths: Sequence[str], vocabulary: "Vocabulary") -> np.ndarray:
    """The ids [n] that the text of some files has."""
    there = np.zeros(vocabulary.size, bool)
    left = MOST
    for path in paths:
        for _, line in sources.lines(path, Problems("skip")):
            if not left:
                break
            there[vocabulary.encode(line)] = True
            left -= 1
    there[UNK] = False
    return np.flatnonzero(there)
