"""Normalisation by segments equals that of the whole; spans go through it and come back."""

import gzip
import itertools
import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlt.data.text.unicode import (
    UnicodeConfig,
    mark_class,
    normalise,
    normalised_text,
    script_word,
)
from jaxlt.errors import UserError

FORMS = ["none", "NFC", "NFKC"]
# Where segments are hard: marks in any order, Hangul's parts, signs that compose, half width.
HARD = "e\u0301\u0323\u0344ﬁ½가\u1100\u1161\u11a8ব\u09be\u09c7\u0dd9\u0dcf\u0dcaカｶﾞ\uff9e"
HARD += "\u200c\u200d'’ʻaoä \u00b4"
texts = st.text(st.one_of(st.sampled_from(HARD), st.characters(codec="utf-8")), max_size=20)


@given(texts, st.sampled_from(FORMS), st.sampled_from(["keep", "drop", "by_script"]), st.booleans())
@settings(max_examples=100, deadline=None)
def test_segments_make_what_the_whole_makes(text, form, joiners, quotes):
    config = UnicodeConfig(form, joiners, "by_script" if quotes else "keep")
    got = normalise(text, config)
    assert got.text == normalised_text(text, config)
    if joiners == "keep" and not quotes:
        assert got.text == (text if form == "none" else unicodedata.normalize(form, text))
    assert len(got.starts) == len(got.ends) == len(got.text)
    assert (got.starts < got.ends).all() and (got.starts[1:] >= got.starts[:-1]).all()
    assert not len(got.text) or got.ends[-1] <= len(text)


@given(texts, st.sampled_from(FORMS), st.sets(st.integers(0, 20), max_size=6))
@settings(max_examples=100, deadline=None)
def test_spans_between_cuts_round_trip(text, form, cuts):
    edges = sorted({0, len(text), *(c for c in cuts if c <= len(text))})
    spans = list(itertools.pairwise(edges))
    got = normalise(text, UnicodeConfig(form), edges)
    inner = got.forward(spans)
    assert got.back(inner) == spans
    for (start, end), (low, high) in zip(spans, inner, strict=True):
        part = text[start:end]
        whole = part if form == "none" or unicodedata.is_normalized(form, text) else None
        expected = whole if whole is not None else unicodedata.normalize(form, part)
        assert got.text[low:high] == expected


def test_offsets_of_a_known_text():
    got = normalise("ﬁne ½e\u0301", UnicodeConfig("NFKC"))
    assert got.text == "fine 1⁄2é"
    assert got.forward([(0, 3), (4, 5), (5, 7)]) == [(0, 4), (5, 8), (8, 9)]
    assert got.back([(0, 4), (5, 8), (8, 9), (3, 3)]) == [(0, 3), (4, 5), (5, 7), (2, 2)]


def test_joiners_by_script():
    config = UnicodeConfig(joiners="by_script")
    assert normalise("می\u200cخواهم", config).text == "می\u200cخواهم"  # Persian spells with it
    assert normalise("क्\u200dष", config).text == "क्\u200dष"  # after a virama
    assert normalise("auf\u200clage", config).text == "auflage"
    dropped = normalise("می\u200cخواهم", UnicodeConfig(joiners="drop"))
    assert dropped.text == "میخواهم"
    assert dropped.forward([(0, 2), (2, 3), (3, 8)]) == [(0, 2), (2, 2), (2, 7)]


def test_apostrophes_by_script():
    config = UnicodeConfig(apostrophes="by_script")
    for given_, wanted in {
        "п'ять": "п’ять",
        "c’est": "c'est",
        "oʻzbek o‘zbek": "oʻzbek oʻzbek",
        "ma’no maʼno": "ma'no ma'no",
        "צ'ק": "צ׳ק",
        "‘quoted’ 'so'": "‘quoted’ 'so'",
    }.items():
        assert normalise(given_, config).text == wanted


def test_marks_and_scripts():
    assert re.findall(f"[\\w{mark_class()}]+", "हिन्दी में") == ["हिन्दी", "में"]
    assert [script_word(c) for c in "aжक"] == ["LATIN", "CYRILLIC", "DEVANAGARI"]


def test_unknown_settings_are_named():
    with pytest.raises(UserError, match="Did you mean 'NFKC'"):
        UnicodeConfig(form="nfkc")


def test_every_shared_treebank_normalises_by_segments(shared_data):
    """In all scripts at hand, NFC and NFKC by segments equal the library's on whole texts."""
    config = UnicodeConfig("NFKC", "by_script", "by_script")
    for path in sorted((shared_data / "ud").glob("*-test.conllu.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            found = (line[9:].rstrip("\n") for line in file if line.startswith("# text = "))
            texts = list(itertools.islice(found, 60))
        for text in texts:
            for form in ("NFC", "NFKC"):
                assert normalise(text, UnicodeConfig(form)).text == unicodedata.normalize(
                    form, text
                )
            assert normalise(text, config).text == normalised_text(text, config)
