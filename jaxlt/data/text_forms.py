"""Words in text: what stands for a space within a word, and words read back.

A word of several words (`en deus`) keeps its spaces as open boxes (`en\u2423deus`), so that words
can be counted: a no-break space would be a plain one to a vocabulary that normalises, as mT5's.
"""

from collections.abc import Sequence

import regex

from jaxlt.data.revisions import Rules

Form = tuple[str, str]  # inputs, targets
NO_BREAK, INNER = "\u00a0", "\u2423"  # what stood for a space in a word, and what does
_BROKEN = regex.compile(r"\s")  # of any script, as normalisers take them: U+00A0, U+202F, U+3000
_HELD = str.maketrans({NO_BREAK: " ", INNER: " "})


def space_of(rules: Rules) -> str:
    """Returns what stands for a space within a word, in runs with these rules."""
    return INNER if rules.spaces_kept else NO_BREAK


def words_text(words: Sequence[str], space: str = INNER) -> str:
    """Returns a sentence of words with a space between them; `space` stands for those within."""
    if space == NO_BREAK:
        return " ".join(word.replace(" ", NO_BREAK) for word in words)
    return " ".join(_BROKEN.sub(space, word) for word in words)


def plain_spaces(text: str) -> str:
    """Returns a text whose spaces within words are plain ones."""
    return text.translate(_HELD)


def words_from(text: str) -> tuple[str, ...]:
    """Returns the words of `words_text`: what single spaces separate, with their own as spaces."""
    return tuple(map(plain_spaces, text.split(" "))) if text else ()
