"""What gin says of a study: its question, recipe, axes, claims and figures; and of a sweep.

study.name = 'mad_x'
study.recipe = @mad_x()
study.cross = {'mad_x.languages': [2, 4]}
study.claims = [@target/claim()]
target/claim.effect = '@target - @source'
"""

import dataclasses
import re
from typing import Any

from jaxlt.errors import UserError, repeated
from jaxlt.experiments.axes import Axes, Values, pairs
from jaxlt.experiments.effect import parsed, rule_of
from jaxlt.experiments.laboratory import Laboratory
from jaxlt.experiments.recipe import Recipe
from jaxlt.metrics.intervals import check_confidence
from jaxlt.report.figures import Figure

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


@dataclasses.dataclass(frozen=True)
class Claim:
    """What is claimed of an effect, and by which rule it is judged; written before the run.

    effect: of arms, by the `method` of their rows: '@target - @source',
    '@shared[languages=1] - @shared[languages=16]' (jaxlt.experiments.effect says all of it). holds:
    'low > 0', 'low > -0.01' (no worse), 'high < 0.1', 'abs < 0.02' (equal). Rows of this metric,
    task (any where it is ''), split and these languages count. pairs: of one seed and language, or
    of one seed, which has languages of its own. paper: the number it reports.
    """

    text: str
    metric: str
    effect: str
    holds: str = "low > 0"
    name: str = ""
    task: str = ""
    split: str = "test"
    languages: tuple[str, ...] = ()
    seeds: int = 5
    pairs: tuple[str, ...] = ("seed", "language")
    confidence: float = 0.95
    paper: str = ""

    def __post_init__(self) -> None:
        parsed(self.effect)
        rule_of(self.holds)
        check_confidence(self.confidence)
        if self.seeds < 2:
            raise UserError(f"claim.seeds is 2 or more, not {self.seeds}.")
        if self.pairs not in (("seed", "language"), ("seed",)):
            raise UserError(f"claim.pairs is ['seed', 'language'] or ['seed'], not {self.pairs}.")

    @property
    def rule(self) -> dict[str, Any]:
        """What decides the verdict, as it is stored at the first plan."""
        rule = dataclasses.asdict(self)
        return {name: rule[name] for name in rule if name not in ("text", "paper")}


@dataclasses.dataclass(frozen=True)
class Study(Axes):
    """A question, the recipe that answers it, over which cells, and how its rows are judged.

    quick: bindings of a quick look, which has 2 seeds and says that it is one: of the recipe, the
    laboratory, and the study itself ({'study.vary': {}} leaves the base cell alone).
    """

    name: str = ""
    question: str = ""
    recipe: Recipe | None = None
    laboratory: Laboratory = dataclasses.field(default_factory=Laboratory)
    quick: Values = ()
    claims: tuple[Claim, ...] = ()
    figures: tuple[Figure, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "quick", pairs(self.quick))
        _check_names(self)


@dataclasses.dataclass(frozen=True)
class Sweep(Axes):
    """Single runs over axes, without a recipe: each is trained and evaluated.

    split: of the evaluation. answers: examples are answered and judged, as `eval --answers` does.
    """

    name: str = "sweep"
    split: str | None = None
    answers: bool = False
    claims: tuple[Claim, ...] = ()
    figures: tuple[Figure, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_names(self)


def _check_names(study: Study | Sweep) -> None:
    if not _NAME.fullmatch(study.name):
        raise UserError(
            f"{type(study).__name__.lower()}.name is the name of a folder, of small letters and "
            f"digits: '{study.name}'."
        )
    for twice in repeated(claim.name for claim in study.claims):
        raise UserError(f"Two claims of the study '{study.name}' are called '{twice}'.")
