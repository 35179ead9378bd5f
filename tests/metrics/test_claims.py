"""Verdicts: as the interval lies to the bounds, corrected by Holm, and how often they are wrong."""

import numpy as np
import pytest

from jaxlt.errors import UserError
from jaxlt.metrics.claims import corrected, judge
from jaxlt.metrics.effects import Effects, over_seeds


def by_interval(effects, claim, margin):
    """The table of jaxlt.metrics.claims, word for word; of what is better higher."""
    found = over_seeds(effects)
    if claim == "equal":
        holds = found.low > -margin and found.high < margin
        fails = found.low > margin or found.high < -margin
    else:
        bound = margin if claim == "better" else -margin
        holds, fails = found.low > bound, found.high < bound
    return "holds" if holds else "fails" if fails else "undecided"


@pytest.mark.parametrize("claim", ["better", "no worse", "equal"])
def test_a_verdict_is_where_the_interval_lies(claim) -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(120):
        effects = Effects(rng.normal(rng.choice([-1.5, 0, 1.5]), 0.7, size=(5, 3)))
        found = judge(effects, claim, 0.6)
        assert found.verdict == by_interval(effects, claim, 0.6)
        mirrored = judge(Effects(-effects.values), claim, 0.6, higher_is_better=False)
        assert (mirrored.verdict, mirrored.p_value) == (found.verdict, found.p_value)
        seen.add(found.verdict)
    assert seen == {"holds", "fails", "undecided"}


def test_reasons_say_the_effect_and_the_bound() -> None:
    effects = Effects(np.array([0.01, 0.03, 0.02, 0.05, 0.04]))
    found = judge(effects, "better")
    assert found.reason == ("The effect of 0.03 [0.01037, 0.04963] (95%, 5 seeds) lies above 0.")
    assert found.p_value == found.estimate.p_value
    assert judge(effects, "equal", 0.005).reason.endswith("does not lie between -0.005 and 0.005.")
    assert judge(effects, "better", higher_is_better=False).verdict == "fails"
    assert judge(effects, "better", confidence=0.99).verdict == "undecided"


def test_incomplete_alone_without_spread_and_equal_to_the_bit() -> None:
    assert judge(Effects(np.array([0.1, np.nan])), "better").verdict == "incomplete"
    alone = judge(Effects(np.array([0.1])), "better")
    assert (alone.verdict, alone.p_value) == ("incomplete", None)
    assert "One seed" in alone.reason
    fixed = judge(Effects(np.full((5, 3), 0.1)), "better")
    assert (fixed.verdict, fixed.p_value) == ("undecided", None)
    assert "All 5 seeds gave the same effect, 0.1" in fixed.reason
    same = Effects(np.zeros((5, 3)))
    assert judge(same, "equal", 0.01).verdict == "holds"
    assert judge(same, "no worse", 0.01).verdict == "holds"
    assert judge(same, "better").verdict == "undecided"
    assert judge(same, "better", 0.01).verdict == "fails"


def test_claims_of_a_study_are_corrected_together() -> None:
    clear = judge(Effects(np.array([0.9, 1.0, 1.1, 1.0, 1.05])), "better")
    near = judge(Effects(np.array([0.01, 0.03, 0.02, 0.05, 0.005])), "better")
    absent = judge(Effects(np.array([np.nan, 1.0])), "better")
    worse = judge(Effects(-np.array([0.9, 1.0, 1.1, 1.0, 1.06])), "better")
    assert near.verdict == "holds"
    found = corrected({"clear": clear, "near": near, "absent": absent, "worse": worse})
    assert [each.verdict for each in found.values()] == [
        "holds",
        "undecided",
        "incomplete",
        "fails",
    ]
    assert found["near"].corrected == pytest.approx(2 * near.p_value)
    assert "not as one of the study's 4 (Holm: p = " in found["near"].reason
    assert found["absent"].corrected is None
    assert corrected({"near": near})["near"].verdict == "holds"
    assert corrected({}) == {}
    other = judge(Effects(np.arange(5.0)), "better", confidence=0.9)
    with pytest.raises(UserError, match=r"one confidence; these have 0\.9, 0\.95"):
        corrected({"a": near, "b": other})


def test_wrong_verdicts_are_as_rare_as_said() -> None:
    """Where the effect lies on the bound, half of the level is wrong; beside others, less."""
    rng = np.random.default_rng(1)
    held = {"better": 0, "no worse": 0, "equal": 0}
    any_of_four = 0
    for _ in range(400):
        draws = rng.normal(0, 1, size=(4, 5))
        for claim, at in (("better", 0.5), ("no worse", -0.5), ("equal", 0.5)):
            held[claim] += judge(Effects(draws[0] + at), claim, 0.5, True, 0.8).verdict == "holds"
        family = {
            str(at): judge(Effects(one), "better", confidence=0.8) for at, one in enumerate(draws)
        }
        any_of_four += any(
            each.verdict in ("holds", "fails") for each in corrected(family).values()
        )
    assert 22 < held["better"] < 60  # a tenth of 400
    assert 22 < held["no worse"] < 60
    assert held["equal"] < 60
    assert 40 < any_of_four < 105  # a fifth; without the correction 59%


@pytest.mark.parametrize(
    ("claim", "margin", "message"),
    [
        ("beter", 0.0, "not 'beter'. Did you mean 'better'"),
        ("equal", 0.0, "'equal' is a number above 0"),
        ("no worse", -0.1, "above 0.* not -0.1"),
        ("better", -0.1, "0 or more"),
        ("better", float("nan"), "not nan"),
    ],
)
def test_bad_claims_are_told_even_before_there_are_scores(claim, margin, message) -> None:
    with pytest.raises(UserError, match=message):
        judge(Effects(np.array([np.nan])), claim, margin)


def test_a_confidence_is_no_percentage() -> None:
    with pytest.raises(UserError, match="between 0 and 1, not 95"):
        judge(Effects(np.array([np.nan])), "better", confidence=95)
