"""How a figure looks: a drawing's numbers -> a Vega-Lite specification, a plain dictionary.

    vega_lite(drawing, 720, inner=560)     # inner: what its plots share of the width

Colours are Okabe and Ito's, made darker where they were too light for white; the page exchanges
them, and the inks, for lighter ones on a dark screen (style.css names the same values). What has a
colour has a shape or a place as well.
"""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from jaxlt.report.figures import Drawing
from jaxlt.report.numbers import plus_minus

Spec = dict[str, Any]  # a part of Vega-Lite

PALETTE = (
    "#0072b2", "#d55e00", "#00805d", "#b5568f", "#8a6d00",
    "#2f8fc4", "#6b6b6b", "#4b3f9e", "#7a8f00", "#7f3b08",
)  # fmt: skip
SHAPES = (
    "circle", "square", "triangle-up", "diamond", "triangle-down",
    "cross", "triangle-right", "triangle-left",
)  # fmt: skip
INK, MUTED, GRID, FAINT = "#1b1f24", "#5b6570", "#e4e7eb", "#9aa3ad"
ON_DARK, ON_LIGHT = "#fefefe", "#0b0b0c"  # letters on a cell of a heat map, on any screen
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
ROW = 34  # of an arm
_LABELLED = 16  # columns of a heat map that has numbers in its cells


