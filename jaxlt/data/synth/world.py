"""The world that all made languages speak of: who there is, and what is the case.

world = World(seed=0)
world.people[0].name, world.facts[0]      # ("Ana", "Boro"), Fact(0, ...)
"""

import functools
from dataclasses import dataclass
from typing import Literal

from jaxlt.data.synth.concepts import TRADES
from jaxlt.data.synth.draws import Draws

_ONSETS, _VOWELS = (
    ["b", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z"],
    "aeiou",
)
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

    def __init__(self, seed: int, people: int = 96, places: int = 32, groups: int = 24):
        self.seed = seed
        names = _names(seed, people + people // 3 + places + 2 * groups)
        given, names = names[:people], names[people:]
        kin, names = names[: people // 3], names[people // 3 :]
        towns, names = names[:places], names[places:]
        draws = Draws(seed, "entities")
        self.people = tuple(
            Entity("PER", (n, draws.pick(kin)) if draws.chance(0.4) else (n,)) for n in given
        )
        self.places = tuple(Entity("LOC", (n,)) for n in towns)
        self.groups = tuple(
            Entity("ORG", tuple(names[2 * i : 2 * i + 1 + draws.chance(0.5)]))
            for i in range(groups)
        )
        self.facts = self._facts(Draws(seed, "facts"))

    def _facts(self, draws: Draws) -> tuple[Fact, ...]:
        pools = {"PER": self.people, "LOC": self.places, "ORG": self.groups}
        found: list[Fact] = []
        for relation, (subject, kind) in RELATIONS.items():
            for entity in pools[subject]:
                objects: list[Entity | str] = [*(pools[kind] if kind else TRADES)]
                if entity in objects:
                    objects.remove(entity)
                found.append(Fact(len(found), entity, relation, draws.pick(objects)))
        return tuple(found)


@functools.lru_cache(maxsize=16)
def world(seed: int) -> World:
    """Returns the world of a seed."""
    return World(seed)


def _names(seed: int, count: int) -> list[str]:
    """Returns distinct names of two or three syllables, in sounds that every script writes."""
    draws, found = Draws(seed, "names"), dict[str, None]()
    while len(found) < count:
        length = 2 + draws.chance(0.3)
        syllables = (draws.pick(_ONSETS) + draws.pick(_VOWELS) for _ in range(length))
        found["".join(syllables) + ("n" if draws.chance(0.2) else "")] = None
    return list(found)
