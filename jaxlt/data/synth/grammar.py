"""Sentences before any language: clauses of meanings, which every language says in its own way.

teller = Teller(world(0))
teller.text(seed=0, number=7)     # four Sentences of one topic and one hero
"""

from dataclasses import dataclass, field

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
    thing = Phrase(entity=fact.object) if isinstance(fact.object, Entity) else None
    if isinstance(fact.object, str):
        clause = Clause(subject=subject, predicate=fact.object)
    elif fact.relation in ("leads", "married"):
        verb = {"leads": "lead", "married": "marry"}[fact.relation]
        tense = "PST" if fact.relation == "married" else ""
        clause = Clause(verb, subject, thing, tense=tense)
    else:
        verb, case = {
            "lives_at": ("live", "LOC"),
            "hails_from": ("hail", "ABL"),
            "sits_at": ("sit", "LOC"),
        }[fact.relation]
        assert thing is not None
        clause = Clause(verb, subject, places=[(case, thing)])
    return Sentence(clause, fact=fact)


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
        hero = draws.skewed(self.world.people)
        return [self._sentence(draws, topic, hero, bool(i)) for i in range(count)]

    def opinion(self, seed: int, number: int) -> Sentence:
        """Returns one sentence with a feeling or, in a third of cases, without."""
        draws = Draws(seed, "opinion", number)
        topic = draws.pick(tuple(c.TOPICS))
        if draws.chance(1 / 3):
            return self._sentence(draws, topic, draws.skewed(self.world.people), False, plain=True)
        return self._feeling(draws, topic, draws.skewed(self.world.people))

    def _sentence(
        self, draws: Draws, topic: str, hero: Entity, linked: bool, plain: bool = False
    ) -> Sentence:
        if not plain and draws.chance(0.15):
            said = self._feeling(draws, topic, hero)
        else:
            said = Sentence(self._clause(draws, topic, hero, depth=0, plain=plain), topic=topic)
        if linked and draws.chance(0.3):
            said.link = draws.pick(("and", "then", "but"))
        said.question = not said.link and draws.chance(0.06)
        return said

    def _feeling(self, draws: Draws, topic: str, hero: Entity) -> Sentence:
        liked, negated = draws.chance(0.5), draws.chance(0.2)
        feeling = (1 if liked else -1) * (-1 if negated else 1)
        _, things, _, _ = self._topics[topic]
        target = Phrase(draws.skewed(things), plural=draws.chance(0.25))
        tense = "PST" if draws.chance(0.3) else ""
        if draws.chance(0.6):
            word = draws.pick(c.LIKED if liked else c.DISLIKED)
            return Sentence(
                Clause(subject=target, predicate=word, tense=tense, negated=negated),
                topic=topic,
                feeling=feeling,
            )
        verb = draws.pick(c.LOVES if liked else c.HATES)
        clause = Clause(verb, Phrase(entity=hero), target, tense=tense, negated=negated)
        return Sentence(clause, topic=topic, feeling=feeling)

    def _clause(
        self, draws: Draws, topic: str, hero: Entity, depth: int, gap: str = "", plain: bool = False
    ) -> Clause:
        """Returns a clause; deeper ones are simpler, and one with a gap leaves its subject out."""
        living, things, deeds, qualities = self._topics[topic]
        clause = Clause(gap=gap)
        kind = draws.random()
        if gap != "S":
            clause.subject = self._agent(draws, living, qualities, hero, depth, topic, plain)
        if gap == "O" or kind < 0.62:
            clause.verb = draws.skewed(deeds)
            if gap != "O":
                clause.object = self._phrase(draws, things, qualities, depth, topic, hero, plain)
        elif kind < 0.74 and not depth and not plain:
            clause.verb = draws.pick(c.SAYINGS)
            clause.content = self._clause(draws, topic, hero, depth=2)
        elif kind < 0.84 and not plain and not gap:
            clause.predicate = draws.skewed(qualities[:-4])
        else:
            clause.verb = draws.skewed(c.ACTS)
        tense = draws.random()
        clause.tense = "PST" if tense < 0.4 else "FUT" if tense < 0.5 else ""
        clause.negated = not depth and draws.chance(0.08)
        if depth < 2 and draws.chance(0.15):
            clause.adverb = draws.pick(c.ADVERBS)
        if depth < 2 and not clause.predicate and draws.chance(0.3):
            clause.places.append(self._place(draws, things))
        if not depth and not plain and not clause.content and draws.chance(0.08):
            clause.reason = (draws.pick(c.REASONS), self._clause(draws, topic, hero, depth=2))
        return clause

    def _agent(
        self,
        draws: Draws,
        living: list[str],
        qualities: list[str],
        hero: Entity,
        depth: int,
        topic: str,
        plain: bool,
    ) -> Phrase:
        kind = draws.random()
        if kind < 0.3:
            return Phrase(entity=hero)
        if kind < 0.4:
            pool = self.world.people if draws.chance(0.7) else self.world.groups
            return Phrase(entity=draws.skewed(pool))
        if kind < 0.5:
            return Phrase(draws.pick(c.PRONOUNS))
        return self._phrase(draws, living, qualities, depth, topic, hero, plain)

    def _phrase(
        self,
        draws: Draws,
        heads: list[str],
        qualities: list[str],
        depth: int,
        topic: str,
        hero: Entity,
        plain: bool,
    ) -> Phrase:
        pool = qualities[:-4] if plain else qualities
        phrase = Phrase(draws.skewed(heads), definite=draws.chance(0.6))
        more = draws.random()
        if more < 0.15:
            phrase.plural = True
        elif more < 0.28:
            phrase.plural = True
            phrase.count = 2 + int(draws.random() ** 2 * (8 if draws.chance(0.7) else 60))
        if draws.chance(0.3):
            phrase.quality = draws.skewed(pool)
        if depth < 2 and not phrase.count and draws.chance(0.1):
            owner = hero if draws.chance(0.5) else draws.skewed(self.world.people)
            phrase.owner = Phrase(entity=owner)
        elif depth < 1 and not plain and draws.chance(0.12):
            gap = "S" if phrase.head in heads[: c.LIVING] and draws.chance(0.6) else "O"
            phrase.relative = self._clause(draws, topic, hero, depth=2, gap=gap)
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
