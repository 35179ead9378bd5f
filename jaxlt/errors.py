"""Errors a user can mend: one paragraph, no traceback, with the nearest valid name."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user gave is wrong; the text says what, what was expected and how to mend it.

    The command line prints the text alone and exits with status 2.
    """


def nearest(name: str, names: Iterable[str]) -> str:
    """Returns " Did you mean 'x'?" for the known name closest to `name`, or "" if none is close."""
    known = sorted({str(n) for n in names})
    by_lower = {k.lower(): k for k in reversed(known)}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return f" Did you mean '{by_lower[close[0]]}'?" if close else ""
