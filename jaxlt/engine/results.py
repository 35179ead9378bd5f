"""`results.jsonl`: what was measured, a JSON object a number, so that any table can be made of it.

    {"run": "adapted", "task": "span_corruption", "language": "deu_Latn", "modules": ["lang"],
     "metric": "bpb", "value": 2.31, "n": 40823, "seed": 0, "config_hash": "...",
     "base_fingerprint": "...", "step": 2000, "time": 1.7e9, ...}

Lines are only added. Where a number was measured again, the later line holds (`latest`).
"""

import contextlib
import fcntl
import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from etils import epath

from jaxlt.engine.checkpoint_store import is_local
from jaxlt.errors import UserError

FIELDS = (
    "run",
    "task",
    "language",
    "modules",  # names of the plugged modules
    "metric",
    "value",
    "n",  # how many things the value is a mean over
    "seed",
    "config_hash",
    "base_fingerprint",
    "step",
)


def append(path: epath.PathLike, rows: Iterable[Mapping[str, Any]]) -> None:
    """Adds rows, all of them or none; each has FIELDS, and may have more.

    Several processes may write to one file. A value that is not finite becomes null.
    """
    lines = "".join(_line(row) for row in rows)
    file = epath.Path(path)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if not is_local(file):  # object stores cannot append
            file.write_text((file.read_text() if file.exists() else "") + lines)
            return
        with open(file, "a+b") as out:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(out, fcntl.LOCK_EX)
            if out.seek(0, 2) and (out.seek(-1, 2), out.read(1))[1] != b"\n":
                lines = f"\n{lines}"  # a kill cut the last line short
            out.write(lines.encode())
    except OSError as error:
        raise UserError(f"'{file}' cannot be written: {error.strerror or error}.") from error


def _line(row: Mapping[str, Any]) -> str:
    absent = [name for name in FIELDS if name not in row]
    if absent:
        raise TypeError(f"a row of results lacks {', '.join(absent)}")
    value = float(row["value"])
    kept = {**row, "value": value if math.isfinite(value) else None}
    return json.dumps({**kept, "time": round(time.time(), 3)}, ensure_ascii=False) + "\n"


def read(path: epath.PathLike) -> Iterator[dict[str, Any]]:
    """Yields the rows of a file, in order; a line that a kill cut short is passed over."""
    file = epath.Path(path)
    for line in file.read_bytes().split(b"\n") if file.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and all(name in row for name in FIELDS):
            yield row


def latest(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Keeps the last of the rows that differ in nothing but value, count and time."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        key = {k: v for k, v in row.items() if k not in ("value", "n", "time")}
        name = json.dumps(key, sort_keys=True)
        found.pop(name, None)
        found[name] = dict(row)
    return list(found.values())
