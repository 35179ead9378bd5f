"""The verdicts on a study's claims, from rows alone, by rules that were written down before.

    found = judged(study.claims, rows, seeds=(0, 1, 2, 3, 4), grid=grid, history=records)
    found[0].verdict.verdict, found[0].seeds      # 'holds', 5
    found[0].line()        # 'holds: target: ... +0.031 [0.012, 0.050], 5 seeds'
    changed(study.claims, records)     # {'target': 'rule changed after data: seeds 5 -> 4'}

A record is what was planned at one time: the rule of each claim, and whether there were results.
The first one counts, as long as there were none. One change afterwards is none: twice the seeds, a
second look at the data, each of which is given half of what may go wrong. So is the choice of what
is best.
"""

import dataclasses
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxlt.errors import UserError, nearest, some_of
from jaxlt.experiments.arms import Grid, is_one, measured
from jaxlt.experiments.config import Claim
from jaxlt.experiments.effect import BEST, Arm, parsed, rule_of
from jaxlt.experiments.stage import Stage, differences, digest
from jaxlt.metrics.axes import FIELDS
from jaxlt.metrics.claims import Verdict, corrected, judge
from jaxlt.metrics.result import Result
from jaxlt.report.selection import BASELINE

_LEVEL = 0.95  # of all claims of a study together


@dataclasses.dataclass(frozen=True)
class Judged:
    """A claim with its verdict.

    seeds: how many have all that it takes, of claim.seeds. notes: what a reader has to know. error:
    why it can never be judged, in words of the user's mistake.
    """

    claim: Claim
    verdict: Verdict
    seeds: int
    notes: tuple[str, ...] = ()
    error: str = ""

    def line(self) -> str:
        """The verdict in a line."""
        of = self.claim
        estimate = self.verdict.estimate
        told = f"{self.verdict.verdict}: {of.name or of.effect}: {of.text.rstrip('.')}: "
        if estimate is None:
            return told + self.verdict.reason
        span = "" if estimate.low is None else f" [{estimate.low:+.3g}, {estimate.high:+.3g}]"
        paper = f" (paper: {of.paper})" if of.paper else ""
        notes = "".join(f"; {note}" for note in self.notes)
        return f"{told}{of.effect} = {estimate.value:+.3g}{span}, {estimate.n} seeds{paper}{notes}"


def record(claims: Iterable[Claim], seeds: Sequence[int], data: bool) -> dict[str, Any]:
    """What is written down at a plan: the claims' rules, the seeds, whether there were results."""
    rules = {
        claim.name: {"hash": digest(claim.rule), "text": claim.text, "rule": claim.rule}
        for claim in claims
    }
    return {"rules": rules, "seeds": list(seeds), "data": data}


def changed(claims: Iterable[Claim], history: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What became of rules after there were results, by the claim's name; also of those gone."""
    now = {claim.name: claim for claim in claims}
    told = {}
    for name in dict.fromkeys(name for past in history for name in past["rules"]):
        first = _first(name, history)
        text, rule = (first["rules"][name][of] for of in ("text", "rule"))
        if name not in now:
            if history[-1]["data"]:
                told[name] = f"claim left out after data: '{text}'"
        elif first["data"] and first is not history[0]:
            told[name] = "claim added after data"
        elif (said := _differences(rule, now[name])) and not _twice(rule, now[name]):
            told[name] = f"rule changed after data: {'; '.join(said)}"
        else:
            before, after = (wanted(rule["seeds"], of["seeds"]) for of in (first, history[-1]))
            if set(before) != set(after):
                told[name] = f"seeds changed after data: {_listed(before)} -> {_listed(after)}"
    return told


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, seeds))


