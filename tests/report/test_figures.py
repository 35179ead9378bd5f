import dataclasses

import numpy as np
import pytest
from scipy import stats

from jaxlt.errors import UserError
from jaxlt.report.figures import Figure, draw
from tests.report.rows import arms, row, sweep


def test_a_curve_has_the_mean_of_seeds_at_each_place() -> None:
    figure = Figure("curve", metric="bpb", x="log2 languages", facet="width")
    drawing = draw(figure, sweep())
    points = {(p["panel"], p["series"], p["x"]): p for p in drawing.data["points"]}
    assert len(points) == 2 * 2 * 3
    point = points["width 48", "shared", 4]
    values = [2.5 - 0.48 + 0.4 + 0.01 * seed for seed in range(3)]
    bounds = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    np.testing.assert_allclose(
        [point["mean"], point["low"], point["high"]], [np.mean(values), *bounds]
    )
    assert drawing.series == {"shared": 0, "x_mod": 1}
    assert draw(dataclasses.replace(figure, methods=("x_mod",)), sweep()).series == {"x_mod": 1}
    assert drawing.subtitle == "bpb, lm, test · mean of 3 seeds, 95% interval"


def test_a_curve_against_an_arm_has_paired_differences() -> None:
    rows = [dataclasses.replace(r, value=r.value + 0.1 * r.seed**2) for r in sweep()]
    figure = Figure("curve", metric="bpb", x="languages", where="width=24", against="shared")
    drawing = draw(figure, rows)
    assert [(p["series"], p["x"]) for p in drawing.data["points"]] == [
        ("x_mod", 1), ("x_mod", 2), ("x_mod", 4),
    ]  # fmt: skip
    point = drawing.data["points"][2]
    assert point["mean"] == pytest.approx(0.01 * 4 - 0.1 * 4)
    assert point["high"] - point["low"] < 1e-9  # worlds differ much, and pairs do not
    assert drawing.subtitle.startswith("bpb less that of shared, paired, lm, test")


def test_dots_pair_seeds_and_compare_arms_within_them() -> None:
    rows = arms({"target": 0.6, "source": 0.7})
    figure = Figure("dots", methods=("source", "target"), against="source")
    data = draw(figure, rows).data
    assert [p["arm"] for p in data["points"]] == ["source", "target"]  # in the order asked for
    assert len(data["pairs"]) == 2 * 5
    by_pair = {(p["arm"], p["pair"]): p["value"] for p in data["pairs"]}
    of = [r.value for r in rows if r.method == "target" and r.seed == 2]
    assert by_pair["target", "seed 2"] == pytest.approx(np.mean(of))
    less = [by_pair["target", f"seed {s}"] - by_pair["source", f"seed {s}"] for s in range(5)]
    found = data["differences"][1]
    half = stats.t.ppf(0.975, 4) * stats.sem(less)
    assert found["mean"] == pytest.approx(np.mean(less))
    assert found["high"] == pytest.approx(np.mean(less) + half)
    assert data["differences"][0]["mean"] is None
    finer = draw(Figure("dots", by="language"), rows)
    assert len(finer.data["pairs"]) == 2 * 5 * 2 and len(finer.series) == 2


def test_a_heat_map_has_a_cell_for_each_pair_of_languages() -> None:
    rows = [
        row(source=s, target=t, seed=seed, value=0.1 * i + 0.01 * j + seed)
        for seed in (0, 1) for i, s in enumerate("abc") for j, t in enumerate("abcd")
    ]  # fmt: skip
    points = draw(Figure("heat"), rows).data["points"]
    cells = {(p["y"], p["x"]): p["mean"] for p in points}
    assert len(cells) == 12
    assert cells["c", "d"] == pytest.approx(0.2 + 0.03 + 0.5)


def test_a_scatter_correlates_ranks_within_seeds() -> None:
    rng = np.random.default_rng(1)
    rows, values = [], {}
    for seed in range(4):
        near, score = rng.random(6), rng.random(6)
        values[seed] = stats.spearmanr(near, score).statistic
        for at in range(6):
            of = {"seed": seed, "source": "eng", "target": f"l{at}", "method": "mbert"}
            rows += [row(value=score[at], **of), row(metric="cka", value=near[at], **of)]
    drawing = draw(Figure("scatter", x="cka"), rows)
    assert [p["label"] for p in drawing.data["points"]] == [f"l{at}" for at in range(6)]
    mean = np.mean([r.value for r in rows if r.target == "l3" and r.metric == "cka"])
    assert drawing.data["points"][3]["x"] == pytest.approx(mean)
    (note,) = drawing.notes
    assert f"mbert: {np.mean(list(values.values())):.3f}".replace("-", "−") in note
    assert "4 seeds" in note


def test_bars_stand_at_an_axis_of_the_settings() -> None:
    rows = [row(target="glv", settings=(("layer", str(n)),), value=n / 10) for n in (11, 2)]
    points = draw(Figure("bars", x="layer", by="task"), rows).data["points"]
    assert [(p["x"], p["mean"], p["low"]) for p in points] == [(2, 0.2, None), (11, 1.1, None)]


def test_points_of_different_languages_are_told() -> None:
    rows = [row(target="a", cell="n=1"), row(target="a", cell="n=2"), row(target="b", cell="n=2")]
    rows = [r for r in rows]
    figure = Figure("curve", x="n", by="task")
    assert draw(figure, rows).notes == (
        "Points are means of different languages (1 to 2, 1 of them in all points).",
    )
    assert draw(Figure("curve", x="n", by="task", languages=("a",)), rows).notes == ()


def test_what_has_no_logarithm_is_left_out_and_told() -> None:
    rows = [row(target="a", method="m", cell=f"tokens={n}") for n in (0, 100, 1000)]
    drawing = draw(Figure("curve", x="log10 tokens"), rows)
    assert [p["x"] for p in drawing.data["points"]] == [100, 1000]
    assert drawing.notes == ("What lies at tokens 0 has no place on a logarithmic axis.",)
    with pytest.raises(UserError, match="at no place of its axis"):
        draw(Figure("curve", x="log10 tokens"), rows[:1])


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"kind": "curv"}, "Did you mean 'curve'"),
        ({"kind": "curve"}, r"figure\.x names the axis"),
        ({"kind": "heat", "against": "a"}, "against is for figures of the kinds 'dots', 'curve'"),
        ({"kind": "dots", "against": "a", "facet": "width"}, "leaves no room for facet"),
        ({"kind": "heat", "by": "method"}, "no place in a figure of the kind 'heat'"),
    ],
)
def test_a_figure_that_cannot_be_drawn_is_refused_as_it_is_made(fields, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Figure(**fields)


def test_an_arm_to_compare_with_has_to_be_there() -> None:
    with pytest.raises(UserError, match="one of target, not 'source'"):
        draw(Figure("dots", against="source"), arms({"target": 0.5}))
    with pytest.raises(UserError, match="at languages 1, and a curve needs two places"):
        draw(
            Figure("curve", metric="bpb", x="log2 languages", where="languages=1,width=24"), sweep()
        )
    with pytest.raises(UserError, match="No row of 'accuracy' has a place on 'width'"):
        draw(Figure("scatter", x="width"), arms({"target": 0.5}))
