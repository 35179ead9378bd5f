import csv as read_csv
import io

import numpy as np
import pytest
from scipy import stats

from jaxlt.report.tables import (
    Cell,
    Line,
    Table,
    csv,
    latex,
    markdown,
    of_points,
    pivot,
    points_csv,
)
from tests.report.rows import arms, row, sweep


def test_arms_over_languages_sorted_and_marked() -> None:
    rows = arms({"worse": 0.5, "best": 0.6, "near": 0.599})
    table = pivot(
        [*rows, row(method="baseline/majority", source="eng", target="glv", value=0.2)], "accuracy"
    )
    assert table.head == ("method", "glv", "sqi", "mean")
    assert [line.label for line in table.lines][2:] == ["worse", "majority"]
    assert table.lines[-1].quiet and not table.lines[-1].cells[2].seeds
    marks = {line.label: [cell.mark for cell in line.cells] for line in table.lines}
    assert marks["best"] == ["best"] * 3 and marks["near"] == ["tied"] * 3
    assert marks["worse"] == [""] * 3
    best = next(line for line in table.lines if line.label == "best")
    by_seed = [
        np.mean([r.value for r in rows if r.method == "best" and r.seed == s]) for s in range(5)
    ]
    assert best.cells[2].value == pytest.approx(np.mean(by_seed))
    half = stats.t.ppf(0.975, 4) * stats.sem(by_seed)
    assert best.cells[2].high == pytest.approx(np.mean(by_seed) + half)
    assert table.sorted_by == 3 and table.descending


def test_only_what_holm_leaves_differs_from_the_best() -> None:
    """p of .03 alone is a difference, and beside a second arm of .9 with Holm it is .06: none."""
    gaps = {0: 0.0, 1: -0.02, 2: 0.0}
    noise = [0.0093, -0.0093, 0.0093, -0.0093, 0.0]
    ours = [row(method="a", target="glv", seed=s, value=0.5) for s in range(5)]
    other = [
        row(method="b", target="glv", seed=s, value=0.5 + gaps[1] + 1.5 * noise[s])
        for s in range(5)
    ]
    third = [row(method="c", target="glv", seed=s, value=0.4999 + noise[s]) for s in range(5)]
    p = stats.ttest_1samp([0.02 - 1.5 * n for n in noise], 0).pvalue
    assert 0.025 < p < 0.05
    of = {line.label: line.cells[0].mark for line in pivot([*ours, *other], "accuracy").lines}
    assert of == {"a": "best", "b": ""}
    table = pivot([*ours, *other, *third], "accuracy")
    assert {line.label: line.cells[0].mark for line in table.lines}["b"] == "tied"


def test_arms_are_compared_with_those_alike_but_for_the_method() -> None:
    table = pivot(sweep(), "bpb", ("method", "width"), "languages")
    assert table.head == ("method, width", "1", "2", "4")
    assert [line.label for line in table.lines] == [
        "x_mod, width 24", "shared, width 24", "x_mod, width 48", "shared, width 48",
    ]  # fmt: skip
    assert [line.apart for line in table.lines] == [False, False, True, False]
    assert [line.cells[2].mark for line in table.lines] == ["best", "", "best", ""]
    assert table.sorted_by == 0 and "lowest" in table.note


def test_one_seed_is_tested_against_nothing() -> None:
    table = pivot(arms({"a": 0.5, "b": 0.6}, seeds=1), "accuracy")
    assert table.lines[0].cells[0].text == "0.600" or table.lines[0].cells[0].mark == "best"
    assert "tied" not in {cell.mark for line in table.lines for cell in line.cells}
    assert table.note == "One seed: nothing is tested."


TABLE = Table(
    "t",
    "100% & more",
    ("arm_1", "a&b"),
    (
        Line("x_mod", (Cell(0.5, 0.4, 0.6, 5, "best"),)),
        Line("5%, 'quoted \"one\"'", (Cell(0.45, 0.35, 0.55, 5, "tied"),)),
        Line("majority", (Cell(),), quiet=True, apart=True),
    ),
)


def test_latex_with_its_letters_escaped() -> None:
    assert latex(TABLE).splitlines()[1:] == [
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"arm\_1 & a\&b \\",
        r"\midrule",
        r"x\_mod & \textbf{0.500 $\pm$ 0.100} \\",
        r"5\%, 'quoted " + '"one"' + r"' & 0.450 $\pm$ 0.100$^\dagger$ \\",
        r"\midrule",
        r"majority & -- \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_csv_has_a_line_for_each_number() -> None:
    lines = list(read_csv.DictReader(io.StringIO(csv(TABLE))))
    assert [line["arm_1"] for line in lines] == ["x_mod", "5%, 'quoted \"one\"'"]
    assert lines[0]["column"] == "a&b" and float(lines[0]["low"]) == 0.4
    assert lines[1]["mark"] == "tied"


def test_a_figures_numbers_are_a_table() -> None:
    points = [
        {"panel": "", "series": "a", "x": 4, "mean": 0.5, "low": 0.4, "high": 0.6, "seeds": 5}
    ]
    table = of_points("f", "numbers", points)
    assert table.head == ("series", "x", "mean", "seeds")
    assert [cell.text for cell in table.lines[0].cells] == ["4", "0.500 ± 0.100", "5"]
    assert points_csv(points) == "panel,series,x,mean,low,high,seeds\n,a,4,0.5,0.4,0.6,5\n"


def test_a_table_of_words_is_written_as_it_stands() -> None:
    table = Table("t", "t", ("study", "claim"), (Line("a", (Cell(words="x|y"),)),))
    assert csv(table) == "study,claim\na,x|y\n"
    assert markdown(table) == "| study | claim |\n| --- | --- |\n| a | x\\|y |\n"
    assert "| x_mod | **0.500 ± 0.100** |" in markdown(TABLE)
