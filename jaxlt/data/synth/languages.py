"""Languages that say the sentences of the world: words, endings, order, and their relatives.

    spec = LanguageSpec("asha_Latn", family=1)
    list(generate(spec, sentences=8, seed=0))      # two texts of four sentences, a line each
    write_languages("corpus/", FAMILY, sentences=20_000, seed=0)

Languages of a family descend from one ancestor: a share of their words is the ancestor's, changed
by each language's own regular sound changes; the rest is new. So relatives share structure and
some words, and what a model learns of some helps it with another.
"""

import functools
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from jaxlt.data.batches import stream
from jaxlt.data.files import write_atomically
from jaxlt.data.synth import world
from jaxlt.errors import UserError

CONSONANTS, VOWELS = "ptkbdgmnslrvzh", "aeiou"
_ENDINGS = ("plural", "living", "lifeless", "one does", "many do", "object")


@dataclass(frozen=True)
class LanguageSpec:
    """One made language; equal specs speak alike on every machine.

    `cognates` is the share of words that come from the family's ancestor, `changes` the number of
    sound changes since then.
    """

    code: str
    family: int = 0
    order: Literal["SVO", "SOV"] = "SVO"
    adjective: Literal["before", "after"] = "before"
    cognates: float = 0.7
    changes: int = 2

    def __post_init__(self) -> None:
        if self.order not in ("SVO", "SOV") or self.adjective not in ("before", "after"):
            raise UserError(
                f"Language '{self.code}': order is 'SVO' or 'SOV' and adjective 'before' or "
                f"'after', not '{self.order}' and '{self.adjective}'."
            )
        if not 0 <= self.cognates <= 1 or not 0 <= self.changes <= 5:
            raise UserError(
                f"Language '{self.code}': cognates is a share in [0, 1] and changes at most 5."
            )


# Three languages to learn from, and a relative of theirs to meet later.
FAMILY = (
    LanguageSpec("asha_Latn", 1, "SVO", "before"),
    LanguageSpec("bevo_Latn", 1, "SOV", "before"),
    LanguageSpec("chiri_Latn", 1, "SVO", "after"),
)
UNSEEN = LanguageSpec("doru_Latn", 1, "SOV", "after", cognates=0.8)


class Language:
    """The words and endings of a spec, and how it says a sentence."""

    def __init__(self, spec: LanguageSpec):
        self.spec = spec
        own = _number(spec.code)
        meanings = (*world.concepts(), *_ENDINGS)
        ancestor = _lexicon(spec.family, meanings)
        new = _lexicon(own, meanings)
        rng = stream(own, "descent")
        change = _sound_changes(rng, spec.changes)
        kept = {m for m in meanings if rng.random() < spec.cognates}
        self.words = {m: ancestor[m].translate(change) if m in kept else new[m] for m in meanings}
        self.words |= {name: name.capitalize() for name in world.NAMES}
        self.cognates = frozenset(kept)

    def say(self, sentence: world.Sentence) -> str:
        """Returns the sentence as text, with a capital and a full stop."""
        subject, verb = self._phrase(sentence.subject, ""), self._verb(sentence)
        thing = self._phrase(sentence.object, self.words["object"])
        core = [subject, thing, verb] if self.spec.order == "SOV" else [subject, verb, thing]
        place = [self.words["at"], self.words[sentence.place]] if sentence.place else []
        if self.spec.order == "SOV":  # such languages put the preposition after
            core[1:1] = reversed(place)
        else:
            core += place
        said = " ".join([*([self.words[sentence.link]] if sentence.link else []), *core])
        return said[0].upper() + said[1:] + "."

    def _verb(self, sentence: world.Sentence) -> str:
        ending = "many do" if sentence.subject.number > 1 else "one does"
        return self.words[sentence.verb] + self.words[ending]

    def _phrase(self, phrase: world.Phrase, case: str) -> str:
        if phrase.is_name:
            return self.words[phrase.head] + case
        plural = self.words["plural"] if phrase.number > 1 else ""
        noun = self.words[phrase.head] + plural + case
        said = [noun]
        if phrase.quality:  # agrees with the noun's class and number
            kind = "living" if world.living(phrase.head) else "lifeless"
            quality = self.words[phrase.quality] + self.words[kind] + plural
            said = [quality, noun] if self.spec.adjective == "before" else [noun, quality]
        if phrase.number > 1:
            said.insert(0, self.words[world.NUMBERS[phrase.number - 1]])
        return " ".join(said)


@functools.lru_cache(maxsize=64)
def language(spec: LanguageSpec) -> Language:
    """Returns the language of a spec."""
    return Language(spec)


def generate(spec: LanguageSpec, sentences: int, seed: int = 0) -> Iterator[str]:
    """Yields texts of four sentences, a line each; equal seeds say the same in every language."""
    speaker = language(spec)
    for text in world.texts(sentences, seed):
        yield " ".join(speaker.say(sentence) for sentence in text)


def write_languages(
    folder: str | Path,
    specs: Sequence[LanguageSpec],
    sentences: int,
    seed: int = 0,
    parallel: bool = False,
) -> tuple[Path, ...]:
    """Writes `<folder>/<code>.txt` for each language; returns the paths.

    Unless `parallel`, each language has texts of its own, so that nothing but the language itself
    is shared between them.
    """
    paths = []
    for spec in specs:
        path = Path(folder) / f"{spec.code}.txt"
        own = seed if parallel else seed ^ _number(spec.code)
        write_atomically(path, "".join(f"{line}\n" for line in generate(spec, sentences, own)))
        paths.append(path)
    return tuple(paths)


def _lexicon(seed: int, meanings: Sequence[str]) -> dict[str, str]:
    """Returns a word for each meaning, no two alike; endings are one syllable."""
    rng, taken, words = stream(seed, "lexicon"), set[str](), {}
    for meaning in meanings:
        length = 1 if meaning in (*_ENDINGS, "at") else 2 + int(rng.random() < 0.3)
        while (word := "".join(_syllable(rng) for _ in range(length))) in taken:
            continue
        taken.add(word)
        words[meaning] = word
    return words


def _syllable(rng: np.random.Generator) -> str:
    closed = "n" if rng.random() < 0.15 else ""
    return CONSONANTS[int(rng.random() * 14)] + VOWELS[int(rng.random() * 5)] + closed


def _sound_changes(rng: np.random.Generator, count: int) -> dict[int, str]:
    """Returns a table for str.translate: `count` consonants became others, everywhere."""
    table = {}
    for source in np.argsort(rng.random(len(CONSONANTS)), kind="stable")[:count]:
        target = (int(source) + 1 + int(rng.random() * 13)) % len(CONSONANTS)
        table[ord(CONSONANTS[source])] = CONSONANTS[target]
    return table


def _number(code: str) -> int:
    return int.from_bytes(hashlib.sha256(code.encode()).digest()[:7], "little")
