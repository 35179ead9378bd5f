"""The effect of a claim in words, and where its interval has to lie.

    parsed("@target - @source")              # (Term(1.0, Arm('target')), Term(-1.0, Arm('source')))
    rule_of("low > -0.01")                   # Rule('no worse', 0.01)

It is a sum of `[number *] @ARM[axis=value, ...]`, or of slopes and correlations of arms:

    @shared[languages=1] - @shared[languages=16]
    slope(@shared, log2 languages) - slope(@x_mod, log2 languages)
    @shared[languages=best] - @shared[languages=16]
    spearman(@similarity[metric=cka], @transfer)        over the languages of each seed
    spearman(@shared, languages)                        over an axis, within a seed and language

An arm is the rows of a method, of one setting: what the brackets do not name is the same in all of
them, and an axis that a study varies one at a time (study.vary) is at its base. `best` is the value
that is best by the other seeds. A slope is over all values of its axis, or those that brackets name
([languages=1|4|16]). jaxlt.experiments.arms measures it.
"""

import functools
import re
from typing import Literal, NamedTuple

from jaxlt.errors import UserError, nearest
from jaxlt.experiments.axes import short

BEST = "best"


class Arm(NamedTuple):
    """Rows of a method; at: (axis, its values as texts)."""

    name: str
    at: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def __str__(self) -> str:
        inner = ", ".join(f"{axis}={'|'.join(values)}" for axis, values in self.at)
        return f"@{self.name}" + (f"[{inner}]" if inner else "")


class Term(NamedTuple):
    """weight times an arm ('' of), its 'slope' over an axis, or a 'spearman' correlation.

    A correlation is with another arm, over the languages of a seed or an axis, or with an axis.
    """

    weight: float
    arm: Arm
    of: str = ""
    other: Arm | None = None
    axis: str = ""

    @property
    def arms(self) -> tuple[Arm, ...]:
        """The arms that it is of."""
        return (self.arm,) if self.other is None else (self.arm, self.other)


_ARM = re.compile(r"@(\w+(?:[./-]\w+)*)\s*(?:\[([^\]]*)\])?\s*")
_NUMBER = re.compile(r"(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?:\s*/\s*(\d+))?\s*\*\s*")
_CALL = re.compile(r"(\w+)\s*\(([^()]*)\)\s*")
_KINDS = ("slope", "spearman")


@functools.cache
def parsed(text: str) -> tuple[Term, ...]:
    """An effect's terms; raises UserError with what stands where something else should."""
    terms: list[Term] = []
    rest = text.strip()
    while rest or not terms:
        sign = re.match(r"([+-])\s*" if terms else r"([+-]?)\s*", rest)
        if sign is None:
            raise _unread(text, rest)
        rest = rest[sign.end() :]
        weight = -1.0 if sign[1] == "-" else 1.0
        if number := _NUMBER.match(rest):
            weight *= float(number[1]) / float(number[2] or 1)
            rest = rest[number.end() :]
        if found := _ARM.match(rest):
            terms.append(Term(weight, _arm(found, text)))
        elif found := _CALL.match(rest):
            terms.append(_called(weight, found[1], found[2], text))
        else:
            raise _unread(text, rest)
        rest = rest[found.end() :]
    return tuple(terms)


def _unread(text: str, rest: str) -> UserError:
    return UserError(
        f"The effect '{text}' cannot be read from '{rest}' on: it is a sum of `[number *] @ARM`, "
        "`@ARM[axis=value]`, `slope(@ARM, log2 AXIS)` and `spearman(@ARM, @ARM)`, with + and -."
    )


def _arm(found: "re.Match[str]", text: str) -> Arm:
    at = []
    for part in filter(None, (one.strip() for one in (found[2] or "").split(","))):
        axis, equals, values = part.partition("=")
        if not equals or not axis.strip() or not values.strip():
            raise UserError(f"The effect '{text}' has [{found[2]}] in it: it is [axis=value, ...].")
        at.append((short(axis.strip()), tuple(v.strip(" '\"") for v in values.split("|"))))
    if sum(values == (BEST,) for _, values in at) > 1:
        raise UserError(f"The effect '{text}' asks for the best of several axes in one arm.")
    return Arm(found[1], tuple(at))


def _called(weight: float, name: str, inner: str, text: str) -> Term:
    """A slope or a correlation."""
    if name not in _KINDS:
        raise UserError(
            f"The effect '{text}' has '{name}(...)' in it, and there are {', '.join(_KINDS)}."
            f"{nearest(name, _KINDS)}"
        )
    arms: list[Arm] = []
    axis = ""
    for part in (one.strip() for one in re.split(r",(?![^\[]*\])", inner)):
        if (arm := _ARM.fullmatch(part)) and not axis:
            arms.append(_arm(arm, text))
        elif part and "@" not in part and not axis:
            axis = part
        else:
            raise _unread(text, f"{name}({inner})")
    most = 1 if name == "slope" else 2
    if not 1 <= len(arms) <= most or (len(arms) == 1 and not axis):
        raise _unread(text, f"{name}({inner})")
    if any(values == (BEST,) for arm in arms for _, values in arm.at):
        raise UserError(f"The effect '{text}' asks for the best within {name}(...).")
    return Term(weight, arms[0], name, arms[1] if len(arms) > 1 else None, _log(axis))


def _log(axis: str) -> str:
    """'log2 curse.languages' -> 'log2 languages'."""
    log, _, of = axis.rpartition(" ")
    return f"{log} {short(of)}".strip()


_HOLDS = re.compile(r"(low|high|abs)\s*([<>])\s*([+-]?\d*\.?\d+(?:[eE][+-]?\d+)?)")
_RULES = ("low >", "high <", "abs <")


class Rule(NamedTuple):
    """What jaxlt.metrics.claims.judge is told."""

    claim: Literal["better", "no worse", "equal"]
    margin: float
    higher_is_better: bool = True


@functools.cache
def rule_of(holds: str) -> Rule:
    """'low > -0.01' -> Rule('no worse', 0.01): where the interval has to lie."""
    found = _HOLDS.fullmatch(holds.strip())
    if found is None or f"{found[1]} {found[2]}" not in _RULES:
        raise UserError(
            f"A claim holds where 'low > NUMBER' (of the effect's interval), 'high < NUMBER' or "
            f"'abs < NUMBER' (all of it), and not where '{holds}'."
        )
    bound = float(found[3])
    if found[1] == "abs":
        if bound <= 0:
            raise UserError(f"The margin of '{holds}' is above 0.")
        return Rule("equal", bound)
    signed = bound if found[1] == "low" else -bound
    kind: Literal["better", "no worse"] = "better" if signed >= 0 else "no worse"
    return Rule(kind, abs(bound), found[1] == "low")
