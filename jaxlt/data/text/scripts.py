"""Which letters belong to a script (ISO 15924), by Unicode's own property."""

import functools
import sys

import numpy as np
import regex

from jaxlt.data.text.ngrams import code_points
from jaxlt.errors import UserError

# Codes that stand for several of Unicode's scripts, or for a style of one.
_PARTS = {
    "Hans": ("Han", "Bopo"), "Hant": ("Han", "Bopo"), "Hani": ("Han", "Bopo"),
    "Jpan": ("Han", "Hira", "Kana"), "Hrkt": ("Hira", "Kana"), "Kore": ("Hang", "Han"),
    "Aran": ("Arab",), "Cyrs": ("Cyrl",), "Latf": ("Latn",), "Latg": ("Latn",),
    "Syre": ("Syrc",), "Syrj": ("Syrc",), "Syrn": ("Syrc",), "Geok": ("Geor",),
}  # fmt: skip


def share(text: str, script: str) -> float:
    """Returns the share of a text's letters that are of a script; 0 where it has no letters.

    Signs, digits and marks that scripts have in common are not letters of any.
    """
    points = code_points(text)
    letters = _letters()[points]
    count = int(letters.sum())
    return float((_members(script)[points] & letters).sum() / count) if count else 0.0


@functools.cache
def _everything() -> str:
    return "".join(map(chr, range(sys.maxunicode + 1)))


def _table(pattern: str) -> np.ndarray:
    """Returns for each code point whether it matches, [0x110000] bool."""
    matching = np.zeros(sys.maxunicode + 1, bool)
    for match in regex.finditer(f"{pattern}+", _everything(), flags=regex.V1):
        matching[match.start() : match.end()] = True
    return matching


@functools.cache
def _letters() -> np.ndarray:
    return _table(r"[\p{L}\p{M}&&[^\p{Script=Zyyy}\p{Script=Zinh}]]")


@functools.cache
def _members(script: str) -> np.ndarray:
    names = "".join(rf"\p{{Script={part}}}" for part in _PARTS.get(script, (script,)))
    try:
        return _table(f"[{names}]")
    except regex.error:
        raise UserError(f"Unicode has no script '{script}': expected ISO 15924, as Latn.") from None
