"""Processes that hold on to each other: whoever is lost, the others end in time, and say why."""

import os
import signal
import subprocess
import sys
import time

import pytest

from jaxlt.errors import LOST, SAVED
from tests.engine.hosts.test_distributed import free_address

PROCESS = """
import ctypes, os, signal, sys, time
from jaxlt.engine.hosts import lifeline
from jaxlt.engine.hosts.rendezvous import meet
address, count, who, act = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
lifeline.GRACE_S = 1.0
line = lifeline.Lifeline(who, count, meet(address, count, who, 20), 1.5, lambda e: print(e))
if act == "die":
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)
if act == "freeze":
    os.kill(os.getpid(), signal.SIGSTOP)
if act == "abort":
    ctypes.CDLL(None).abort()
if act.startswith("fail"):
    time.sleep(0.4)
    line.hear_out(float(act.removeprefix("fail")))
    print("my own fault")
    line.leave(1)
if act.startswith("leave"):
    line.leave(int(act.removeprefix("leave")))
    sys.exit(int(act.removeprefix("leave")))
time.sleep(float(act[4:]) if act[:4] == "stay" and act[4:] else 20)
line.leave(0)
"""


def together(*acts: str) -> list[subprocess.Popen]:
    address = free_address()
    return [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, address, str(len(acts)), str(who), act],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for who, act in enumerate(acts)
    ]


def ends(processes: list[subprocess.Popen]) -> list[tuple[int, str]]:
    said = [process.communicate(timeout=30)[0] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


@pytest.mark.parametrize("lost", [0, 2])
def test_a_process_that_is_killed_ends_the_others_at_once(lost):
    acts = ["die" if who == lost else "stay" for who in range(3)]
    began = time.monotonic()
    found = ends(together(*acts))
    assert time.monotonic() - began < 12
    assert [status for status, _ in found] == [-9 if a == "die" else LOST for a in acts], found
    for status, text in found:
        if status == LOST:
            assert f"Process {lost} of 3 is gone: its connection was closed." in text
            assert text.count("is gone") == 1 and "start the same command again" in text


@pytest.mark.parametrize("frozen", [0, 1])
def test_a_process_that_is_silent_counts_as_lost(frozen):
    processes = together(*("freeze" if who == frozen else "stay" for who in range(2)))
    status, text = ends([processes[1 - frozen]])[0]
    assert status == LOST and f"Process {frozen} of 2 is gone: it has been silent" in text
    os.kill(processes[frozen].pid, signal.SIGCONT)
    assert ends([processes[frozen]])[0][0] == LOST  # back alive, it finds itself alone


def test_an_error_of_one_is_the_end_of_all_with_its_status():
    found = ends(together("stay", "leave2", "stay"))
    assert [status for status, _ in found] == [2, 2, 2], found
    assert "Process 1 of 3 has ended in an error (status 2)" in found[0][1]
    assert found[1][1] == "" and found[2][1] == found[0][1]


def test_an_error_that_all_met_is_told_by_each_alone():
    assert ends(together("leave2", "leave2", "leave2")) == [(2, "")] * 3


@pytest.mark.slow
@pytest.mark.parametrize("status", [0, SAVED])
def test_who_is_done_may_go(status):
    found = ends(together(f"leave{status}", f"leave{status}", f"leave{status}"))
    assert found == [(status, "")] * 3
    began = time.monotonic()
    assert [s for s, _ in ends(together("stay3", f"leave{status}"))] == [0, status]
    assert time.monotonic() - began > 3  # the one that stays has its time


def test_an_operation_that_fails_as_another_is_gone_is_not_a_fault():
    (status, text), _ = ends(together("fail9", "die"))
    assert status == LOST and "Process 1 of 2 is gone" in text and "fault" not in text


def test_an_operation_that_fails_by_itself_is_one():
    found = ends(together("stay", "fail0.5"))
    assert [status for status, _ in found] == [1, 1] and found[1][1] == "my own fault\n"


def test_an_abort_leaves_time_to_hear_why():
    (_, _), (status, text) = ends(together("die", "abort"))
    assert status == LOST and "Process 0 of 2 is gone" in text
