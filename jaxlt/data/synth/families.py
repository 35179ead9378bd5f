"""Families of languages of any shape from one description.

    FactoryConfig(families=(Family(copies=2, dialects=1), Family(script="Geor", dialects=1)))

is three families of languages, the third in another script, with a dialect of each. In gin:

    FactoryConfig.families = [@plain/Family(), @other/Family()]
    plain/Family.copies = 2
    Family.languages = 5
    Family.dialects = 1
    other/Family.script = 'Geor'
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from jaxlt.data import revisions
from jaxlt.data.rows.batches import number_of
from jaxlt.data.synth.draws import Draws
from jaxlt.data.synth.script import known_script
from jaxlt.data.synth.spec import ORDERS, SIDES, LanguageSpec
from jaxlt.errors import UserError
from jaxlt.identity import DRAWN

MOST_FAMILIES, MOST_MEMBERS = 20, 26
_SIZES = ("sentences", "annotated", "opinions")


@dataclass(frozen=True)
class Family:
    """One family, or `copies` of its shape; each language of it is drawn around an ancestor.

    The first language of a family is its standard. `drift` is the chance that a language differs
    from the ancestor in each point of word order; the last `others` languages are in
    `other_script`; the first `dialects` languages have a dialect each, spelled with
    `dialect_noise`. Loans and mixed words come from the next family's standard (in a family alone:
    its own). `order` and `synthesis` are drawn where not given. `sentences`, `annotated` and
    `opinions` are its own, where FactoryConfig's are not meant: a number, or one for each language
    in turn; a dialect has as many as its language.
    """

    languages: int = 3
    copies: int = 1
    script: str = "Latn"
    other_script: str = "Cyrl"
    others: int = 0
    random_script: bool = False
    own_punctuation: bool = False
    dialects: int = 0
    dialect_noise: float = 0.1
    cognates: float = 0.7
    changes: int = 3
    false_friends: float = 0.0
    borrowed: float = 0.0
    mixed: float = 0.0
    noise: float = 0.0
    drift: float = 0.25
    order: str | None = None
    synthesis: float | None = None
    freedom: float = 0.0
    extraposed: float = 0.0
    sentences: int | tuple[int, ...] | None = None  # these three last: see identity_of
    annotated: int | tuple[int, ...] | None = None
    opinions: int | tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for field in ("script", "other_script"):
            known_script(getattr(self, field), f"Family.{field}")
        if self.languages < 1 or self.copies < 1:
            raise UserError("Family: languages and copies are at least 1.")
        for field in ("others", "dialects"):
            if not 0 <= getattr(self, field) <= self.languages:
                raise UserError(
                    f"Family: {field} ({getattr(self, field)}) is from 0 to its number of "
                    f"languages ({self.languages})."
                )
        for field in _SIZES:
            own = getattr(self, field)
            if isinstance(own, list):
                object.__setattr__(self, field, own := tuple(own))
            if own is None:
                continue
            if isinstance(own, tuple) and len(own) != self.languages:
                raise UserError(
                    f"Family.{field} has {len(own)} numbers for {self.languages} languages: give "
                    "one for each, or one for all of them."
                )
            if min(own if isinstance(own, tuple) else (own,)) < 0:
                raise UserError(f"Family.{field} is a number of sentences, 0 or more.")


@dataclass(frozen=True)
class FactoryConfig:
    """Everything that a folder of made data depends on.

    Counts are a language, where its Family says no other: `sentences` of running text, `annotated`
    with trees and entities (and as many questions, and pairs of texts), `opinions` with sentiment;
    `parallel` sentences are the same in all. Of the world's facts a share `facts_in_one` is told in
    one language alone (each in turn), `facts_in_all` in all, the rest in none; a share `fact_texts`
    of texts tells one. The `revision` of what was made before is 1 (jaxlt.data.revisions).
    """

    families: tuple[Family, ...] = (Family(),)
    seed: int = dataclasses.field(default=0, metadata=DRAWN)
    sentences: int = 4000
    annotated: int = 400
    opinions: int = 400
    parallel: int = 400
    facts_in_one: float = 0.5
    facts_in_all: float = 0.25
    fact_texts: float = 0.5
    revision: int = revisions.LATEST

    def __post_init__(self) -> None:
        revisions.rules_of(self.revision)
        if not self.families:
            raise UserError("FactoryConfig: families is empty: give at least one Family.")
        for field in ("sentences", "annotated", "opinions", "parallel"):
            if getattr(self, field) < 0:
                raise UserError(f"FactoryConfig: {field} is a number of sentences, 0 or more.")
        if min(self.facts_in_one, self.facts_in_all) < 0 or (
            self.facts_in_one + self.facts_in_all > 1 + 1e-9
        ):
            raise UserError(
                "FactoryConfig: facts_in_one and facts_in_all are shares of the facts and may sum "
                "to 1 at most."
            )
        if not 0 <= self.fact_texts <= 1:
            raise UserError("FactoryConfig: fact_texts is a share in [0, 1].")


def identity_of(config: FactoryConfig) -> list[Any]:
    """Returns JSON of all that decides what a factory makes."""
    families, *settings, revision = dataclasses.astuple(config)
    cut = len(_SIZES)  # younger than what was made before
    bare = [one[:-cut] if one[-cut:] == (None,) * cut else one for one in families]
    settings = [tuple(bare), *settings]
    return settings if revision == revisions.FIRST else [*settings, revision]


def size_of(
    config: FactoryConfig, spec: LanguageSpec, what: Literal["sentences", "annotated", "opinions"]
) -> int:
    """Returns how many sentences of a purpose a language has: its own, its family's, or any's."""
    shapes = [family for family in config.families for _ in range(family.copies)]
    own = getattr(shapes[spec.family], what) if spec.family < len(shapes) else None
    if isinstance(own, tuple):
        return int(own[ord((spec.parent or spec).code[2]) - ord("a")])
    return int(getattr(config, what) if own is None else own)


def languages(config: FactoryConfig) -> tuple[LanguageSpec, ...]:
    """Returns every language of a description, dialects after their languages."""
    shapes = [family for family in config.families for _ in range(family.copies)]
    if len(shapes) > MOST_FAMILIES or any(s.languages + s.dialects > MOST_MEMBERS for s in shapes):
        raise UserError(
            f"FactoryConfig.families: at most {MOST_FAMILIES} families of {MOST_MEMBERS} languages "
            "and dialects have codes (ISO 639-3 keeps qaa to qtz for such use)."
        )
    groups: list[list[LanguageSpec]] = []
    for number, shape in enumerate(shapes):
        members = [_member(config.seed, number, shape, i) for i in range(shape.languages)]
        groups.append([dataclasses.replace(one, revision=config.revision) for one in members])
    specs: list[LanguageSpec] = []
    for number, (shape, group) in enumerate(zip(shapes, groups, strict=True)):
        lender = groups[(number + 1) % len(groups)][0]
        for place, spec in enumerate(group):
            specs.append(_influenced(spec, shape, lender))
            if place < shape.dialects:
                specs.append(_dialect(specs[-1], shape, place))
    return tuple(specs)


def _code(family: int, place: int, script: str) -> str:
    """Returns a code of ISO 639-3's range for local use: q, the family's letter, its member's."""
    return f"q{chr(ord('a') + family)}{chr(ord('a') + place)}_{script}"


