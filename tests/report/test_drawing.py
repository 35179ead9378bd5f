"""Pictures by Vega-Lite: as wide as asked, every kind, and what data says is only text."""

import json
import re
import struct
from importlib import resources

import pytest

from jaxlt.errors import UserError
from jaxlt.report import drawing as pictures
from jaxlt.report import specs
from jaxlt.report.figures import Figure, draw
from jaxlt.report.specs import PALETTE, vega_lite
from tests.report.rows import arms, row, sweep

pytest.importorskip("vl_convert", reason="needs the extra `report`")

PAIRS = [
    row(source=s, target=t, value=0.1 * i + 0.02 * j)
    for i, s in enumerate(["eng", "deu", "fra"]) for j, t in enumerate(["eng", "deu", "fra"])
]  # fmt: skip
DRAWN = {
    "curve": (Figure("curve", metric="bpb", x="log2 languages", facet="width"), list(sweep())),
    "dots": (Figure("dots", against="a"), arms({"a": 0.5, "b": 0.6, "c": 0.55})),
    "heat": (Figure("heat"), PAIRS),
    "bars": (Figure("bars", metric="bpb", x="languages", where="width=24"), list(sweep())),
    "scatter": (Figure("scatter", metric="bpb", x="width", where="languages=2"), list(sweep())),
}


@pytest.mark.parametrize("kind", DRAWN)
def test_a_picture_is_as_wide_as_the_page_has_room(kind: str) -> None:
    drawing = draw(*DRAWN[kind])
    for width in (720, 344):
        found = re.search(r'<svg [^>]*width="([0-9.]+)"', pictures.picture(drawing, width).svg)
        assert found is not None and abs(float(found[1]) - width) <= 6, (width, found[1])
    assert json.loads(json.dumps(vega_lite(drawing, 720, 600)))["data"]["values"]


def test_what_data_says_is_text_in_a_picture() -> None:
    rows = arms({"<script>alert(1)</script>": 0.5, "\"><img src=x onerror='y'>&": 0.6})
    drawing = draw(Figure("dots", title="</svg><b>title</b>", name='x" onload="z'), rows)
    text = pictures.picture(drawing, 720).svg
    assert not re.search(r"<(script|img|b)\b|onload=\"z", text)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_a_png_file_and_names_of_its_own() -> None:
    drawing = draw(*DRAWN["curve"])
    text = pictures.picture(drawing, 720).svg
    content = pictures.png(text)
    assert content.startswith(b"\x89PNG") and abs(struct.unpack(">I", content[16:20])[0] - 1440) < 8
    assert PALETTE[0] in text and PALETTE[1] in text
    own = pictures.on_a_page('<clipPath id="c"/><g clip-path="url(#c)"/><use href="#c"/>', "study")
    assert own == ('<clipPath id="study-c"/><g clip-path="url(#study-c)"/><use href="#study-c"/>')


def test_places_are_numbers_by_size_and_texts_as_they_came() -> None:
    rows = [row(target="a", cell=f"d={d}", seed=s) for s in (0, 1) for d in ("near", "far", "b")]
    bars = vega_lite(draw(Figure("bars", x="d", by="task"), rows), 720, 600)
    assert bars["layer"][0]["encoding"]["x"]["sort"] == ["near", "far", "b"]
    many = [row(method="m", target="a", cell=f"d=t{n}", value=0.01 * n) for n in range(80)]
    bars = vega_lite(draw(Figure("bars", x="d"), many), 720, 600)
    x = bars["layer"][0]["encoding"]["x"]  # so many texts go by what they have
    assert x["sort"][:2] == ["t79", "t78"] and x["axis"]["labelAngle"] == -90
    curve = vega_lite(draw(*DRAWN["curve"]), 720, 600)
    x = curve["spec"]["layer"][1]["encoding"]["x"]
    assert x["axis"]["values"] == [1, 2, 4] and x["scale"]["base"] == 2


def test_the_dark_screen_exchanges_every_colour() -> None:
    sheet = resources.files("jaxlt.report").joinpath("style.css").read_text()
    for colour in (*specs.PALETTE, specs.INK, specs.MUTED, specs.FAINT):
        for part in ("fill", "stroke"):
            assert re.search(rf'\[{part}="{colour}"\] {{ {part}: #[0-9a-f]{{6}}; }}', sheet), colour
    assert f'[stroke="{specs.GRID}"]' in sheet


def test_labels_of_points_that_lie_close_do_not_meet() -> None:
    crowd = [{"panel": "", "x": 1 + at / 1000, "mean": 0.5, "label": "eng_Latn"} for at in range(8)]
    far = {"panel": "", "x": 9.0, "mean": 0.9, "label": "deu_Latn"}
    sides = [p["place"] for p in specs._placed([*crowd, far], 600, 300)]
    assert sides[-1] == "above" and 1 <= len([s for s in sides[:-1] if s]) <= 4
    assert len({s for s in sides[:-1] if s}) == len([s for s in sides[:-1] if s])


def test_the_extra_is_named_where_it_is_missing(monkeypatch) -> None:
    monkeypatch.setattr(pictures, "can_draw", lambda: False)
    with pytest.raises(UserError, match=r"pip install 'jaxlt\[report\]'"):
        pictures.picture(draw(*DRAWN["heat"]), 720)
