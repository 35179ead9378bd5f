"""Values from gin made to fit the annotations of a dataclass, or refused with the reason.

fit(1e6, int) -> 1000000      fit([1, 2], tuple[int, ...]) -> (1, 2)
fit("x", int) raises Mismatch("a whole number")
"""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxlt.errors import nearest


class Mismatch(Exception):
    """A value does not fit; the text says what was wanted ('an int, but ...')."""


class Failed:
    """Stands for what could not be built; its own error is already noted, so it fits anywhere."""


FAILED = Failed()
GIN_NAMES: dict[type, str] = {}  # dataclass -> the gin name that builds it
BASES: dict[type, tuple[str, ...]] = {}  # base class -> the gin names that build one of its kind


def shown(value: Any) -> str:
    """Returns a value as an error message quotes it: short, and as gin would write it."""
    name = GIN_NAMES.get(getattr(value, "builds", type(value)))
    if name:
        return f"@{name}" if callable(value) else f"@{name}()"
    if isinstance(value, (tuple, list)):
        text = f"[{', '.join(map(shown, value))}]"
    else:
        text = value.__name__ if callable(value) and hasattr(value, "__name__") else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def frozen(value: Any) -> Any:
    """Returns the value with every list in it a tuple, as a frozen dataclass needs."""
    if isinstance(value, (list, tuple)):
        return tuple(frozen(item) for item in value)
    return value


def fit(value: Any, annotation: Any) -> Any:
    """Returns `value` as `annotation` wants it; raises Mismatch where its meaning would change.

    Lists become tuples, a lone value a list of one, {name: value} a list of pairs, ints fit floats,
    integral floats fit ints, and `@Name` without brackets is called where a dataclass is wanted.
    """
    value = frozen(value)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(value, Failed) or annotation is Any or isinstance(annotation, typing.TypeVar):
        return value
    if origin in (typing.Union, types.UnionType):
        return _fit_union(value, annotation, args)
    if origin is typing.Annotated:
        return fit(value, args[0])
    if origin is typing.Literal:
        if value in args and type(value) in {type(a) for a in args if a == value}:
            return value
        raise Mismatch(f"one of {', '.join(map(repr, args))}{_hint(value, args)}")
    if origin is tuple or annotation is tuple:
        return _fit_tuple(value, annotation, args)
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        builds = getattr(value, "builds", None)
        built = value() if isinstance(builds, type) and issubclass(builds, annotation) else value
        if isinstance(built, (annotation, Failed)):
            return built
        raise Mismatch(describe(annotation))
    return _fit_plain(value, origin or annotation, annotation)


def _hint(value: Any, choices: tuple[Any, ...]) -> str:
    return nearest(value, map(str, choices)) if isinstance(value, str) else ""


def _fit_union(value: Any, annotation: Any, args: tuple[Any, ...]) -> Any:
    """An exact type wins over a coerced one: 3 stays an int in `float | int`."""
    exact = [a for a in args if isinstance(a, type) and type(value) is a]
    for arg in (*exact, *args):
        try:
            return fit(value, arg)
        except Mismatch:
            continue
    raise Mismatch(" or ".join(dict.fromkeys(describe(a) for a in args)))


def _fit_tuple(value: Any, annotation: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Fits each element; a lone one makes a list of one, since brackets are a shell's trap."""
    of_pairs = args[1:] == (Ellipsis,) and len(typing.get_args(args[0])) == 2
    if isinstance(value, dict) and of_pairs and typing.get_origin(args[0]) is tuple:
        value = tuple(value.items())
    if not isinstance(value, tuple):
        if not args or args[-1] is not Ellipsis or value is None:
            raise Mismatch(describe(annotation))
        value = (value,)
    if not args:
        return value
    wanted = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
    if len(wanted) != len(value):
        raise Mismatch(describe(annotation))
    try:
        return tuple(fit(v, w) for v, w in zip(value, wanted, strict=True))
    except Mismatch as error:
        raise Mismatch(f"{describe(annotation)} (each: {error})") from error


_MEANT = ("true", "false", "yes", "no", "on", "off")


def _fit_plain(value: Any, kind: Any, annotation: Any) -> Any:
    """Fits scalars, classes and callables."""
    if kind is bool and isinstance(value, str) and value.lower() in _MEANT:
        raise Mismatch("True or False (as Python writes them)")
    if isinstance(value, bool) and kind in (int, float):
        raise Mismatch(describe(annotation))
    elif kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    elif kind is float and isinstance(value, (int, float)):
        value = float(value)
        if not math.isfinite(value):
            raise Mismatch("a finite number")
    elif kind is Path and isinstance(value, str):
        value = Path(value)
    # An annotation beyond gin's literals: the dataclass itself judges.
    beyond = kind is Mapping or not isinstance(kind, type)
    if not beyond and not isinstance(value, kind):
        raise Mismatch(describe(annotation))
    return value


_WORDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    type(None): "None",
    type: "a class",
}


def describe(annotation: Any) -> str:
    """Returns an annotation in words a gin user knows."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in _WORDS:
        return _WORDS[annotation]
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(describe(a) for a in args))
    if origin is typing.Literal:
        return f"one of {', '.join(map(repr, args))}"
    if origin is tuple and args:
        if args[-1] is Ellipsis:
            return f"a list, each {describe(args[0])}"
        return f"a list of {len(args)} ({', '.join(describe(a) for a in args)})"
    if origin is tuple or annotation is tuple:
        return "a list"
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        names = BASES.get(annotation) or (GIN_NAMES.get(annotation, annotation.__name__),)
        return " or ".join(f"@{name}()" for name in names)
    return getattr(annotation, "__name__", str(annotation))
