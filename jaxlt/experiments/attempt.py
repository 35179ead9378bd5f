"""One attempt at a stage: a folder of its own, its log, and the rows and digest it ends with.

    attempts/000002/      stage.json (what was asked and used), log.txt, rows.jsonl, and whatever
                          the verb writes

A verb is `function(config, at) -> list[Result]`. Where an attempt ended without a result and left
`checkpoints`, the next begins with a copy of what it wrote, and goes on from there.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from jaxlt.experiments.stage import Stage
from jaxlt.experiments.storage import write, writing
from jaxlt.metrics import result_file
from jaxlt.metrics.result import Result

NOTE, LOG, ROWS, DIGEST = "stage.json", "log.txt", "rows.jsonl", "digest.txt"
CHECKPOINTS, COLLECTED = "checkpoints", "checkpoints.deleted"
_OWN = (NOTE, LOG, ROWS)


@dataclasses.dataclass(frozen=True)
class At:
    """Where a verb works: it writes into `folder` alone; `log` takes a line for people."""

    folder: Path
    seed: int
    stage: Stage
    log: Callable[[str], None] = print


def attempt_folder(folder: Path, number: int) -> Path:
    """The folder of an attempt at the stage that lies in `folder`."""
    return folder / "attempts" / f"{number:06d}"


def begin(folder: Path, number: int, note: Mapping[str, Any], ended: Collection[int]) -> Path:
    """Makes the folder of an attempt, with what the last unfinished one of the same left.

    note: 'asked' and 'used', by which two attempts are the same, and more. ended: the attempts that
    came to a result, from which none goes on.
    """
    own = attempt_folder(folder, number)
    with writing(own):
        own.mkdir(parents=True, exist_ok=True)
        for before in range(number - 1, 0, -1):
            other = attempt_folder(folder, before)
            if before not in ended and (other / CHECKPOINTS).is_dir() and _same(other, note):
                _take_over(other, own)
                break
        write(own / NOTE, json.dumps(note, ensure_ascii=False, indent=1).encode())
    return own


def _same(folder: Path, note: Mapping[str, Any]) -> bool:
    before = read_note(folder)
    return all(before.get(name) == note[name] for name in ("asked", "used"))


def read_note(folder: Path) -> dict[str, Any]:
    """What an attempt was begun with: 'asked', 'used', 'command'; {} where that is not known."""
    try:
        return dict(json.loads((folder / NOTE).read_bytes()))
    except (OSError, ValueError, TypeError):
        return {}


def _take_over(other: Path, own: Path) -> None:
    """Copies what a verb wrote, unless its writer is awake and changes it meanwhile."""
    for _ in range(3):
        before = _listing(other)
        with contextlib.suppress(shutil.Error, FileNotFoundError):
            shutil.copytree(
                other, own, ignore=lambda at, _: _OWN if Path(at) == other else (),
                dirs_exist_ok=True,
            )  # fmt: skip
            if _listing(other) == before:
                return
        shutil.rmtree(own)
        own.mkdir()


def _listing(folder: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of all files of a folder but an attempt's own."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.parent != folder or path.name not in _OWN:
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                found.append((str(path), status.st_size, status.st_mtime_ns))
    return found


@functools.cache
def _stream(number: int) -> IO[str]:
    """A text stream on a descriptor of this process, whatever that leads to; it is never closed.

    Handlers of `logging` that are made in one stage keep it, and write to the log of the next.
    """
    return open(number, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)


@contextlib.contextmanager
def logged(path: Path) -> Iterator[None]:
    """While it lasts, all that the process prints, in whatever language, goes to the file."""
    with writing(path):
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    kept = []
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
        kept.append((number, os.dup(number)))
        os.dup2(log, number)
    os.close(log)
    try:
        with contextlib.redirect_stdout(_stream(1)), contextlib.redirect_stderr(_stream(2)):
            yield
    finally:
        for number, copy in kept:
            with contextlib.suppress(OSError):  # a full disk: what is left is of no use
                _stream(number).flush()
            os.dup2(copy, number)
            os.close(copy)


def tail(folder: Path, lines: int = 20) -> list[str]:
    """The last lines of an attempt's log."""
    try:
        with open(folder / LOG, "rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - 20_000))
            return log.read().decode(errors="replace").splitlines()[-lines:]
    except OSError:
        return []


def write_rows(folder: Path, study: str, stage: Stage, results: list[Result]) -> dict[str, Any]:
    """Writes a stage's rows, stamped with where they belong; returns their number and SHA-256.

    Without the time, so that the same work has the same bytes.
    """
    stamps = {
        "study": "" if stage.lab else study,  # the laboratory's are of all studies
        "cell": stage.cell,
        "seed": stage.seed,
        "stage": stage.name,
        "run": stage.path,
        "time": None,
    }
    lines = (
        json.dumps(result_file.to_json(dataclasses.replace(one, **stamps)), ensure_ascii=False)  # type: ignore[arg-type]
        for one in results
    )
    content = "".join(f"{line}\n" for line in lines).encode()
    with writing(folder / ROWS):
        write(folder / ROWS, content)
    return {"count": len(results), "sha256": hashlib.sha256(content).hexdigest()}


def rows_damage(folder: Path, rows: Mapping[str, Any]) -> str:
    """What is wrong with an attempt's rows, by what `write_rows` said of them; '' if nothing is."""
    path = folder / ROWS
    try:
        content = path.read_bytes()
    except OSError as error:
        return f"'{path}' cannot be read: {error.strerror}"
    if hashlib.sha256(content).hexdigest() == rows["sha256"]:
        return ""
    lines = content.count(b"\n")
    return f"'{path}' is damaged: {lines} whole rows of {rows['count']}"


def digest_of(folder: Path) -> str:
    """16 hex digits of what an attempt made, for the stages that need it.

    Of its digest.txt, where its verb wrote one (a fingerprint of weights, whose files differ each
    time that they are written), else of the names and bytes of all its files but the log.
    """
    own = folder / DIGEST
    if own.exists():
        return hashlib.sha256(own.read_bytes()).hexdigest()[:16]
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in (NOTE, LOG):
            with open(path, "rb") as file:
                total.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()[:16]
