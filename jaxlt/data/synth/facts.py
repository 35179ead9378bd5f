"""Facts with known provenance: which language's texts tell which fact, and how to ask for it.

holders = assign(world.facts, ("a", "b"), one=0.5, every=0.25, seed=0)
holders[12]      # ("a",): only the texts of language a say fact 12
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

from jaxlt.data.rows.batches import number_of
from jaxlt.data.synth.draws import Draws
from jaxlt.data.synth.grammar import fact_sentence
from jaxlt.data.synth.realise import Speaker, Word, joined, voice
from jaxlt.data.synth.spec import LanguageSpec
from jaxlt.data.synth.world import Fact


@dataclass(frozen=True)
class Question:
    """A fact in a language: its relation's sentence with [X] and [Y], and what belongs there."""

    fact: Fact
    pattern: str
    subject: str
    answer: str


def assign(
    facts: Sequence[Fact], codes: Sequence[str], one: float, every: float, seed: int
) -> dict[int, tuple[str, ...]]:
    """Returns for each fact's number the languages that tell it.

    A share `one` is told in one language alone, each in turn; `every` in all; the rest in none.
    Shares hold within each relation, so that no kind of fact is known better than another by lot.
    """
    draws, holders = Draws(seed, "holders"), dict[int, tuple[str, ...]]()
    groups: dict[str, list[int]] = {}
    for fact in facts:
        groups.setdefault(fact.relation, []).append(fact.number)
    turn = 0
    for numbers in groups.values():
        draws.shuffle(numbers)
        alone, common = round(one * len(numbers)), round(every * len(numbers))
        for place, number in enumerate(numbers):
            holders[number] = ()
            if place < alone:
                holders[number] = (codes[turn % len(codes)],)
                turn += 1
            elif place < alone + common:
                holders[number] = tuple(codes)
    return dict(sorted(holders.items()))


def told(
    facts: Sequence[Fact], holders: dict[int, tuple[str, ...]], spec: LanguageSpec
) -> tuple[Fact, ...]:
    """Returns the facts that a language's texts tell, in the order in which they do."""
    telling = [fact for fact in facts if spec.code in holders[fact.number]]
    Draws(number_of(spec.seed, spec.code), "told").shuffle(telling)
    return tuple(telling)


def fact_of_text(facts: Sequence[Fact], number: int, share: float) -> Fact | None:
    """Returns the fact that text `number` tells: a share of texts, the facts in turn."""
    turn = int(number * share)
    if not facts or int((number + 1) * share) == turn:
        return None
    return facts[turn % len(facts)]


def mentions(facts: Sequence[Fact], texts: int, share: float) -> dict[int, int]:
    """Returns how often each fact is told in the first `texts` texts, by its number."""
    count = int(texts * share)
    return {
        fact.number: count // len(facts) + (place < count % len(facts))
        for place, fact in enumerate(facts)
    }


def answer_words(words: Sequence[Word], fact: Fact) -> list[Word]:
    """Returns the words of a fact's sentence that name its object, side by side there."""
    if isinstance(fact.object, str):
        return [word for word in words if word.head is None]
    return [word for word in words if word.entity is fact.object]


def blanked(words: Sequence[Word], blanks: Sequence[tuple[Sequence[Word], str]]) -> list[Word]:
    """Returns the words of a sentence, of which each of some stretches is one, of another form."""
    forms = {id(stretch[0]): form for stretch, form in blanks}
    dropped = {id(word) for stretch, _ in blanks for word in stretch[1:]}
    kept = [word for word in words if id(word) not in dropped]
    rest = [copy.copy(word) for word in kept]
    for word, one in zip(kept, rest, strict=True):
        one.form = forms.get(id(word), word.form)
    return rest


def question(speaker: Speaker, fact: Fact) -> Question:
    """Returns how a language states a fact, in careful speech, with the names taken out.

    Names are as the sentence has them: with the affixes that it asks for.
    """
    spoken = speaker.say(fact_sentence(fact), voice(speaker.spec, 0, fact.number), careful=True)
    subject = [word for word in spoken.words if word.entity is fact.subject]
    answer = answer_words(spoken.words, fact)
    rest = blanked(spoken.words, ((subject, "[X]"), (answer, "[Y]")))
    return Question(fact, joined(rest), joined(subject), joined(answer))
