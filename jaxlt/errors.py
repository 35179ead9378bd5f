"""Errors a user can mend: one paragraph, no traceback, with the nearest valid name."""

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, get_args

# Exit statuses of the command line which mean: start the same command again.
SAVED = 75  # it was asked to go, and has saved
LOST = 69  # another process of the run is gone, or did not come


class UserError(Exception):
    """Something the user gave is wrong; the text says what, what was expected and how to mend it.

    The command line prints the text alone and exits with `status`.
    """

    status = 2


class HostGone(UserError):
    """A run on several hosts cannot go on, as one of them is not there."""

    def __init__(self, text: str, status: int = LOST) -> None:
        super().__init__(text)
        self.status = status


def check_one_of(what: str, value: object, known: Iterable[str], be: str = "is") -> None:
    """Raises UserError where a setting has none of the values that it may have."""
    known = tuple(known)
    if value not in known:
        raise UserError(
            f"{what} {be} one of {', '.join(known)}, not '{value}'.{nearest(str(value), known)}"
        )


def check_choices(config: object, whose: str, **kinds: Any) -> None:
    """Raises UserError where fields of a config have no value of their kinds, which are Literals.

    whose: what messages have before a field, "DataConfig.".
    """
    for field, kind in kinds.items():
        check_one_of(f"{whose}{field}", getattr(config, field), get_args(kind))


def repeated(names: Iterable[str]) -> list[str]:
    """Returns the names that are there more than once, sorted."""
    return sorted(name for name, count in Counter(names).items() if count > 1)


def some_of(names: Sequence[str], most: int = 6) -> str:
    """Returns "a, b and 3 more" of many names."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def check_least(config: Any, least: int, *fields: str) -> None:
    """Raises UserError for a field of a config below `least`; what is not set (None) passes."""
    for field in fields:
        value = getattr(config, field)
        if value is not None and value < least:
            raise UserError(f"{type(config).__name__}.{field} is at least {least}, not {value}.")


def check_share(config: Any, *fields: str) -> None:
    """Raises UserError for a field of a config outside [0, 1), as dropout's rates are."""
    for field in fields:
        value = getattr(config, field)
        if not 0.0 <= value < 1.0:
            kind = type(config).__name__
            raise UserError(f"{kind}.{field} is at least 0 and below 1, not {value}.")


def check_positive(what: str, value: int | None) -> None:
    """Raises UserError where a number that is given is below 1."""
    if value is not None and value < 1:
        raise UserError(f"{what} is at least 1, not {value}.")


def nearest(name: str, names: Iterable[str]) -> str:
    """Returns " Did you mean 'x'?" for the known name closest to `name`, or "" if none is close.

    Of languages `jaxlt.data.near.nearest_language` knows more.
    """
    known_name = closest(name, names)
    return f" Did you mean '{known_name}'?" if known_name else ""


def closest(name: str, names: Iterable[str]) -> str:
    """Returns the known name closest to `name`, or "" if none is close."""
    known = sorted({str(n) for n in names})
    by_lower = {k.lower(): k for k in reversed(known)}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else ""
