"""Transforms do what they say: order, morphology, noise, mixing, and no more."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlt.data.synth.families import FactoryConfig, Family, languages
from jaxlt.data.synth.grammar import Clause, Phrase, Sentence
from jaxlt.data.synth.languages import texts
from jaxlt.data.synth.lexicon import lexicon
from jaxlt.data.synth.realise import joined, speaker, voice
from jaxlt.data.synth.spec import ORDERS, LanguageSpec
from jaxlt.data.synth.trees import entity_tags, heads

PLAIN = LanguageSpec("asha_Latn", 1)


def is_projective(parents):
    """Whether no two arcs cross; heads are from 1, 0 the root."""
    arcs = [(min(i, p), max(i, p)) for i, p in enumerate(parents, 1) if p]
    return not any(a < c < b < d for a, b in arcs for c, d in arcs)


def reach_the_root(parents):
    """Whether heads make one tree: one root, to which every word leads."""
    at = list(range(1, len(parents) + 1))
    for _ in parents:
        at = [parents[i - 1] if i else 0 for i in at]
    return parents.count(0) == 1 and not any(at)


SIDE = st.sampled_from(["before", "after"])
SHARE = st.sampled_from([0.0, 0.3, 1.0])
SPECS = st.builds(
    LanguageSpec,
    code=st.just("any_Latn"),
    order=st.sampled_from(ORDERS),
    adjective=SIDE,
    adposition=SIDE,
    genitive=SIDE,
    relative=SIDE,
    numeral=SIDE,
    freedom=SHARE,
    extraposed=SHARE,
    inverted=st.booleans(),
    synthesis=st.floats(0, 1),
    fusion=st.booleans(),
    affixes=st.sampled_from(["suffix", "prefix"]),
    harmony=st.booleans(),
    articles=st.booleans(),
    script=st.sampled_from(["Latn", "Arab", "Deva", "Ethi"]),
    random_script=st.booleans(),
    own_punctuation=st.booleans(),
    digits=st.booleans(),
    noise=SHARE,
    mixed=SHARE,
    partner=st.just(LanguageSpec("other_Latn", 2)),
)


def said(spec, sentences=400, seed=0):
    """All sentences of a language's first texts."""
    return [one for text in texts(spec, sentences, seed) for one in text]


@settings(max_examples=40, deadline=None)
@given(spec=SPECS, seed=st.integers(0, 2**40))
def test_every_sentence_is_a_tree_whose_tokens_are_its_text(spec, seed):
    for one in said(spec, 12, seed):
        parents = heads(one.words)
        assert reach_the_root(parents)
        if not spec.extraposed and not spec.freedom:
            assert is_projective(parents)
        assert joined(one.words) == one.text
        assert all(w.form and " " not in w.form for w in one.words)
        tags = entity_tags(one.words)
        before = "O"
        for word, tag in zip(one.words, tags, strict=True):
            assert (tag == "O") == (word.entity is None)
            assert tag[0] != "I" or before[1:] == tag[1:]
            before = tag


def test_spans_are_the_names_that_were_meant():
    sentence = Sentence(Clause("see", Phrase("wolf"), Phrase(entity=_two_part_person())))
    for inverted in (False, True):
        one = speaker(replace(PLAIN, inverted=inverted)).say(sentence, voice(PLAIN, 0, 0))
        tags = [t for t in entity_tags(one.words) if t != "O"]
        assert tags == ["B-PER", "I-PER"]


def _two_part_person():
    from jaxlt.data.synth.world import world

    return next(p for p in world(0).people if len(p.name) == 2)


@pytest.mark.parametrize("order", ORDERS)
def test_word_order_is_as_asked_for(order):
    seen = Counter()
    for one in said(replace(PLAIN, order=order)):
        clause = one.meaning.clause
        if clause.object and clause.subject and not clause.reason:
            place = {w.deprel: i for i, w in enumerate(one.words) if w.head is root_of(one)}
            at = {"S": place["nsubj"], "O": place["obj"], "V": one.words.index(root_of(one))}
            seen["".join(sorted(at, key=at.get))] += 1
    assert set(seen) == {order} and seen[order] > 50


