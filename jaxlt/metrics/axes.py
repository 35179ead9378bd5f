"""The axes of rows, by name: what a figure has at x, a table over its columns, a claim in brackets.

cell_of("languages=4,mad_x.width=64")     # {'languages': 4, 'width': 64}
axis_of(row, "languages")                 # 4, of that cell
axis_of(row, "log2 languages")            # 2.0
axis_of(row, "method")                    # 'x_mod': a field of the row
axis_of(row, "layer")                     # of its settings or details
"""

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping

from jaxlt.errors import UserError, nearest
from jaxlt.metrics.result import Result

Value = str | int | float
_LOGS = {"log2": math.log2, "log10": math.log10}
_NO_AXES = {
    "value",
    "interval",
    "members",
    "modules",
    "decoding",
    "settings",
    "transfer",
    "details",
}
FIELDS = {field.name for field in dataclasses.fields(Result)} - _NO_AXES | {"language"}


def cell_of(cell: str, added: Mapping[str, Value] | None = None) -> dict[str, Value]:
    """Returns the axes of a cell by the last part of their names; `added` where it lacks one.

    A number is one: 'width=64' is 64, 'rate=3e-4' is 0.0003, 'modules=x_mod' a text. What says no
    value, as 'all' for the one cell of a study without axes, is no axis.
    """
    return {_last(name): value for name, value in (added or {}).items()} | dict(_read(cell))


@functools.lru_cache(maxsize=10_000)
def _read(cell: str) -> tuple[tuple[str, Value], ...]:
    parts = (part.partition("=") for part in cell.split(","))
    return tuple((_last(name), number_of(value)) for name, equals, value in parts if equals)


def axis_of(row: Result, name: str, added: Mapping[str, Value] | None = None) -> Value | None:
    """Returns a row's value on an axis, None where it has none; 'log2 NAME' is its logarithm."""
    value = _plain(row, name.rpartition(" ")[2], added)
    return value if value is None or " " not in name else scaled(name, value)


def scaled(name: str, value: Value) -> float:
    """A number of an axis as it is drawn and reckoned with: 'log2 languages', 4 -> 2.0."""
    log, _, of = name.rpartition(" ")
    if log and log not in _LOGS:
        raise UserError(f"An axis is a name, 'log2 NAME' or 'log10 NAME', not '{name}'.")
    if not isinstance(value, (int, float)) or (log and value <= 0):
        above = " above 0" if log else ""
        raise UserError(f"'{name}' needs numbers{above}, and a row has {of} {value!r}.")
    return _LOGS[log](value) if log else float(value)


def check_axis(name: str, rows: Iterable[Result], added: Mapping[str, Value] | None = None) -> None:
    """Raises UserError where no row has a value on an axis."""
    known: set[str] = set(FIELDS)
    for row in rows:
        if axis_of(row, name, added) is not None:
            return
        known |= {*cell_of(row.cell, added), *dict(row.settings), *row.details}
    of = name.rpartition(" ")[2]
    raise UserError(f"No row has the axis '{of}'.{nearest(of, known)}")


def _plain(row: Result, name: str, added: Mapping[str, Value] | None) -> Value | None:
    cell = cell_of(row.cell, added)
    if _last(name) in cell:
        return cell[_last(name)]
    if name in FIELDS:
        value = getattr(row, name)
        return value if isinstance(value, (str, int, float)) and value != "" else None
    settings = dict(row.settings)
    if name in settings:
        return number_of(settings[name])
    value = row.details.get(name)
    return value if isinstance(value, (str, int, float)) else None


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def number_of(text: str) -> Value:
    """'4' -> 4, '3e-4' -> 0.0003, 'x_mod' as it is."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
