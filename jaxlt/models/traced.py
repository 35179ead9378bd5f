"""Numbers of a configuration that a compiled program takes as arrays: a sweep compiles once.

    marked, values = mark(config, "loss", ("z_loss",))     # {"loss.z_loss": 0.0001}
    with given(values):
        now(marked.z_loss)                                 # the array that the program was given

Whether a number is there at all (a dropout, a clipping) stays fixed: 0 and None are not marked.
A mark is no number: what is computed with it, where somebody forgot `now`, is NaN. Configurations
know marks, so nothing heavy is imported here.
"""

import contextlib
import contextvars
import copy
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

Config = TypeVar("Config")
_VALUES: contextvars.ContextVar[Mapping[str, Any] | None] = contextvars.ContextVar("values")


class Traced(float):
    """Stands for a number in a configuration; marks of one name are equal."""

    name: str

    def __new__(cls, name: str) -> "Traced":
        """A mark of that name, such as 'loss.z_loss'."""
        made = super().__new__(cls, math.nan)
        made.name = name
        return made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Traced) and other.name == self.name

    def __ne__(self, other: object) -> bool:  # float has its own, by which no NaN is itself
        return not self == other

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"<{self.name}>"


def mark(config: Config, prefix: str, fields: Iterable[str]) -> tuple[Config, dict[str, float]]:
    """Puts marks into those fields of a frozen config that are numbers, and not 0.

    Returns (the config with marks, the numbers by '<prefix>.<field>').
    """
    numbers = {field: getattr(config, field, None) for field in fields}
    values = {f"{prefix}.{field}": number for field, number in numbers.items() if number}
    marks = {name.rpartition(".")[2]: Traced(name) for name in values}
    return with_marks(config, **marks), values


def mark_each(
    configs: Iterable[Any], prefix: str, fields: Iterable[str]
) -> tuple[tuple[Any, ...], dict[str, float]]:
    """The same of configs that have names; the numbers by '<prefix>.<name>.<field>'."""
    pairs = [mark(one, f"{prefix}.{one.name}", fields) for one in configs]
    values = {name: number for _, of in pairs for name, number in of.items()}
    return tuple(marked for marked, _ in pairs), values


def with_marks(config: Config, **fields: Any) -> Config:
    """Returns a frozen config with these fields, which hold marks, unchecked.

    What a config checks was checked when the numbers were set.
    """
    marked = copy.copy(config)
    for field, value in fields.items():
        object.__setattr__(marked, field, value)
    return marked


def is_marked(config: Any, field: str) -> bool:
    """Whether a field holds a mark, so that its number was checked where it was set."""
    return isinstance(getattr(config, field), Traced)


@contextlib.contextmanager
def given(values: Mapping[str, Any] | None) -> Iterator[None]:
    """Inside, `now` knows these values; to be entered while a program is traced."""
    token = _VALUES.set(values)
    try:
        yield
    finally:
        _VALUES.reset(token)


def now(number: Any) -> Any:
    """The value that a mark stands for; any other number as it is."""
    if not isinstance(number, Traced):
        return number
    values = _VALUES.get(None) or {}
    if number.name not in values:
        raise ValueError(f"A program is traced without a value for {number.name}.")
    return values[number.name]