def root_of(one):
    """The root word."""
    return next(w for w in one.words if w.head is None)


@pytest.mark.parametrize(
    ("field", "deprel"),
    [("adjective", "amod"), ("genitive", "nmod"), ("relative", "acl:relcl"), ("numeral", "nummod")],
)
@pytest.mark.parametrize("side", ["before", "after"])
def test_dependents_stand_on_their_side(field, deprel, side):
    seen = 0
    for one in said(replace(PLAIN, **{field: side}), 800):
        place = {id(w): i for i, w in enumerate(one.words)}
        for word in one.words:
            if word.deprel == deprel:
                assert (place[id(word)] < place[id(word.head)]) == (side == "before")
                seen += 1
    assert seen > 15


def test_free_order_and_extraposition_are_as_frequent_as_asked_for():
    free = [one for one in said(replace(PLAIN, freedom=0.6), 1600) if one.meaning.clause.object]
    fixed = [one for one in said(PLAIN, 1600) if one.meaning.clause.object]
    moved = sum(a.text != b.text for a, b in zip(free, fixed, strict=True)) / len(free)
    assert 0.4 < moved < 0.62  # a sixth of shuffles is the usual order
    crossing = [not is_projective(heads(o.words)) for o in said(replace(PLAIN, extraposed=1.0))]
    assert 0.005 < sum(crossing) / len(crossing) < 0.2


def test_synthesis_moves_grammar_from_words_to_affixes():
    measured = []
    for synthesis in (0.0, 0.25, 0.5, 0.75, 1.0):
        words = [w for o in said(replace(PLAIN, synthesis=synthesis)) for w in o.words]
        words = [w for w in words if w.upos != "PUNCT"]
        measured.append(sum(w.morphs.count("-") + 1 for w in words) / len(words))
    assert measured == sorted(measured) and measured[0] == 1.0 and measured[-1] > 1.5


def test_fusion_says_all_grammar_in_one_ending():
    words = [w for o in said(replace(PLAIN, synthesis=1.0, fusion=True)) for w in o.words]
    assert max(w.morphs.count("-") for w in words) == 1


@pytest.mark.parametrize("noise", [0.1, 0.5])
def test_noise_is_as_frequent_as_asked_for_and_moves_nothing_else(noise):
    changed = []
    for a, b in zip(said(PLAIN), said(replace(PLAIN, noise=noise)), strict=True):
        assert heads(a.words) == heads(b.words)
        for one, other in zip(a.words, b.words, strict=True):
            if one.upos not in ("PUNCT", "PROPN", "NUM"):
                changed.append(one.form.lower() != other.form.lower())
            else:
                assert one.form == other.form
    assert sum(changed) / len(changed) == pytest.approx(noise, abs=0.03)


def test_mixing_is_as_frequent_as_asked_for_and_names_the_language():
    partner = LanguageSpec("other_Latn", 2)
    words = [w for o in said(replace(PLAIN, mixed=0.4, partner=partner)) for w in o.words]
    roots = [w for w in words if w.upos in ("NOUN", "VERB", "ADJ", "ADV")]
    mixed = [w for w in roots if w.language == "other_Latn"]
    assert len(mixed) / len(roots) == pytest.approx(0.4, abs=0.05)
    theirs = {r.sounds for r in lexicon(partner).roots.values()}
    assert all(w.lemma in theirs for w in mixed)


def test_inverted_speech_is_the_same_words_backwards():
    for a, b in zip(said(PLAIN, 40), said(replace(PLAIN, inverted=True), 40), strict=True):
        forms = [[w.form.lower() for w in o.words[:-1]] for o in (a, b)]
        assert forms[0] == forms[1][::-1]


def test_everybody_says_the_same_thing():
    """Of one seed, the meanings are equal whatever the language: text is parallel."""
    specs = languages(FactoryConfig((Family(3, dialects=1), Family(2, script="Geor"))))
    told = [[one.meaning for one in said(spec, 20, seed=5)] for spec in specs]
    assert all(one == told[0] for one in told)
