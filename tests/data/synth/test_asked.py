"""Questions over made texts and pairs of them: right by construction, and not to be guessed."""

import re
from collections import Counter
from dataclasses import replace

from jaxlt.data.synth.asked import LABELS, pairs, questions
from jaxlt.data.synth.families import FactoryConfig, Family, languages

FACTORY = FactoryConfig(
    (Family(3, others=1, synthesis=0.9), Family(2, script="Geor", order="VSO", synthesis=0.0)),
    annotated=200,
)
SPECS = languages(FACTORY)


def sentences(text: str) -> list[Counter]:
    """The words of each sentence."""
    return [Counter(one.lower().split()) for one in re.split("[.?]", text)[:-1]]


def test_an_answer_is_where_it_is_said_to_be():
    rough = FactoryConfig((Family(2, noise=0.2, mixed=0.3, freedom=0.5, extraposed=0.5),))
    for spec in (*SPECS, *languages(rough)):
        found = list(questions(spec, FACTORY))
        assert [int(one.id) for one in found] == list(range(1, 201))
        for one in found:
            (answer,), (start,) = one.answers, one.starts
            assert one.language == spec.code and one.context.startswith(answer, start)
            after = one.context[start + len(answer)]
            assert after in " .," and (not start or one.context[start - 1] == " ")


def test_a_question_is_its_sentence_with_the_answer_taken_out():
    for spec in SPECS:
        clear = 0
        for one in questions(spec, FACTORY):
            (asked,), (answer,) = sentences(one.question), sentences(f"{one.answers[0]}.")
            found = [said for said in sentences(one.context) if answer <= said]
            clear += [said - answer <= asked for said in found].count(True) == 1
        assert clear == 200


def test_what_follows_can_be_told_from_the_texts():
    for spec in SPECS:
        labels = Counter()
        denied = Counter()
        for one in pairs(spec, FACTORY):
            labels[one.label] += 1
            (claim,) = sentences(one.hypothesis)
            assert (claim in sentences(one.premise)) == (one.label == "entailment")
            denied[one.label] += claim.total()
        assert set(labels) == set(LABELS) and min(labels.values()) > 40
        # Denying takes words of its own, and hypotheses of each label deny as often.
        means = [denied[label] / labels[label] for label in LABELS]
        assert max(means) - min(means) < 0.8


def test_a_contradiction_turns_the_premise_around():
    spec = SPECS[3]  # isolating: denying is a word
    found = [one for one in pairs(spec, FACTORY) if one.label == "contradiction"]
    turned = 0
    for one in found:
        (claim,) = sentences(one.hypothesis)
        apart = [(claim - said) + (said - claim) for said in sentences(one.premise)]
        turned += any(len(words) == 1 for words in apart)
    assert turned == len(found) > 40


def test_equal_seeds_ask_alike_and_languages_of_their_own():
    spec = SPECS[0]
    assert list(questions(spec, FACTORY)) == list(questions(spec, FACTORY))
    assert list(pairs(spec, FACTORY)) == list(pairs(spec, FACTORY))
    other = replace(FACTORY, seed=1)
    assert list(questions(spec, other)) != list(questions(spec, FACTORY))
    assert next(pairs(spec, other)) != next(pairs(spec, FACTORY))
