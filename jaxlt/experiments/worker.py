"""A worker: takes the next stage whose needs are done and that nobody holds, until none is left.

    run(stages, places)        # any number of them, on machines that share the folder

A claim is the next number of a stage's leases (jaxlt.experiments.lease). The work goes to a folder
of the attempt's own, and one record that only the first can make, `result/N.json`, makes it the
result: a worker that slept and wakes overwrites nothing. A verb that fails stops no other stage.
"""

import dataclasses
import functools
import importlib
import importlib.metadata
import os
import resource
import shlex
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jaxlt import progress
from jaxlt.errors import LOST, SAVED, UserError, nearest
from jaxlt.experiments import attempt, lease
from jaxlt.experiments.lease import Lease, Watch
from jaxlt.experiments.stage import Stage, asked, digest, filled
from jaxlt.experiments.states import AGAIN, FAILED, LEASE, RESULT, WITHDRAWN, State, Survey
from jaxlt.experiments.storage import Places, Register, Unwritable, is_full
from jaxlt.metrics.result import Result
from jaxlt.version import __version__

Verb = Callable[[dict[str, Any], attempt.At], list[Result]]
VERBS = "jaxlt.experiments.verbs"
_POLLS = (0.05, 1.0)  # seconds between two looks at stages that others hold: at first, at most


@dataclasses.dataclass(frozen=True)
class Bounds:
    """What a stage may take. attempts: that crash. lost: whose worker was killed or went away.

    memory_gb: of the worker's process; by default nine tenths of the machine's.
    """

    hours: float = 12.0
    memory_gb: float | None = None
    attempts: int = 2
    lost: int = 20

    def __post_init__(self) -> None:
        for name in ("hours", "memory_gb", "attempts"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"The bound of a stage's {name} is above 0, not {value}.")

    @property
    def bytes(self) -> float:
        """The bound on memory."""
        return 0.9 * memory_there() if self.memory_gb is None else self.memory_gb * 2**30


def run(
    stages: Sequence[Stage],
    places: Places,
    *,
    bounds: Bounds | None = None,
    command: str = "",
    lease_s: float = lease.LEASE_S,
    say: Callable[[str], None] = progress.say,
) -> Survey:
    """Does what can be done of the stages (needs first), and waits for what others hold.

    command: what was typed, for the records. say: takes a line at the end of each stage. Returns
    how they stand: done, failed, stale, or blocked by one of these. Raises Unwritable on a full
    disk. SIGTERM ends it with SystemExit(75) when the verb in hand has gone.
    """
    worker = _Worker(places, bounds or Bounds(), command, say)
    with asked_to_go():
        survey = Survey(stages, places, Watch(lease_s))
        wait = _POLLS[0]
        while survey.left:
            _end_with_its_parent()
            if worker.next(survey):
                wait = _POLLS[0]
            elif survey.left:
                time.sleep(wait)
                wait = min(2 * wait, _POLLS[1])
    return survey


