"""Normalisation as a setting, and where every character of the result came from.

    settings = UnicodeConfig(form="NFKC", joiners="by_script", apostrophes="by_script")
    normalised = normalise("ﬁne o‘zbek", settings)          # .text 'fine oʻzbek'
    normalised.forward([(0, 3)])                             # [(0, 4)]: 'ﬁne' is 'fine'
    normalised.back([(0, 4)])                                # [(0, 3)]

Text is normalised between cuts, if there are any (the ends of words), so that what belongs to one
word never melts into the next.
"""

import functools
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jaxlt.errors import check_choices

Form = Literal["none", "NFC", "NFKC"]
Joiners = Literal["keep", "drop", "by_script"]
Apostrophes = Literal["keep", "by_script"]
Span = tuple[int, int]  # [start, end) in characters

JOINERS = "\u200c\u200d"
# Scripts whose spelling needs the (non-)joiner; elsewhere it is a leftover of typesetting.
JOINING = frozenset({
    "ARABIC", "SYRIAC", "MONGOLIAN", "NKO", "MANDAIC", "DEVANAGARI", "BENGALI", "GURMUKHI",
    "GUJARATI", "ORIYA", "TAMIL", "TELUGU", "KANNADA", "MALAYALAM", "SINHALA", "MYANMAR", "KHMER",
    "TIBETAN", "BALINESE", "JAVANESE", "CHAKMA",
})  # fmt: skip
# Between letters these are one sign, typed in many ways; the turned comma is a letter of its own
# in Uzbek, Hawaiian and Tongan.
APOSTROPHES = "'\u2019\u02bc\uff07\u00b4\u2032\u055a\u05f3"
TURNED = "\u2018\u02bb"
_OWN_APOSTROPHE = {"CYRILLIC": "\u2019", "ARMENIAN": "\u055a", "HEBREW": "\u05f3"}


@dataclass(frozen=True)
class UnicodeConfig:
    """How text is normalised.

    `joiners` are ZWNJ and ZWJ: by script, those stay that stand after a letter of a script that
    spells with them. `apostrophes` by script: a sign between two letters becomes the usual one of
    their script ('’' in Cyrillic, geresh in Hebrew, U+055A in Armenian, "'" elsewhere), a turned
    comma becomes U+02BB.
    """

    form: Form = "none"
    joiners: Joiners = "keep"
    apostrophes: Apostrophes = "keep"

    def __post_init__(self) -> None:
        kinds = {"joiners": Joiners, "apostrophes": Apostrophes}
        check_choices(self, "UnicodeConfig.", form=Form, **kinds)


AS_IS = UnicodeConfig()


@dataclass(frozen=True)
class Normalised:
    """A text, and the original characters [starts[i], ends[i]) that its character i stands for.

    Both arrays are int64 [len(text)] and never decrease.
    """

    text: str
    starts: np.ndarray
    ends: np.ndarray

    def forward(self, spans: Iterable[Span]) -> list[Span]:
        """Returns spans of the original as spans of `text`; what was dropped has an empty one."""
        pairs = np.array(list(spans), np.int64).reshape(-1, 2)
        low = np.searchsorted(self.ends, pairs[:, 0], "right")
        high = np.searchsorted(self.starts, pairs[:, 1], "left")
        return list(zip(low.tolist(), np.maximum(low, high).tolist(), strict=True))

    def back(self, spans: Iterable[Span]) -> list[Span]:
        """Returns spans of `text` as spans of the original; an empty one stays empty."""
        out = []
        for start, end in spans:
            if start < end:
                out.append((int(self.starts[start]), int(self.ends[end - 1])))
            else:
                place = int(self.ends[start - 1]) if start else 0
                out.append((place, place))
        return out


def normalise(text: str, config: UnicodeConfig = AS_IS, cuts: Sequence[int] = ()) -> Normalised:
    """Returns the normalised text with its origins; nothing is composed across the given `cuts`."""
    plain = _settled(text, config)
    form = None if config.form == "none" else config.form
    if plain == text and (form is None or unicodedata.is_normalized(form, text)):
        places = np.arange(len(text) + 1, dtype=np.int64)
        return Normalised(text, places[:-1], places[1:])
    fixed = {c for c in cuts if 0 < c < len(text)}
    parts: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for start, end in _segments(plain, form, fixed):
        part = "".join(plain[start:end])
        part = unicodedata.normalize(form, part) if form else part
        parts.append(part)
        starts += [start] * len(part)
        ends += [end] * len(part)
    return Normalised("".join(parts), np.array(starts, np.int64), np.array(ends, np.int64))


