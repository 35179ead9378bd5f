"""Effects out of rows, against numbers reckoned by hand."""

import dataclasses

import numpy as np
import pytest

from jaxlt.errors import UserError
from jaxlt.experiments.arms import Grid, grid_of, measured
from jaxlt.experiments.axes import Axes
from jaxlt.metrics.result import Result


def row(method: str, value: float | None, seed: int = 0, target: str = "glv", **fields) -> Result:
    settings = {"metric": "accuracy", "n": 10, "split": "test", "higher_is_better": True}
    return Result(**settings | fields, method=method, value=value, seed=seed, target=target)


def cells(axis: str, by: dict[float, list[float]], method: str = "a", **fields) -> list[Result]:
    """Rows of an arm in each cell, one of each seed."""
    return [
        row(method, score, seed, cell=f"{axis}={value}", **fields)
        for value, scores in by.items()
        for seed, score in enumerate(scores)
    ]


def values(text: str, rows: list[Result], seeds: int = 2, **settings) -> list[list[float]]:
    found = measured(text, rows, "accuracy", seeds=range(seeds), split="test", **settings)
    return found.effects.values.round(6).tolist()


def test_a_sum_is_within_a_seed_and_language() -> None:
    scores = {"a": [[0.7, 0.6], [0.8, 0.5]], "b": [[0.5, 0.5], [0.5, 0.4]], "c": [[0.1] * 2] * 2}
    rows = [
        row(arm, value, seed, language)
        for arm, by in scores.items()
        for seed, of in enumerate(by)
        for language, value in zip(("glv", "sqi"), of, strict=True)
    ]
    rows += [dataclasses.replace(rows[0], split="dev", value=0.0), row("a", 0.0, 7)]
    mean = dataclasses.replace(rows[0], target="", aggregate="macro", group="all", value=0.0)
    assert values("@a - @b", [*rows, mean]) == [[0.2, 0.1], [0.3, 0.1]]
    assert values("@a - 0.5*@b - 0.5*@c", rows) == [[0.4, 0.3], [0.5, 0.25]]
    assert values("@a[language=sqi] - @b[language=sqi]", rows) == [[0.1], [0.1]]
    assert values("@a - @b", rows, languages=("sqi",)) == [[0.1], [0.1]]
    own = [dataclasses.replace(one, task=f"tagging.{one.target}") for one in rows]
    assert (
        values("@a - @b", own) == values("@a - @b", own, task="tagging") == [[0.2, 0.1], [0.3, 0.1]]
    )
    assert values("@a[task=tagging.glv] - @b[task=tagging.glv]", own) == [[0.2], [0.3]]
    missing = measured("@a - @b", rows, "accuracy", seeds=range(3), split="test")
    assert np.isnan(missing.effects.values[2]).all() and missing.lacking == ("@a", "@b")


def test_seeds_may_have_languages_of_their_own() -> None:
    rows = [row("a", 0.6, 0, "x"), row("a", 0.8, 0, "y"), row("a", 0.5, 1, "z")]
    rows += [row("b", 0.5, 0, "p"), row("b", 0.1, 1, "q")]
    lonely = values("@a - @b", rows, by_language=False)
    assert lonely[0] == [0.2] and np.isnan(lonely[1][0])  # seed 1 has one language of two
    assert values("@a - @b", [*rows, row("a", 0.7, 1, "w")], by_language=False)[1] == [0.5]


def test_slopes_are_over_all_cells_that_were_planned() -> None:
    rows = cells("languages", {1: [0.9, 0.8], 2: [0.8, 0.8], 4: [0.7, 0.5]})
    rows += cells("languages", {1: [0.9, 0.9], 2: [0.9, 0.9], 4: [0.9, 0.9]}, "b")
    assert values("slope(@a, log2 languages)", rows) == [[-0.1], [-0.15]]
    assert values("slope(@a, log2 languages) - slope(@b, log2 languages)", rows)[1] == [-0.15]
    assert values("slope(@a[languages=1|2], log2 languages)", rows) == [[-0.1], [0.0]]
    grid = Grid(cells=("languages=1", "languages=2", "languages=4", "languages=8"))
    short = measured("slope(@a, log2 languages)", rows, "accuracy", seeds=range(2), grid=grid)
    assert np.isnan(short.effects.values).all() and short.lacking == ("@a[languages=8]",)
    layers = [row("a", 0.1 * n, details={"layer": n}) for n in (1, 2, 3)]
    assert values("slope(@a, layer)", layers, 1) == [[0.1]]


