"""Made languages: the same on every machine, structured, and related as their specs say."""

import hashlib
import math
from collections import Counter
from itertools import pairwise

import pytest

from jaxlt.data.synth import world
from jaxlt.data.synth.languages import (
    FAMILY,
    UNSEEN,
    LanguageSpec,
    generate,
    language,
    write_languages,
)
from jaxlt.errors import UserError


def test_same_seed_same_bytes(tmp_path):
    text = "\n".join(generate(FAMILY[0], 40, seed=3))
    assert text == "\n".join(generate(FAMILY[0], 40, seed=3))
    assert text != "\n".join(generate(FAMILY[0], 40, seed=4))
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert digest == GOLDEN
    first = write_languages(tmp_path / "a", FAMILY, 20)
    second = write_languages(tmp_path / "b", FAMILY, 20)
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


GOLDEN = "e07bdb438b402b02fb485f6f6fba8457bafd49b273bba0f3e3c97d81c85a6209"


def test_the_count_is_of_sentences():
    lines = list(generate(UNSEEN, 10))
    assert [line.count(".") for line in lines] == [4, 4, 2]


def test_every_meaning_has_its_word():
    assert 100 < len(world.concepts()) < 250
    for spec in (*FAMILY, UNSEEN):
        assert set(world.concepts()) <= set(language(spec).words)


def test_relatives_share_words_and_strangers_none():
    """Each of two languages keeps 7 of 10 words, so about half of all are cognate between them."""
    one, two = language(FAMILY[0]), language(FAMILY[1])
    shared = len(one.cognates & two.cognates) / len(world.concepts())
    assert 0.35 < shared < 0.65
    stranger = language(LanguageSpec("xeno_Latn", 9, cognates=1.0))
    same = sum(one.words[m] == stranger.words[m] for m in world.concepts())
    assert same < 5


def test_order_and_agreement():
    phrase = world.Phrase("goat", 3, "fat")
    sentence = world.Sentence(world.Phrase("ana"), "feed", phrase)
    many = world.Sentence(phrase, "feed", world.Phrase("ana"))
    for spec in (*FAMILY, UNSEEN):
        speaker, word = language(spec), language(spec).words
        said = speaker.say(sentence).rstrip(".").split()
        verb = word["feed"] + word["one does"]
        assert (said[-1] if spec.order == "SOV" else said[1]) == verb
        noun = word["goat"] + word["plural"] + word["object"]
        quality = word["fat"] + word["living"] + word["plural"]
        apart = said.index(noun) - said.index(quality)
        assert apart == (1 if spec.adjective == "before" else -1)
        assert word["feed"] + word["many do"] in speaker.say(many)


def test_the_text_is_predictable():
    """A trigram of characters leaves far less than a flat 5 bits a byte."""
    text = "\n".join(generate(FAMILY[0], 4000))
    pairs, triples = Counter(pairwise(text)), Counter(zip(text, text[1:], text[2:], strict=False))
    bits = -sum(n * math.log2(n / pairs[t[:2]]) for t, n in triples.items()) / len(text)
    assert bits < 2.6


def test_impossible_specs_are_refused():
    with pytest.raises(UserError, match="order is 'SVO' or 'SOV'"):
        LanguageSpec("a", order="VSO")
    with pytest.raises(UserError, match="cognates"):
        LanguageSpec("a", cognates=2.0)