def _first(name: str, history: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The record whose rule counts: the last one before there were results, or the first."""
    having = [past for past in history if name in past["rules"]]
    return next((past for past in reversed(having) if not past["data"]), having[0])


def _differences(rule: Mapping[str, Any], claim: Claim) -> list[str]:
    """What a claim's rule is not that it was; a setting that came later was at its default."""
    usual = {f.name: f.default for f in dataclasses.fields(Claim) if f.name in claim.rule}
    before, now = (json.loads(json.dumps(each)) for each in ({**usual, **rule}, claim.rule))
    return differences(before, now)


def _twice(rule: Mapping[str, Any], claim: Claim) -> bool:
    """Whether a claim is that of before with twice the seeds."""
    return bool(claim.seeds == 2 * rule["seeds"] and len(_differences(rule, claim)) == 1)


def judged(
    claims: Sequence[Claim],
    rows: Iterable[Result],
    seeds: Sequence[int],
    grid: Grid | None = None,
    history: Sequence[Mapping[str, Any]] = (),
    finished: bool = False,
) -> list[Judged]:
    """Returns the verdicts on all claims of a study, corrected by Holm.

    seeds: the study's; a claim of more is incomplete until they are there. history: records of
    plans. finished: all stages are done, so that what is missing now is a mistake.
    """
    rows = list(rows)
    told = changed(claims, history)
    found = []
    for claim in claims:
        planned = any(claim.name in past["rules"] for past in history)
        first = _first(claim.name, history)["rules"][claim.name]["rule"] if planned else {}
        extended = bool(first) and claim.name not in told and _twice(first, claim)
        one = _judged(claim, rows, seeds, grid or Grid(), extended, finished)
        notes = (told[claim.name],) if claim.name in told else ()
        found.append(dataclasses.replace(one, notes=(*one.notes, *notes)))
    return _together(found)


def _judged(
    claim: Claim,
    rows: list[Result],
    seeds: Sequence[int],
    grid: Grid,
    extended: bool,
    finished: bool,
) -> Judged:
    kind, margin, higher = rule_of(claim.holds)
    halved = extended + _chooses(claim)
    confidence = 1 - (1 - claim.confidence) / 2**halved
    incomplete = Verdict("incomplete", "", kind, margin, confidence)
    asked = wanted(claim.seeds, seeds)
    of = f"of {claim.seeds} seeds"
    if not any(row.seed in asked for row in rows):
        return Judged(claim, dataclasses.replace(incomplete, reason=f"0 {of}."), 0)
    try:
        effects, lacking, chosen = measured(
            claim.effect,
            rows,
            claim.metric,
            seeds=asked,
            task=claim.task,
            split=claim.split,
            languages=claim.languages,
            grid=grid,
            by_language="language" in claim.pairs,
        )
        there = int((~np.isnan(effects.values).any(axis=1)).sum())
        verdict = judge(effects, kind, margin, higher, confidence)
    except UserError as error:
        why = f"The claim '{claim.name}': {error}"
        verdict = dataclasses.replace(incomplete, reason=f"0 {of}. {error}")
        return Judged(claim, verdict, 0, error=why if finished else "")
    if verdict.verdict == "incomplete":
        who = f" Not all is there of {some_of(lacking)}." if lacking else ""
        reason = f"{there} {of}. {verdict.reason}{who}"
        return Judged(claim, dataclasses.replace(verdict, reason=reason), there)
    notes = list(chosen)
    if chosen:
        notes.append(f"what is best is chosen: {100 * confidence:.5g}% intervals")
    if extended:
        notes.append(
            f"a second look, after {claim.seeds // 2} seeds: {100 * confidence:.5g}% intervals"
        )
    return Judged(claim, verdict, there, tuple(notes))


def _chooses(claim: Claim) -> bool:
    """Whether a claim has a best one chosen, which doubles its errors at worst.

    Where no value is better than another, 'low > 0' of 95% holds in 2.4 to 5.4% of simulations (3
    to 10 seeds, 2 to 6 values), where it should in 2.5; with half the error in 1.2 to 3.4%.
    """
    arms = (arm for term in parsed(claim.effect) for arm in term.arms)
    return any(values == (BEST,) for arm in arms for _, values in arm.at)


def wanted(number: int, seeds: Sequence[int]) -> tuple[int, ...]:
    """The seeds of a claim: the study's first ones; where it has fewer, the next numbers too."""
    more = (seed for seed in range(number + len(seeds)) if seed not in seeds)
    return tuple(itertools.islice(itertools.chain(seeds, more), number))


def _together(found: list[Judged]) -> list[Judged]:
    """Verdicts corrected for their number; each p is counted by the share of its own level."""
    level = {}
    for at, one in enumerate(found):
        p, own = one.verdict.p_value, one.verdict.confidence
        shared = None if p is None else min(1.0, p * (1 - _LEVEL) / (1 - own))
        level[str(at)] = dataclasses.replace(one.verdict, p_value=shared, confidence=_LEVEL)
    after = corrected(level)
    return [
        dataclasses.replace(
            one,
            verdict=dataclasses.replace(
                after[str(at)], p_value=one.verdict.p_value, confidence=one.verdict.confidence
            ),
        )
        for at, one in enumerate(found)
    ]


def check(claims: Iterable[Claim], stages: Iterable[Stage], grid: Grid) -> None:
    """Raises UserError where a claim names an arm or a cell that the planned stages do not have."""
    stages = list(stages)
    methods = {stage.config["method"] for stage in stages if "method" in stage.config}
    unknown = any(":" in stage.verb for stage in stages)  # a verb of one's own names its arms
    for claim in claims:
        for arm in (arm for term in parsed(claim.effect) for arm in term.arms):
            known = arm.name in methods or arm.name.startswith(BASELINE)
            if methods and not known and not unknown and "method" not in dict(arm.at):
                raise UserError(
                    f"The claim '{claim.name}' is of {arm}, and no stage has this method."
                    f"{nearest(arm.name, methods)} There are {some_of(sorted(methods), 12)}."
                )
            _check_cells(claim, arm, grid)


def _check_cells(claim: Claim, arm: Arm, grid: Grid) -> None:
    axes = {axis for setting in grid.settings for axis in setting}
    for axis, values in arm.at:
        if axis not in axes:
            if axis not in FIELDS and (near := nearest(axis, {*axes, *FIELDS})):
                raise UserError(
                    f"The claim '{claim.name}' is of {arm}, and no cell has '{axis}'.{near}"
                )
            continue
        there = dict.fromkeys(one[axis] for one in grid.settings if axis in one)
        for value in values:
            if value != BEST and not any(is_one(one, (value,)) for one in there):
                raise UserError(
                    f"The claim '{claim.name}' is of {arm}, and no cell has {axis}={value}: there "
                    f"are {some_of(list(map(str, there)), 12)}."
                )
