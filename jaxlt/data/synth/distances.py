"""How far apart two made languages are: in words, order, morphology, script and spelling."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from jaxlt.data.synth.lexicon import lexicon, shared
from jaxlt.data.synth.realise import script_key
from jaxlt.data.synth.spec import SIDES, LanguageSpec

WEIGHTS = {"words": 0.5, "order": 0.2, "morphology": 0.15, "script": 0.1, "spelling": 0.05}


@dataclass(frozen=True)
class Distance:
    """Distances in [0, 1] of two languages by what differs, and the shares of the lexicon."""

    words: float
    order: float
    morphology: float
    script: float
    spelling: float
    cognates: float
    false_friends: float

    @property
    def overall(self) -> float:
        """The weighted mean of all that differs."""
        return sum(weight * getattr(self, part) for part, weight in WEIGHTS.items())


def distance(one: LanguageSpec, other: LanguageSpec) -> Distance:
    """Returns the distance of two languages; that of a language to itself is 0 throughout."""
    a, b = lexicon(one), lexicon(other)
    words = [_unlike(root.sounds, b.roots[name].sounds) for name, root in a.roots.items()]
    cognates, false_friends = shared(a, b)
    fixed = abs(one.synthesis - other.synthesis)
    kinds = ("fusion", "affixes", "harmony", "articles")
    differ = sum(getattr(one, kind) != getattr(other, kind) for kind in kinds) / len(kinds)
    same_letters = script_key(one) == script_key(other)
    return Distance(
        words=sum(words) / len(words),
        order=_order(one, other),
        morphology=0.7 * fixed + 0.3 * differ,
        script=1.0 if one.script != other.script else 0.0 if same_letters else 0.5,
        spelling=1 - (1 - one.noise) * (1 - other.noise) if one != other else 0.0,
        cognates=cognates,
        false_friends=false_friends,
    )


def _order(one: LanguageSpec, other: LanguageSpec) -> float:
    """Share of choices that differ: of pairs among S, V, O (3), of sides (5), of direction (1)."""
    pairs = list(combinations("SVO", 2))
    swapped = sum(
        (one.order.index(x) < one.order.index(y)) != (other.order.index(x) < other.order.index(y))
        for x, y in pairs
    )
    sides = sum(getattr(one, side) != getattr(other, side) for side in SIDES)
    backwards = int(one.inverted != other.inverted)
    return (swapped + sides + backwards) / (len(pairs) + len(SIDES) + 1)


def _unlike(one: str, other: str) -> float:
    """Levenshtein's distance over the longer length."""
    if one == other:
        return 0.0
    row = list(range(len(other) + 1))
    for i, x in enumerate(one, 1):
        corner, row[0] = row[0], i
        for j, y in enumerate(other, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (x != y))
    return row[-1] / max(len(one), len(other))


def table(specs: Sequence[LanguageSpec]) -> dict[tuple[str, str], Distance]:
    """Returns the distance of every pair, by codes, the first language first."""
    return {(a.code, b.code): distance(a, b) for a, b in combinations(specs, 2)}
