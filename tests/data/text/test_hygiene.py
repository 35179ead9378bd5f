"""What cleaning drops, keeps and reports."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlt.data.text.hygiene import CleanConfig, Cleaner, plain
from jaxlt.data.text.scripts import share
from jaxlt.errors import UserError

LONG = "the quick brown fox jumps over the lazy dog while seven wizards brew a potion of green tea"


def clean(texts: list[str], letters: str = "", **settings: object) -> tuple[list[str], dict]:
    cleaner = Cleaner(CleanConfig(**settings), letters)
    return list(cleaner.clean(texts)), cleaner.report.dropped


def test_duplicates_are_equal_but_for_looks() -> None:
    texts = ["Hello, world!", "hello world", "Hello, worlds!", "HELLO   WORLD", "Ｈello world"]
    assert clean(texts) == (["Hello, world!", "Hello, worlds!"], {"duplicate": 3})
    assert clean(texts, duplicates=False) == (texts, {})
    assert plain("हिन्दी, नहीं") == "हिन्दी नहीं"


def test_signs_alone_are_no_duplicates_of_each_other() -> None:
    assert clean(["!", "?", " ", "\x01"])[1] == {"empty": 2}


def test_lengths() -> None:
    kept, dropped = clean(["a", "abc", "abcdefg"], min_chars=2, max_chars=5)
    assert kept == ["abc"] and dropped == {"too short": 1, "too long": 1}


def test_script() -> None:
    kept, dropped = clean(["шалом мир", "hello мир", "123"], "Cyrl", script=0.6)
    assert kept == ["шалом мир"] and dropped == {"other script": 2}
    with pytest.raises(UserError, match="script of the language"):
        Cleaner(CleanConfig(script=0.5))


@pytest.mark.parametrize(
    ("text", "script", "expected"),
    [
        ("日本語です", "Jpan", 1),
        ("hello мир", "Latn", 5 / 8),
        ("हिन्दी 123!", "Deva", 1),
        ("ئۇيغۇر", "Arab", 1),
        ("漢字", "Hant", 1),
        ("12 + 3", "Latn", 0),
        ("", "Latn", 0),
    ],
)
def test_shares_of_scripts(text: str, script: str, expected: float) -> None:
    assert share(text, script) == pytest.approx(expected)


def test_an_unknown_script() -> None:
    with pytest.raises(UserError, match="no script 'Abcd'"):
        share("a", "Abcd")


def test_near_duplicates() -> None:
    words = LONG.split()
    other = " ".join(reversed(words))
    texts = [LONG, LONG + " indeed", other, "something else entirely, of some length too"]
    kept, dropped = clean(texts, near=0.8)
    assert kept == [LONG, other, texts[3]] and dropped == {"near duplicate": 1}
    assert clean(texts, near=0.99)[0] == texts


def test_near_agrees_with_the_exact_similarity() -> None:
    """MinHash against the Jaccard similarity of sets of 5-grams, where they are clear of 0.7."""
    rng = np.random.default_rng(0)
    letters = list("abcdefghij ")
    checked = 0
    for _ in range(120):
        base = rng.choice(letters, 200)
        changed = base.copy()
        places = rng.choice(200, int(rng.integers(1, 30)), replace=False)
        changed[places] = rng.choice(letters, len(places))
        texts = [plain("".join(base)), plain("".join(changed))]
        sets = [{f" {t} "[i : i + 5] for i in range(len(t) - 2)} for t in texts]
        exact = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
        if abs(exact - 0.7) > 0.17:  # three standard deviations of 64 permutations
            checked += 1
            assert (len(clean(texts, near=0.7)[0]) == 1) == (exact > 0.7), exact
    assert checked > 50


def test_test_text_does_not_come_through() -> None:
    cleaner = Cleaner(CleanConfig(near=0.8, passage=30))
    cleaner.protect([LONG, "short one"], "test.txt")
    texts = {
        LONG.upper(): "in test",
        "Short one.": "in test",
        "he says: " + LONG[20:70] + ", and so on": "holds test",
        "a text of its own with nothing from there": None,
    }
    assert [cleaner.verdict(text) for text in texts] == list(texts.values())
    report = cleaner.report
    assert (report.seen, report.kept) == (4, 1)
    assert report.dropped == {"in test": 2, "holds test": 1}
    assert report.examples["in test"][0] == (LONG.upper(), "test.txt, text 1")
    assert report.examples["holds test"][0][1] in LONG
    near = Cleaner(CleanConfig(near=0.7, passage=0))
    near.protect([LONG], "t")
    assert near.verdict(LONG.replace("quick", "slow")) == "near test"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"near": 1.5}, "near"),
        ({"script": -1}, "script"),
        ({"min_chars": -1}, "negative"),
        ({"min_chars": 9, "max_chars": 3}, "no text fits"),
    ],
)
def test_bad_settings(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        CleanConfig(**settings)


@given(st.lists(st.text(max_size=80), max_size=8))
@settings(max_examples=60, deadline=None)
def test_any_text_is_kept_or_counted(texts: list[str]) -> None:
    cleaner = Cleaner(CleanConfig(near=0.8, script=0.2, passage=10), "Latn")
    cleaner.protect(texts[:1], "test")
    kept = list(cleaner.clean(texts))
    report = cleaner.report
    assert report.seen == len(texts) and report.kept == len(kept)
    assert report.kept + sum(report.dropped.values()) == report.seen
    again = Cleaner(CleanConfig(near=0.8, script=0.2), "Latn")
    assert list(again.clean(kept)) == kept  # what is clean stays so
