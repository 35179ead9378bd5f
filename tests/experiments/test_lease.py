"""Leases are judged by their counters on the clock of whoever looks."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxlt.experiments import lease
from jaxlt.experiments.lease import Lease, Watch, claimant, is_over
from jaxlt.experiments.storage import Entry, Register


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def register(tmp_path: Path) -> Register:
    return Register(tmp_path)


def taken(register: Register, **changes: object) -> Entry:
    """A lease of a machine that is not this one."""
    register.put(1, claimant("") | {"machine": "elsewhere", **changes})
    entry = register.newest()
    assert entry is not None
    return entry


def test_a_counter_that_stands_still_for_lease_s(register: Register) -> None:
    clock, entry = Clock(), taken(register)
    watch, beat = Watch(20.0, clock), register.path(1, ".beat")
    beat.write_bytes(b"%012d" % 5)
    assert watch.held(register, entry)  # seen for the first time
    clock.now += 19.0
    assert watch.held(register, entry)
    beat.write_bytes(b"%012d" % 6)
    clock.now += 19.0
    assert watch.held(register, entry)  # it moved
    clock.now += 19.9
    assert watch.held(register, entry)
    clock.now += 0.2
    assert not watch.held(register, entry)


@pytest.mark.parametrize("off", [3600.0, -3600.0])
def test_clocks_that_are_off_by_an_hour(
    register: Register, monkeypatch: pytest.MonkeyPatch, off: float
) -> None:
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + off)
    entry = taken(register)
    monkeypatch.undo()
    os.utime(register.path(1), (now() - off, now() - off))
    clock = Clock()
    watch = Watch(20.0, clock)
    assert abs(entry.record["taken"] - now() - off) < 5
    assert watch.held(register, entry)  # and no sooner nor later than on equal clocks
    clock.now += 19.9
    assert watch.held(register, entry)
    clock.now += 0.2
    assert not watch.held(register, entry)


def test_a_process_of_this_machine_that_is_gone(register: Register) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    record = claimant("") | {"pid": child.pid, "began": lease.began(child.pid)}
    register.put(1, record)
    entry = Entry(1, record)
    assert Watch().held(register, entry)
    assert not Watch().held(register, Entry(1, record | {"began": "1"}))  # its number, another one
    child.communicate()
    assert not Watch().held(register, entry)
    assert Watch().held(register, Entry(1, record | {"machine": "elsewhere"}))
    assert not lease.is_gone({"machine": ""})  # nothing is known of it


def test_beating(register: Register) -> None:
    register.put(1, claimant(""))
    own, looks = Lease(register, 1), []
    beat = register.path(1, ".beat")
    with own.beating(0.005, lambda: looks.append(beat.read_bytes())):
        while len(looks) < 3:
            time.sleep(0.005)
        assert not is_over(register, 1)
    assert is_over(register, 1) and looks[0] == b"%012d" % 1 and len(set(looks)) == len(looks)
    entry = register.newest()
    assert entry is not None and not Watch().held(register, entry)
