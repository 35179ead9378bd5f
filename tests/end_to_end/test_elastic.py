"""Four hosts, of which one is killed ten times and one asked to go: on four or two they go on.

Each host is a process with one CPU device; they are forked from a server that has imported all.
"""

import multiprocessing
import random
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import pytest
from etils import epath

from jaxlt.engine.checkpoint import store
from jaxlt.engine.checkpoint import tree as checkpoint_tree
from jaxlt.engine.checkpoint.checkpoints import Checkpoints
from jaxlt.errors import LOST, SAVED
from tests.end_to_end.conftest import last_step, told
from tests.end_to_end.test_hosts import free_address

pytestmark = pytest.mark.nightly(
    "tests/end_to_end/test_hosts.py::test_a_host_that_is_killed_ends_the_other_which_goes_on_alone"
)

STEPS, KILLS = 60, 10  # as in elastic_host, which imports JAX with a device of its own


class Hosts:
    """Starts the hosts of a run."""

    def __init__(self, cache: Path):
        self._cache = cache
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.end_to_end.elastic_host"])

    def start(self, workdir: Path, count: int) -> list:
        """The processes of a run on so many hosts."""
        from tests.end_to_end import elastic_host

        address = free_address()
        processes = [
            self._context.Process(
                target=elastic_host.main,
                args=(address, count, host, workdir, self._cache),
                daemon=True,
            )
            for host in range(count)
        ]
        for process in processes:
            process.start()
        return processes

    def run(self, workdir: Path, count: int) -> None:
        """A run to its end."""
        assert self.end(self.start(workdir, count)) == [0] * count, said(workdir)

    @staticmethod
    def end(processes: list, seconds: float = 120) -> list[int]:
        """Waits for all; returns their statuses."""
        until = time.monotonic() + seconds
        for process in processes:
            process.join(max(0.1, until - time.monotonic()))
        return [process.exitcode for process in processes]


def said(workdir: Path) -> str:
    """What the hosts said, one after the other."""
    logs = sorted(workdir.parent.glob(f"{workdir.name}-*.log"))
    return "\n".join(f"== {log.name}\n{log.read_text()[-2000:]}" for log in logs)


def arrays_in(checkpoint: Path) -> dict[str, np.ndarray]:
    """Every array of a checkpoint, as numpy's: the devices that wrote it are not here."""
    leaves = store.saved_leaves(store.read_record(epath.Path(checkpoint)))
    parts: dict[str, dict] = {}
    for n in leaves:
        if 0 not in leaves[n].shape:
            one = ocp.RestoreArgs(restore_type=np.ndarray)
            parts.setdefault(store.part_of(n), {})[n] = one
    arrays: dict[str, np.ndarray] = {}
    for part, wanted in parts.items():
        asked = checkpoint_tree.nest(wanted)
        tree = ocp.PyTreeCheckpointer().restore(checkpoint / part, restore_args=asked)
        arrays |= checkpoint_tree.name_leaves(tree)
    return arrays


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    return Hosts(tmp_path_factory.mktemp("compiled"))


def running(hosts: Hosts, workdir: Path, step: int) -> list:
    """Four hosts, when their run has come to a step."""
    processes = hosts.start(workdir, 4)
    until = time.monotonic() + 200
    while last_step(workdir) < step:
        assert all(p.is_alive() for p in processes) and time.monotonic() < until, said(workdir)
        time.sleep(0.005)
    return processes


def killed_once(hosts: Hosts, workdir: Path, victim: int, step: int) -> None:
    """Kills one of four hosts when their run has come to a step; the others end and say why."""
    processes = running(hosts, workdir, step)
    processes[victim].kill()
    began = time.monotonic()
    found = hosts.end(processes)
    assert time.monotonic() - began < 30  # far less than the time-out, as the system tells
    assert found == [-signal.SIGKILL if h == victim else LOST for h in range(4)], said(workdir)
    for host in set(range(4)) - {victim}:
        log = (workdir.parent / f"{workdir.name}-{host}.log").read_text()
        assert f"Process {victim} of 4 is gone" in " ".join(log.split()), said(workdir)


def asked_once(hosts: Hosts, workdir: Path, step: int) -> None:
    """Tells one of four hosts that it will be taken away; all save the same step."""
    processes = running(hosts, workdir, step)
    processes[2].terminate()
    assert hosts.end(processes) == [SAVED] * 4, said(workdir)
    assert Checkpoints(workdir).latest() == last_step(workdir) >= step


def test_ten_hosts_are_killed_and_one_asked_to_go_and_the_bits_stay_the_same(hosts, tmp_path):
    whole, killed, fewer = tmp_path / "whole", tmp_path / "killed", tmp_path / "fewer"
    hosts.run(whole, 4)
    chance = random.Random(5)
    for _ in range(KILLS):
        step = last_step(killed) + chance.randrange(1, 7)
        killed_once(hosts, killed, chance.randrange(4), step)
    asked_once(hosts, killed, last_step(killed) + 1)
    assert last_step(killed) < STEPS
    shutil.copytree(killed, fewer)

    hosts.run(killed, 4)
    end = f"checkpoints/{STEPS}"
    ours, theirs = arrays_in(killed / end), arrays_in(whole / end)
    assert ours.keys() == theirs.keys() and any("optimizer" in name for name in ours)
    assert not [name for name in ours if ours[name].tobytes() != theirs[name].tobytes()]
    assert told(killed) == told(whole)  # no step twice, none missing

    hosts.run(fewer, 2)
    first = " ".join((tmp_path / "fewer-0.log").read_text().split())
    assert "It was saved on 4 device(s); 2 now take its batches of 8 rows in 2 parts." in first
    losses = [np.array([row["loss"] for row in told(folder)]) for folder in (fewer, whole)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    assert len(losses[0]) == STEPS and np.any(losses[0] != losses[1])  # the sums' order differs
