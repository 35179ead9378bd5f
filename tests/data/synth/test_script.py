"""Scripts: letters of one block each, every map can be undone, random maps move every sound."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxlt.data.synth.script import CONSONANTS, SCRIPTS, VOWELS, writer

BLOCKS = {
    "Latn": "LATIN",
    "Cyrl": "CYRILLIC",
    "Grek": "GREEK",
    "Armn": "ARMENIAN",
    "Geor": "GEORGIAN",
    "Arab": "ARABIC",
    "Deva": "DEVANAGARI",
    "Ethi": "ETHIOPIC",
}
SOUNDS = st.text(CONSONANTS + VOWELS, min_size=1, max_size=8)


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_letters_are_of_the_script_and_normal(name):
    assert set(BLOCKS) == set(SCRIPTS)
    written = "".join(writer(name)(c + v) + writer(name)(v + c) for c in CONSONANTS for v in VOWELS)
    assert all(unicodedata.name(letter).startswith(BLOCKS[name]) for letter in written)
    assert unicodedata.normalize("NFC", written) == written


@pytest.mark.parametrize("shuffle", ["", "a"])
@pytest.mark.parametrize("name", sorted(SCRIPTS))
@given(one=SOUNDS, two=SOUNDS)
def test_different_sounds_are_written_differently(name, shuffle, one, two):
    write = writer(name, shuffle)
    assert (write(one) == write(two)) == (one == two)


def test_known_words():
    assert writer("Cyrl")("goba") == "гоба"
    assert writer("Deva")("gobat") == "गोबत्"
    assert writer("Ethi")("gobat") == "ጎባት"
    assert writer("Grek")("sos") == "σος"
    assert writer("Geor")("23") == "23"


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_a_random_map_leaves_no_sound_in_its_place(name):
    plain, mixed = writer(name), writer(name, "asha")
    assert all(plain(s) != mixed(s) for s in CONSONANTS + VOWELS)
    everything = "".join(c + v for c in CONSONANTS for v in VOWELS)
    assert sorted(plain(everything)) == sorted(mixed(everything))
    assert mixed("pata") != writer(name, "bevo")("pata")
