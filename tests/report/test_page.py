import dataclasses
import re
from html.parser import HTMLParser

import pytest

from jaxlt.report import drawing as pictures
from jaxlt.report import page
from jaxlt.report.figures import Figure, draw
from jaxlt.report.page import Section, render, write
from jaxlt.report.tables import Cell, Line, Table
from tests.report.pages import EVIL, sections
from tests.report.rows import arms


class Tags(HTMLParser):
    """Names of all elements, their attributes, and the text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs) -> None:
        self.names.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "img", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data


def test_html_in_data_is_text_and_all_files_are_beside_the_page(tmp_path) -> None:
    pytest.importorskip("vl_convert", reason="needs the extra `report`")
    path = write(tmp_path, f"Studies{EVIL}", sections(EVIL)[:1], about=f"about{EVIL}")
    tags = Tags(path.read_text())
    assert not tags.open  # every element is closed by its own name
    assert tags.names.count("script") == 1 and "img" not in tags.names
    assert not [name for name, _ in tags.attributes if name.startswith("on")]
    for said in (
        "Studies", "about", "MAD-X", "Which module?", "2 stale rows", "Target above source", "+5",
        "changed", "Read it so", "jaxlt experiment mad_x.gin", "glv", "run",
    ):  # fmt: skip
        assert f"{said}{EVIL}" in tags.text, said
    links = [to for name, to in tags.attributes if name == "href" and to]
    files = [to for to in links if to.startswith(("figures/", "tables/"))]
    assert {to.rpartition(".")[2] for to in files} == {"svg", "png", "csv", "tex", "md"}
    claims = (tmp_path / "tables" / "claims.md").read_text().splitlines()
    assert len(claims) == 2 + 3 and "| fails | −0.1" in claims[2] and "5 of 7" in claims[4]
    there = {p for p in tmp_path.rglob("*.*") if p.name != "index.html"}
    assert {tmp_path / to for to in files} == there


def test_the_first_screen_has_every_claim_with_its_verdict(monkeypatch) -> None:
    monkeypatch.setattr(pictures, "can_draw", lambda: False)
    text = Tags(render("Studies", sections())).text
    first = text[: text.index("The curse", text.index("Claims") + 200)]
    assert "3 claims: 1 holds, 1 fails, 1 incomplete." in first
    assert first.index("✗ fails") < first.index("Target above source") < first.index("✓ holds")
    assert re.search(r"−0\.1\d\d \[−0\.1\d\d, −0\.0?\d+\]", first)
    assert "5 of 5 seeds" in first and "5 of 7 seeds" in first and "+5" in first
    assert "p < 0.001 (Holm)" not in first  # these were not corrected


def test_a_page_without_the_extra_has_tables_of_its_figures(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(pictures, "can_draw", lambda: False)
    text = write(tmp_path, "Studies", sections()).read_text()
    assert '<svg class="marks' not in text and "pip install 'jaxlt[report]'" in text
    assert "Arms: the numbers" in text and "0.70" in text
    assert {p.suffix for p in tmp_path.rglob("*") if p.is_file()} == {
        ".html",
        ".csv",
        ".tex",
        ".md",
    }


def test_a_page_stays_below_its_limit_whatever_the_study(monkeypatch) -> None:
    monkeypatch.setattr(page, "LIMIT", 300_000)
    monkeypatch.setattr(pictures, "can_draw", lambda: False)
    long = "x" * 5000
    lines = tuple(Line(long, tuple(Cell(words=long) for _ in range(4))) for _ in range(301))
    tables = tuple(Table(f"t{at}", long, ("a",) * 5, lines[:20]) for at in range(9))
    drawing = draw(Figure("dots"), arms({"a": 0.5, "b": 0.6}))
    many = [Section(f"s{at}", long, long, figures=(drawing,), tables=tables) for at in range(12)]
    text = render("Studies", many)
    assert 200_000 < len(text.encode()) < page.LIMIT
    assert 'too large for this page, in <a href="tables/s2-t8.csv">' in text
    monkeypatch.undo()
    assert page.LIMIT == 10_000_000
    table = dataclasses.replace(tables[0], lines=lines)
    samples = (page.Sample("glv", "one two", "ein zwei"),) * 20
    few = render("Studies", [Section("s", tables=(table,), samples=samples)])
    assert few.count('class="sample"') == page.MOST_SAMPLES and "12 of 20 samples" in few
    assert f"{page.MOST_LINES} of 301 lines" in few
    assert long[: page.MOST_LETTERS + 1] not in few


def test_tables_are_sorted_before_any_script_runs(monkeypatch) -> None:
    monkeypatch.setattr(pictures, "can_draw", lambda: False)
    text = render("Studies", sections())
    assert '<th scope="col" aria-sort="descending">mean</th>' in text
    assert "<button" not in text  # the script makes them: without it there is nothing to press


def test_the_interval_lies_beside_what_the_rule_wants() -> None:
    found = sections()[0].claims
    whisker = page._whisker(found[1])  # 'low > 0.1', effect .3
    left, width = (
        float(v) for v in re.findall(r'wanted" x="([0-9.]+)" width="([0-9.]+)"', whisker)[0]
    )
    zero = float(re.findall(r'zero" x1="([0-9.]+)"', whisker)[0])
    dot = float(re.findall(r'cx="([0-9.]+)"', whisker)[0])
    assert zero < left < dot < left + width
    assert page._whisker(found[2]) == ""  # incomplete: nothing to draw
