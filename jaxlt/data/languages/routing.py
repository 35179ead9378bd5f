"""Ids by which modules are routed: a file that only grows, so that an id never changes hands.

The file has a line `id<TAB>code` for every language, ids from 0 without gaps. It belongs beside
the modules that were trained with it, and may be kept under version control.
"""

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

from jaxlt.data.near import nearest_language
from jaxlt.errors import UserError


class RoutingIds:
    """The ids of languages in a local file; the file is made with the first language.

    A code is what the caller says, compared as it stands: look it up in a LanguageTable first, so
    that two names of one language do not get two ids.
    """

    def __init__(self, path: str | os.PathLike):
        self._path = Path(path)
        if "://" in str(path):
            raise UserError(f"Routing ids live in a local file, not at '{path}'.")
        self._ids: dict[str, int] = {}
        if self._path.exists():
            with self._path.open(encoding="utf-8") as file:
                fcntl.flock(file, fcntl.LOCK_SH)
                self._ids = _read(file.read(), self._path)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def codes(self) -> tuple[str, ...]:
        """All codes, by id."""
        return tuple(self._ids)

    def get(self, code: str) -> int:
        """Returns the id of a language that has one."""
        if code not in self._ids:
            raise UserError(
                f"The language '{code}' has no routing id in '{self._path}'."
                f"{nearest_language(code, self._ids)}"
            )
        return self._ids[code]

    def assign(self, codes: Iterable[str]) -> list[int]:
        """Returns the ids of languages, in order; new ones get the next ids and are written down.

        Processes that assign at the same time wait for each other.
        """
        codes = list(codes)
        for code in codes:
            if not code or any(c.isspace() for c in code):
                raise UserError(f"'{code}' cannot be the code of a language: it has a space.")
        if any(code not in self._ids for code in codes):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a+", encoding="utf-8") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.seek(0)
                self._ids = _read(file.read(), self._path)
                for code in codes:
                    if code not in self._ids:
                        self._ids[code] = len(self._ids)
                        file.write(f"{self._ids[code]}\t{code}\n")
                file.flush()
                os.fsync(file.fileno())
        return [self._ids[code] for code in codes]


def _read(text: str, path: Path) -> dict[str, int]:
    ids: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        cells = line.split("\t")
        if len(cells) != 2 or cells[0] != str(len(ids)) or not cells[1] or cells[1] in ids:
            raise UserError(
                f"'{path}', line {number}: expected {len(ids)}<TAB>code, a code not yet there, but "
                f"found '{line}'. Ids count from 0; lines are only ever added."
            )
        ids[cells[1]] = len(ids)
    if text and not text.endswith("\n"):
        raise UserError(f"'{path}' breaks off in its last line; give it its line end, or drop it.")
    return ids
