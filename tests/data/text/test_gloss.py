"""Glossed text: words by the dictionary, everything else as it was."""

import gzip

import pytest

from jaxlt.data.rows.batches import stream
from jaxlt.data.text.gloss import Glosser, copied_target, make_dictionary, read_dictionary
from jaxlt.errors import UserError

PAIRS = [("the", "el"), ("man", "hombre"), ("a few", "unos"), ("few", "pocos"), ("man", "varón")]


def test_words_are_glossed_and_the_rest_stays():
    glosser = Glosser(make_dictionary(PAIRS))
    said = glosser("The man, THE MAN  saw\ta Few (the 2 men's).")
    assert said == "El hombre, EL HOMBRE  saw\tunos (el 2 men's)."
    assert glosser("the man saw a few.") == "el hombre saw unos."
    assert glosser("a, few") == "a, pocos"  # a phrase has no comma in it
    assert glosser("") == "" and glosser("?!") == "?!"


def test_casing_and_coverage():
    glosser = Glosser(make_dictionary(PAIRS))
    assert glosser("The THE the") == "El EL el"
    assert glosser("A few") == "Unos"
    text, coverage = glosser.with_coverage("The man saw a few dogs")
    assert text == "El hombre saw unos dogs" and coverage == (4, 6)


def test_unknown_words():
    dictionary = make_dictionary(PAIRS)
    text = "The old man saw the sea."
    assert Glosser(dictionary, "keep")(text) == "El old hombre saw el sea."
    assert Glosser(dictionary, "mark")(text) == "El old* hombre saw* el sea*."
    assert Glosser(dictionary, "drop")(text) == "El hombre el."
    assert Glosser(dictionary, "drop")("(Old man, the old.)") == "(hombre, el.)"
    with pytest.raises(UserError, match="Did you mean 'drop'"):
        Glosser(dictionary, "dropp")


def test_one_word_for_each_word():
    words = ["The", "old", "man", ",", "3"]
    for unknown in ("keep", "drop"):
        got = Glosser(make_dictionary(PAIRS), unknown).words(words)
        assert got == ["El", "old", "hombre", ",", "3"]
    assert Glosser(make_dictionary(PAIRS), "mark").words(words)[1:] == ["old*", "hombre", ",", "3"]


def test_translations_are_drawn_from_the_generator():
    glosser = Glosser(make_dictionary(PAIRS))
    text = "man " * 50
    drawn = glosser(text, stream(0, "gloss", 1))
    assert {"hombre", "varón"} == set(drawn.split())
    assert glosser(text, stream(0, "gloss", 1)) == drawn != glosser(text, stream(0, "gloss", 2))
    assert set(glosser(text).split()) == {"hombre"}


def test_shared_dictionaries_gloss_english(shared_data):
    """In every language of the shared dictionary, through its phrases and scripts."""
    path = str(shared_data / "dict" / "gatitos.tsv.gz")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        next(file)
        languages = sorted({line.split("\t")[0] for line in file})
    with gzip.open(shared_data / "ud" / "en_ewt-dev.conllu.gz", "rt", encoding="utf-8") as file:
        lines = [line[9:].rstrip("\n") for line in file if line.startswith("# text = ")][:100]
    assert len(languages) == 37
    for language in languages:
        glosser = Glosser(read_dictionary(path, where={"lang": language}))
        found = total = 0
        for line in lines:
            text, coverage = glosser.with_coverage(line)
            found, total = found + coverage.found, total + coverage.words
            assert text or not line
        assert 0.03 < found / total < 0.6, language


def test_bad_dictionaries_are_named(tmp_path):
    path = tmp_path / "dictionary.tsv"
    path.write_text("lang\tenglish\ttranslation\nwo\tman\tgóor\n", encoding="utf-8")
    assert read_dictionary(str(path)).entries == {"man": ("góor",)}
    with pytest.raises(UserError, match=r"no row with lang 'wol'\. Did you mean 'wo'"):
        read_dictionary(str(path), where={"lang": "wol"})
    with pytest.raises(UserError, match=r"no column 'englisch'.*Did you mean 'english'"):
        read_dictionary(str(path), source="englisch")
    path.write_text("english\ttranslation\nman\n", encoding="utf-8")
    with pytest.raises(UserError, match="line 2: 1 columns, and the header has 2"):
        read_dictionary(str(path))
    path.write_text("english\ttranslation\nman\t \n", encoding="utf-8")
    with pytest.raises(UserError, match="no entry with both"):
        read_dictionary(str(path))


def test_copied_target():
    assert list(copied_target(["góor gi ", "", "  \n", "xale"])) == [
        ("góor gi",) * 2,
        ("xale",) * 2,
    ]