def test_the_best_is_chosen_on_the_other_seeds() -> None:
    rows = cells("languages", {1: [0.9, 0.1, 0.2], 4: [0.2, 0.6, 0.7], 8: [0.3, 0.3, 0.3]})
    found = measured(
        "@a[languages=best] - @a[languages=8]", rows, "accuracy", seeds=range(3), split="test"
    )
    # Without seed 0: 1 has .15, 4 has .65. Without 1: .55, .45. Without 2: .5, .4.
    assert found.effects.values.round(6).tolist() == [[-0.1], [-0.2], [-0.1]]
    assert found.chosen == ("best languages of @a by the other seeds: 4 (for 1), 1 (for 2)",)
    lower = [dataclasses.replace(one, higher_is_better=False) for one in rows]
    assert values("@a[languages=best]", lower, 3) == [[0.9], [0.3], [0.3]]
    unknown = [dataclasses.replace(one, higher_is_better=None) for one in rows]
    with pytest.raises(UserError, match="do not say whether higher"):
        values("@a[languages=best]", unknown, 3)
    some = [one for one in rows if (one.cell, one.seed) != ("languages=8", 2)]
    assert np.isnan(values("@a[languages=best]", some, 3)).all()


def test_rank_correlations_over_languages_and_axes() -> None:
    near = {"x": [1.0, 2.0, 3.0], "y": [0.5, 0.1, 0.3]}
    rows = [
        row(name, value, 0, language, metric=metric)
        for name, metric in (("x", "cka"), ("y", "accuracy"))
        for language, value in zip("pqr", near[name], strict=True)
    ]
    # ranks 1 2 3 against 3 1 2: 1 - 6 * (4 + 1 + 1) / 24
    assert values("spearman(@x[metric=cka], @y)", rows, 1) == [[-0.5]]
    assert values(
        "spearman(@x[metric=cka], @x[metric=cka]) - spearman(@x[metric=cka], @y)", rows, 1
    )
    grown = cells("languages", {1: [0.1, 0.4], 2: [0.3, 0.2], 4: [0.2, 0.1]})
    other = cells("languages", {1: [1, 1], 2: [2, 2], 4: [3, 3]}, "b")
    assert values("spearman(@a, languages)", grown) == [[0.5], [-1.0]]
    assert values("spearman(@a, @b, languages)", grown + other) == [[0.5], [-1.0]]
    with pytest.raises(UserError, match="adds a correlation to what is none"):
        values("spearman(@a, languages) - @b", grown + other)


def test_axes_that_vary_one_at_a_time_are_at_their_base() -> None:
    axes = Axes(vary={"curse.languages": [1, 16], "curse.width": [24]}, seeds=1)
    grid = grid_of(axes, {"curse.languages": 4, "curse.width": 48})
    assert grid.base == {"languages": 4, "width": 48} and grid.vary == ("languages", "width")
    rows = [row("a", 0.5, cell="all"), row("a", 0.7, cell="languages=1")]
    rows += [row("a", 0.1, cell="languages=16"), row("a", 0.3, cell="width=24")]
    assert values("@a", rows, 1, grid=grid) == [[0.5]]
    assert values("@a[languages=16]", rows, 1, grid=grid) == [[0.1]]
    assert values("@a[width=48] - @a[width=24]", rows, 1, grid=grid) == [[0.2]]
    assert values("slope(@a, log2 languages)", rows, 1, grid=grid) == [[-0.15]]
    added = Axes(cross={"n": [1, 2], "m.width": [64, 96]}, added={"m.width": 64}, seeds=1)
    assert grid_of(added, {}).settings[:2] == ({"width": 64, "n": 1}, {"width": 96, "n": 1})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@targt - @b", "No row has the method 'targt'. Did you mean 'target'"),
        ("@target[metric=acuracy]", "metric 'acuracy'. Did you mean 'accuracy'"),
        ("@target[languages=3]", "@target has the languages '3'. There are 1, 2"),
        ("@target[langages=1]", "axis 'langages'. Did you mean 'languages'"),
        ("@target", r"several cells, those of languages 1, 2: say .*\[languages=1\]"),
        ("@target[languages=1] - @odd", "same references"),
        ("@twice", "two rows of 'accuracy'"),
        ("slope(@b, log2 method)", "'log2 method' needs numbers"),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str) -> None:
    rows = cells("languages", {1: [0.5], 2: [0.6]}, "target", references="r1")
    rows += [row("b", 0.1), row("odd", 0.2, references="r2")]
    rows += [row("twice", 0.2, stage="x"), row("twice", 0.3, stage="y")]
    with pytest.raises(UserError, match=message):
        values(text, rows, 1)
