"""What happens where a line cannot be read: `strict` stops, `skip` counts and reports at the end.

with Problems("skip") as problems:
    for sentence in conllu.read("en_ewt-train.conllu.gz", problems):
        ...
# a warning now says how many were left out, and what was wrong with the first of them
"""

import functools
import logging
from typing import Literal, get_args

from jaxlt.errors import UserError, nearest

_log = logging.getLogger(__name__)

OnMalformed = Literal["strict", "skip"]
_SHOWN = 5


@functools.cache  # once a run, however often something is read
def warn_once(text: str) -> None:
    """Warns of something that was read; the same words are said once."""
    _log.warning("%s", text)


class Problems:
    """Collects what could not be read: `count` in all, and the messages of the `first` few."""

    def __init__(self, on_malformed: OnMalformed = "strict"):
        known = get_args(OnMalformed)
        if on_malformed not in known:
            raise UserError(
                f"A malformed line is met with {' or '.join(known)}, not '{on_malformed}'."
                f"{nearest(str(on_malformed), known)}"
            )
        self.on_malformed = on_malformed
        self.count = 0
        self.first: list[str] = []

    def add(self, message: str) -> None:
        """Raises UserError with the message when strict, else counts what is left out."""
        if self.on_malformed == "strict":
            raise UserError(message)
        self.count += 1
        if len(self.first) < _SHOWN:
            self.first.append(message)

    def at(self, path: str, line: int, what: str, unit: str = "line") -> None:
        """Adds what is wrong in a line of a file, or in another numbered part of it."""
        self.add(f"'{path}', {unit} {line}: {what}")

    def summary(self) -> str:
        """Returns what was left out, or "" where nothing was."""
        if not self.count:
            return ""
        more = f"\n  ... and {self.count - len(self.first)} more" * (self.count > len(self.first))
        return (
            f"{self.count} malformed item{'s' * (self.count > 1)} left out:\n  "
            + "\n  ".join(self.first)
            + more
        )

    def __enter__(self) -> "Problems":
        return self

    def __exit__(self, *error: object) -> None:
        if self.count:
            _log.warning("%s", self.summary())
