"""Several hosts as one run: they find each other, or say in time who is missing.

`initialize()` before anything touches a device; afterwards `jax.devices()` are those of all hosts.
JAX's own start aborts the process when a host does not come (a stack trace, no exception), so the
processes meet beforehand on the coordinator's port (`rendezvous.py`) and JAX is started when
everybody is known to be there. From then on none waits for one that is gone (`lifeline.py`).
"""

import atexit
import glob
import hashlib
import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

import jax
import numpy as np

from jaxlt.engine.hosts.lifeline import Lifeline
from jaxlt.engine.hosts.rendezvous import meet
from jaxlt.errors import HostGone, UserError

_SLURM = (
    "SLURM_JOB_ID",
    "SLURM_STEP_NODELIST",
    "SLURM_NTASKS",
    "SLURM_PROCID",
    "SLURM_LOCALID",
)
_ENVIRONMENT = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


class Place(NamedTuple):
    """Where a process stands among the others."""

    address: str  # host:port of process 0
    processes: int
    process: int


_lifeline: Lifeline | None = None


def _tell(error: HostGone) -> None:
    print(error, file=sys.stderr)


def initialize(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    timeout_s: int = 300,
    lost_after_s: float = 100,
    on_end: Callable[[HostGone], object] = _tell,
) -> None:
    """Joins this process with the others of the run; does nothing where there is only one.

    Without arguments TPU pods and Slurm steps are recognised by themselves (so are the environment
    variables JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID); elsewhere give all
    three. Raises HostGone after `timeout_s` seconds with the processes that did not come.

    From then on a process that dies, or is silent for `lost_after_s` seconds, ends the others:
    `on_end` is called with the reason, which also has the exit status.
    """
    global _lifeline
    if jax.distributed.is_initialized():
        return
    place = _given(coordinator_address, num_processes, process_id) or _detected(timeout_s)
    if place is None or place.processes == 1:
        return
    if lost_after_s < 1:
        raise UserError(f"lost_after_s is at least 1 second, not {lost_after_s:g}.")
    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # of CPU devices alone
    connections = meet(place.address, place.processes, place.process, timeout_s)
    _lifeline = Lifeline(place.process, place.processes, connections, lost_after_s, on_end)
    try:
        jax.distributed.initialize(
            place.address,
            place.processes,
            place.process,
            initialization_timeout=timeout_s,
            heartbeat_timeout_seconds=max(10, round(2 * lost_after_s)),  # the lifeline is first
        )
    except RuntimeError as error:
        raise HostGone(  # all had met: a start again may do
            f"Process {place.process} of {place.processes} could not join the run at "
            f"{place.address}: {error}"
        ) from error


def leave(status: int) -> None:
    """Tells the other processes that this one ends with `status`, and how it therefore ends.

    Without others it does nothing. Where `status` is an error it does not return, and they end
    with it too, unless they end by themselves.
    """
    if _lifeline is not None:
        _lifeline.leave(status)


def hear_out() -> None:
    """To be called when an operation failed: does not return if that is as another is gone."""
    if _lifeline is not None:
        _lifeline.hear_out()


@atexit.register  # after JAX's own, and so called before it
def _leave_at_exit() -> None:
    leave(1 if getattr(sys, "last_type", None) is not None else 0)


def process_count() -> int:
    """Number of processes (hosts) in the run."""
    return jax.process_count()


def is_primary() -> bool:
    """True on the one process that speaks and writes shared files."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Returns when every process has reached the barrier of that name."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def agree(error: BaseException | None, what: str) -> None:
    """Raises on every process where any of them met an error; all of them call this.

    `error` is what this process met (or None); the others get a UserError that says `what` failed
    and where.
    """
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        failed = multihost_utils.process_allgather(np.asarray(error is not None, np.int32))
        if error is None and failed.any():
            culprits = ", ".join(str(i) for i in np.flatnonzero(failed))
            raise UserError(f"{what} failed on process {culprits}; its own message says why.")
    if error is not None:
        raise error


def check_same(what: str, value: object) -> None:
    """Raises UserError on every process where they do not hold the same value of `what`."""
    if jax.process_count() == 1:
        return
    from jax.experimental import multihost_utils

    digest = np.frombuffer(hashlib.sha256(repr(value).encode()).digest()[:16], np.int32)
    theirs = multihost_utils.process_allgather(digest)
    different = [str(i) for i in range(len(theirs)) if not np.array_equal(theirs[i], theirs[0])]
    if different:
        raise UserError(
            f"The processes of this run do not agree: process {', '.join(different)} differs from "
            f"process 0 in {what}. This process has {value!r}. All hosts need the same files and "
            "settings, and one workdir that all of them see."
        )


def on_primary(function: Callable[[], None], what: str) -> None:
    """Runs `function` on the primary process alone; if it raises, every process raises."""
    error: BaseException | None = None
    if is_primary():
        try:
            function()
        except Exception as caught:
            error = caught
    agree(error, what)


def _given(address: str | None, processes: int | None, process: int | None) -> Place | None:
    """The place that flags or the environment name; None where they name none of it."""
    flagged: tuple[str | int | None, ...] = (address, processes, process)
    pairs = zip(flagged, _ENVIRONMENT, strict=True)
    values = [os.environ.get(variable) if flag is None else flag for flag, variable in pairs]
    if values[1] is None and values[2] is None and (values[0] is None or _automatic()):
        return None
    flags = ("coordinator_address", "num_processes", "process_id")
    missing = [flag for flag, value in zip(flags, values, strict=True) if value is None]
    if missing:
        raise UserError(
            f"A run on several hosts takes coordinator_address, num_processes and process_id "
            f"together; not given: {', '.join(missing)}. On TPU pods and under Slurm give none."
        )
    try:
        place = Place(str(values[0]), int(str(values[1])), int(str(values[2])))
    except ValueError as error:
        raise UserError(f"num_processes and process_id are whole numbers: {error}.") from error
    if not 0 <= place.process < place.processes:
        raise UserError(
            f"process_id is between 0 and num_processes - 1 = {place.processes - 1}, "
            f"not {place.process}."
        )
    return place


def _automatic() -> bool:
    """True in a Slurm step of several tasks or on a machine with TPU chips; touches no device."""
    if all(name in os.environ for name in _SLURM):
        return os.environ["SLURM_NTASKS"] != "1"
    chips = glob.glob("/dev/accel*") or glob.glob("/dev/vfio/[0-9]*")
    asked = not os.environ.get("JAX_PLATFORMS", "tpu").startswith("cpu")
    return bool(chips) and find_spec("libtpu") is not None and asked


def _detected(timeout_s: int) -> Place | None:
    """The place that the cluster gives this process, found by JAX's own cluster detection."""
    if not _automatic():
        return None
    from jax._src.clusters import ClusterEnv  # JAX has no public way to ask before it connects

    found = ClusterEnv.auto_detect_unset_distributed_params(None, None, None, None, None, timeout_s)
    if None in found[:3]:
        return None  # TPU chips without a pod around them
    return Place(str(found[0]), int(found[1] or 1), int(found[2] or 0))
