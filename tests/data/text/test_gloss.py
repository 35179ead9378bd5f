"""Glossed text: words by the dictionary, everything else as it was."""

import gzip
import re

import pytest

from jaxlt.data.rows.batches import stream
from jaxlt.data.text.gloss import Glosser, make_dictionary, read_dictionary
from jaxlt.errors import UserError

PAIRS = [("the", "el"), ("man", "hombre"), ("a few", "unos"), ("few", "pocos"), ("man", "varón")]


def test_words_are_glossed_and_the_rest_stays():
    glosser = Glosser(make_dictionary(PAIRS))
    said = glosser("The man, THE MAN  saw\ta Few (the 2 men's).")
    assert said == "El hombre, EL HOMBRE  saw\tunos (el 2 men's)."
    assert glosser("the man saw a few.") == "el hombre saw unos."
    assert glosser("a, few") == "a, pocos"  # a phrase has no comma in it
    assert glosser("") == "" and glosser("?!") == "?!"


def test_casing():
    glosser = Glosser(make_dictionary(PAIRS))
    assert glosser("The THE the") == "El EL el"
    assert glosser("A few") == "Unos"
    assert glosser("The man saw a few dogs") == "El hombre saw unos dogs"


def test_unknown_words():
    dictionary = make_dictionary(PAIRS)
    text = "The old man saw the sea."
    assert Glosser(dictionary, "keep")(text) == "El old hombre saw el sea."
    assert Glosser(dictionary, "mark")(text) == "El old* hombre saw* el sea*."
    assert Glosser(dictionary, "drop")(text) == "El hombre el."
    assert Glosser(dictionary, "drop")("(Old man, the old.)") == "(hombre, el.)"
    with pytest.raises(UserError, match="Did you mean 'drop'"):
        Glosser(dictionary, "dropp")


def test_translations_are_drawn_from_the_generator():
    glosser = Glosser(make_dictionary(PAIRS))
    text = "man " * 50
    drawn = glosser(text, stream(0, "gloss", 1))
    assert {"hombre", "varón"} == set(drawn.split())
    assert glosser(text, stream(0, "gloss", 1)) == drawn != glosser(text, stream(0, "gloss", 2))
    assert set(glosser(text).split()) == {"hombre"}


def test_shared_dictionaries_gloss_english(shared_data, tmp_path):
    """In every language of the shared dictionary, through its phrases and scripts."""
    path = shared_data / "dict" / "gatitos.tsv.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        header, *rows = file
    by_language = {}
    for row in rows:
        by_language.setdefault(row.split("\t")[0], []).append(row)
    with gzip.open(shared_data / "ud" / "en_ewt-dev.conllu.gz", "rt", encoding="utf-8") as file:
        lines = [line[9:].rstrip("\n") for line in file if line.startswith("# text = ")][:100]
    assert len(by_language) == 37
    for language, own in by_language.items():  # a file each: the whole is read for one of them
        part = tmp_path / f"{language}.tsv"
        part.write_text(header + "".join(own), encoding="utf-8")
        dictionary = read_dictionary(str(part), where={"lang": language})
        marked, kept = Glosser(dictionary, "mark"), Glosser(dictionary)
        found = total = 0
        for line in lines:
            assert kept(line) or not line
            words = len(re.findall(r"[^\W\d_]\w*(?:['’-][^\W\d_]\w*)*", line))
            total += words
            found += words - marked(line).count("*") + line.count("*")
        assert 0.03 < found / total < 0.6, language
    whole = read_dictionary(str(path), where={"lang": language})
    assert whole == dictionary


def test_bad_dictionaries_are_named(tmp_path):
    path = tmp_path / "dictionary.tsv"
    path.write_text("lang\tenglish\ttranslation\nwo\tman\tgóor\n", encoding="utf-8")
    assert read_dictionary(str(path)).entries == {"man": ("góor",)}
    with pytest.raises(UserError, match=r"no row with lang 'wol'\. Did you mean 'wo'"):
        read_dictionary(str(path), where={"lang": "wol"})
    with pytest.raises(UserError, match=r"no column 'englisch'.*Did you mean 'english'"):
        read_dictionary(str(path), source="englisch")
    path.write_text("english\ttranslation\nman\n", encoding="utf-8")
    with pytest.raises(UserError, match="line 2: 1 fields, the header names 2"):
        read_dictionary(str(path))
    path.write_text("english\ttranslation\nman\t \n", encoding="utf-8")
    with pytest.raises(UserError, match="no entry with both"):
        read_dictionary(str(path))
