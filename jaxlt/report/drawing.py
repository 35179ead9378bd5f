"""Pictures: a drawing as SVG for the page, and as SVG and PNG files. Needs the extra `report`.

picture = svg(drawing, 720)        # 720 pixels wide with its labels
png(drawing, 720)                  # bytes, at twice the resolution
"""

import importlib.util
import re
from typing import Any

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


def fitted(drawing: Drawing, width: float) -> dict[str, Any]:
    """Returns the specification of a picture `width` wide: its labels are measured first."""
    inner = width - 90
    for _ in range(3):
        spec = vega_lite(drawing, width, inner)
        found = _SIZE.search(_converter().vegalite_to_svg(spec, vl_version=VEGA_LITE))
        assert found is not None
        over = float(found[1]) - width
        if abs(over) < 1:
            break
        inner = max(120, inner - over)
    return spec


def svg(drawing: Drawing, width: float, spec: dict[str, Any] | None = None) -> str:
    """Returns a picture as SVG, with names of its own, so that many fit on one page."""
    text = _converter().vegalite_to_svg(spec or fitted(drawing, width), vl_version=VEGA_LITE)
    own = f"{re.sub(r'[^A-Za-z0-9]+', '-', drawing.name)}-{round(width)}"
    text = re.sub(r'\bid="([^"]+)"', rf'id="{own}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{own}-\1)", text)
    return re.sub(r'((?:xlink:)?href)="#([^"]+)"', rf'\1="#{own}-\2"', text)


def png(drawing: Drawing, width: float, spec: dict[str, Any] | None = None) -> bytes:
    """Returns a picture as PNG on white."""
    spec = spec or fitted(drawing, width)
    spec = spec | {"config": spec["config"] | {"background": "white"}}
    found: bytes = _converter().vegalite_to_png(spec, vl_version=VEGA_LITE, scale=2)
    return found


def interactive_script() -> str:
    """Returns Vega, Vega-Lite and Vega-Embed as one script (0.9 MB) that asks no network."""
    found: str = _converter().javascript_bundle(vl_version=VEGA_LITE)
    return found
