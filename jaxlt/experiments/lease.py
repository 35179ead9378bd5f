"""Who has a stage in hand: claims in a register, and the counters that keep them.

    lease = Lease(Register(folder / "lease"), 2)    # after its `put(2, claimant(...))`
    with lease.beating(every=2.5, watch=bounds): ...  # rewrites lease/000002.beat
    Watch(lease_s=20).held(register, entry)           # by somebody else's counter

A lease is dead when its counter stands still for `lease_s` on the clock of whoever looks, so that
clocks need not agree; or at once, where its process was of this machine and is gone.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jaxlt.experiments.storage import Entry, Register

LEASE_S = 20.0
BEATS = 8  # in the time after which a lease is dead
_OVER = b"over        "  # as long as a counter: rewritten in place, a full disk has room for it


def machine() -> str:
    """Names what numbers of processes count in: a boot and a namespace; '' where none is known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def began(pid: int) -> str:
    """When a process of this machine began, in ticks; '' of one that is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def claimant(asked: str) -> dict[str, Any]:
    """What a lease says of this process. asked: a digest of what its stage asks."""
    pid, host = os.getpid(), socket.gethostname()
    return {
        "worker": os.environ.get("JAXLT_WORKER") or f"{host}-{pid}",
        "host": host,
        "pid": pid,
        "machine": machine(),
        "began": began(pid),
        "taken": round(time.time(), 3),  # for people: nothing is decided by it
        "asked": asked,
    }


def is_gone(record: dict[str, Any]) -> bool:
    """Whether a claimant was a process of this machine, and is no more."""
    here = machine()
    known = here and record.get("machine") == here
    return bool(known) and began(record["pid"]) != record["began"]


def is_over(register: Register, generation: int) -> bool:
    """Whether a claimant has said that it is done with its stage."""
    return _beat(register, generation) == _OVER


def _beat(register: Register, generation: int) -> bytes:
    try:
        return register.path(generation, ".beat").read_bytes()
    except OSError:
        return b""


class Watch:
    """Judges leases of others by their counters, on this process's own clock."""

    def __init__(
        self, lease_s: float = LEASE_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.lease_s, self._clock = lease_s, clock
        self._seen: dict[tuple[Path, int], tuple[bytes, float]] = {}

    def held(self, register: Register, entry: Entry) -> bool:
        """Whether the newest lease of a stage is alive; one that is seen for the first time is."""
        key, beat, now = (register.folder, entry.generation), _beat(register, entry.generation), 0.0
        if beat == _OVER or (entry.record and is_gone(entry.record)):
            return False
        now = self._clock()
        before, since = self._seen.setdefault(key, (beat, now))
        if beat != before:
            self._seen[key] = (beat, now)
            return True
        return now - since < self.lease_s


class Lease:
    """This process's claim of a stage."""

    def __init__(self, register: Register, generation: int) -> None:
        self.generation = generation
        self._path = register.path(generation, ".beat")

    @contextlib.contextmanager
    def beating(self, every: float, watch: Callable[[], None]) -> Iterator[None]:
        """While it lasts, a thread counts on and calls `watch`; at the end the lease is over."""
        ended = threading.Event()

        def beat() -> None:
            count = 0
            while not ended.wait(every):
                count += 1
                self._write(b"%012d" % count)
                watch()

        self._write(b"%012d" % 0)
        thread = threading.Thread(target=beat, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self.end()

    def end(self) -> None:
        """Says that the stage is not in hand any more; what came of it is written before."""
        self._write(_OVER)

    def _write(self, content: bytes) -> None:
        with contextlib.suppress(OSError):  # whoever watches sees a counter that stands still
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                os.pwrite(file, content, 0)
            finally:
                os.close(file)
