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

    random_ordinary: bool  # masked LM's random tokens are ordinary pieces, and no sentinels
    cycles_apart: bool  # of packed rows: a text's noise is another each time
    voices: bool  # each made language makes its choices by a stream of its own
    answers_placed: bool  # heads learn an answer where its table says that it stands
    spaces_kept: bool  # words that hold spaces are one word to every vocabulary
    splits_by_content: bool  # what was held out of tables is remembered by what is in them
    whole_groups: bool  # what translates each other is on one side of a split, over all directions
    bytes_of_text: bool  # bits per byte are of targets that are text, and not of tags
    few_share: bool  # few-shot examples have TransferConfig.share of the rows
    spans_fit: bool  # short rows have a few spans, whatever mean_span says


def rules_of(revision: int) -> Rules:
    """Returns the rules of a revision; one that is not there is a UserError."""
    if not FIRST <= revision <= LATEST:
        raise UserError(f"DataConfig.revision is from {FIRST} to {LATEST}, not {revision}.")
    return Rules(*[revision >= 2] * len(fields(Rules)))


def identity(revision: int) -> dict[str, Any]:
    """Returns what a revision adds to the identity of a run's data: nothing, for the first."""
    return {"revision": revision} if revision > FIRST else {}
