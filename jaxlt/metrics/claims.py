"""Is a claim about an effect true? Holds, fails, undecided or incomplete, by a rule said before.

    found = judge(difference(ours, theirs, seeds=range(5)), "better")
    found.verdict, found.reason       # 'holds', 'The effect of 0.031 [0.012, 0.05] (95%, 5 ...'
    judge(effects, "no worse", margin=0.01)
    corrected({"mad_x": found, "bad_x": other})           # Holm over the claims of a study

| claim      | the effect lies   | holds: all of the interval does | fails: none of it does |
| ---------- | ----------------- | ------------------------------- | ---------------------- |
| 'better'   | above margin (0)  | low > margin                    | high < margin          |
| 'no worse' | above -margin     | low > -margin                   | high < -margin         |
| 'equal'    | between the two   | low > -margin and high < margin | both beyond one margin |

Of what is better lower the table is mirrored. 'fails' is shown as surely as 'holds'; what merely
did not show is 'undecided'. An interval of more seeds than were planned is a second look at the
data: split what may go wrong between both (confidence=0.975).
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Literal, get_args

from jaxlt.errors import UserError, check_one_of
from jaxlt.metrics.effects import Effects, Estimate, over_seeds
from jaxlt.metrics.intervals import check_confidence, t_p_value
from jaxlt.metrics.significance import holm

Claim = Literal["better", "no worse", "equal"]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """`verdict` on a claim, and why in a sentence.

    `p_value`: how often so clear a verdict is seen where the effect lies on the bound it is nearest
    to; below 1 - confidence exactly where the interval leaves that bound out. `corrected` is the
    same beside the study's other claims. None: not to be told yet.
    """

    verdict: Literal["holds", "fails", "undecided", "incomplete"]
    reason: str
    claim: Claim
    margin: float
    confidence: float
    estimate: Estimate | None = None
    p_value: float | None = None
    corrected: float | None = None


def judge(
    effects: Effects,
    claim: Claim,
    margin: float = 0.0,
    higher_is_better: bool = True,
    confidence: float = 0.95,
) -> Verdict:
    """Returns the verdict on a claim, by t over seeds (see `over_seeds`)."""
    check_confidence(confidence)
    low, high = _region(claim, margin, higher_is_better)
    why = effects.incomplete()
    if why:
        return Verdict("incomplete", why, claim, margin, confidence)
    estimate = over_seeds(effects, confidence)
    said = Verdict("undecided", "", claim, margin, confidence, estimate)
    if estimate.low is None:
        return dataclasses.replace(
            said,
            reason=f"All {estimate.n} seeds gave the same effect, {estimate.value:.4g}: without "
            "any spread there is no telling what another seed would give. Are the seeds really "
            "different runs, and are there enough test examples?",
        )
    inside = low < estimate.value < high
    distance = min(abs(estimate.value - bound) for bound in (low, high))
    if estimate.error:
        p = t_p_value(distance / estimate.error, estimate.n - 1)
    else:  # all pairs are equal to the last bit
        p = 0.0 if distance else 1.0
    clear: Literal["holds", "fails"] = "holds" if inside else "fails"
    verdict = clear if p < 1 - confidence else "undecided"
    where = f"above {low:.4g}" if math.isinf(high) else f"between {low:.4g} and {high:.4g}"
    where = f"below {high:.4g}" if math.isinf(low) else where
    lies = {"holds": "lies", "fails": "does not lie", "undecided": "may or may not lie"}[verdict]
    reason = (
        f"The effect of {estimate.value:.4g} [{estimate.low:.4g}, {estimate.high:.4g}] "
        f"({100 * confidence:.4g}%, {estimate.n} seeds) {lies} {where}."
    )
    return dataclasses.replace(said, verdict=verdict, reason=reason, p_value=p)


def corrected(verdicts: Mapping[str, Verdict]) -> dict[str, Verdict]:
    """Returns the verdicts on all claims of a study, by Holm's correction of their p values.

    One that is clear alone and not among them all becomes 'undecided'. A claim that is incomplete
    counts among them.
    """
    levels = {each.confidence for each in verdicts.values()}
    if len(levels) > 1:
        raise UserError(
            "The claims of a study are corrected together and need one confidence; these have "
            f"{', '.join(str(level) for level in sorted(levels))}."
        )
    together = holm([each.p_value for each in verdicts.values()])
    found = {}
    for (name, each), p in zip(verdicts.items(), together, strict=True):
        found[name] = dataclasses.replace(each, corrected=p)
        if each.verdict in ("holds", "fails") and p is not None and not p < 1 - each.confidence:
            found[name] = dataclasses.replace(
                found[name],
                verdict="undecided",
                reason=f"{each.reason} That is clear of this claim alone (p = {each.p_value:.3g}), "
                f"and not as one of the study's {len(verdicts)} (Holm: p = {p:.3g}).",
            )
    return found


def _region(claim: Claim, margin: float, higher_is_better: bool) -> tuple[float, float]:
    """Where the effect is claimed to lie."""
    check_one_of("A claim", claim, get_args(Claim))
    if not math.isfinite(margin) or margin < 0 or (margin == 0 and claim != "better"):
        least = "0 or more" if claim == "better" else "above 0"
        raise UserError(
            f"The margin of the claim '{claim}' is a number {least}, in the metric's own unit, and "
            f"not {margin}."
        )
    low, high = {
        "better": (margin, math.inf),
        "no worse": (-margin, math.inf),
        "equal": (-margin, margin),
    }[claim]
    return (low, high) if higher_is_better else (-high, -low)
