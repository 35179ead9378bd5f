"""Held-out splits by document: seeded, made once and remembered.

    split = remembered(folder, "bible", Split(validation=0.05, test=0.05, seed=1))
    split.of(b"MAR.1.1")        # 'train', 'validation' or 'test'

A hash of the seed and the document's key decides, so that nothing is listed or shuffled: a corpus
may grow, and every document stays where it was. What is a document is the key's matter: a verse
has one in all languages, a sentence of a treebank has its document's. What was drawn first is kept
in a file, and another seed or share is refused: it would train on what was held out.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from jaxlt.data.sources import files
from jaxlt.errors import UserError

NAMES = ("train", "validation", "test")


class Nothing(UserError):
    """A split in which none of what was asked for has anything."""


class Parting(Protocol):
    """What says the split of a document: a Split, or one that parts groups."""

    def of(self, document: bytes) -> str:
        """Returns 'train', 'validation' or 'test'."""


@dataclass(frozen=True)
class Split:
    """The shares of documents that are held out, and the seed that draws them."""

    validation: float = 0.0
    test: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("validation", "test"):
            share = getattr(self, name)
            if not (math.isfinite(share) and 0 <= share < 1):
                raise UserError(f"A split's share of {name} is in [0, 1), not {share}.")
        if self.validation + self.test >= 1:
            raise UserError(
                f"Validation ({self.validation:g}) and test ({self.test:g}) leave nothing to train."
            )

    def of(self, document: bytes) -> str:
        """Returns the split of a document's key: 'train', 'validation' or 'test'.

        Test is drawn from the bottom and validation from the top, so that a larger share of either
        keeps what was in it.
        """
        said = f"jaxlt split {self.seed}\n".encode()
        word = int.from_bytes(hashlib.blake2b(said + document, digest_size=8).digest(), "big")
        place = word / 2**64
        if place < self.test:
            return "test"
        return "validation" if place >= 1 - self.validation else "train"


WHOLE = Split()  # nothing is held out
USUAL, MOST, ENOUGH = 0.01, 0.05, 50_000  # shares, and bytes that say something


@dataclass(frozen=True)
class Shares:
    """What is to be held out of texts whose size is not known yet.

    Without `validation` it is USUAL, and of little text more: what makes ENOUGH bytes, up to MOST.
    """

    validation: float | None = None
    test: float = 0.0
    seed: int = 0

    def split(self, size: int) -> Split:
        """Returns the split of a text of `size` bytes."""
        share = self.validation
        if share is None:
            share = max(USUAL, min(MOST, ENOUGH / max(size, 1)))
        return Split(share, self.test, self.seed)


def remembered(
    folder: Path,
    name: str,
    wanted: Split | Shares | None = None,
    size: Callable[[], int] = lambda: 0,
    notes: bool = True,
) -> Split:
    """Returns the split that `name` was first given; `wanted` is written down if it is the first.

    One that holds nothing out is not written down, and without `notes` none. Raises UserError where
    another split is wanted now, and where none is and none was. Of Shares that go by the text's
    `size` in bytes, which is asked for then alone, the share stays what it first was, however the
    text grows.
    """
    path = folder / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}.json"
    try:
        known = Split(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        if isinstance(wanted, Shares):  # the size may take a pass over all text
            wanted = wanted.split(size() if wanted.validation is None else 0)
        if wanted is None:
            raise UserError(
                f"'{name}' has no held-out split yet ('{path}'): say which shares to hold out."
            ) from None
        if notes and (wanted.validation or wanted.test):
            _write(path, wanted)
        return wanted
    except (OSError, ValueError, TypeError) as err:
        raise UserError(
            f"'{path}' does not hold the split of '{name}': {err}. Remove it to draw a new one."
        ) from None
    if isinstance(wanted, Shares):
        share = known.validation if wanted.validation is None else wanted.validation
        wanted = Split(share, wanted.test, wanted.seed)
    if wanted is not None and wanted != known:
        raise UserError(
            f"'{name}' was split with {known}, and now {wanted} is asked for, which would train on "
            f"documents that were held out. Ask for the first, or remove '{path}' to begin anew."
        )
    return known


def _write(path: Path, split: Split) -> None:
    try:
        files.write_atomically(path, json.dumps(asdict(split)))
    except OSError as err:
        raise UserError(
            f"The held-out split cannot be written to '{path}': {err.strerror}. Free some space, "
            "or name another folder (DataConfig.cache_dir)."
        ) from err
