"""What a made language is: the settings of every transform, checked."""

from dataclasses import dataclass
from typing import Literal

from jaxlt.data.revisions import LATEST
from jaxlt.data.synth.script import known_script
from jaxlt.errors import UserError, check_one_of

Side = Literal["before", "after"]
ORDERS = ("SVO", "SOV", "VSO", "VOS", "OVS", "OSV")
SIDES = ("adjective", "adposition", "genitive", "relative", "numeral")
SHARES = (
    *("cognates", "false_friends", "borrowed"),  # of the lexicon
    *("freedom", "extraposed", "synthesis", "noise", "mixed"),
)
MOST_CHANGES = 16


@dataclass(frozen=True)
class LanguageSpec:
    """One made language; equal specs speak alike on every machine.

    Descent: of the meanings, a share `cognates` keeps the word of `parent` (without one, of the
    ancestor that all of a `family` and `seed` have), put through `changes` regular sound changes;
    `false_friends` take a word of the parent's that means something else there; `borrowed` take
    the `donor`'s word; the rest is new. Of two daughters of one ancestor the shares are nested, so
    that they have the smaller one in common.
    Order: of subject, verb and object, and on which side of its head each dependent stands;
    `freedom` is the share of clauses in any order, `extraposed` that of relative clauses moved to
    the end (trees then cross), `inverted` says every sentence backwards.
    Words: `synthesis` 0 says grammar in words of their own, 1 in affixes; `fusion` makes one ending
    of them all; `harmony` fits their vowels to the stem's.
    Spelling: `script`; `random_script` gives each sound another one's letter; `noise` is the share
    of words spelled by ear; `mixed` the share of roots said in the `partner`'s language.
    """

    code: str
    family: int = 0
    seed: int = 0
    parent: "LanguageSpec | None" = None
    cognates: float = 0.7
    changes: int = 3
    false_friends: float = 0.0
    borrowed: float = 0.0
    donor: "LanguageSpec | None" = None
    order: str = "SVO"
    adjective: Side = "before"
    adposition: Side = "before"
    genitive: Side = "after"
    relative: Side = "after"
    numeral: Side = "before"
    freedom: float = 0.0
    extraposed: float = 0.0
    inverted: bool = False
    synthesis: float = 0.6
    fusion: bool = False
    affixes: Literal["suffix", "prefix"] = "suffix"
    harmony: bool = False
    articles: bool = False
    script: str = "Latn"
    random_script: bool = False
    own_punctuation: bool = False
    digits: bool = False
    noise: float = 0.0
    mixed: float = 0.0
    partner: "LanguageSpec | None" = None
    name: str = ""
    revision: int = LATEST  # of what it says: see jaxlt.data.revisions

    def __post_init__(self) -> None:
        whose = f"Language '{self.code}'"
        known_script(self.script, whose)
        if not self.code or not self.code.replace("_", "").isalnum():
            raise UserError(f"{whose}: a code is of letters, digits and '_', such as asha_Latn.")
        check_one_of(f"{whose}: order", self.order, ORDERS)
        for field in (*SIDES, "affixes"):
            known = ("suffix", "prefix") if field == "affixes" else ("before", "after")
            if (value := getattr(self, field)) not in known:
                raise UserError(f"{whose}: {field} is '{known[0]}' or '{known[1]}', not '{value}'.")
        for field in SHARES:
            if not 0 <= getattr(self, field) <= 1:
                raise UserError(f"{whose}: {field} is a share in [0, 1].")
        if not 0 <= self.changes <= MOST_CHANGES:
            raise UserError(f"{whose}: changes is a whole number from 0 to {MOST_CHANGES}.")
        if self.cognates + self.false_friends + self.borrowed > 1 + 1e-9:
            raise UserError(
                f"{whose}: cognates, false_friends and borrowed are shares of one lexicon and may "
                "sum to 1 at most."
            )
        if self.borrowed and self.donor is None:
            raise UserError(f"{whose}: borrowed words need a donor language.")
        if self.mixed and self.partner is None:
            raise UserError(f"{whose}: mixed speech needs a partner language.")
