"""Facts: who tells what is known, exactly, and each can be asked for in every language."""

from collections import Counter
from dataclasses import replace

from jaxlt.data.synth.facts import assign, fact_of_text, mentions, question, told
from jaxlt.data.synth.languages import FAMILY, UNSEEN, lines, texts
from jaxlt.data.synth.realise import speaker
from jaxlt.data.synth.world import RELATIONS, world

CODES = [spec.code for spec in FAMILY]


def test_shares_hold_within_each_relation():
    facts = world(0).facts
    holders = assign(facts, CODES, one=0.6, every=0.2, seed=0)
    assert list(holders) == [fact.number for fact in facts]
    for relation in RELATIONS:
        sizes = Counter(len(holders[f.number]) for f in facts if f.relation == relation)
        whole = sum(sizes.values())
        assert abs(sizes[1] - 0.6 * whole) <= 1 and abs(sizes[3] - 0.2 * whole) <= 1
    alone = Counter(h[0] for h in holders.values() if len(h) == 1)
    assert max(alone.values()) - min(alone.values()) <= 1
    assert holders != assign(facts, CODES, one=0.6, every=0.2, seed=1)


def test_texts_tell_exactly_the_facts_they_hold():
    facts = world(0).facts
    holders = assign(facts, CODES, one=0.1, every=0.05, seed=0)
    for spec in FAMILY:
        own = told(facts, holders, spec)
        seen = Counter(
            said.meaning.fact.number
            for text in texts(spec, 1600, 1, own, 0.5)
            for said in text
            if said.meaning.fact
        )
        assert dict(seen) == {n: c for n, c in mentions(own, 400, 0.5).items() if c}
        assert all(spec.code in holders[number] for number in seen)


def test_the_share_of_texts_with_a_fact_is_exact():
    facts = world(0).facts[:7]
    found = [fact_of_text(facts, n, 0.3) for n in range(1000)]
    assert sum(f is not None for f in found) == 300
    assert fact_of_text((), 3, 1.0) is None


def test_questions_and_answers_make_the_statement():
    facts = world(0).facts[::25]
    for spec in (*FAMILY, UNSEEN):
        for fact in facts:
            asked = question(speaker(spec), fact)
            assert asked.pattern.count("[X]") == asked.pattern.count("[Y]") == 1
            line = asked.pattern.replace("[X]", asked.subject).replace("[Y]", asked.answer)
            assert line == next(lines(texts(spec, 1, 0, [fact], 1.0)))


def test_a_relation_is_said_in_one_way():
    noisy = replace(FAMILY[1], noise=0.5, freedom=0.5)
    for spec in (*FAMILY, UNSEEN, noisy):
        patterns = {(f.relation, question(speaker(spec), f).pattern) for f in world(0).facts}
        assert len(patterns) == len(RELATIONS)


def test_facts_are_functions():
    facts = world(3).facts
    assert len({(f.subject, f.relation) for f in facts}) == len(facts)
