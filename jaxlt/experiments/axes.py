"""The axes of a study: what its cells are, and how they are named.

    axes = Axes(cross={"curse.languages": [1, 2, 4], "curse.arm": ["shared", "x_mod"]},
                vary={"curse.width": [24, 96]}, where="varied == '' or seed < 3", seeds=5)
    axes.cells()      # Setting('languages=1,arm=shared', {...}, seed), ... in the order of seeds

An axis is a gin binding or a macro; a cell's name has the last part of it. Crossed, several
together (zip), or one at a time from the base point (vary). An axis that is added later names its
old value (added), so that old cells keep their names and folders.
"""

import ast
import dataclasses
import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from jaxlt.errors import UserError, nearest, repeated
from jaxlt.experiments.stage import ALL

Values = tuple[tuple[str, Any], ...]  # (axis, its values)


class Setting(NamedTuple):
    """One cell: its name, (axis, value) of each axis, and a seed."""

    name: str
    values: Values
    seed: int


def pairs(value: Any) -> Values:
    """{name: value} or pairs as a frozen config holds them."""
    items = value.items() if isinstance(value, Mapping) else value
    return tuple((name, _frozen(one)) for name, one in items)


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return pairs(value)
    return tuple(map(_frozen, value)) if isinstance(value, (list, tuple)) else value


def short(axis: str) -> str:
    """'curse.languages' -> 'languages'."""
    return axis.rpartition(".")[2].rpartition("/")[2]


@dataclasses.dataclass(frozen=True)
class Axes:
    """Which cells there are, each of which has the seeds.

    cross: every value with every other. zip: values side by side, all axes as long. vary: of these
    one at a time leaves the base point. where: a condition on the names of axes, `seed`, and
    `varied` (the axis of `vary` that has left the base point, or ''). seeds: how many, or which.
    """

    cross: Values = ()
    zip: Values = ()
    vary: Values = ()
    where: str = ""
    added: Values = ()
    seeds: int | tuple[int, ...] = 5

    def __post_init__(self) -> None:
        for name in ("cross", "zip", "vary", "added"):
            object.__setattr__(self, name, pairs(getattr(self, name)))
        kind = type(self).__name__.lower()
        named = [axis for axis, _ in (*self.cross, *self.zip, *self.vary)]
        for twice in repeated(map(short, named)):
            raise UserError(f"Two axes of the {kind} are called '{twice}': each has one name.")
        for axis, values in (*self.cross, *self.zip, *self.vary):
            if not isinstance(values, tuple) or not values:
                raise UserError(f"The axis '{axis}' of the {kind} needs a list of values.")
        lengths = {axis: len(values) for axis, values in self.zip}
        if len(set(lengths.values())) > 1:
            raise UserError(
                f"Axes that are zipped are equally long, and those of the {kind} are "
                f"{', '.join(f'{axis}: {n}' for axis, n in lengths.items())}."
            )
        for axis, _ in self.added:
            if axis not in named:
                raise UserError(
                    f"{kind}.added gives the old value of '{axis}', which is no axis."
                    f"{nearest(axis, named)}"
                )
        seeds = range(self.seeds) if isinstance(self.seeds, int) else self.seeds
        if not seeds or any(seed < 0 for seed in seeds) or len(set(seeds)) != len(seeds):
            raise UserError(f"{kind}.seeds is a number from 1, or different seeds: {self.seeds}.")

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds, of which each is a world of its own."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds

    def cells(self, base: Mapping[str, Any] | None = None) -> list[Setting]:
        """All cells of seed 0, then of seed 1, and so on.

        base: what axes are where none leaves it; a value of `vary` that is the base's is no cell.
        """
        kept: dict[tuple[str, int], Setting] = {}
        holds = condition(self.where)
        for seed in self.all_seeds:
            for values, varied in self._settings(base or {}):
                named = {short(axis): value for axis, value in values}
                if holds({**named, "varied": varied, "seed": seed}):
                    name = self._name(values)
                    kept.setdefault((name, seed), Setting(name, values, seed))
        if not kept:
            raise UserError(f"No cell is left by where = '{self.where}'.")
        return list(kept.values())

    def _settings(self, base: Mapping[str, Any]) -> Iterator[tuple[Values, str]]:
        zipped = list(zip(*(values for _, values in self.zip), strict=True)) or [()]
        crossed = itertools.product(*(values for _, values in self.cross))
        for some in crossed:
            for beside in zipped:
                own = (*zip((a for a, _ in self.cross), some, strict=True),)
                own += (*zip((a for a, _ in self.zip), beside, strict=True),)
                yield own, ""
                for axis, values in self.vary:
                    for value in values:
                        if axis not in base or _text(_frozen(base[axis])) != _text(value):
                            yield (*own, (axis, value)), short(axis)

    def _name(self, values: Values) -> str:
        """A folder's name: 'languages=4,arm=x_mod'; an added axis at its old value is not in it."""
        old = dict(self.added)
        return cell_name([(a, v) for a, v in values if a not in old or old[a] != v]) or ALL


def cell_name(values: Iterable[tuple[str, Any]]) -> str:
    """[('curse.languages', 4), ('curse.arms', ('x', 'y'))] -> 'languages=4,arms=x+y'."""
    return ",".join(f"{short(axis)}={_text(value)}" for axis, value in values)


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return "+".join(map(_text, value)) or "none"
    text = str(value)
    return "".join(c if c.isalnum() or c in "_.-" else "_" for c in text) or "none"


_COMPARED: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}


def condition(text: str) -> Callable[[Mapping[str, Any]], bool]:
    """A condition on names: comparisons with and, or, not; '' always holds.

    condition("width == 48 or seed < 3")({"width": 24, "seed": 0})       # True
    """
    if not text.strip():
        return lambda _: True
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise UserError(f"The condition '{text}' cannot be read: {error.msg}.") from None
    return lambda names: bool(_value(tree, names, text))


def _value(node: ast.AST, names: Mapping[str, Any], text: str) -> Any:
    if isinstance(node, ast.BoolOp):
        test = all if isinstance(node.op, ast.And) else any
        return test(_value(one, names, text) for one in node.values)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return not _value(node.operand, names, text)
    if isinstance(node, ast.Compare):
        left = _value(node.left, names, text)
        for how, right in zip(node.ops, node.comparators, strict=True):
            value = _value(right, names, text)
            if type(how) not in _COMPARED:
                raise UserError(f"The condition '{text}' compares by ==, !=, <, <=, >, >= or in.")
            try:
                holds = _COMPARED[type(how)](left, value)
            except TypeError:
                raise UserError(
                    f"The condition '{text}' compares {left!r} with {value!r}, which have no order "
                    "among them, or no members."
                ) from None
            if not holds:
                return False
            left = value
        return True
    if isinstance(node, ast.Name):
        if node.id in names:
            return names[node.id]
        raise UserError(
            f"The condition '{text}' speaks of '{node.id}', and there is "
            f"{', '.join(names)}.{nearest(node.id, names)}"
        )
    if isinstance(node, (ast.Tuple, ast.List)):
        return tuple(_value(one, names, text) for one in node.elts)
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, names, text)
    raise UserError(
        f"The condition '{text}' has '{ast.unparse(node)}' in it: it is of names, numbers, texts, "
        "comparisons, and, or, not."
    )
