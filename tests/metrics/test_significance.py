"""Paired tests against brute force, against sacrebleu, and by how often they are wrong."""

import itertools

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest

from jaxlt.errors import UserError
from jaxlt.metrics import text
from jaxlt.metrics.intervals import counts
from jaxlt.metrics.significance import approximate_randomization, holm, paired_bootstrap
from jaxlt.metrics.statistics import means
from tests.metrics.texts import OTHER, REFERENCES, SYSTEM, noisy


def test_randomization_is_near_all_exchanges() -> None:
    """Eight sentences have 256 exchanges: the exact p is the share of those as far apart.

    Exchanging the others gives the same two systems, so that half of them will do.
    """
    ours, theirs = text.bleu(SYSTEM, REFERENCES), text.bleu(OTHER, REFERENCES)
    observed = abs(ours.total() - theirs.total())
    extreme = 0
    for swaps in itertools.product([False, True], repeat=7):
        swaps = (False, *swaps)
        first = [b if s else a for s, a, b in zip(swaps, SYSTEM, OTHER, strict=True)]
        second = [a if s else b for s, a, b in zip(swaps, SYSTEM, OTHER, strict=True)]
        gap = BLEU().corpus_score(first, [REFERENCES]).score
        gap -= BLEU().corpus_score(second, [REFERENCES]).score
        extreme += abs(gap) >= observed - 1e-9
    found = approximate_randomization(ours, theirs, trials=20_000)
    assert found.p_value == pytest.approx(extreme / 128, abs=0.015)
    assert found.low is None
    assert found.n == 8


def test_bootstrap_equals_scoring_both_anew() -> None:
    """The same draws, each system's texts repeated as often as drawn and scored by sacrebleu."""
    ours, theirs = text.chrf(SYSTEM, REFERENCES), text.chrf(OTHER, REFERENCES)
    found = paired_bootstrap(ours, theirs, 120, seed=4)
    (_, weights), *_ = counts(8, 120, 4)
    metric = CHRF(word_order=2)
    gaps = []
    for row in weights.astype(int):
        places = np.repeat(np.arange(8), row)
        gold = [[REFERENCES[i] for i in places]]
        gap = metric.corpus_score([SYSTEM[i] for i in places], gold).score
        gaps.append(gap - metric.corpus_score([OTHER[i] for i in places], gold).score)
    every = np.array(gaps)
    assert found.difference == pytest.approx(ours.total() - theirs.total())
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(every, [0.025, 0.975])))
    assert found.wins == np.mean(every > 0)
    extreme = np.sum(np.abs(every - found.difference) >= found.difference)
    assert found.p_value == pytest.approx((extreme + 1) / 121)


def test_sacrebleu_gives_the_same_p_by_randomization() -> None:
    theirs, references = noisy(150, 0.24, seed=1)
    ours, _ = noisy(150, 0.20, seed=1)
    found = approximate_randomization(text.bleu(ours, references), text.bleu(theirs, references))
    systems = [("baseline", theirs), ("ours", ours)]
    paired = PairedTest(systems, {"BLEU": BLEU()}, [references], "ar", 4000)
    _, results = paired()
    assert found.first == pytest.approx(results["BLEU"][1].score)
    assert found.second == pytest.approx(results["BLEU"][0].score)
    assert found.p_value == pytest.approx(results["BLEU"][1].p_value, abs=0.02)


@pytest.mark.parametrize("test", [paired_bootstrap, approximate_randomization])
def test_a_clear_difference_is_significant_and_none_is_not(test) -> None:
    rng = np.random.default_rng(0)
    good, bad = means(rng.random(300) < 0.8), means(rng.random(300) < 0.5)
    found = test(good, bad, 1000)
    assert found.p_value < 0.002
    assert test(bad, good, 1000).difference == -found.difference
    assert test(bad, bad, 200).p_value == 1


@pytest.mark.parametrize("test", [paired_bootstrap, approximate_randomization])
def test_equal_systems_differ_as_rarely_as_the_level_says(test) -> None:
    rng = np.random.default_rng(11)
    found = 0
    for trial in range(200):
        pair = [means(rng.normal(size=60)) for _ in range(2)]
        found += test(*pair, 200, seed=trial).p_value < 0.1
    assert 8 <= found <= 34  # 20 expected


def test_systems_over_other_examples_are_refused() -> None:
    with pytest.raises(UserError, match="the same examples"):
        paired_bootstrap(means([1, 0]), means([1, 0, 1]))


def test_holm_steps_down() -> None:
    by_r = pytest.approx([0.03, 0.06, 0.06, 0.02])  # p.adjust
    assert holm([0.01, 0.04, 0.03, 0.005]) == by_r
    assert holm([0.5, 0.9]) == [1, 1]
    assert holm([]) == []
    p_values = np.random.default_rng(0).random(12) ** 4
    found = np.array(holm(p_values.tolist()))
    below_1 = found[found < 1]
    assert len(below_1) > 3
    for level in (*(below_1 - 1e-9), *(below_1 + 1e-9)):
        rejected = set()
        for step, at in enumerate(np.argsort(p_values)):  # the smallest, as long as each is in
            if p_values[at] > level / (12 - step):
                break
            rejected.add(at)
        assert rejected == set(np.flatnonzero(found <= level))
    assert holm([0.01, None, 0.02]) == [0.03, None, 0.04]
    with pytest.raises(UserError, match=r"between 0 and 1, and 1\.5"):
        holm([0.2, 1.5])
