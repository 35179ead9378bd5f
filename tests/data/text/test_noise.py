"""Character noise: a share of the words, one edit each, and labels that still fit."""

import gzip
import itertools
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlt.data.rows.batches import stream
from jaxlt.data.text.noise import EDITS, CharacterNoise, alphabet_of
from jaxlt.errors import UserError

LATIN = "abcdefghijklmnopqrstuvwxyzäöüß"
WORDS = [
    "The",
    "quick",
    "brown",
    "fox",
    "jumped",
    "over",
    "the",
    "lazy",
    "dogs",
    "near",
    "Zürich",
    "yesterday",
    "evening",
]


def distance(a: str, b: str) -> int:
    """Damerau-Levenshtein with adjacent swaps (optimal string alignment)."""
    rows = [[i + j if not i * j else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            rows[i][j] = min(
                rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (a[i - 1] != b[j - 1])
            )
            if i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
                rows[i][j] = min(rows[i][j], rows[i - 2][j - 2] + 1)
    return rows[-1][-1]


def test_the_share_of_words_is_kept_and_each_has_one_edit():
    words = WORDS * 400
    noisy = CharacterNoise(LATIN)
    got = noisy.words(words, stream(3, "noise", 0))
    changed = [(a, b) for a, b in zip(words, got, strict=True) if a != b]
    assert 0.09 < len(changed) / len(words) < 0.16
    assert all(distance(a.lower(), b.lower()) == 1 for a, b in changed)


@pytest.mark.parametrize("edit", EDITS)
def test_every_edit_is_what_it_says(edit):
    got = CharacterNoise("xyz", share=1.0, edits=(edit,)).words(WORDS, stream(0, "noise", 0))
    change = {"swap": 0, "replace": 0, "insert": 1, "delete": -1}[edit]
    for word, noisy in zip(WORDS, got, strict=True):
        assert len(noisy) - len(word) == change and noisy != word
        assert distance(word.lower(), noisy.lower()) == 1
        if edit == "swap":
            assert sorted(word.lower()) == sorted(noisy.lower())
    if edit in ("swap", "insert", "replace"):
        assert [w[0].isupper() for w in got] == [w[0].isupper() for w in WORDS]


def test_a_place_decides_and_nothing_else():
    noisy = CharacterNoise(LATIN)
    text = " ".join(WORDS * 20)
    first = [noisy(text, stream(1, "noise", row)) for row in range(3)]
    again = [CharacterNoise(LATIN)(text, stream(1, "noise", row)) for row in (2, 1, 0)]
    assert first == again[::-1] and len(set(first)) == 3


texts = st.text(
    st.one_of(st.sampled_from("aé e\u0301कि\u200dम् 12.,İßǅ한"), st.characters(codec="utf-8")),
    max_size=30,
)


@given(texts, st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_words_stay_words(text, seed):
    """As many words, none empty, white space untouched, and no mark loses its letter."""
    got = CharacterNoise(LATIN, share=1.0)(text, stream(seed, "noise", 0))
    assert len(got.split()) == len(text.split())
    assert [c for c in got if c.isspace()] == [c for c in text if c.isspace()]
    for before, after in zip(text.split(), got.split(), strict=True):
        assert after
        if unicodedata.category(before[0])[0] != "M":
            assert unicodedata.category(after[0])[0] != "M"
        if not any(c.isalpha() for c in before):
            assert after == before


def test_noise_of_every_treebank_keeps_its_words(shared_data):
    for path in sorted((shared_data / "ud").glob("*-test.conllu.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            lines = itertools.islice((line for line in file if "\t" in line), 400)
            rows = [line.split("\t") for line in lines]
        words = [row[1] for row in rows]
        noisy = CharacterNoise(alphabet_of(words), share=0.5)
        got = noisy.words(words, stream(0, "noise", 0))
        assert len(got) == len(words) and all(got)
        lettered = sum(any(c.isalpha() for c in w) for w in words)
        changed = sum(a != b for a, b in zip(words, got, strict=True))
        assert 0.3 * lettered < changed < 0.65 * lettered, path.name


def test_the_alphabet_of_a_text():
    assert alphabet_of(["Aab bB ca1 ."]) == "abc"
    assert alphabet_of(["a" * 999 + "b" * 999 + "ж"]) == "ab"
    assert set(alphabet_of(["हिन्दी"])) == set("हनद")


def test_bad_settings_are_named():
    with pytest.raises(UserError, match=r"share of noisy words is in \[0, 1\]"):
        CharacterNoise(LATIN, share=(0.5, 0.1))
    with pytest.raises(UserError, match="Did you mean 'replace'"):
        CharacterNoise(LATIN, edits=("replaced",))
    with pytest.raises(UserError, match="fewer than two letters"):
        CharacterNoise("1.")
    with pytest.raises(UserError, match="at least one edit"):
        CharacterNoise(LATIN, edits=())
    assert CharacterNoise("", edits=("swap",))("ab", np.random.default_rng(0)) in ("ab", "ba")
