"""Made languages as text: the same on every machine, structured, predictable."""

import hashlib
import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise

from jaxlt.data.synth.english import english
from jaxlt.data.synth.families import FactoryConfig, Family, languages
from jaxlt.data.synth.grammar import Clause, Phrase, Sentence, Teller, fact_sentence
from jaxlt.data.synth.languages import FAMILY, UNSEEN, generate, own_seed, write_languages
from jaxlt.data.synth.lexicon import lexicon, shared
from jaxlt.data.synth.realise import speaker, voice
from jaxlt.data.synth.show import interlinear, shown
from jaxlt.data.synth.world import world


def test_same_seed_same_bytes(tmp_path):
    text = "\n".join(generate(FAMILY[0], 40, seed=3))
    assert text == "\n".join(generate(FAMILY[0], 40, seed=3))
    assert text != "\n".join(generate(FAMILY[0], 40, seed=4))
    assert hashlib.sha256(text.encode()).hexdigest() == GOLDEN
    first = write_languages(tmp_path / "a", FAMILY, 20)
    second = write_languages(tmp_path / "b", FAMILY, 20)
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


GOLDEN = "4c31347114adec11872107e178a5cdca80baa22990f76bf0d20cbe92f2a60405"


def test_the_count_is_of_sentences():
    lines = list(generate(UNSEEN, 10))
    assert [line.count(".") + line.count("?") for line in lines] == [4, 4, 2]


def test_relatives_share_words():
    """The unseen one keeps more of the ancestor than the others, and so has all of theirs."""
    for spec in FAMILY:
        assert 0.69 < shared(lexicon(spec), lexicon(UNSEEN))[0] < 0.71


def test_order_and_agreement():
    goats = Phrase("goat", plural=True, count=3, quality="fat")
    sentence = Sentence(Clause("feed", Phrase("farmer"), goats, tense="PST"))
    glosses = {}
    for spec in (*FAMILY, UNSEEN):
        one = speaker(spec).say(sentence, voice(spec, 0, 0))
        glosses[spec.code] = " ".join(w.gloss for w in one.words)
    assert glosses["asha_Latn"] == "farmer feed-PST-3SG three fat goat-PL-ACC ."
    assert glosses["bevo_Latn"] == "farmer three fat goat-PL-ACC feed-PST-3SG ."
    assert glosses["chiri_Latn"] == "farmer feed-PST-3SG three goat-PL-ACC fat ."


def test_the_text_is_predictable():
    """A trigram of characters leaves far less than a flat 5 bits a byte."""
    text = "\n".join(generate(FAMILY[0], 4000))
    pairs, triples = Counter(pairwise(text)), Counter(zip(text, text[1:], text[2:], strict=False))
    bits = -sum(n * math.log2(n / pairs[t[:2]]) for t, n in triples.items()) / len(text)
    assert bits < 2.6


def test_plain_english():
    wolf = Phrase("wolf", plural=True, definite=False)
    child = Phrase("child", relative=Clause("fear", object=wolf, tense="PST", gap="S"))
    sentence = Sentence(Clause("see", Phrase("I"), child, negated=True), link="but")
    assert english(sentence) == "But I do not see the child which feared wolves."
    assert english(Sentence(Clause(subject=Phrase("she"), predicate="old"), question=True)) == (
        "Is she old?"
    )
    teller = Teller(world(0))
    for number in range(300):
        for one in teller.text(0, number):
            assert english(one)[-1] in ".?"
    assert {english(fact_sentence(f)).split()[-2] for f in world(0).facts} >= {"a", "at", "from"}


def test_shown_arcs_stand_over_their_words():
    sentence = Sentence(Clause("feed", Phrase("farmer"), Phrase("goat")))
    one = speaker(FAMILY[0]).say(sentence, voice(FAMILY[0], 0, 0))
    text, *lines = shown(one)
    assert text == one.text
    arrows, morphs, glosses, parts = lines[-4:]
    assert arrows.count("▾") == 2 and arrows.count("●") == 1
    assert glosses.split() == ["farmer", "feed-3SG", "goat-ACC"]
    assert parts.split() == ["NOUN", "VERB", "NOUN"]
    assert all(morphs[m] != " " for m in interlinear(one.words)[1])
    assert "nsubj" in "".join(lines) and "obj" in "".join(lines)


def test_each_language_makes_its_choices_by_itself():
    """Of their own texts, too, whose seed is their own."""

    def choices(spec, revision):
        spec = replace(spec, revision=revision)
        draws = voice(spec, own_seed(spec, 7), 3)
        return [draws.random() for _ in range(4)]

    now = [choices(spec, 2) for spec in FAMILY]
    assert len(set(map(tuple, now))) == len(FAMILY)
    assert choices(FAMILY[0], 1) == choices(FAMILY[1], 1) == choices(FAMILY[2], 1)  # as it was
    assert choices(FAMILY[0], 2) == now[0]


def test_made_text_of_the_first_revision_is_what_it_was():
    shape = Family(2, noise=0.3, freedom=0.5, extraposed=0.5, mixed=0.2)
    first, latest = (
        ["".join(generate(spec, 40, own_seed(spec, 0))) for spec in made]
        for made in (languages(FactoryConfig((shape,), revision=r)) for r in (1, 2))
    )
    assert hashlib.sha256("".join(first).encode()).hexdigest()[:16] == "543e4c5979ad1852"
    assert first != latest
