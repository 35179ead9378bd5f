"""Verdicts from rows, rules that change, and corrections."""

import dataclasses
import time

import pytest
from scipy import stats

from jaxlt.errors import UserError
from jaxlt.experiments import claims
from jaxlt.experiments.arms import Grid
from jaxlt.experiments.claims import changed, judged, record
from jaxlt.experiments.config import Claim
from jaxlt.experiments.stage import Cell
from jaxlt.metrics.result import Result

FIRST = [0.03, 0.01, 0.05, 0.02, 0.04]  # of a over b; mean 0.03, standard error 0.00707
CLAIM = Claim("a tags better than b", "accuracy", "@a - @b", name="better")


def rows(effects: list[float], methods: tuple[str, str] = ("a", "b")) -> list[Result]:
    return [
        Result(
            metric="accuracy", value=value, n=100, split="test", target="glv", seed=seed,
            method=method,
        )
        for seed, effect in enumerate(effects)
        for method, value in zip(methods, (0.5 + effect, 0.5), strict=True)
    ]  # fmt: skip


def verdicts(found: list[claims.Judged]) -> list[str]:
    return [one.verdict.verdict for one in found]


def test_a_verdict_is_reckoned_from_rows() -> None:
    (found,) = judged([dataclasses.replace(CLAIM, paper="+5 F1")], rows(FIRST), range(5))
    estimate = found.verdict.estimate
    assert estimate is not None
    half = stats.t.ppf(0.975, 4) * 0.0158113883 / 5**0.5
    assert (estimate.value, estimate.low) == pytest.approx((0.03, 0.03 - half))
    assert (found.verdict.verdict, found.seeds) == ("holds", 5)
    assert found.line() == (
        "holds: better: a tags better than b: @a - @b = +0.03 [+0.0104, +0.0496], 5 seeds "
        "(paper: +5 F1)"
    )
    rules = {"low > 0.06": "fails", "low > -0.01": "holds", "high < 0": "fails", "abs < .04": ""}
    for holds, verdict in rules.items():
        (found,) = judged([dataclasses.replace(CLAIM, holds=holds)], rows(FIRST), range(5))
        assert found.verdict.verdict == (verdict or "undecided")


def test_a_missing_pair_is_incomplete_and_never_a_verdict() -> None:
    (found,) = judged([CLAIM], rows(FIRST[:2]), range(5))
    assert (found.verdict.verdict, found.seeds) == ("incomplete", 2)
    assert found.verdict.reason.startswith("2 of 5 seeds. 3 of 5 pairs lack")
    (found,) = judged([CLAIM], rows(FIRST)[:-1], range(5))
    assert found.verdict.reason.endswith("Not all is there of @b.") and found.seeds == 4
    (found,) = judged([CLAIM], [], range(5))
    assert found.verdict.reason == "0 of 5 seeds." and not found.error
    (found,) = judged([CLAIM], rows(FIRST[:3]), range(3), finished=True)
    assert found.verdict.verdict == "incomplete" and found.seeds == 3  # a study of 3 seeds
    assert claims.wanted(4, (7, 2)) == (7, 2, 0, 1)
    (found,) = judged([CLAIM], rows([*FIRST, -9.0]), range(6))
    assert found.verdict.verdict == "holds"  # the first five were asked for


def test_what_is_not_there_at_the_end_is_a_mistake() -> None:
    wrong = [
        dataclasses.replace(CLAIM, effect="@a - @c", name="arm"),
        dataclasses.replace(CLAIM, metric="acuracy", name="metric"),
    ]
    going = judged([*wrong, CLAIM], rows(FIRST), range(5))
    assert verdicts(going) == ["incomplete", "incomplete", "holds"]
    assert not any(one.error for one in going)
    done = judged([*wrong, CLAIM], rows(FIRST), range(5), finished=True)
    assert "method 'c'" in done[0].error and "Did you mean 'accuracy'" in done[1].error
    assert verdicts(done)[2] == "holds"  # the others have theirs


def test_claims_of_a_study_are_corrected_together() -> None:
    assert verdicts(judged([CLAIM], rows(FIRST), range(5))) == ["holds"]  # p = 0.013
    three = [dataclasses.replace(CLAIM, name=name) for name in "pqrst"]
    assert verdicts(judged(three, rows(FIRST), range(5))) == ["undecided"] * 5
    strict = dataclasses.replace(CLAIM, name="strict", confidence=0.99)
    both = judged([CLAIM, strict], rows(FIRST), range(5))
    assert verdicts(both) == ["holds", "undecided"]  # 0.013 * 2 of 0.05; 0.013 of 0.01
    assert [one.verdict.confidence for one in both] == [0.95, 0.99]


