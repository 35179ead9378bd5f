"""Running text into words, by the rules of its scripts alone: for text that nobody has tokenised.

    split("The U.S. didn't pay 1,000.50 euros.")    # Word('The', True), Word('U.S.', True), ...
    unparted("ไปไหน, here")                          # ('Thai',)

Spaces part words, and punctuation and symbols are words of their own: a run of one sign is one word
(`...`). Within a word stay apostrophes, hyphens and full stops between letters or digits, and what
parts the digits of a number; an address (https://...) is one word. In scripts that do not part
words every character is a word, with its marks and vowels, and with what is stacked below it (a
syllable of Tibetan ends with its mark): no dictionary is asked, so text in them is better split
with a tool made for its language.
"""

from collections.abc import Iterable
from typing import NamedTuple

import regex

from jaxlt.errors import UserError

UNPARTED = ("Han", "Hiragana", "Thai", "Lao", "Khmer", "Myanmar")
_ALONE = "".join(rf"\p{{Script={name}}}" for name in UNPARTED)
_LETTER = rf"[[\p{{L}}\p{{M}}\p{{N}}\p{{Pc}}\p{{Cf}}]--[[{_ALONE}]--\p{{Nd}}]]"
_WORD = regex.compile(
    rf"""
      (?:https?://|www\.)[^\s<>"]*[^\s<>"\p{{P}}]/?         # an address
    | \p{{Nd}}+(?:[.,:/٫٬]\p{{Nd}}+)+{_LETTER}*              # a number
    | (?:\p{{L}}\.){{2,}}(?!{_LETTER})                        # initials
    | {_LETTER}+(?:[-'’.·‐־]{_LETTER}+)*་?                   # a word
    | (?=[{_ALONE}])[เ-ไເ-ໄ]?\X(?:(?<=[\u17d2\u1039])\X|[ะาำๅະາຳ\p{{M}}])*  # of an unparted script
    | (\X)\1*                                               # a sign, or a run of it
    """,
    regex.VERBOSE | regex.VERSION1,
)
_SCRIPTS = {name: regex.compile(rf"(?=\p{{L}})\p{{Script={name}}}") for name in UNPARTED}


class Word(NamedTuple):
    """A word, and whether a space (or the text's end) follows it."""

    form: str
    spaced: bool


def split(text: str) -> tuple[Word, ...]:
    """Returns the words of a text; joined, with their spaces, they are the text."""
    words = []
    for stretch in text.split():
        forms = [match[0] for match in _WORD.finditer(stretch)]
        words += [Word(form, False) for form in forms[:-1]] + [Word(forms[-1], True)]
    return tuple(words)


def unparted(text: str) -> tuple[str, ...]:
    """Returns the scripts of a text in which every character was taken for a word."""
    return tuple(name for name, letter in _SCRIPTS.items() if letter.search(text))


def rule(text: str) -> str:
    """Returns how a text was split, for its readers."""
    scripts = unparted(text)
    more = f"; every character of {', '.join(scripts)} alone" if scripts else ""
    return f"split at spaces and punctuation by jaxlt{more}"


def check_words(sentence: object, name: str) -> None:
    """Raises UserError where a text, or anything else, stands for a sentence's words."""
    if isinstance(sentence, str):
        listed = [word.form for word in split(sentence)]
        raise UserError(
            f"{name} is the text {sentence[:60]!r} where its words are wanted: give a list of "
            f"them, as {listed[:8]!r} (jaxlt.data.text.words.split splits text at spaces and "
            "punctuation)."
        )
    if not isinstance(sentence, Iterable):
        raise UserError(f"{name} is a list of words, not {sentence!r:.60}.")
    for word in sentence:
        if not isinstance(word, str) or not word:
            raise UserError(f"{name} has {word!r:.40} for a word: a word is a text, not empty.")