@contextmanager
def asked_to_go() -> Iterator[None]:
    """Within it SIGTERM is SystemExit(75): what is in hand is left to the next."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def go(*_: object) -> None:
        raise SystemExit(SAVED)

    before = signal.signal(signal.SIGTERM, go)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end_with_its_parent() -> None:
    """A worker whose supervisor was killed ends as well: the same command starts it anew."""
    parent = os.environ.get("JAXLT_SUPERVISOR")
    if parent and os.getppid() != int(parent):
        os._exit(SAVED)


class _Worker:
    """Does stages one after the other."""

    def __init__(
        self, places: Places, bounds: Bounds, command: str, say: Callable[[str], None]
    ) -> None:
        self.places, self.bounds, self.command, self.say = places, bounds, command, say

    def next(self, survey: Survey) -> bool:
        """Does the first stage that can be had; False if there is none just now."""
        moved = False
        for stage in survey.stages:
            before = survey.states[stage.path].name
            ready = all(survey.states[need.path].name == "done" for need in stage.needs)
            if before not in ("absent", "running") or not ready:
                continue
            state = survey.read(stage)
            moved |= state.name in ("done", "failed", "stale")
            if state.name == "absent" and self._take(state, survey):
                survey.read(stage)
                return True
        return moved

    def _take(self, state: State, survey: Survey) -> bool:
        """Claims a stage and does it; False if somebody else was quicker."""
        stage, folder = state.stage, self.places.folder(state.stage)
        leases = Register(folder / LEASE)
        number = 1 if state.lease is None else state.lease.generation + 1
        if not leases.put(number, lease.claimant(digest(asked(stage)))):
            return False
        own = Lease(leases, number)
        job = _Job(stage, folder, number, self.bounds)
        try:
            results = Register(folder / RESULT)
            newest = results.newest()
            if newest is not None and WITHDRAWN not in newest.record:
                return True  # it came while this claim was made
            if lost := self._lost(job):
                job.fail("lost", lost, final=True)
                return True
            with own.beating(survey.watch.lease_s / lease.BEATS, job.watch):
                why = self._do(job, survey, 1 if newest is None else newest.generation + 1)
        finally:
            own.end()
        took = progress.duration(time.monotonic() - job.began)
        self.say(f"{stage.path}: {why or 'done'} ({took})")
        return True

    def _lost(self, job: "_Job") -> str:
        """Why a stage is not tried again: too often its worker did not come back; '' if it is."""
        leases = Register(job.folder / LEASE)
        since = max(
            (
                entry.record.get("lease", entry.record.get("attempt", 0))
                for name in (RESULT, FAILED)
                if (entry := Register(job.folder / name).newest()) is not None
            ),
            default=0,
        )
        tried = [n for n in leases.generations() if since < n < job.number]
        if len(tried) < self.bounds.lost:
            return ""
        ask = digest(asked(job.stage))
        lost = [n for n in tried if leases.read(n).record.get("asked") == ask]
        count = sum(not lease.is_over(leases, n) for n in lost)
        if count < self.bounds.lost:
            return ""
        return f"its worker was killed or went away {count} times"

    def _do(self, job: "_Job", survey: Survey, generation: int) -> str:
        """Runs a stage's verb to its result or its failure; returns why it failed, or ''."""
        stage = job.stage
        folders, used = {}, {}
        for need in stage.needs:
            record = survey.states[need.path].record
            folders[need.path] = attempt.attempt_folder(
                self.places.folder(need), record["attempt"]
            ).absolute()
            used[need.path] = record["digest"]
        note = {"asked": asked(stage), "used": used, "command": self._command(stage)}
        ended = {
            Register(job.folder / RESULT).read(n).record.get("attempt", 0)
            for n in range(1, generation)
        }
        folder = attempt.begin(job.folder, job.number, note, ended)
        try:
            with attempt.logged(folder / attempt.LOG):
                at = attempt.At(folder.absolute(), stage.seed, stage, print)
                try:
                    found = verb_of(stage.verb)(filled(stage.config, folders), at)
                    rows = attempt.write_rows(folder, self.places.name, stage, found)
                except Exception as error:
                    if isinstance(error, UserError):
                        print(error)
                    else:
                        traceback.print_exc()
                    raise
            result = {"attempt": job.number, **note, "rows": rows, **self._facts(job)}
            result["digest"] = attempt.digest_of(folder)
            Register(job.folder / RESULT).put(generation, result)
        except Exception as error:
            return job.failed(error)
        return ""

    def _command(self, stage: Stage) -> str:
        return f"{self.command} --only={shlex.quote(stage.path)}" if self.command else ""

    def _facts(self, job: "_Job") -> dict[str, Any]:
        seconds = round(time.monotonic() - job.began, 3)
        worker = lease.claimant("")
        who = {name: worker[name] for name in ("worker", "host", "pid")}
        return {"seconds": seconds, "versions": versions(), "worker": who}


