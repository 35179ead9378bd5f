import dataclasses

from jaxlt.report.figures import Figure
from jaxlt.report.sections import layout, section_of
from tests.report.rows import arms, row, sweep


def test_figures_and_tables_are_of_what_rows_have() -> None:
    section = section_of("curse", [*sweep(), *arms({"a": 0.5, "b": 0.6})], question="Why?")
    assert [drawing.figure.kind for drawing in section.figures] == ["curve", "dots"]
    assert section.figures[0].figure.x == "languages" and section.figures[0].figure.facet == "width"
    assert [table.name for table in section.tables] == ["bpb-lm-test", "accuracy-tagging-test"]
    assert section.question == "Why?" and section.notes == ()
    pairs = [row(source=s, target=t, method="m") for s in "abc" for t in "abc"]
    (heat,) = section_of("sources", pairs).figures
    assert heat.figure.kind == "heat" and heat.figure.facet == ""
    assert layout(pairs) == (("source",), "target")


def test_an_axis_that_says_no_more_than_the_method_is_none() -> None:
    rows = [
        row(method=m, cell=f"arm={m},n={n}", target="glv", seed=n) for m in "ab" for n in (1, 2)
    ]
    assert layout(rows) == (("method",), "n")
    assert layout([dataclasses.replace(r, cell=f"arm={r.method}") for r in rows]) == (
        ("method",),
        "language",
    )


def test_cells_that_leave_the_base_one_axis_at_a_time_are_lines() -> None:
    cells = ("all", "width=24", "width=96", "depth=4")
    rows = [
        row(target=t, cell=cell, method=m, seed=s, value=0.1 * len(cell) + 0.01 * s)
        for cell in cells for t in "ab" for m in ("x", "y") for s in (0, 1)
    ]  # fmt: skip
    base = {"m.width": 48, "m.depth": 2}
    assert layout(rows, base) == (("method", "width", "depth"), "language")
    (table,) = section_of("s", rows, (), base).tables
    assert [line.label for line in table.lines] == [
        "x", "y", "x, width 24", "y, width 24", "x, width 96", "y, width 96", "x, depth 4",
        "y, depth 4",
    ]  # fmt: skip
    (drawing,) = section_of("s", rows, [Figure("curve", x="width")], base).figures
    assert {p["x"] for p in drawing.data["points"]} == {24, 48, 96}  # and not of depth 4


def test_stages_of_one_arm_are_told_apart() -> None:
    rows = [row(method="m", stage=stage, target="glv") for stage in ("before", "after")]
    assert layout(rows) == (("method", "stage"), "language")
    assert [line.label for line in section_of("s", rows).tables[0].lines] == [
        "m, before",
        "m, after",
    ]


def test_tables_of_what_no_figure_shows_are_folded() -> None:
    rows = arms({"a": 0.5, "b": 0.6})
    rows += [dataclasses.replace(r, split="validation") for r in rows]
    tables = section_of("s", rows, [Figure("dots")]).tables
    assert [(t.name, t.folded) for t in tables] == [
        ("accuracy-tagging-test", False),
        ("accuracy-tagging-validation", True),
    ]


def test_what_rows_do_not_fit_is_a_note_and_the_page_goes_on() -> None:
    figures = [Figure("curve", x="widht"), Figure("dots")]
    section = section_of("s", arms({"a": 0.5, "b": 0.6}), figures, notes=("2 stale rows",))
    assert len(section.figures) == 1 and len(section.tables) == 1
    assert section.notes[0] == "2 stale rows"
    assert "The figure 'accuracy by widht' is left out: No row has the axis 'widht'" in (
        section.notes[1].replace("'curve'", "'accuracy by widht'")
    )
    some = section_of("s", arms({"a": 0.5, "b": 0.6}), [Figure("dots", methods=("a", "b", "c"))])
    assert some.notes == ("The figure 'dots' has no rows of c so far.",)
    assert len(some.figures) == 1
    assert section_of("s", []).notes == ("There are no rows of single languages here yet.",)


def test_the_last_step_counts() -> None:
    rows = [row(run="r", target="glv", step=step, value=step / 100) for step in (10, 30, 20)]
    section = section_of("r", rows)
    assert section.tables[0].lines[0].cells[0].value == 0.3
    assert section.notes == ("Of rows of several steps the last one's count.",)


def test_two_figures_of_one_name_have_files_of_their_own() -> None:
    section = section_of("s", arms({"a": 0.5, "b": 0.6}), [Figure("dots"), Figure("dots")])
    assert [d.name for d in section.figures] == ["dots-accuracy-method", "dots-accuracy-method-2"]
