"""Word forms: which grammar a language says in affixes, and how they join to a stem.

forms = Morphology(spec)
forms.word("goat", ("PL", "ACC"))    # Form("nolutasi", "goat-PL-ACC")
"""

from typing import NamedTuple

from jaxlt.data.synth.concepts import GRAMMAR
from jaxlt.data.synth.lexicon import lexicon
from jaxlt.data.synth.spec import LanguageSpec

# What becomes an affix first as synthesis grows from 0 to 1. Agreement has no free word: an
# isolating language does without.
CATEGORIES = ("tense", "plural", "person", "object", "negation", "genitive", "agreement", "place")
_CATEGORY = {
    **dict.fromkeys(("PST", "FUT"), "tense"),
    "PL": "plural",
    "ACC": "object",
    "NEG": "negation",
    "GEN": "genitive",
    **dict.fromkeys(("LOC", "ABL", "COM"), "place"),
    **dict.fromkeys(("1SG", "2SG", "3SG", "3PL"), "person"),
    **dict.fromkeys(("LIV", "THG"), "agreement"),
}
_FRONT, _BACK = str.maketrans("aou", "eei"), str.maketrans("ei", "au")


class Form(NamedTuple):
    """Sounds of a word, its gloss, and its morphs: 'nolutas', 'goat-PL', 'nolu-tas'."""

    sounds: str
    gloss: str
    morphs: str


class Morphology:
    """The word forms of a language; each is made once."""

    def __init__(self, spec: LanguageSpec):
        self.spec = spec
        self.lexicon = lexicon(spec)
        self.bound = frozenset(CATEGORIES[: round(spec.synthesis * len(CATEGORIES))])
        self._bound = frozenset(name for name, kind in _CATEGORY.items() if kind in self.bound)
        self._forms: dict[tuple[str, tuple[str, ...], str], Form] = {}

    def split(self, features: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Returns (features said by affixes, features said by words of their own)."""
        bound = tuple(f for f in features if f in self._bound)
        return bound, tuple(f for f in features if f not in self._bound and f in GRAMMAR)

    def word(self, concept: str, features: tuple[str, ...] = (), upos: str = "NOUN") -> Form:
        """Returns the form of a meaning with its bound features."""
        key = (concept, features, upos)
        if key not in self._forms:
            stem = self.lexicon.roots[concept].sounds
            self._forms[key] = self.inflect(stem, concept, features, upos)
        return self._forms[key]

    def inflect(self, stem: str, name: str, features: tuple[str, ...], upos: str) -> Form:
        """Returns a stem, such as a name, with its affixes."""
        if not features:
            return Form(stem, name, stem)
        glosses = [_bundle(features, upos)] if self.spec.fusion else list(features)
        affixes = [self.lexicon.affixes[g].sounds for g in glosses]
        if self.spec.harmony:
            last = next((s for s in reversed(stem) if s in "aeiou"), "a")
            table = _FRONT if last in "ei" else _BACK
            affixes = [a.translate(table) for a in affixes]
        if self.spec.affixes == "prefix":
            parts, names = [*affixes[::-1], stem], [*glosses[::-1], name]
        else:
            parts, names = [stem, *affixes], [name, *glosses]
        return Form("".join(parts), "-".join(names), "-".join(parts))


def _bundle(features: tuple[str, ...], upos: str) -> str:
    """Returns the one fused ending for features, as concepts.fused_endings names it."""
    number = "PL" if "PL" in features else "SG"
    if upos in ("VERB", "AUX"):
        tense = next((f for f in features if f in ("PST", "FUT")), "PRS")
        person = next((f for f in features if f[0] in "123"), "3SG")
        return f"{tense}.{person}" + (".NEG" if "NEG" in features else "")
    if upos == "ADJ":
        return f"{'LIV' if 'LIV' in features else 'THG'}.{number}"
    case = next((f for f in features if f in ("ACC", "GEN", "LOC", "ABL", "COM")), "NOM")
    return f"{number}.{case}"