def test_a_rule_that_changes_after_data_is_told() -> None:
    early = dataclasses.replace(CLAIM, holds="low > 0.1")
    history = [record([early], range(5), data=False), record([CLAIM], range(5), data=False)]
    assert changed([CLAIM], history) == {}  # there was nothing to be seen yet
    now = dataclasses.replace(CLAIM, holds="low > -0.01", text="Other words", paper="+1")
    later = [*history, record([now], range(5), data=True)]
    said = 'rule changed after data: holds "low > 0" -> "low > -0.01"'
    assert changed([now], later) == {"better": said}
    assert judged([now], rows(FIRST), range(5), history=later)[0].notes == (said,)
    assert changed([CLAIM], [*later, record([CLAIM], range(5), data=True)]) == {}
    new = dataclasses.replace(CLAIM, name="new")
    both = [*history, record([new], range(5), data=True)]
    assert changed([new], both) == {
        "better": "claim left out after data: 'a tags better than b'",
        "new": "claim added after data",
    }
    other = [*history, record([CLAIM], (0, 1, 2, 7, 8, 9), data=True)]
    assert changed([CLAIM], other)["better"].endswith("0, 1, 2, 3, 4 -> 0, 1, 2, 7, 8")
    assert changed([CLAIM], [*history, record([CLAIM], (3, 4), data=True)]) == {}  # to be more
    del later[1]["rules"]["better"]["rule"]["languages"]  # of before there was this setting
    assert changed([CLAIM], later[:2]) == {}


def test_one_extension_splits_the_error() -> None:
    history = [record([CLAIM], range(5), data=False)]
    ten = dataclasses.replace(CLAIM, seeds=10)
    (found,) = judged([ten], rows(FIRST * 2), range(10), history=history)
    assert found.verdict.verdict == "holds" and found.verdict.confidence == 0.975
    assert found.notes == ("a second look, after 5 seeds: 97.5% intervals",)
    spread = 0.0149071198 / 10**0.5  # of ten: the standard error
    half = stats.t.ppf(1 - 0.0125, 9) * spread
    assert found.verdict.estimate.low == pytest.approx(0.03 - half)
    near = [each - 0.0192 for each in FIRST * 2]  # clear at 95%, not at 97.5%
    assert verdicts(judged([ten], rows(near), range(10))) == ["holds"]
    assert verdicts(judged([ten], rows(near), range(10), history=history)) == ["undecided"]
    twenty = dataclasses.replace(CLAIM, seeds=20)
    assert changed([twenty], history)["better"] == "rule changed after data: seeds 5 -> 20"


def test_a_choice_of_the_best_takes_half_of_the_error() -> None:
    best = dataclasses.replace(CLAIM, effect="@a[kept=best] - @b")
    better = [
        dataclasses.replace(
            one, cell=f"kept={at}", value=(one.value or 0) - at, higher_is_better=True
        )
        for one in rows(FIRST)
        for at in ((0, 1) if one.method == "a" else (0,))
    ]
    (found,) = judged([best], better, range(5))
    assert found.verdict.confidence == 0.975 and found.verdict.verdict == "holds"
    assert found.notes == (
        "best kept of @a by the other seeds: 0 (for 5)",
        "what is best is chosen: 97.5% intervals",
    )


def test_claims_are_checked_against_the_plan() -> None:
    stages = [Cell("n=4").stage(name, "answers", method=name) for name in ("target", "source")]
    grid = Grid(cells=("n=1", "n=4"))

    def check(effect: str, stages: list = stages) -> None:
        claims.check([dataclasses.replace(CLAIM, effect=effect)], stages, grid)

    check("@target[n=4, layer=3] - @source[task=pos] - @baseline/majority")
    for effect, message in (
        ("@targt - @source", "no stage has this method. Did you mean 'target'"),
        ("@target[n=3]", "no cell has n=3: there are 1, 4"),
        ("@target[tusk=pos]", "no cell has 'tusk'. Did you mean 'task'"),
    ):
        with pytest.raises(UserError, match=message):
            check(effect)
    check("@other", [*stages, Cell().stage("own", "my.verbs:own")])  # it may name its arms


def test_a_thousand_stages_are_judged_in_seconds() -> None:
    found = [
        Result(
            metric="accuracy", value=0.5 + arm / 10 + seed * n % 7 / 70, n=9, split="test",
            higher_is_better=True, target=f"l{language}", seed=seed, method=f"m{arm}",
            cell=f"n={n},width=48",
        )
        for seed in range(10) for n in range(25) for arm in range(4) for language in range(4)
    ]  # fmt: skip
    asked = [f"slope(@m{arm}, n) - slope(@m0, n)" for arm in range(1, 4)]
    asked.append("@m1[n=best] - @m1[n=0]")
    few = [Claim("x", "accuracy", of, name=of, seeds=10) for of in asked]
    began = time.process_time()
    assert all(one.verdict.estimate for one in judged(few, found, range(10)))
    assert time.process_time() - began < 2