def normalised_text(text: str, config: UnicodeConfig) -> str:
    """Returns the normalised text alone, quickly; equals normalise(text, config).text."""
    plain = "".join(_settled(text, config))
    return plain if config.form == "none" else unicodedata.normalize(config.form, plain)


def _settled(text: str, config: UnicodeConfig) -> Sequence[str]:
    """Returns each character after the policies of joiners and apostrophes, "" where dropped.

    The text itself is returned where they change nothing.
    """
    dropping = config.joiners != "keep" and any(j in text for j in JOINERS)
    quoting = config.apostrophes != "keep" and any(a in text for a in APOSTROPHES + TURNED)
    if not dropping and not quoting:
        return text
    out = list(text)
    for i, char in enumerate(text):
        if dropping and char in JOINERS:
            if config.joiners == "drop" or script_word(_letter_before(text, i)) not in JOINING:
                out[i] = ""
        elif quoting and (char in APOSTROPHES or char in TURNED):
            out[i] = _apostrophe(text, i)
    return text if "".join(out) == text else out


def _letter_before(text: str, place: int) -> str:
    """The nearest character before `place` that is neither a mark nor a joiner; "" if none is."""
    for i in range(place - 1, -1, -1):
        if text[i] not in JOINERS and unicodedata.category(text[i])[0] != "M":
            return text[i]
    return ""


def _apostrophe(text: str, place: int) -> str:
    char, after = text[place], text[place + 1 : place + 2]
    before = _letter_before(text, place)
    if not (before.isalpha() and after.isalpha()):
        return char
    script = script_word(before)
    if char in TURNED:
        return "\u02bb" if script == "LATIN" else char
    return _OWN_APOSTROPHE.get(script, "'")


@functools.lru_cache(maxsize=1 << 14)
def script_word(char: str) -> str:
    """Returns the first word of a character's Unicode name, which for letters is their script."""
    return unicodedata.name(char, "").partition(" ")[0] if char else ""


def _segments(plain: Sequence[str], form: str | None, cuts: set[int]) -> list[Span]:
    """Returns [start, end) of runs of characters that may be normalised one by one."""
    if form is None:
        return [(i, i + 1) for i in range(len(plain))]
    starts = [0] if plain else []
    # A dropped character may stand between two that compose: it goes with those before it.
    starts += [i for i in range(1, len(plain)) if i in cuts or _opens(plain[i], form)]
    return list(zip(starts, [*starts[1:], len(plain)], strict=True)) if starts else []


@functools.lru_cache(maxsize=1 << 16)
def _opens(char: str, form: str) -> bool:
    """Says whether nothing before a character can change how it is normalised."""
    if not char:
        return False
    if char < "\u0300":
        return True
    first = unicodedata.normalize("NFKD" if form == "NFKC" else "NFD", char)[0]
    return not unicodedata.combining(first) and first not in _seconds()


@functools.cache
def _seconds() -> frozenset[str]:
    """Starters that compose with a character before them: vowel signs and Hangul's parts."""
    seconds = {chr(c) for c in (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))}
    for code in range(0x300, sys.maxunicode + 1):
        parts = unicodedata.decomposition(chr(code))
        if " " in parts and parts[0] != "<":
            second = chr(int(parts.split()[1], 16))
            if not unicodedata.combining(second):
                seconds.add(second)
    return frozenset(seconds)


@functools.cache
def mark_class() -> str:
    """Returns all combining marks as the inside of a regular expression's [...].

    Python's `\\w` lacks them, so it breaks the words of most Indian scripts at every vowel sign.
    """
    codes = [c for c in range(0x300, sys.maxunicode + 1) if unicodedata.category(chr(c))[0] == "M"]
    runs: list[list[int]] = []
    for code in codes:
        if runs and code == runs[-1][1] + 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    return "".join(f"{chr(a)}-{chr(b)}" if b > a else chr(a) for a, b in runs)
