"""What can be asked of a text, and what follows from it: questions, and pairs of texts.

Texts say facts that are made up for them, not the world's: whoever answers has to read. Who reads
without fault scores 1.0, in speech without noise and mixing; in pairs neither of the texts alone
tells the label.
"""

from collections.abc import Iterator, Sequence

from jaxlt.data.readers.questions import Question
from jaxlt.data.readers.tables import Inference
from jaxlt.data.synth.draws import Draws
from jaxlt.data.synth.facts import answer_words, blanked
from jaxlt.data.synth.families import FactoryConfig, size_of
from jaxlt.data.synth.grammar import Sentence, Teller, fact_sentence
from jaxlt.data.synth.languages import own_seed
from jaxlt.data.synth.lexicon import lexicon
from jaxlt.data.synth.realise import joined, script_key, speaker, voice
from jaxlt.data.synth.script import writer
from jaxlt.data.synth.spec import LanguageSpec
from jaxlt.data.synth.world import RELATIONS, Entity, Fact, World, world

_QUESTIONS, _PAIRS = 1 << 43, 1 << 44  # apart from the purposes of jaxlt.data.synth.write
LABELS = ("entailment", "neutral", "contradiction")


def questions(spec: LanguageSpec, config: FactoryConfig) -> Iterator[Question]:
    """Yields `annotated` questions: a fact of a text is asked for, beside two others like it.

    One of these is of the same relation, one of the same subject, where it has several.
    """
    seed = own_seed(spec, config.seed) ^ _QUESTIONS
    teller, speaks = Teller(world(spec.seed)), speaker(spec)
    which = writer(spec.script, script_key(spec))(lexicon(spec).roots["which"].sounds)
    for number in range(size_of(config, spec, "annotated")):
        draws = Draws(seed, "asked", number)
        fact = _made_up(draws, teller.world, draws.pick(tuple(RELATIONS)))
        besides = fact.subject, fact.object
        others = (
            _made_up(draws, teller.world, fact.relation, besides=besides),
            _of_its_subject(draws, teller.world, fact, besides)
            or _made_up(draws, teller.world, "lives_at", besides=besides),
        )
        told = teller.text(seed, number, 2)
        for one in (fact, *others):
            told.insert(draws.below(len(told) + 1), fact_sentence(one))
        speech = voice(spec, seed, number)
        spoken = [speaks.say(meant, speech) for meant in told]
        place = next(i for i, meant in enumerate(told) if meant.fact is fact)
        words = spoken[place].words
        answer = answer_words(words, fact)
        before = joined(words[: words.index(answer[0])])
        start = sum(len(one.text) + 1 for one in spoken[:place])
        start += len(before) + 1 if before else 0
        meant = fact_sentence(fact)
        meant.question = True
        asked = speaks.say(meant, speech, careful=True).words
        rest = blanked(asked, [(answer_words(asked, fact), which)])
        text = " ".join(one.text for one in spoken)
        yield Question(spec.code, str(number + 1), joined(rest), text, (joined(answer),), (start,))


def pairs(spec: LanguageSpec, config: FactoryConfig) -> Iterator[Inference]:
    """Yields `annotated` premises of two facts and a sentence, with what follows or does not.

    A fact of the premise, said or denied there, is said again (entailment) or said otherwise
    (contradiction), or one is that the premise says nothing about (neutral).
    """
    seed = own_seed(spec, config.seed) ^ _PAIRS
    teller, speaks = Teller(world(spec.seed)), speaker(spec)
    for number in range(size_of(config, spec, "annotated")):
        draws = Draws(seed, "pairs", number)
        fact = _made_up(draws, teller.world, draws.pick(tuple(RELATIONS)))
        besides = fact.subject, fact.object
        other = _made_up(draws, teller.world, draws.pick(tuple(RELATIONS)), besides=besides)
        denied, label = draws.chance(0.5), draws.pick(LABELS)
        told = teller.text(seed, number, 1)
        for meant in (_claim(fact, denied), _claim(other, draws.chance(0.5))):
            told.insert(draws.below(len(told) + 1), meant)
        claimed, no = fact, denied != (label == "contradiction")
        if label == "neutral":
            every = *besides, other.subject, other.object
            claimed, no = _unsaid(draws, teller.world, fact, every), draws.chance(0.5)
        speech = voice(spec, seed, number)
        premise = " ".join(speaks.say(meant, speech).text for meant in told)
        hypothesis = speaks.say(_claim(claimed, no), speech, careful=True).text
        yield Inference(spec.code, str(number + 1), premise, hypothesis, label)


def _made_up(
    draws: Draws,
    known: World,
    relation: str,
    subject: Entity | None = None,
    besides: Sequence[Entity | str] = (),
) -> Fact:
    """Returns a fact that need not be one, of `subject` or of anyone but `besides`."""
    kind, other = RELATIONS[relation]
    who = subject or draws.pick([one for one in known.pool(kind) if one not in besides])
    assert isinstance(who, Entity)
    free = [one for one in known.pool(other) if one not in (*besides, who)]
    return Fact(-1, who, relation, draws.pick(free))


def _of_its_subject(
    draws: Draws, known: World, fact: Fact, besides: Sequence[Entity | str]
) -> Fact | None:
    """Returns a fact of another relation of the subject, if its kind has another."""
    kind = RELATIONS[fact.relation][0]
    relations = [r for r in RELATIONS if r != fact.relation and RELATIONS[r][0] == kind]
    if not relations:
        return None
    return _made_up(draws, known, draws.pick(relations), fact.subject, besides)


def _unsaid(draws: Draws, known: World, fact: Fact, besides: Sequence[Entity | str]) -> Fact:
    """Returns a fact of its subject or, half of the time, what it says, of another subject."""
    if draws.chance(0.5) and (same := _of_its_subject(draws, known, fact, besides)):
        return same
    other = _made_up(draws, known, fact.relation, besides=besides)
    return Fact(-1, other.subject, fact.relation, fact.object)


def _claim(fact: Fact, denied: bool) -> Sentence:
    sentence = fact_sentence(fact)
    sentence.clause.negated = denied
    return sentence
