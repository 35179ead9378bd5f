"""Where `jaxlt infer` writes: standard output, or a file that appears when it is whole.

FILE.part        the records (lines, rows, sentences) so far
FILE.part.json   how many of them are sure, what made them, and a digest of their inputs
"""

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any

from jaxlt.errors import UserError
from jaxlt.inference.formats import Record


class Output:
    """Takes records in order; a context manager. `records` counts those that are written."""

    def __init__(
        self,
        path: str | None,
        settings: Mapping[str, Any],
        resume: bool = False,
        overwrite: bool = False,
    ):
        """Opens FILE.part, at its end where `resume` finds one of the same `settings`."""
        self.records = 0
        self._digest = hashlib.sha256()
        self._settings = json.loads(json.dumps(dict(settings)))
        self._path = None if path is None else Path(path).expanduser()
        self._file: IO[bytes] = sys.stdout.buffer
        self._known: dict[str, Any] = {}
        if self._path is None:
            return
        self._part = self._path.with_name(f"{self._path.name}.part")
        self._note = self._path.with_name(f"{self._path.name}.part.json")
        if self._path.exists() and not overwrite:
            raise UserError(
                f"'{self._path}' is there already, and whole: give another --output, or "
                "--overwrite to replace it."
            )
        if self._part.exists() and not resume and not overwrite:
            raise UserError(
                f"'{self._part}' is left of an earlier call: go on with it (--resume), or start "
                "anew (--overwrite)."
            )
        if resume and self._note.exists() and self._part.exists():
            self._known = self._read_note()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._part, "r+b" if self._known else "w+b")  # noqa: SIM115
            self._file.truncate(self._known.get("bytes", 0))
            self._file.seek(0, 2)
        except OSError as error:
            raise self._unwritable(error) from error

    def _read_note(self) -> dict[str, Any]:
        try:
            known = json.loads(self._note.read_text())
            theirs = known["settings"]
            sure = int(known["bytes"]) <= self._part.stat().st_size and int(known["records"]) >= 0
        except (OSError, ValueError, KeyError, TypeError):
            sure, theirs = False, {}
        if not sure:
            raise UserError(f"'{self._part}' and its .json are damaged: delete both to start anew.")
        differing = [k for k, v in self._settings.items() if theirs.get(k) != v]
        if differing:
            what = ", ".join(f"{k} {theirs.get(k)} -> {self._settings[k]}" for k in differing)
            raise UserError(
                f"'{self._part}' was made otherwise ({what}): its records and new ones would "
                "not match. Give what was given then, or start anew (--overwrite without --resume)."
            )
        return known

    def skip(self, records: Iterator[Record]) -> Iterator[Record]:
        """Passes over the inputs whose outputs are written already, which have to be the same."""
        wanted = self._known.get("records", 0)
        for record in islice(records, wanted):
            self._take([record])
        same = self._digest.hexdigest() == self._known.get("inputs", "")
        if wanted and (self.records != wanted or not same):
            raise UserError(
                f"The first {wanted} records of the input are not those whose outputs "
                f"'{self._part}' has: give the same input, or start anew (--overwrite without "
                "--resume)."
            )
        return records

    def _take(self, inputs: Sequence[Record]) -> None:
        for record in inputs:
            self._digest.update(record.raw)
        self.records += len(inputs)

    def write(self, inputs: Sequence[Record], outputs: Sequence[bytes]) -> None:
        """Writes the outputs of the next inputs; they are on disk when this returns."""
        try:
            self._file.write(b"".join(outputs))
            self._file.flush()
            self._take(inputs)
            if self._path is None:
                return
            os.fsync(self._file.fileno())
            note = {
                "settings": self._settings,
                "records": self.records,
                "bytes": self._file.tell(),
                "inputs": self._digest.hexdigest(),
            }
            draft = self._note.with_name(f"{self._note.name}.new")
            draft.write_text(json.dumps(note))
            draft.replace(self._note)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> UserError:
        where = self._path or "standard output"
        safe = self.records if self._path else 0
        sure = f" {safe} records are safe in '{self._part}' (--resume)." if safe else ""
        return UserError(f"'{where}' cannot be written: {error.strerror or error}.{sure}")

    def __enter__(self) -> "Output":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._path is None:
            return
        self._file.close()
        if kind is None:
            self._part.replace(self._path)
            self._note.unlink(missing_ok=True)
        elif not self.records and not self._known:
            for path in (self._part, self._note):
                with contextlib.suppress(OSError):
                    path.unlink()
