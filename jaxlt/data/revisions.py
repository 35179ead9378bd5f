"""Rules by which rows are made of data, and which of them a run has: `DataConfig.revision`.

    rules_of(2).spans_fit      # True

A rule that is mended changes the rows of a (seed, step, row). A run that began before goes on with
the rows that it began with: its folder says the revision (none: 1), and that stands behind the gin
files that resume or open it (jaxlt.config.recorded). What depends on a rule asks for it by its name
here, and puts nothing new into the identity of data where it does not hold.
"""

from dataclasses import dataclass, fields
from typing import Any

from jaxlt.errors import UserError

FIRST, LATEST = 1, 2


@dataclass(frozen=True)
class Rules:
    """What holds in a revision; all of it since 2."""


def rules_of(revision: int) -> Rules:
    """Returns the rules of a revision; one that is not there is a UserError."""
    if not FIRST <= revision <= LATEST:
        raise UserError(f"DataConfig.revision is from {FIRST} to {LATEST}, not {revision}.")
    return Rules(*[revision >= 2] * len(fields(Rules)))


def identity(revision: int) -> dict[str, Any]:
    """Returns what a revision adds to the identity of a run's data: nothing, for the first."""
    return {"revision": revision} if revision > FIRST else {}
