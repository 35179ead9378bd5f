"""Alignments worked out by hand from the shared task's description."""

import pytest

from jaxlt.metrics.word_alignment import Word, align, letters


def words(text: str) -> list[Word]:
    """Tokens by spaces; `abc=a+bc` is a multiword token abc of the words a and bc."""
    found: list[Word] = []
    at = 0
    for token in text.split():
        form, _, inner = token.partition("=")
        end = at + len(form)
        for word in inner.split("+") if inner else [form]:
            found.append(Word(word.lower(), at, end, bool(inner)))
        at = end
    return found


@pytest.mark.parametrize(
    ("gold", "system", "pairs"),
    [
        ("to be", "to be", [(0, 0), (1, 1)]),
        ("tobe", "to be", []),
        ("can not go", "cannot go", [(2, 1)]),
        # A multiword token against plain tokens: by form.
        ("dámelo=da+me+lo ya", "dá me lo ya", [(1, 1), (2, 2), (3, 3)]),
        # Against one token: nothing is alike.
        ("im=in+dem Haus", "im Haus", [(2, 1)]),
        # Both split, otherwise: what is common in order, in any case.
        ("vom=von+DEM", "vom=von+dem", [(0, 0), (1, 1)]),
        ("vom=von+dem", "vom=v+om", []),
        ("abc=a+b+c d", "abc=a+x+c d", [(0, 0), (2, 2), (3, 3)]),
        # A token that sticks out of the multiword token's letters is no candidate.
        ("ab=a+b c d", "a bc d", [(0, 0), (3, 2)]),
        ("a bc=b+c", "ab c", [(2, 1)]),
        # Nor is the token that stands before them on one side alone, whatever its form.
        ("ab cd=a+d", "a b c d", [(2, 3)]),
        ("a b c d", "ab cd=b+d", [(3, 2)]),
        # Two that overlap make one stretch.
        ("ab=a+b cd=c+d", "a bc=b+c d", [(0, 0), (1, 1), (2, 2), (3, 3)]),
        # Order counts: only one of two crossed words can be paired.
        ("ab=x+y", "ab=y+x", [(1, 0)]),
    ],
)
def test_hand_made_alignments(gold, system, pairs) -> None:
    assert align(words(gold), words(system)) == pairs


def test_it_is_the_same_from_both_sides_without_multiword_tokens() -> None:
    gold, system = words("ab c de f"), words("a bc de f")
    assert align(gold, system) == [(b, a) for a, b in align(system, gold)] == [(2, 2), (3, 3)]


def test_spaces_of_all_kinds_are_no_letters() -> None:
    assert letters("10\u00a0000 \u2009\u3000km") == "10000km"
    assert letters("a\u200bb") == "a\u200bb"  # no space to Unicode
