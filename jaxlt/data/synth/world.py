"""The world that all made languages speak of: who there is, and what is the case.

world = World(seed=0)
world.people[0].name, world.facts[0]      # ("Ana", "Boro"), Fact(0, ...)
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from jaxlt.data.synth.concepts import TRADES
from jaxlt.data.synth.draws import Draws

_ONSETS, _VOWELS = "bdfghklmnprstvz", "aeiou"
_PEOPLE, _PLACES, _GROUPS = 96, 32, 24
Kind = Literal["PER", "LOC", "ORG"]


@dataclass(frozen=True)
class Entity:
    """Someone or something with a name of one or two words, spelled in sounds."""

    kind: Kind
    name: tuple[str, ...]

    @property
    def label(self) -> str:
        """The name as a person writes it in Latin letters."""
        return " ".join(part.capitalize() for part in self.name)


@dataclass(frozen=True)
class Fact:
    """`subject relation object`: the object is an entity, or a trade's meaning."""

    number: int
    subject: Entity
    relation: str
    object: Entity | str

    @property
    def answer(self) -> str:
        """The object as a label."""
        return self.object if isinstance(self.object, str) else self.object.label


# relation -> kinds of its subject and object; how each is said stands in grammar.fact_sentence.
RELATIONS: dict[str, tuple[Kind, Kind | None]] = {
    "lives_at": ("PER", "LOC"),
    "hails_from": ("PER", "LOC"),
    "trade": ("PER", None),
    "leads": ("PER", "ORG"),
    "married": ("PER", "PER"),
    "sits_at": ("ORG", "LOC"),
}


class World:
    """Entities and facts of a seed; relations are functions: one object a subject."""

    def __init__(self, seed: int):
        self.seed = seed
        names = iter(_names(seed, _PEOPLE + _PEOPLE // 3 + _PLACES + 2 * _GROUPS))
        first = list(islice(names, _PEOPLE))
        kin = list(islice(names, _PEOPLE // 3))
        draws = Draws(seed, "entities")
        people = ((n, draws.pick(kin)) if draws.chance(0.4) else (n,) for n in first)
        self.people = tuple(Entity("PER", name) for name in people)
        self.places = tuple(Entity("LOC", (n,)) for n in islice(names, _PLACES))
        pairs = ((next(names), next(names)) for _ in range(_GROUPS))
        self.groups = tuple(Entity("ORG", pair[: 1 + draws.chance(0.5)]) for pair in pairs)
        self._pools = {"PER": self.people, "LOC": self.places, "ORG": self.groups}
        self.facts = self._facts(Draws(seed, "facts"))

    def pool(self, kind: Kind | None) -> Sequence[Entity | str]:
        """Returns all that a relation may have on a side: entities, or trades where it is None."""
        return self._pools[kind] if kind else TRADES

    def _facts(self, draws: Draws) -> tuple[Fact, ...]:
        facts: list[Fact] = []
        for relation, (subject, kind) in RELATIONS.items():
            for entity in self._pools[subject]:
                objects = [one for one in self.pool(kind) if one != entity]
                facts.append(Fact(len(facts), entity, relation, draws.pick(objects)))
        return tuple(facts)


world = functools.lru_cache(maxsize=16)(World)  # of a seed


def _names(seed: int, count: int) -> list[str]:
    """Returns distinct names of two or three syllables, in sounds that every script writes."""
    draws, names = Draws(seed, "names"), dict[str, None]()
    while len(names) < count:
        length = 2 + draws.chance(0.3)
        syllables = (draws.pick(_ONSETS) + draws.pick(_VOWELS) for _ in range(length))
        names["".join(syllables) + ("n" if draws.chance(0.2) else "")] = None
    return list(names)
