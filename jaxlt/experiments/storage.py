"""Where a study lies, and numbered records in it that nobody overwrites.

    register = Register(folder / "result")
    register.newest()              # Entry(2, {"attempt": 3, ...}), or None where there is none
    register.put(3, {...})         # False: somebody was first, and theirs stands

A record is there whole or not at all, on local disk and NFS. All that workers decide among
themselves goes through `put`, which is what an object store's preconditions can do as well.
"""

import contextlib
import dataclasses
import errno
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxlt.errors import UserError
from jaxlt.experiments.stage import LAB, Stage

_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


class Unwritable(UserError):
    """A folder takes nothing: a full disk, no permission. No fault of the stage in hand."""


@dataclasses.dataclass(frozen=True)
class Places:
    """The folders of a study of this name, and of the laboratory that studies share."""

    name: str
    study: Path
    lab: Path

    def folder(self, stage: Stage) -> Path:
        """Where a stage's leases, attempts and results lie."""
        if stage.lab:
            return self.lab / stage.path.removeprefix(f"{LAB}/")
        return self.study / stage.path


class Entry(NamedTuple):
    """A record and its number; `damage` says why there is nothing in it."""

    generation: int
    record: dict[str, Any]
    damage: str = ""


class Register:
    """Records 1, 2, ... in a folder: exclusive, and never changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def generations(self) -> list[int]:
        """The numbers that are taken, in order."""
        try:
            names = os.listdir(self.folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise UserError(f"'{self.folder}' cannot be read: {error.strerror}.") from error
        stems = (name.removesuffix(".json") for name in names if name.endswith(".json"))
        return sorted(int(stem) for stem in stems if stem.isdigit())

    def path(self, generation: int, ending: str = ".json") -> Path:
        """The file of a record, or one that belongs to it."""
        return self.folder / f"{generation:06d}{ending}"

    def newest(self) -> Entry | None:
        """The record of the highest number."""
        taken = self.generations()
        return self.read(taken[-1]) if taken else None

    def read(self, generation: int) -> Entry:
        """A record; one that cannot be read is empty and says why."""
        path = self.path(generation)
        try:
            record = json.loads(path.read_bytes())
        except OSError as error:
            return Entry(generation, {}, f"'{path}' cannot be read: {error.strerror}")
        except ValueError:
            record = None
        if not isinstance(record, dict):
            return Entry(generation, {}, f"'{path}' is damaged")
        return Entry(generation, record)

    def put(self, generation: int, record: Mapping[str, Any]) -> bool:
        """Makes a record, unless one of this number is there: False then."""
        path = self.path(generation)
        draft = self.folder / f".{path.stem}.{uuid.uuid4().hex}"
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                write(draft, json.dumps(record, ensure_ascii=False).encode())
                return self._link(draft, path)
            finally:
                with contextlib.suppress(OSError):
                    draft.unlink()

    def add(self, record: Mapping[str, Any]) -> int:
        """Makes a record under the next number that is free, and returns it."""
        generation = (self.generations() or [0])[-1] + 1
        while not self.put(generation, record):
            generation += 1
        return generation

    def _link(self, draft: Path, path: Path) -> bool:
        """Gives the draft its name, if it is free; it stays so over a loss of power."""
        try:
            os.link(draft, path)
        except FileExistsError:
            # NFS may have done it and lost its answer: then the draft has two names.
            return draft.stat().st_nlink == 2
        except OSError as error:
            if error.errno in _NO_LINKS:
                raise UserError(
                    f"'{self.folder}' lies where files cannot have two names (hard links): a study "
                    "lies on a local disk or on NFS."
                ) from error
            raise
        with contextlib.suppress(OSError):  # a file system that keeps folders by itself
            folder = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        return True


def write(path: Path, content: bytes) -> None:
    """Writes a new file, which is on disk when this returns."""
    with open(path, "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within it, an OSError is an Unwritable that names the path."""
    try:
        yield
    except OSError as error:
        raise Unwritable(
            f"'{error.filename or path}' cannot be written: {error.strerror or error}. What is "
            "finished stays; the same command goes on from there."
        ) from error


def is_full(error: BaseException | None) -> bool:
    """Whether an error came from a disk that is full or takes nothing."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if os.strerror(errno.ENOSPC) in str(error):  # of libraries that raise errors of their own
            return True
        error = error.__cause__ or error.__context__
    return False
