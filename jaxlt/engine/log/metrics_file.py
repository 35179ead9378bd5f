"""`metrics.jsonl`: one JSON object a line, {"step": 10, "time": 1.7e9, "loss": 2.3, ...}."""

import contextlib
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from typing import IO, Any

from etils import epath

from jaxlt.engine.checkpoint.store import is_local
from jaxlt.errors import UserError


def read_metrics(path: epath.PathLike) -> Iterator[dict[str, Any]]:
    """Yields the rows of a metrics file; a line that a kill cut short is passed over."""
    file = epath.Path(path)
    if not file.exists():
        return
    for line in file.read_bytes().split(b"\n"):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            yield row


class MetricsFile:
    """Appends rows; on resume forgets those of steps that will be run again."""

    def __init__(self, path: epath.PathLike, after_step: int) -> None:
        """Opens `path`, keeping its rows up to `after_step` (the step restored; 0 at the start)."""
        self.path = epath.Path(path)
        kept = (row for row in read_metrics(self.path) if row["step"] <= after_step)
        self._lines = [json.dumps(row) + "\n" for row in kept]
        self._file: IO[str] | None = None
        self._written = 0.0
        if is_local(self.path):
            temporary = self.path.parent / f"{self.path.name}.new"
            try:
                temporary.write_text("".join(self._lines))
                os.replace(temporary, self.path)  # a kill leaves the old rows or the new ones
                self._file = open(self.path, "a", buffering=1, encoding="utf-8")  # noqa: SIM115
            except OSError as error:
                raise self._unwritable(error) from error
            self._lines = []

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a row; what is not finite becomes null, for JSON has no NaN."""
        row: dict[str, Any] = {"step": int(step), "time": round(time.time(), 3)}
        for name, value in values.items():
            row[name] = float(value) if math.isfinite(value) else None
        line = json.dumps(row) + "\n"
        if self._file is not None:
            try:
                self._file.write(line)
            except OSError as error:
                raise self._unwritable(error) from error
            return
        self._lines.append(line)  # object stores cannot append: rewrite, not too often
        if time.monotonic() - self._written > 30:
            self._rewrite()

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(
            f"'{self.path}' cannot be written: {error.strerror or error}. Free some space or mend "
            "its permissions, and start the same command again: it goes on from the newest "
            "checkpoint."
        )

    def _rewrite(self) -> None:
        self.path.write_text("".join(self._lines))
        self._written = time.monotonic()

    def close(self) -> None:
        """Writes what is held and closes."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # a line that could not be written was told of
                self._file.close()
        elif self._lines:
            self._rewrite()
