"""The folder of a run: locked against a second run, and bound to the config it began with.

<workdir>/config.gin      the config in force (all bindings)
<workdir>/versions.json   hash of the config, versions of Python, jaxlt and the libraries
<workdir>/.lock           held by the running process; the kernel frees it when that dies
"""

import contextlib
import fcntl
import fnmatch
import importlib.metadata
import json
import os
import platform
import re
import shlex
import socket
import time
from collections.abc import Callable, Iterable
from typing import IO

from etils import epath

from jaxlt.engine.checkpoint.store import absolute, is_local
from jaxlt.engine.hosts import distributed
from jaxlt.errors import UserError

_LIBRARIES = ("jaxlt", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorstore", "numpy")

_HELD: set[IO[str]] = set()  # a lock lives as long as the process, kept by its Workdir or not


class Workdir:
    """An open workdir; a context manager that gives the lock back."""

    def __init__(self, path: epath.Path, lock: IO[str] | None, changed: dict[str, str]) -> None:
        self.path = path
        self.changed = changed  # harmless bindings unlike the last run's: {name: 'old -> new'}
        self._lock = lock

    @classmethod
    def open(
        cls,
        path: epath.PathLike,
        config_text: str,
        config_hash: str,
        harmless: Iterable[str] = (),
        younger: Callable[[str], str | None] = lambda binding: None,
        renamed: Callable[[str], str] = str,
    ) -> "Workdir":
        """Makes or reopens a workdir, locks it for the life of this process, saves the config.

        `config_text` holds all bindings in gin's syntax. A workdir of another config is a
        UserError; differences that match a pattern of `harmless` are allowed. `younger` says what a
        binding that the stored config does not have was to it, if that is known; `renamed` gives
        gin text of before the names of now. All processes call this; the primary one does the work.
        """
        folder = absolute(path)
        opened: list[Workdir] = []

        def work() -> None:
            lock = _claim(folder)
            try:
                allowed = tuple(harmless)
                changed = _compare(folder, config_text, config_hash, allowed, younger, renamed)
                _write(folder / "config.gin", config_text)
                facts = {"config_hash": config_hash, "versions": versions()}
                _write(folder / "versions.json", json.dumps(facts, indent=2) + "\n")
            except BaseException:
                _release(lock)
                raise
            opened.append(cls(folder, lock, changed))

        distributed.on_primary(work, f"Opening the workdir '{folder}'")
        return opened[0] if opened else cls(folder, None, {})

    @staticmethod
    def check(
        path: epath.PathLike,
        config_text: str,
        config_hash: str,
        harmless: Iterable[str] = (),
        younger: Callable[[str], str | None] = lambda binding: None,
        renamed: Callable[[str], str] = str,
    ) -> None:
        """Raises UserError where `open` would refuse this config; makes and writes nothing."""
        folder = absolute(path)
        _compare(folder, config_text, config_hash, tuple(harmless), younger, renamed)

    def close(self) -> None:
        """Gives the lock back."""
        _release(self._lock)
        self._lock = None

    def __enter__(self) -> "Workdir":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def versions() -> dict[str, str]:
    """Versions of Python and of what decides a run's numbers; touches no device."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for library in _LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[library] = importlib.metadata.version(library)
    return found


def bindings(text: str) -> dict[str, str]:
    """Reads gin text as {binding: value}, macros put in, without whitespace or comments."""
    found: dict[str, str] = {}
    for statement in _statements(text):
        name, equals, value = statement.partition("=")
        if equals:
            found[name.strip()] = " ".join(value.split())
    macros = {name: value for name, value in found.items() if "." not in name}
    for _ in range(len(macros)):  # macros may name macros
        macros = {name: _put_in(value, macros) for name, value in macros.items()}
    return {name: _put_in(value, macros) for name, value in found.items() if "." in name}


def _statements(text: str) -> list[str]:
    """Logical lines: joined where a line ends with a backslash or inside brackets."""
    statements: list[str] = []
    held = ""
    for raw in text.splitlines():
        line = _without_comment(raw).rstrip()
        held += line.removesuffix("\\") + " "
        bare = re.sub(r"'(\\.|[^'\\])*'|\"(\\.|[^\"\\])*\"", "", held)
        depth = sum((c in "([{") - (c in ")]}") for c in bare)
        if not line.endswith("\\") and depth <= 0:
            statements.append(held.strip())
            held = ""
    return statements


def _without_comment(line: str) -> str:
    found = re.match(r"(?:[^#'\"]|'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\")*", line)
    return found.group(0) if found else line


def _put_in(value: str, macros: dict[str, str]) -> str:
    return re.sub(r"%(\w+)", lambda m: macros.get(m.group(1), m.group(0)), value)


def _compare(
    folder: epath.Path,
    text: str,
    config_hash: str,
    harmless: tuple[str, ...],
    younger: Callable[[str], str | None],
    renamed: Callable[[str], str],
) -> dict[str, str]:
    """Returns the harmless differences to the stored config; raises UserError at any other."""
    stored = folder / "config.gin"
    if not stored.exists():
        return {}
    with contextlib.suppress(OSError, ValueError, KeyError):
        if json.loads((folder / "versions.json").read_text())["config_hash"] == config_hash:
            return {}
    old, new = bindings(renamed(stored.read_text())), bindings(text)
    changed, wrong = {}, []
    for name in sorted(old.keys() | new.keys()):
        before = old.get(name) or younger(name) or "(not set)"
        now = new.get(name, "(not set)")
        if before == now:
            continue
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in harmless):
            changed[name] = f"{before} -> {now}"
        else:
            wrong.append(f"  {name}: {_short(before)} -> {_short(now)}")
    if wrong:
        more = [f"  and {len(wrong) - 8} more"] if len(wrong) > 8 else []
        listed = "\n".join(wrong[:8] + more)
        raise UserError(
            f"Workdir '{folder}' belongs to a run of another config; these bindings differ "
            f"(stored -> new):\n{listed}\nA run goes on by its own configuration, whatever "
            f"recipes say by now: `{_going_on(folder, old)}`. To start this one, give another "
            f"run.workdir or delete that folder."
        )
    return changed


def _going_on(folder: epath.Path, stored: dict[str, str]) -> str:
    """The command that goes on with the run in a folder, which may have moved since."""
    words = ["jaxlt", "train", f"--gin_file={folder / 'config.gin'}"]
    if absolute(epath.Path(stored.get("run.workdir", "").strip("'\""))) != folder:
        words.append(f"--gin.run.workdir={folder}")
    return shlex.join(words)


def _short(value: str) -> str:
    return value if len(value) <= 60 else value[:57] + "..."


def _claim(folder: epath.Path) -> IO[str] | None:
    """Makes the folder and takes its lock (None where the file system has no locks)."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        above = next((p for p in (folder, *folder.parents) if p.exists()), folder)
        raise UserError(
            f"run.workdir '{folder}' cannot be a folder: '{above}' is a file. Give another workdir."
        ) from error
    except OSError as error:
        raise UserError(f"Workdir '{folder}' cannot be made: {error.strerror or error}.") from error
    if not is_local(folder):
        return None
    try:
        lock = open(folder / ".lock", "a+", encoding="utf-8")  # noqa: SIM115 - held for life
    except OSError as error:
        raise UserError(
            f"Workdir '{folder}' is not writable: {error.strerror}. Give another run.workdir "
            f"or mend its permissions."
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        holder = lock.read().strip() or "another process"
        lock.close()
        raise UserError(
            f"Workdir '{folder}' is in use by another run ({holder}). Wait for it, stop it, or "
            f"give another run.workdir."
        ) from error
    except OSError:  # a network file system without locks
        lock.close()
        return None
    lock.truncate(0)
    started = time.strftime("%Y-%m-%d %H:%M:%S")
    lock.write(f"process {os.getpid()} on {socket.gethostname()}, since {started}\n")
    lock.flush()
    _HELD.add(lock)
    return lock


def _release(lock: IO[str] | None) -> None:
    if lock is not None:
        _HELD.discard(lock)
        lock.close()  # the file stays: deleting it would let two processes lock two files


def _write(path: epath.Path, text: str) -> None:
    """Writes a small file whole or not at all."""
    temporary = path.parent / f"{path.name}.new"
    try:
        temporary.write_text(text)
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"'{path}' cannot be written: {error.strerror or error}. Free some space, mend its "
            f"permissions or give another run.workdir."
        ) from error
