"""Pictures: a drawing as SVG for the page, and as SVG and PNG files. Needs the extra `report`.

picture = svg(drawing, 720)        # 720 pixels wide with its labels
png(drawing, 720)                  # bytes, at twice the resolution
"""

import functools
import importlib.util
import re
from typing import Any, NamedTuple

from jaxlt.errors import UserError
from jaxlt.report.figures import Drawing
from jaxlt.report.specs import vega_lite

VEGA_LITE = "6.4"
_SIZE = re.compile(r'<svg [^>]*?width="([0-9.]+)" height="([0-9.]+)"')


def can_draw() -> bool:
    """Whether the extra is installed."""
    return importlib.util.find_spec("vl_convert") is not None


def _converter() -> Any:
    if not can_draw():
        raise UserError(
            "Figures are drawn by vl-convert-python, which is not installed: pip install "
            "'jaxlt[report]'."
        )
    import vl_convert

    return vl_convert


class Picture(NamedTuple):
    """A specification, and the SVG that it makes."""

    spec: dict[str, Any]
    svg: str


@functools.lru_cache(maxsize=256)  # a page and its files show the same
def picture(drawing: Drawing, width: float) -> Picture:
    """Returns a picture of that width: labels are measured, then plots get what they leave."""
    inner = width - 90
    for _ in range(3):
        spec = vega_lite(drawing, width, inner)
        text: str = _converter().vegalite_to_svg(spec, vl_version=VEGA_LITE)
        found = _SIZE.search(text)
        assert found is not None
        over = float(found[1]) - width
        if abs(over) < 1:
            break
        inner = max(120, inner - over)
    return Picture(spec, text)


def on_a_page(svg: str, own: str) -> str:
    """An SVG whose names begin with `own`, so that many fit on one page."""
    text = re.sub(r'\bid="([^"]+)"', rf'id="{own}-\1"', svg)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{own}-\1)", text)
    return re.sub(r'((?:xlink:)?href)="#([^"]+)"', rf'\1="#{own}-\2"', text)


def png(svg: str) -> bytes:
    """Returns an SVG as PNG on white, at twice its size."""
    white = re.sub(
        r"(<svg [^>]*>)", r'\1<rect width="100%" height="100%" fill="white"/>', svg, count=1
    )
    found: bytes = _converter().svg_to_png(white, scale=2)
    return found


def interactive_script() -> str:
    """Returns Vega, Vega-Lite and Vega-Embed as one script (0.9 MB) that asks no network."""
    found: str = _converter().javascript_bundle(vl_version=VEGA_LITE)
    return found
