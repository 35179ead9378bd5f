"""Correlations: against scipy, all permutations, and by how often their intervals are right."""

import itertools

import numpy as np
import pytest
from scipy import stats

from jaxlt.errors import UserError
from jaxlt.metrics.correlation import by_seed, correlation
from jaxlt.metrics.effects import over_seeds

REFERENCES = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}


@pytest.mark.parametrize("kind", ["pearson", "spearman"])
def test_values_p_and_interval_are_scipys(kind) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(8, size=30)  # with ties
    y = x + rng.integers(-9, 9, size=30)
    found, wanted = correlation(kind, x, y), REFERENCES[kind](x, y)
    assert found.value == pytest.approx(wanted.statistic)
    assert found.p_value == pytest.approx(wanted.pvalue, abs=0.01)
    if kind == "pearson":
        bounds = wanted.confidence_interval()
        assert (found.low, found.high) == pytest.approx((bounds.low, bounds.high))
    assert correlation(kind, x, -y).low == pytest.approx(-found.high)
    assert found.n == 30


def test_p_is_the_share_of_all_orders() -> None:
    x, y = np.array([1.0, 2, 3, 4, 5]), np.array([2.0, 1, 3, 5, 4])
    value = stats.spearmanr(x, y).statistic
    every = [stats.pearsonr(x, order).statistic for order in itertools.permutations(y)]
    found = correlation("spearman", x, y, permutations=20_000)
    share = np.mean(np.abs(every) >= abs(value) - 1e-9)
    assert found.p_value == pytest.approx(share, abs=0.01)
    perfect = correlation("spearman", x, x**3)
    assert (perfect.value, perfect.low, perfect.high) == (pytest.approx(1), None, None)
    assert perfect.p_value == pytest.approx(2 / 120, abs=0.006)


@pytest.mark.parametrize("kind", ["pearson", "spearman"])
def test_intervals_of_24_languages_hold_the_truth_as_often_as_said(kind) -> None:
    rng = np.random.default_rng(1)
    within = 0
    truth = 0.6 if kind == "pearson" else 6 / np.pi * np.arcsin(0.3)  # of the normal's ranks
    for _ in range(1000):
        x, noise = rng.normal(size=(2, 24))
        found = correlation(kind, x, 0.6 * x + 0.8 * noise, permutations=1)
        within += found.low <= truth <= found.high
    assert 930 <= within <= 970


def test_each_seed_has_its_own_languages() -> None:
    rng = np.random.default_rng(2)
    x = {(seed, f"l{seed}{which}"): rng.random() for seed in range(4) for which in range(6)}
    y = {key: value + 0.3 * rng.random() for key, value in x.items()}
    effects = by_seed("spearman", x, y)
    wanted = [
        stats.spearmanr(*([of[key] for key in x if key[0] == seed] for of in (x, y))).statistic
        for seed in range(4)
    ]
    assert effects.values[:, 0] == pytest.approx(wanted)
    assert over_seeds(effects).value == pytest.approx(np.mean(wanted))
    del y[1, "l13"]
    y.update({key: 0.5 for key in y if key[0] == 2})
    assert by_seed("pearson", x, y, seeds=range(5)).missing() == [
        (1, "all"),
        (2, "all"),
        (4, "all"),
    ]
    fixed = by_seed("pearson", x, y, seeds=[0], languages=["l00", "l01", "l02"])
    keys = [(0, f"l0{which}") for which in range(3)]
    wanted = stats.pearsonr([x[key] for key in keys], [y[key] for key in keys]).statistic
    assert fixed.values.item() == pytest.approx(wanted)
    with pytest.raises(UserError, match=r"three of them in each seed.* seed 0 has l00, l01"):
        by_seed("pearson", x, y, [0], ["l00", "l01"])


@pytest.mark.parametrize(
    ("kind", "x", "y", "message"),
    [
        ("speerman", [1, 2, 3, 4], [1, 2, 3, 5], "Did you mean 'spearman'"),
        ("pearson", [1, 2, 3, 4], [2, 2, 2, 2], "never varies: all y are equal"),
        (
            "pearson",
            [1, 2, 3, 4],
            [1, 2, 3],
            r"four or more, and not of the shapes \[4\] and \[3\]",
        ),
        ("pearson", [1, 2, 3], [1, 2, 3], "four or more"),
        (
            "spearman",
            [1, 2, float("nan"), 4],
            [1, 2, 3, 5],
            "Point 2 of a correlation has nan for x",
        ),
    ],
)
def test_bad_input_is_told(kind, x, y, message) -> None:
    with pytest.raises(UserError, match=message):
        correlation(kind, x, y)
