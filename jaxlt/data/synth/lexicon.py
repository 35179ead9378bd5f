"""Words and their descent: roots and affixes of a language, in sounds, each with its etymon.

words = lexicon(spec)
words.roots["goat"]          # Root(sounds="nolu", etymon="0.1:goat")
shared(lexicon(a), lexicon(b))      # (share of cognates, share of false friends)
"""

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from jaxlt.data.rows.batches import number_of
from jaxlt.data.synth.concepts import FUNCTION, affixes, concepts
from jaxlt.data.synth.draws import Draws
from jaxlt.data.synth.script import CONSONANTS, VOWELS
from jaxlt.data.synth.spec import LanguageSpec

# Regular sound changes as languages of the world have had them, in the order they apply in.
CHANGES: tuple[tuple[str, str, str], ...] = (
    ("p > f", "p", "f"),
    ("k > c before front vowels", "k(?=[ie])", "c"),
    ("t > s before i", "t(?=i)", "s"),
    ("s > x before front vowels", "s(?=[ie])", "x"),
    ("b > v between vowels", "(?<=[aeiou])b(?=[aeiou])", "v"),
    ("d > z between vowels", "(?<=[aeiou])d(?=[aeiou])", "z"),
    ("g > y between vowels", "(?<=[aeiou])g(?=[aeiou])", "y"),
    ("s > h between vowels", "(?<=[aeiou])s(?=[aeiou])", "h"),
    ("l > r between vowels", "(?<=[aeiou])l(?=[aeiou])", "r"),
    ("m > n finally", "m$", "n"),
    ("k > h initially", "^k", "h"),
    ("z > s", "z", "s"),
    ("o > u", "o", "u"),
    ("a > e finally", "a$", "e"),
    ("e > i before nasals", "e(?=[mn])", "i"),
    ("loss of final vowels in long words", "(?<=[aeiou][^aeiou][aeiou][^aeiou])[aeiou]$", ""),
)
_RULES = [(re.compile(pattern), new) for _, pattern, new in CHANGES]


@dataclass(frozen=True)
class Root:
    """A word's sounds, and where it comes from: words of one etymon are one word, changed."""

    sounds: str
    etymon: str


@dataclass(frozen=True)
class Lexicon:
    """All roots by meaning and all affixes by gloss."""

    roots: dict[str, Root]
    affixes: dict[str, Root]

    def all(self) -> dict[str, Root]:
        """Roots and affixes in one."""
        return self.roots | {f"-{name}": root for name, root in self.affixes.items()}


@functools.lru_cache(maxsize=256)
def lexicon(spec: LanguageSpec) -> Lexicon:
    """Returns the words of a language."""
    ancestor = lexicon(spec.parent) if spec.parent else _ancestor(spec.seed, spec.family)
    inherited = ancestor.all()
    new = coin(number_of(spec.seed, spec.code), f"{spec.seed}.{spec.code}").all()
    lent = lexicon(spec.donor).all() if spec.donor else {}
    names = [name for name in inherited if name[0] != "-"]
    kept, borrowed, friends = _shares(spec, names)
    sources = _false_sources(spec, friends, names, kept)
    rules = sound_changes(spec)
    draws = Draws(number_of(spec.seed, spec.code), "respell")
    words: dict[str, Root] = {}
    taken: set[str] = set()
    for name in (*sorted(kept), *sorted(inherited.keys() - kept)):
        if name in borrowed:
            root = lent[name]
        elif name in sources:
            root = _changed(inherited[sources[name]], rules)
        elif name in kept or (name[0] == "-" and _affix_kept(spec, name)):
            root = _changed(inherited[name], rules)
        else:
            root = new[name]
        sounds = root.sounds
        while sounds in taken:  # what sound changes merged is told apart by a longer word
            sounds += _syllable(draws, CONSONANTS[:12], 0.0)
        if name[0] != "-":
            taken.add(sounds)
        words[name] = Root(sounds, root.etymon)
    return Lexicon(
        {name: words[name] for name in names},
        {name[1:]: words[name] for name in inherited if name[0] == "-"},
    )