def vega_lite(drawing: Drawing, width: float, inner: float) -> Spec:
    """Returns the specification of a picture about `width` pixels wide; plots share `inner`."""
    kind = drawing.figure.kind
    panels = list(dict.fromkeys(point.get("panel", "") for point in drawing.data["points"]))
    columns = 1 if len(panels) < 2 else _columns(kind, len(panels), width)
    each = (inner - 22 * (columns - 1)) / columns
    longest = max(map(len, drawing.series), default=0) * 6.6 + 42
    legend_columns = max(1, int((width - 40) // longest))
    body = {
        "curve": _curve, "heat": _heat, "dots": _dots, "bars": _bars, "scatter": _scatter,
    }[kind](drawing, each)  # fmt: skip
    if len(panels) > 1:
        heading = {"title": None, "labelFontSize": 12, "labelFontWeight": 600, "labelColor": INK}
        heading |= {"labelAnchor": "start", "labelPadding": 4}
        facet = {"field": "panel", "type": "nominal", "sort": panels, "header": heading}
        body = {"facet": facet, "columns": columns, "spacing": 22, "spec": body}
    values = drawing.data["points"]
    if kind == "dots":
        values = _of_dots(drawing)
    elif kind == "scatter":
        values = _placed(values, each, _scatter_height(each))
    body = {"data": {"values": values}} | body
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "title": {
            "text": textwrap.wrap(drawing.title, max(16, int(width / 7.5))) or "",
            "subtitle": textwrap.wrap(drawing.subtitle, max(20, int(width / 6.1))),
        },
        **body,
        "config": _config(legend_columns),
    }


def _columns(kind: str, panels: int, width: float) -> int:
    """How many panels stand side by side: as many as remain readable."""
    least = {"curve": 210, "bars": 210, "scatter": 230, "dots": 340, "heat": 340}[kind]
    most = max(1, int(width // least))
    rows = -(-panels // most)
    return -(-panels // rows)


def _config(legend_columns: int) -> Spec:
    axis = {
        "labelColor": MUTED, "labelFontSize": 11, "labelPadding": 6, "titleColor": MUTED,
        "titleFontSize": 12, "titleFontWeight": "normal", "titlePadding": 8, "gridColor": GRID,
        "domain": False, "ticks": False,
    }  # fmt: skip
    legend = {
        "orient": "top", "direction": "horizontal", "title": None, "labelColor": INK,
        "labelFontSize": 12, "symbolSize": 70, "symbolStrokeWidth": 2, "offset": 10,
        "columnPadding": 16, "labelLimit": 220, "symbolOpacity": 1, "columns": legend_columns,
    }  # fmt: skip
    title = {
        "anchor": "start", "frame": "bounds", "fontSize": 14, "fontWeight": 600, "color": INK,
        "subtitleColor": MUTED, "subtitleFontSize": 12, "subtitlePadding": 4, "offset": 14,
        "lineHeight": 18, "subtitleLineHeight": 15,
    }  # fmt: skip
    return {
        "font": FONT, "background": None, "view": {"stroke": None}, "axis": axis,
        "axisX": {"grid": False}, "axisQuantitative": {"labelOverlap": True, "labelSeparation": 8},
        "legend": legend, "title": title, "padding": 2,
        "range": {"category": list(PALETTE)},
    }  # fmt: skip


def _colour(drawing: Drawing, shape: bool = False) -> Spec:
    """The channels of `by`, nothing where there is a single series."""
    series = list(drawing.series)
    if len(series) < 2:
        return {}
    numbers = [at % len(PALETTE) for at in drawing.series.values()]
    if len({*numbers}) < len(series):
        numbers = list(range(len(series)))
    one = {"field": "series", "type": "nominal"}
    ranges = {"color": PALETTE, "shape": SHAPES} if shape else {"color": PALETTE}
    return {
        channel: one | {"scale": {"domain": series, "range": [of[n % len(of)] for n in numbers]}}
        for channel, of in ranges.items()
    }


def _mark(kind: str, drawing: Drawing, **style: Any) -> Spec:
    """A mark, in the colour of a single series; in the first one where there is none."""
    one = next(iter(drawing.series.values()), 0)
    colour = {} if len(drawing.series) > 1 else {"color": PALETTE[one % len(PALETTE)]}
    return {"type": kind, **colour, **style}


def _places(drawing: Drawing) -> list[Any]:
    """What lies on x: numbers by size, then texts as they came."""
    return sorted(_once(drawing.data["points"], "x"), key=_number_first)


def _number_first(value: Any) -> tuple[bool, float]:
    return (isinstance(value, str), 0.0 if isinstance(value, str) else value)


def _x(drawing: Drawing) -> Spec:
    """The axis of a curve or a scatter: numbers, on a logarithmic scale where the figure says so.

    'log2 languages' shows 1, 2, 4, 8, and not 0, 1, 2, 3: a reader knows these.
    """
    places = _places(drawing)
    log, _, name = drawing.figure.x.rpartition(" ")
    if any(isinstance(place, str) for place in places):
        return {"field": "x", "type": "ordinal", "sort": places, "title": name} | {
            "axis": {"labelAngle": 0, "labelOverlap": True}
        }
    scale: Spec = {"zero": False, "padding": 10}
    axis: Spec = {"tickCount": 5, "labelOverlap": True}
    if log:
        scale |= {"type": "log", "base": int(log[3:])}
        if len(places) <= 10:
            axis["values"] = places
        axis["format"] = "~s"
    return {"field": "x", "type": "quantitative", "title": name, "scale": scale, "axis": axis}


def _y(drawing: Drawing, low: str = "mean", zero: bool = False) -> Spec:
    return {
        "field": low,
        "type": "quantitative",
        "title": None,
        "scale": {"zero": zero, "nice": True},
        "axis": {"tickCount": 5},
    }


def _curve(drawing: Drawing, width: float) -> Spec:
    colour = _colour(drawing, shape=True)
    line = {name: of for name, of in colour.items() if name == "color"}
    x, y = _x(drawing), _y(drawing)
    band = {"x": x, "y": _y(drawing, "low"), "y2": {"field": "high"}} | line
    bounded = {"filter": "isValid(datum.low)"}
    return {
        "width": width,
        "height": min(280, max(180, 0.5 * width)),
        "layer": [
            *_zero(drawing),
            {
                "transform": [bounded],
                "mark": _mark("area", drawing, opacity=0.16, line=False),
                "encoding": band,
            },
            {"mark": _mark("line", drawing, strokeWidth=2), "encoding": {"x": x, "y": y} | line},
            {
                "mark": _mark("point", drawing, filled=True, size=52, opacity=1),
                "encoding": {"x": x, "y": y} | colour,
            },
        ],
    }


def _zero(drawing: Drawing) -> list[Spec]:
    """A line at 0 where a curve is of differences."""
    if not drawing.figure.against:
        return []
    rule = {"type": "rule", "color": MUTED, "strokeWidth": 1.25}
    y = {"datum": 0, "type": "quantitative", "title": None}
    return [{"mark": rule, "encoding": {"y": y | {"axis": {"tickCount": 5, "grid": True}}}}]


def _bars(drawing: Drawing, width: float) -> Spec:
    places = _places(drawing)
    colour = _colour(drawing)
    beside = {"xOffset": {"field": "series", "sort": list(drawing.series)}} if colour else {}
    narrow = width / len(places)
    axis: Spec = {"labelAngle": 0 if max(len(str(p)) for p in places) * 7 < narrow else -40}
    if narrow < 13:  # of so many the order says more than their names do
        axis = {"labelAngle": -90, "labelFontSize": 8, "labelOverlap": "greedy"}
        if not beside and all(isinstance(place, str) for place in places):
            means = {point["x"]: point["mean"] for point in drawing.data["points"]}
            places = sorted(places, key=lambda place: -means[place])
    x: Spec = {
        "field": "x",
        "type": "ordinal",
        "sort": places,
        "title": drawing.figure.x,
        "axis": axis,
    }
    x["scale"] = {"paddingInner": 0.25, "paddingOuter": 0.1}
    bounds = {"x": x, "y": _y(drawing, "low", True), "y2": {"field": "high"}} | beside
    return {
        "width": width,
        "height": min(260, max(180, 0.5 * width)),
        "layer": [
            {
                "mark": _mark("bar", drawing, opacity=0.85),
                "encoding": {"x": x, "y": _y(drawing, zero=True)} | beside | colour,
            },
            {
                "transform": [{"filter": "isValid(datum.low)"}],
                "mark": {"type": "rule", "strokeWidth": 1.5, "color": INK},
                "encoding": bounds,
            },
        ],
    }


def _heat(drawing: Drawing, width: float) -> Spec:
    points = drawing.data["points"]
    columns, lines = _once(points, "x"), _once(points, "y")
    known = [point["mean"] for point in points]
    middle = (min(known) + max(known)) / 2
    narrow = width / len(columns)
    x: Spec = {"field": "x", "type": "nominal", "sort": columns, "title": drawing.figure.x}
    angle = 0 if max(map(len, columns)) * 6.5 < narrow else -40 if narrow > 13 else -90
    x["axis"] = {"labelAngle": angle, "labelOverlap": True}
    y: Spec = {"field": "y", "type": "nominal", "sort": lines, "title": drawing.figure.y}
    y["axis"] = {"labelOverlap": True}
    height = len(lines) * max(13, min(28, 0.9 * narrow))
    labelled = len(columns) <= _LABELLED and narrow >= 30
    gradient = None if labelled else {"gradientLength": 160, "gradientThickness": 10}
    shade: Spec = {"field": "mean", "type": "quantitative", "legend": gradient}
    shade["scale"] = {"scheme": "cividis", "zero": False}
    layers: list[Spec] = [
        {
            "mark": {"type": "rect", "stroke": None},
            "encoding": {"x": x, "y": y, "color": shade},
        },
        {
            "transform": [{"filter": "datum.x === datum.y"}],
            "mark": {"type": "rect", "filled": False, "stroke": INK, "strokeWidth": 2},
            "encoding": {"x": x, "y": y},
        },
    ]
    if labelled:
        letters = {"condition": {"test": f"datum.mean > {middle!r}", "value": ON_LIGHT}}
        layers.append(
            {
                "mark": {"type": "text", "fontSize": 11 if narrow > 38 else 9.5},
                "encoding": {
                    "x": x,
                    "y": y,
                    "text": {"field": "mean", "type": "quantitative", "format": ".2f"},
                    "color": letters | {"value": ON_DARK},
                },
            }
        )
    return {"width": width, "height": max(60, height), "layer": layers}


def _once(points: Iterable[Spec], field: str) -> list[Any]:
    return list(dict.fromkeys(point[field] for point in points))


def _dots(drawing: Drawing, width: float) -> Spec:
    """Arms one below the other; thin lines join what is of one seed.

    All parts lie in one table of data, told apart by `part`: a facet divides that one alone.
    """
    arms = _once(drawing.data["points"], "arm")
    differences = drawing.data.get("differences")
    beside = differences is not None and width > 420
    colour = _colour(drawing) if len(drawing.series) <= len(PALETTE) else {}  # else grey
    left = width * 0.56 if beside else width
    y: Spec = {"field": "arm", "type": "nominal", "sort": arms, "title": None}
    y["axis"] = {"labelColor": INK, "labelFontSize": 12, "labelLimit": 190}
    y["scale"] = {"padding": 0.5}
    layers = [*_threads(y, colour), *_means(y), _right(y)]
    height = ROW * len(arms)
    main = {"width": left, "height": height, "layer": layers}
    if differences is None:
        return main
    right = {
        "width": width - left - 130 if beside else width,
        "height": height,
        "layer": _differences(y | {"axis": None} if beside else y, drawing.figure.against),
    }
    return {("hconcat" if beside else "vconcat"): [main, right], "spacing": 84 if beside else 26}


def _of_dots(drawing: Drawing) -> list[Spec]:
    """The one table: means with their numbers in words, pairs, differences."""
    rank = {arm: at for at, arm in enumerate(_once(drawing.data["points"], "arm"))}
    rows = [
        point | {"part": "mean", "told": plus_minus(point["mean"], point["low"], point["high"])}
        for point in drawing.data["points"]
    ]
    rows += [p | {"part": "pair", "rank": rank[p["arm"]]} for p in drawing.data["pairs"]]
    for row in drawing.data.get("differences", ()):
        told = "0" if row["mean"] is None else plus_minus(row["mean"], row["low"], row["high"])
        rows.append(row | {"part": "less", "told": told})
    return rows


def _part(name: str, test: str = "true") -> list[Spec]:
    return [{"filter": f"datum.part === '{name}' && {test}"}]


def _threads(y: Spec, colour: Spec) -> list[Spec]:
    """Each pair's values, and a line through them."""
    x: Spec = {"field": "value", "type": "quantitative", "title": None, "scale": {"zero": False}}
    x["axis"] = {"grid": True, "tickCount": 5}
    faint = {} if colour else {"color": FAINT}
    line = {"type": "line", "strokeWidth": 1, "opacity": 0.45, **faint}
    dot = {"type": "point", "filled": True, "size": 22, "opacity": 0.75, **faint}
    joined = {"detail": {"field": "pair"}, "order": {"field": "rank", "type": "quantitative"}}
    return [
        {"transform": _part("pair"), "mark": line, "encoding": {"x": x, "y": y} | joined | colour},
        {"transform": _part("pair"), "mark": dot, "encoding": {"x": x, "y": y} | colour},
    ]


def _means(
    y: Spec, part: str = "mean", ink: str = PALETTE[0], title: str | None = None
) -> list[Spec]:
    x: Spec = {"field": "mean", "type": "quantitative", "title": title, "scale": {"zero": False}}
    x["axis"] = {"grid": True, "tickCount": 4}
    return [
        {
            "transform": _part(part, "isValid(datum.low)"),
            "mark": {"type": "rule", "strokeWidth": 3, "color": ink, "strokeCap": "round"},
            "encoding": {"x": x | {"field": "low"}, "x2": {"field": "high"}, "y": y},
        },
        {
            "transform": _part(part, "isValid(datum.mean)"),
            "mark": {"type": "point", "filled": True, "size": 95, "color": ink, "opacity": 1},
            "encoding": {"x": x, "y": y},
        },
    ]


def _right(y: Spec, part: str = "mean") -> Spec:
    """Numbers in a column to the right of a plot."""
    text = {"type": "text", "align": "left", "dx": 10, "fontSize": 11, "color": MUTED}
    encoding = {"x": {"value": "width"}, "y": y, "text": {"field": "told", "type": "nominal"}}
    return {"transform": _part(part), "mark": text, "encoding": encoding}


def _differences(y: Spec, against: str) -> list[Spec]:
    """Paired differences from one arm, about a line at 0."""
    title = f"difference from {against}, paired"
    x = {"datum": 0, "type": "quantitative", "title": title}
    zero = {"mark": {"type": "rule", "color": MUTED, "strokeWidth": 1.25}, "encoding": {"x": x}}
    return [zero, *_means(y, "less", PALETTE[1], title), _right(y, "less")]


def _scatter(drawing: Drawing, width: float) -> Spec:
    x, y = _x(drawing), _y(drawing)
    height = _scatter_height(width)
    layers: list[Spec] = [
        {
            "mark": _mark("point", drawing, filled=True, size=64, opacity=0.9),
            "encoding": {"x": x, "y": y} | _colour(drawing, shape=True),
        }
    ]
    for place, style in _AROUND.items():
        layers.append(
            {
                "transform": [{"filter": f"datum.place === '{place}'"}],
                "mark": {"type": "text", "fontSize": 10, "color": MUTED, **style},
                "encoding": {"x": x, "y": y, "text": {"field": "label", "type": "nominal"}},
            }
        )
    return {"width": width, "height": height, "layer": layers}


def _scatter_height(width: float) -> float:
    return min(340, max(200, 0.62 * width))


_AROUND: dict[str, Spec] = {
    "above": {"dy": -11}, "right": {"dx": 8, "align": "left"},
    "below": {"dy": 12}, "left": {"dx": -8, "align": "right"},
}  # fmt: skip


def _placed(points: list[Spec], width: float, height: float) -> list[Spec]:
    """Points with the side that their label stands on; those without room for it have none."""
    ends = {}
    for axis, field in (("x", "x"), ("y", "mean")):
        values = [point[field] for point in points]
        ends[axis] = (min(values), (max(values) - min(values)) or 1.0)
    taken: dict[Any, list[tuple[float, float, float, float]]] = {}
    spots = []
    for point in points:
        across = (point["x"] - ends["x"][0]) / ends["x"][1] * width
        down = (1 - (point["mean"] - ends["y"][0]) / ends["y"][1]) * height
        spots.append((across, down))
        box = (across - 5, down - 5, across + 5, down + 5)
        taken.setdefault(point["panel"], []).append(box)
    out = []
    for point, (across, down) in zip(points, spots, strict=True):
        long = 5.6 * len(point["label"])
        boxes = {
            "above": (across - long / 2, down - 17, across + long / 2, down - 6),
            "right": (across + 7, down - 5, across + 8 + long, down + 5),
            "below": (across - long / 2, down + 6, across + long / 2, down + 17),
            "left": (across - 8 - long, down - 5, across - 7, down + 5),
        }
        others = taken[point["panel"]]
        free = [side for side, box in boxes.items() if not any(_meet(box, one) for one in others)]
        if free:
            others.append(boxes[free[0]])
        out.append(point | {"place": free[0] if free else ""})
    return out


def _meet(one: Sequence[float], other: Sequence[float]) -> bool:
    across = one[0] < other[2] and other[0] < one[2]
    return across and one[1] < other[3] and other[1] < one[3]
