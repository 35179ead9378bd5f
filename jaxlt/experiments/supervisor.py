"""Local workers: a process a core or GPU, started anew when they end too early, in one view.

    run_local([sys.executable, "-m", "jaxlt", "experiment", *FILES, "--worker"], stages, places)

Each worker plans by itself and finds its work in the folder (jaxlt.experiments.worker); nothing but
the folder is between them, so that others may join from elsewhere at any time.
"""

import contextlib
import glob
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from typing import IO, NamedTuple

from jaxlt.errors import LOST, SAVED, UserError
from jaxlt.experiments import lease
from jaxlt.experiments.stage import Stage
from jaxlt.experiments.states import LEASE, State, Survey, ask_again, refuse_stale, to_rerun
from jaxlt.experiments.storage import Places, Register
from jaxlt.experiments.view import View
from jaxlt.experiments.worker import Bounds, asked_to_go, record_failure

_LOOK, _REAP = 1.0, 0.1  # seconds between two looks at the folder, and at the processes
_GRACE = 60.0  # seconds that workers have to go
_IN_VAIN = 3  # times that a worker may end by an error of its own before anything came of it
_GPUS, _TPUS = "/dev/nvidia[0-9]*", ("/dev/accel*", "/dev/vfio/[0-9]*")
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)


class Slot(NamedTuple):
    """Where a worker goes: on one core, or anywhere with these variables of the environment."""

    core: int | None
    environment: dict[str, str]


def slots() -> list[Slot]:
    """A place for a worker each: a GPU, else all TPU chips together, else a core."""
    if not os.environ.get("JAX_PLATFORMS", "").startswith("cpu"):
        if any(find_spec(f"jax_cuda{version}_plugin") for version in (12, 13)):
            every = [path.removeprefix("/dev/nvidia") for path in sorted(glob.glob(_GPUS))]
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(every))
            if every and visible:
                return [Slot(None, {"CUDA_VISIBLE_DEVICES": gpu}) for gpu in visible.split(",")]
        if find_spec("libtpu") and any(glob.glob(chips) for chips in _TPUS):
            return [Slot(None, {})]
    if hasattr(os, "sched_getaffinity"):
        return [Slot(core, {}) for core in sorted(os.sched_getaffinity(0))]
    return [Slot(None, {}) for _ in range(os.cpu_count() or 1)]


def run_local(
    argv: Sequence[str],
    stages: Sequence[Stage],
    places: Places,
    *,
    workers: int | None = None,
    bounds: Bounds | None = None,
    rerun: str = "",
    stream: IO[str] | None = None,
) -> Survey:
    """Does what can be done of the stages with so many workers, by default one a slot.

    argv: the command line of a worker. rerun: 'stale', 'failed' or a stage's name: these run again
    (with 'stale' also what becomes stale by it). Raises UserError where something is stale, or when
    workers cannot work.
    """
    survey = Survey(stages, places)
    if rerun:
        refuse_stale(survey, to_rerun(survey, rerun))  # before a result is withdrawn
    again = ask_again(survey, rerun) if rerun else []
    while True:
        refuse_stale(survey)
        if survey.left:
            count = min(workers or len(slots()), survey.left)
            with asked_to_go(), View(survey, count, stream) as view:
                _Crew(argv, survey, bounds or Bounds(), view, count).work()
        survey = Survey(stages, places, survey.watch)
        if rerun != "stale" or not again:
            return survey
        again = ask_again(survey, rerun)


class _Crew:
    """The worker processes of one run."""

    def __init__(
        self, argv: Sequence[str], survey: Survey, bounds: Bounds, view: View, count: int
    ) -> None:
        self.argv, self.survey, self.bounds, self.view = list(argv), survey, bounds, view
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        self.errors = [tempfile.TemporaryFile() for _ in range(count)]  # noqa: SIM115
        self.in_vain, self.slots = [0] * count, slots()

    def work(self) -> None:
        """Starts the workers, and starts those anew that end too early, until nothing is left."""
        try:
            for number in range(len(self.errors)):
                self._start(number)
            due = 0.0
            while self.running:
                time.sleep(_REAP)
                for number, process in list(self.running.items()):
                    if process.poll() is not None:
                        del self.running[number]
                        self._ended(number, process)
                if (began := time.monotonic()) >= due:
                    self._look()
                    took = time.monotonic() - began
                    due = began + max(_LOOK, 100 * took)  # a hundredth of a core at most
        finally:
            self._stop()
            for file in self.errors:
                file.close()
        self._look()

    def _look(self) -> None:
        before = len(self.survey.named("done", "failed"))
        self.survey.refresh()
        if len(self.survey.named("done", "failed")) > before:
            self.in_vain = [0] * len(self.in_vain)
        self.view.update()

    def _start(self, number: int) -> None:
        """Starts worker `number` in its slot."""
        slot = self.slots[number % len(self.slots)]
        names = {"JAXLT_WORKER": f"worker-{number}", "JAXLT_SUPERVISOR": str(os.getpid())}
        if slot.environment and len(self.in_vain) > len(self.slots):
            names["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # several share a GPU
        self.errors[number].seek(0)
        self.errors[number].truncate()
        process = subprocess.Popen(
            self.argv,
            env=os.environ | slot.environment | names,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.errors[number],
            start_new_session=True,  # Ctrl-C is for this process, which lets them save and go
        )
        if slot.core is not None:
            with contextlib.suppress(OSError):  # it has ended, or may not
                os.sched_setaffinity(process.pid, {slot.core})
        self.running[number] = process

    def _ended(self, number: int, process: "subprocess.Popen[bytes]") -> None:
        """A worker has ended: at the end of the work, by its fault, or to be started again."""
        self._look()
        code = process.returncode
        if code > 0:
            self.survey.read_all()  # as a worker that begins now sees it
        held = self._held_by(process.pid)
        if held is not None and -code in _CRASHES:
            folder = self.survey.places.folder(held.stage)
            assert held.lease is not None
            why = f"its process died by {signal.Signals(-code).name}"
            record_failure(folder, held.stage, held.lease.generation, self.bounds, "crash", why)
            self.survey.read(held.stage)
        if not self.survey.left:
            return
        if code == UserError.status:
            paragraph = self._said(number).rpartition("jaxlt: error: ")[2]
            raise UserError(" ".join(paragraph.split()) or "A worker ended, and did not say why.")
        if code not in (0, SAVED, LOST) and held is None:
            self.in_vain[number] += 1
            if code > 0 and self.in_vain[number] >= _IN_VAIN:
                lines = "\n".join(self._said(number).splitlines()[-15:])
                raise UserError(
                    f"Workers end with status {code} before they have done anything:\n{lines}"
                )
        self._start(number)

    def _held_by(self, pid: int) -> State | None:
        """The stage that a process of this machine had in hand when it died."""
        here = lease.machine()
        for state in self.survey.named("absent", "running"):
            entry = state.lease
            mine = entry is not None and entry.record.get("pid") == pid
            if entry is None or not mine or entry.record.get("machine") != here:
                continue
            register = Register(self.survey.places.folder(state.stage) / LEASE)
            if not lease.is_over(register, entry.generation):
                return state
        return None

    def _said(self, number: int) -> str:
        """What a worker wrote to its standard error."""
        file = self.errors[number]
        file.seek(0)
        return file.read().decode(errors="replace").strip()

    def _stop(self) -> None:
        """Has the workers that still run leave what they have in hand, and waits for them."""
        for process in self.running.values():
            process.terminate()
        until = time.monotonic() + _GRACE
        for process in self.running.values():
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