class _Job:
    """A stage in hand, its time, and its end where it fails."""

    def __init__(self, stage: Stage, folder: Path, number: int, bounds: Bounds) -> None:
        self.stage, self.folder, self.number, self.bounds = stage, folder, number, bounds
        self.began = time.monotonic()

    def watch(self) -> None:
        """Called with each beat: ends the process of a stage that takes too much."""
        _end_with_its_parent()
        hours, memory = (time.monotonic() - self.began) / 3600, memory_in_use()
        if hours <= self.bounds.hours and memory <= self.bounds.bytes:
            return
        try:
            if hours > self.bounds.hours:
                self.fail("time", f"it took more than {self.bounds.hours:g} hours", final=True)
            else:
                bound = self.bounds.bytes / 2**30
                self.fail("memory", f"it took more than {bound:.3g} GB of memory")
        finally:
            Lease(Register(self.folder / LEASE), self.number).end()
            os._exit(SAVED)

    def failed(self, error: Exception) -> str:
        """Records what a verb raised, and returns it in a line.

        Raises again what is no fault of the stage: it was asked to go, or the disk is full.
        """
        if getattr(error, "status", None) in (SAVED, LOST):
            raise SystemExit(error.status) from error  # type: ignore[attr-defined]
        if isinstance(error, Unwritable):
            raise error
        if is_full(error):
            raise Unwritable(
                f"The stage '{self.stage.path}' could not write: {error}. What is finished stays; "
                "the same command goes on from there."
            ) from error
        if isinstance(error, UserError):
            return self.fail("user", f"{error}")
        return self.fail("crash", f"{type(error).__name__}: {error}")

    def fail(self, kind: str, why: str, final: bool | None = None) -> str:
        """Records a failure. What crashed is tried again, so often; what a user can mend is not."""
        return record_failure(
            self.folder, self.stage, self.number, self.bounds, kind, why,
            time.monotonic() - self.began, final,
        )  # fmt: skip


def record_failure(
    folder: Path,
    stage: Stage,
    number: int,
    bounds: Bounds,
    kind: str,
    why: str,
    seconds: float = 0.0,
    final: bool | None = None,
) -> str:
    """Writes that attempt `number` at a stage failed, and with which last lines of its log.

    final: not to be tried again; by default so for a user's error, and after enough crashes.
    """
    failures = Register(folder / FAILED)
    ask = digest(asked(stage))
    crashes = 1
    for before in reversed(failures.generations()):
        record = failures.read(before).record
        if AGAIN in record or record.get("asked") != ask:
            break
        crashes += 1
    if final is None:
        final = kind == "user" or crashes >= bounds.attempts
    failures.add(
        {
            "attempt": number,
            "kind": kind,
            "why": why,
            "final": final,
            "asked": ask,
            "tail": attempt.tail(attempt.attempt_folder(folder, number)),
            "seconds": round(seconds, 3),
        }
    )
    return f"failed: {why}" if final else f"failed, to be tried again: {why}"


def verb_of(name: str) -> Verb:
    """A verb of jaxlt's or, as 'package.module:function', one of your own."""
    module, _, function = name.rpartition(":")
    if not module:
        known = importlib.import_module(VERBS).VERBS
        if name not in known:
            raise UserError(
                f"There is no verb '{name}'.{nearest(name, known)} One of your own is "
                "'package.module:function'."
            )
        return known[name]
    try:
        found = getattr(importlib.import_module(module), function, None)
    except ModuleNotFoundError as error:
        raise UserError(f"The verb '{name}' cannot be had: {error}.") from error
    if not callable(found):
        raise UserError(f"The verb '{name}' cannot be had: '{module}' has no such function.")
    return found


@functools.cache
def versions() -> dict[str, str]:
    """What computed a result."""
    found = {"jaxlt": __version__, "python": ".".join(map(str, sys.version_info[:3]))}
    for name in ("jax", "numpy"):
        found[name] = importlib.metadata.version(name)
    return found


@functools.cache
def memory_there() -> int:
    """Bytes that this machine, or this container, has."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # another system, or no limit
            there = min(there, int(Path("/sys/fs/cgroup", name).read_text()))
    return there


def memory_in_use() -> int:
    """Bytes that this process holds; the most it ever held where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