def _shares(spec: LanguageSpec, names: list[str]) -> tuple[set[str], set[str], list[str]]:
    """Returns the meanings whose word is kept, borrowed, and false: exact shares.

    Which meanings hold on to their words longest is the family's, so that kept ones are nested.
    """
    stable = list(names)
    Draws(number_of(spec.seed, spec.family), "stable").shuffle(stable)
    count = len(stable)
    kept, lent = round(spec.cognates * count), round(spec.borrowed * count)
    false = min(round(spec.false_friends * count), count - kept - lent)
    return set(stable[:kept]), set(stable[kept : kept + lent]), stable[count - false :]


def _false_sources(
    spec: LanguageSpec, friends: list[str], names: list[str], kept: set[str]
) -> dict[str, str]:
    """Returns for each false friend the meaning that its word has in the parent language.

    The parent's word goes to a meaning of the same part of speech where there are two of one, and
    never to its own.
    """
    known, sources = concepts(), dict[str, str]()
    groups: dict[str, list[str]] = {}
    for name in friends:
        groups.setdefault(known[name].upos, []).append(name)
    alone = [names for names in groups.values() if len(names) == 1]
    rings = [names for names in groups.values() if len(names) > 1]
    loose = [name for names in alone for name in names]
    if len(loose) == 1 and rings:
        rings[0].append(loose[0])
    elif len(loose) > 1:
        rings.append(loose)
    for ring in rings:
        Draws(number_of(spec.seed, spec.code), "false").shuffle(ring)
        sources |= dict(zip(ring, ring[1:] + ring[:1], strict=True))
    return sources


def _affix_kept(spec: LanguageSpec, name: str) -> bool:
    """Affixes outlive roots by nothing: they are kept by the same share, nested alike."""
    return Draws(number_of(spec.seed, spec.family, name), "affix").random() < spec.cognates


def sound_changes(spec: LanguageSpec) -> tuple[int, ...]:
    """Returns the numbers of the CHANGES that this language went through, in order."""
    numbers = list(range(len(CHANGES)))
    Draws(number_of(spec.seed, spec.code), "changes").shuffle(numbers)
    return tuple(sorted(numbers[: spec.changes]))


def _changed(root: Root, rules: Iterable[int]) -> Root:
    sounds = root.sounds
    for number in rules:
        pattern, new = _RULES[number]
        sounds = pattern.sub(new, sounds)
    return Root(sounds, root.etymon)


@functools.lru_cache(maxsize=64)
def _ancestor(seed: int, family: int) -> Lexicon:
    return coin(number_of(seed, "family", family), f"{seed}.{family}")


def coin(seed: int, origin: str) -> Lexicon:
    """Returns a new word for every meaning and affix, no two roots alike, in sounds of its own."""
    draws = Draws(seed, "coin")
    consonants = list(CONSONANTS)
    draws.shuffle(consonants)
    consonants, closed = consonants[:13], 0.1 + 0.2 * draws.random()
    roots: dict[str, Root] = {}
    taken: set[str] = set()
    for name in concepts():
        length = 1 if name in FUNCTION else 2 + draws.chance(0.3)
        word = ""
        while not word or word in taken:
            word = "".join(_syllable(draws, consonants, closed) for _ in range(length))
            length = length if length > 1 or draws.chance(0.8) else 2  # short ones may run out
        taken.add(word)
        roots[name] = Root(word, f"{origin}:{name}")
    endings: dict[str, Root] = {}
    for name in affixes():
        word = ""
        while not word or word in taken:
            vowel, consonant = draws.pick(VOWELS), draws.pick(consonants)
            word = draws.pick((vowel + consonant, consonant + vowel, consonant + vowel + "n"))
        taken.add(word)
        endings[name] = Root(word, f"{origin}:-{name}")
    return Lexicon(roots, endings)


def _syllable(draws: Draws, consonants: "list[str] | str", closed: float) -> str:
    end = draws.pick("nrsl") if draws.chance(closed) else ""
    return draws.skewed(consonants) + draws.pick(VOWELS) + end


def shared(one: Lexicon, other: Lexicon) -> tuple[float, float]:
    """Returns the shares of roots that are cognates, and that are false friends of the other's."""
    meaning_there = {root.etymon: name for name, root in other.roots.items()}
    same = false = 0
    for name, root in one.roots.items():
        there = meaning_there.get(root.etymon)
        same += there == name
        false += there is not None and there != name
    return same / len(one.roots), false / len(one.roots)
