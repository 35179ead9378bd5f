"""Sentences before any language: clauses of meanings, which every language says in its own way.

teller = Teller(world(0))
teller.text(seed=0, number=7)     # four Sentences of one topic and one hero
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from jaxlt.data.synth import concepts as c
from jaxlt.data.synth.draws import Draws
from jaxlt.data.synth.world import Entity, Fact, World

SENTENCES_A_TEXT = 4


@dataclass(slots=True)
class Phrase:
    """A thing, a name or a pronoun, with what depends on it."""

    head: str = ""  # a concept, where there is no entity
    entity: Entity | None = None
    plural: bool = False
    count: int = 0
    quality: str = ""
    definite: bool = True
    owner: "Phrase | None" = None
    relative: "Clause | None" = None
    other: "Phrase | None" = None  # "and ..."


@dataclass(slots=True)
class Clause:
    """Who does what; `predicate` is what the subject is said to be. A gap is left out: 'S', 'O'."""

    verb: str = ""
    subject: Phrase | None = None
    object: Phrase | None = None
    predicate: str = ""
    tense: str = ""  # '' | 'PST' | 'FUT'
    negated: bool = False
    adverb: str = ""
    places: list[tuple[str, Phrase]] = field(default_factory=list)  # (LOC | ABL | COM, where)
    content: "Clause | None" = None  # says that ...
    reason: "tuple[str, Clause] | None" = None  # because ...
    gap: str = ""


@dataclass(slots=True)
class Sentence:
    """A main clause; `feeling` is its sentiment, `fact` the fact it states."""

    clause: Clause
    link: str = ""
    question: bool = False
    topic: str = ""
    feeling: int = 0
    fact: Fact | None = None


def fact_sentence(fact: Fact) -> Sentence:
    """Returns the sentence that states a fact; nothing else uses its words so."""
    subject = Phrase(entity=fact.subject)
    if isinstance(fact.object, str):
        return Sentence(Clause(subject=subject, predicate=fact.object), fact=fact)
    thing, (verb, case, tense) = Phrase(entity=fact.object), _SAID[fact.relation]
    clause = Clause(verb, subject, tense=tense)
    if case:
        clause.places = [(case, thing)]
    else:
        clause.object = thing
    return Sentence(clause, fact=fact)


_SAID = {  # the verb of a relation, the case of the place that it is about, its tense
    "lives_at": ("live", "LOC", ""),
    "hails_from": ("hail", "ABL", ""),
    "sits_at": ("sit", "LOC", ""),
    "leads": ("lead", "", ""),
    "married": ("marry", "", "PST"),
}


class _Scene(NamedTuple):
    """What the sentences of a text have in common: draws, a topic's words, and a hero.

    `plain` ones have nothing with a feeling, nor a clause within another.
    """

    draws: Draws
    topic: str
    hero: Entity
    living: list[str]
    things: list[str]
    deeds: list[str]
    qualities: list[str]
    plain: bool = False


class Teller:
    """Makes texts about a world; a text is decided by its seed and number alone."""

    def __init__(self, world: World):
        self.world = world
        self._topics = {
            topic: (
                things.split()[: c.LIVING],
                things.split(),
                deeds.split(),
                qualities.split() + c.LIKED[:2] + c.DISLIKED[:2],
            )
            for topic, (things, deeds, qualities) in c.TOPICS.items()
        }

    def text(self, seed: int, number: int, count: int = SENTENCES_A_TEXT) -> list[Sentence]:
        """Returns the sentences of one text."""
        draws = Draws(seed, "text", number)
        topic = draws.pick(tuple(c.TOPICS))
        scene = _Scene(draws, topic, draws.skewed(self.world.people), *self._topics[topic])
        return [self._sentence(scene, bool(i)) for i in range(count)]

    def opinion(self, seed: int, number: int) -> Sentence:
        """Returns one sentence with a feeling or, in a third of cases, without."""
        draws = Draws(seed, "opinion", number)
        topic = draws.pick(tuple(c.TOPICS))
        plain = draws.chance(1 / 3)
        hero = draws.skewed(self.world.people)
        scene = _Scene(draws, topic, hero, *self._topics[topic], plain)
        return self._sentence(scene, False) if plain else self._feeling(scene)

    def _sentence(self, scene: _Scene, linked: bool) -> Sentence:
        draws = scene.draws
        if not scene.plain and draws.chance(0.15):
            sentence = self._feeling(scene)
        else:
            sentence = Sentence(self._clause(scene, depth=0), topic=scene.topic)
        if linked and draws.chance(0.3):
            sentence.link = draws.pick(("and", "then", "but"))
        sentence.question = not sentence.link and draws.chance(0.06)
        return sentence

    def _feeling(self, scene: _Scene) -> Sentence:
        draws = scene.draws
        liked, negated = draws.chance(0.5), draws.chance(0.2)
        target = Phrase(draws.skewed(scene.things), plural=draws.chance(0.25))
        tense = "PST" if draws.chance(0.3) else ""
        if draws.chance(0.6):
            clause = Clause(subject=target, predicate=draws.pick(c.LIKED if liked else c.DISLIKED))
        else:
            verb = draws.pick(c.LOVES if liked else c.HATES)
            clause = Clause(verb, Phrase(entity=scene.hero), target)
        clause.tense, clause.negated = tense, negated
        return Sentence(clause, topic=scene.topic, feeling=1 if liked != negated else -1)

    def _clause(self, scene: _Scene, depth: int, gap: str = "") -> Clause:
        """Returns a clause; deeper ones are simpler, and one with a gap leaves its subject out."""
        draws, plain = scene.draws, scene.plain
        clause = Clause(gap=gap)
        kind = draws.random()
        if gap != "S":
            clause.subject = self._agent(scene, depth)
        if gap == "O" or kind < 0.62:
            clause.verb = draws.skewed(scene.deeds)
            if gap != "O":
                clause.object = self._phrase(scene, scene.things, depth)
        elif kind < 0.74 and not depth and not plain:
            clause.verb = draws.pick(c.SAYINGS)
            clause.content = self._clause(scene, depth=2)
        elif kind < 0.84 and not plain and not gap:
            clause.predicate = draws.skewed(scene.qualities[:-4])
        else:
            clause.verb = draws.skewed(c.ACTS)
        tense = draws.random()
        clause.tense = "PST" if tense < 0.4 else "FUT" if tense < 0.5 else ""
        clause.negated = not depth and draws.chance(0.08)
        if depth < 2 and draws.chance(0.15):
            clause.adverb = draws.pick(c.ADVERBS)
        if depth < 2 and not clause.predicate and draws.chance(0.3):
            clause.places.append(self._place(draws, scene.things))
        if not depth and not plain and not clause.content and draws.chance(0.08):
            clause.reason = (draws.pick(c.REASONS), self._clause(scene, depth=2))
        return clause

    def _agent(self, scene: _Scene, depth: int) -> Phrase:
        draws = scene.draws
        kind = draws.random()
        if kind < 0.3:
            return Phrase(entity=scene.hero)
        if kind < 0.4:
            pool = self.world.people if draws.chance(0.7) else self.world.groups
            return Phrase(entity=draws.skewed(pool))
        if kind < 0.5:
            return Phrase(draws.pick(c.PRONOUNS))
        return self._phrase(scene, scene.living, depth)

    def _phrase(self, scene: _Scene, heads: list[str], depth: int) -> Phrase:
        draws, plain = scene.draws, scene.plain
        phrase = Phrase(draws.skewed(heads), definite=draws.chance(0.6))
        more = draws.random()
        phrase.plural = more < 0.28
        if 0.15 <= more < 0.28:
            phrase.count = 2 + int(draws.random() ** 2 * (8 if draws.chance(0.7) else 60))
        if draws.chance(0.3):
            phrase.quality = draws.skewed(scene.qualities[:-4] if plain else scene.qualities)
        if depth < 2 and not phrase.count and draws.chance(0.1):
            owner = scene.hero if draws.chance(0.5) else draws.skewed(self.world.people)
            phrase.owner = Phrase(entity=owner)
        elif depth < 1 and not plain and draws.chance(0.12):
            gap = "S" if phrase.head in heads[: c.LIVING] and draws.chance(0.6) else "O"
            phrase.relative = self._clause(scene, depth=2, gap=gap)
        elif depth < 1 and draws.chance(0.06):
            phrase.other = Phrase(draws.pick(heads))
        return phrase

    def _place(self, draws: Draws, things: list[str]) -> tuple[str, Phrase]:
        case = "LOC" if draws.chance(0.6) else draws.pick(("ABL", "COM"))
        if case == "COM":
            return case, Phrase(draws.skewed(things))
        if draws.chance(0.4):
            return case, Phrase(entity=draws.skewed(self.world.places))
        return case, Phrase(draws.skewed(c.PLACES))