def _name(draws: Draws) -> str:
    """Returns what speakers call their language."""
    word = draws.pick("BDGHJKLMNPRSTVWZ") + draws.pick("aeiou")
    word += draws.pick(("l", "m", "n", "r", "s", "sh", "t", "v", "ng", "rk"))
    return word + draws.pick(("a", "i", "ei", "ua", "au"))


def _member(seed: int, number: int, shape: Family, place: int) -> LanguageSpec:
    """Returns one language of a family: the same, whatever else is in the description."""
    ancestor = Draws(number_of(seed, "family", number), "grammar")
    settings: dict[str, object] = {"order": shape.order or ancestor.pick(ORDERS[:3])}
    late = settings["order"] == "SOV"  # verb-final languages put heads last, mostly
    for side in SIDES:
        last = late if side != "numeral" else True
        settings[side] = "after" if last == (side == "adposition") else "before"
        if side in ("adjective", "numeral"):
            settings[side] = "before" if ancestor.chance(0.7) else "after"
    base = shape.synthesis if shape.synthesis is not None else ancestor.random()
    settings["fusion"], settings["harmony"] = ancestor.chance(0.3), ancestor.chance(0.3)
    settings["articles"] = ancestor.chance(0.5)
    settings["affixes"] = "suffix" if ancestor.chance(0.8) else "prefix"
    member = Draws(number_of(seed, "family", number), "member", place)
    if place and shape.order is None and member.chance(shape.drift):
        settings["order"] = member.pick(ORDERS[:4])
    for side in SIDES:
        if place and member.chance(shape.drift):
            settings[side] = "before" if settings[side] == "after" else "after"
    if shape.synthesis is None:
        base = min(1.0, max(0.0, base + 0.3 * (member.random() - 0.5)))
    script = shape.other_script if place >= shape.languages - shape.others else shape.script
    return LanguageSpec(
        _code(number, place, script),
        name=_name(member),
        family=number,
        seed=seed,
        cognates=shape.cognates,
        changes=shape.changes if place else shape.changes // 2,  # standards are conservative
        false_friends=shape.false_friends,
        synthesis=round(base, 3),
        script=script,
        random_script=shape.random_script,
        own_punctuation=shape.own_punctuation,
        noise=shape.noise,
        freedom=shape.freedom,
        extraposed=shape.extraposed,
        **settings,  # type: ignore[arg-type]
    )


def _influenced(spec: LanguageSpec, shape: Family, lender: LanguageSpec) -> LanguageSpec:
    """Returns the language with loans and mixed speech, none for the lender itself."""
    if lender == spec or not (shape.borrowed or shape.mixed):
        return spec
    return dataclasses.replace(
        spec,
        borrowed=shape.borrowed,
        donor=lender if shape.borrowed else None,
        mixed=shape.mixed,
        partner=lender if shape.mixed else None,
    )


def _dialect(standard: LanguageSpec, shape: Family, place: int) -> LanguageSpec:
    """Returns a dialect: nearly all words the standard's, one sound change on, spelled by ear."""
    return dataclasses.replace(
        standard,
        code=_code(standard.family, MOST_MEMBERS - 1 - place, standard.script),
        name=f"West {standard.name}",
        parent=standard,
        cognates=0.95,
        changes=1,
        false_friends=0.0,
        borrowed=0.0,
        donor=None,
        noise=shape.dialect_noise,
    )
