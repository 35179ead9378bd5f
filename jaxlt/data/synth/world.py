"""What the made languages talk about: a lexicon by topic, and sentences before any language.

A sentence is a tree of meanings, so that every language says the same thing in its own way:

    Sentence(subject=Phrase("farmer", number=2, quality="old"), verb="sell", object=..., place=...)
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from jaxlt.data.batches import stream

# Topic -> (things, deeds, qualities). Living things come first, as many as LIVING.
TOPICS: dict[str, tuple[str, str, str]] = {
    "farm": (
        "farmer goat horse hen field seed plough fence barn wheat",
        "plant feed sell carry count",
        "fat brown young dry",
    ),
    "sea": (
        "fisher whale crab gull boat net wave island anchor salt",
        "catch see follow lose pull",
        "deep cold blue fast",
    ),
    "market": (
        "trader buyer thief child coin basket cloth bread price scale",
        "buy steal weigh want offer",
        "cheap new red heavy",
    ),
    "forest": (
        "hunter wolf deer owl tree path leaf river stone mushroom",
        "hear chase find fear cut",
        "dark old green quiet",
    ),
    "house": (
        "mother father cat guest door table fire lamp soup bed",
        "clean cook open warm break",
        "small clean bright soft",
    ),
    "school": (
        "teacher pupil writer singer book letter song lesson map story",
        "read write teach learn know",
        "wise long short true",
    ),
}
LIVING = 4
NAMES = [
    "ana",
    "boro",
    "cito",
    "dela",
    "efra",
    "gino",
    "hada",
    "iven",
    "jola",
    "kemi",
    "luto",
    "mira",
]
PLACES = ["town", "hill", "bridge", "well", "garden", "road", "tower", "shore"]
NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
LINKS = ["and", "then", "but"]

SENTENCES_A_TEXT = 4


@dataclass(frozen=True)
class Phrase:
    """A thing, a name or a place; `number` above 1 is said and makes a plural."""

    head: str
    number: int = 1
    quality: str = ""

    @property
    def is_name(self) -> bool:
        """Names take no number and no quality."""
        return self.head in NAMES


@dataclass(frozen=True)
class Sentence:
    """Who does what to whom, where; `link` ties it to the sentence before."""

    subject: Phrase
    verb: str
    object: Phrase
    place: str = ""
    link: str = ""


def concepts() -> tuple[str, ...]:
    """Returns every meaning that needs a word, each once, in a fixed order."""
    words = [w for parts in TOPICS.values() for part in parts for w in part.split()]
    return tuple(dict.fromkeys([*words, *PLACES, *NUMBERS, *LINKS, "at"]))


def living(head: str) -> bool:
    """Says which of the two noun classes a meaning is of."""
    return head in NAMES or any(head in things.split()[:LIVING] for things, _, _ in TOPICS.values())


def texts(sentences: int, seed: int) -> Iterator[list[Sentence]]:
    """Yields short texts of one topic and one hero each, `sentences` sentences in all."""
    for number, first in enumerate(range(0, sentences, SENTENCES_A_TEXT)):
        rng = stream(seed, "text", number)
        topic = _pick(rng, tuple(TOPICS))
        hero = Phrase(_pick(rng, NAMES))
        count = min(SENTENCES_A_TEXT, sentences - first)
        yield [_sentence(rng, topic, hero, bool(i)) for i in range(count)]


def _sentence(rng: np.random.Generator, topic: str, hero: Phrase, linked: bool) -> Sentence:
    things, deeds, qualities = (part.split() for part in TOPICS[topic])
    agent = hero if rng.random() < 0.5 else _phrase(rng, things[:LIVING], qualities)
    others = [t for t in things if t != agent.head]
    return Sentence(
        subject=agent,
        verb=_pick(rng, deeds),
        object=_phrase(rng, others, qualities),
        place=_pick(rng, PLACES) if rng.random() < 0.4 else "",
        link=_pick(rng, LINKS) if linked and rng.random() < 0.4 else "",
    )


def _phrase(rng: np.random.Generator, heads: list[str], qualities: list[str]) -> Phrase:
    head = _pick(rng, heads)
    number = 1 + int(rng.random() * len(NUMBERS)) if rng.random() < 0.5 else 1
    return Phrase(head, number, _pick(rng, qualities) if rng.random() < 0.5 else "")


def _pick(rng: np.random.Generator, items: "tuple[str, ...] | list[str]") -> str:
    return items[int(rng.random() * len(items))]
