"""Workers share a folder: each stage is done once; kills, sleepers, full disks lose nothing."""

import dataclasses
import errno
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jaxlt.errors import SAVED, UserError
from jaxlt.experiments import attempt, storage, worker
from jaxlt.experiments.lease import claimant
from jaxlt.experiments.stage import Cell, Stage, asked, digest
from jaxlt.experiments.states import Survey, ask_again, rows
from jaxlt.experiments.storage import Register, Unwritable
from jaxlt.experiments.worker import Bounds, run
from jaxlt.metrics import result_file
from tests.experiments.jobs import HERE, counted, places

COUNT = f"{HERE}:count"


def quietly(stages: list[Stage], folder: Path, **settings: object) -> Survey:
    return run(stages, places(folder), say=lambda _: None, **settings)  # type: ignore[arg-type]


def lines(folder: Path, stages: list[Stage]) -> list[dict]:
    return [result_file.to_json(row) for row in rows(Survey(stages, places(folder)))]


def failing(kind: str) -> list[Stage]:
    """A stage that fails so, and one that has nothing to do with it."""
    return [
        Cell().stage("fails", f"{HERE}:fail", kind=kind, bytes=300 * 2**20),
        Cell().stage("works", COUNT, steps=1),
    ]


def failures(folder: Path, stage: Stage) -> list[dict]:
    register = Register(places(folder).folder(stage) / "failed")
    return [register.read(number).record for number in register.generations()]


@pytest.fixture
def start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts workers in processes of their own; those that still run at the end are killed."""
    started: list[subprocess.Popen] = []
    monkeypatch.setenv("JOURNAL", str(tmp_path / "journal"))

    def begin(*arguments: str, **environment: str) -> subprocess.Popen:
        command = [sys.executable, "-m", f"{HERE}", str(tmp_path), *arguments]
        started.append(
            subprocess.Popen(
                command,
                env=os.environ | environment,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


# ---- one process


def test_a_crash_is_tried_again_and_a_users_error_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    for kind, tries in (("crash", 2), ("user", 1)):
        stages, folder = failing(kind), tmp_path / kind
        found = run(stages, places(folder), say=said.append)
        assert [state.name for state in found.states.values()] == ["failed", "done"]
        records = failures(folder, stages[0])
        assert [r["final"] for r in records] == [False, True][2 - tries :] and found.status == 1
        assert records[-1]["tail"][0] == "about to fail"
    assert "ValueError: boom" in failures(tmp_path / "crash", failing("crash")[0])[0]["tail"]
    assert [line.partition(" (")[0] for line in said] == [
        "all/0/fails: failed, to be tried again: ValueError: boom",
        "all/0/fails: failed: ValueError: boom",
        "all/0/works: done",
        "all/0/fails: failed: There is no language 'xyz'.",
        "all/0/works: done",
    ]


def test_verbs_that_are_not_there(tmp_path: Path) -> None:
    for verb, why in {
        "nowhere:x": "No module named 'nowhere'",
        f"{HERE}:nothing": f"'{HERE}' has no such function",
    }.items():
        with pytest.raises(UserError, match=why):
            worker.verb_of(verb)


def test_what_others_hold_is_waited_for_and_not_done_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL", str(tmp_path / "journal"))
    stages = counted(2, pause=0.01, seeds=1)
    other = threading.Thread(target=quietly, args=(stages[:1], tmp_path))  # all need this one
    other.start()
    wait_until((tmp_path / "lab/0/world/lease/000001.beat").exists)
    found = quietly(stages, tmp_path)
    other.join()
    assert found.status == 0 and set(Counter(journal(tmp_path)).values()) == {1}


def journal(folder: Path) -> list[str]:
    return (folder / "journal").read_text().splitlines()


def test_an_attempt_that_was_left_goes_on_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Cell().stage("base", COUNT, steps=5)
    stages, folder = [stage], places(tmp_path).folder(stage)

    def stopped(config: dict, at: attempt.At) -> list:
        (at.folder / "checkpoints").mkdir()
        (at.folder / "checkpoints" / "step").write_text("3")
        error = UserError("Asked to go.")
        error.status = SAVED
        raise error

    monkeypatch.setattr(worker, "verb_of", lambda _: stopped)
    with pytest.raises(SystemExit) as left:
        quietly(stages, tmp_path)
    assert left.value.code == SAVED and failures(tmp_path, stage) == []
    monkeypatch.undo()
    monkeypatch.setenv("JOURNAL", str(tmp_path / "journal"))
    assert quietly(stages, tmp_path).status == 0
    assert journal(tmp_path) == ["all/0/base 4", "all/0/base 5"]
    assert attempt.tail(folder / "attempts" / "000002") == ["step 4", "step 5"]


def test_a_stage_whose_workers_go_away_each_time_is_given_up(tmp_path: Path) -> None:
    stage = Cell().stage("base", COUNT, steps=1)
    register = Register(places(tmp_path).folder(stage) / "lease")
    for number in range(1, 4):
        register.put(number, claimant(digest(asked(stage))) | {"began": "0"})
    found = quietly([stage], tmp_path, bounds=Bounds(lost=3))
    assert found.states[stage.path].why == ("its worker was killed or went away 3 times",)
    assert ask_again(found, "failed") == [stage.path]
    assert quietly([stage], tmp_path, bounds=Bounds(lost=3)).status == 0
    ask_again(Survey([stage], places(tmp_path)), "base")
    newer = dataclasses.replace(stage, config={"steps": 2})
    assert quietly([newer], tmp_path, bounds=Bounds(lost=3)).status == 0  # it was lost as another


def test_a_full_disk_is_no_fault_of_the_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = counted(1, cells=1, seeds=1)
    whole = tmp_path / "whole"
    quietly(stages, whole)
    calls, write = [0], storage.write

    def full(path: Path, content: bytes) -> None:
        calls[0] += 1
        if calls[0] % 5 == 0:  # leases, notes, rows and results alike
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, content)

    monkeypatch.setattr(storage, "write", full)
    monkeypatch.setattr(attempt, "write", full)
    ends = 0
    for _ in range(20):
        try:
            found = quietly(stages, tmp_path)
            break
        except Unwritable as error:
            assert "No space left on device. What is finished stays" in str(error)
            ends += 1
    assert ends >= 3 and found.status == 0
    assert lines(tmp_path, stages) == lines(whole, stages)

    def no_room(config: dict, at: attempt.At) -> list:
        raise RuntimeError("could not save: No space left on device")

    monkeypatch.undo()
    monkeypatch.setattr(worker, "verb_of", lambda _: no_room)
    with pytest.raises(Unwritable, match=r"The stage 'all/0/more' could not write"):
        quietly([Cell().stage("more", COUNT)], tmp_path)


def test_a_sleeper_that_wakes_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another takes over from within the sleeper's verb, and has a result when it goes on."""
    stage = Cell().stage("base", COUNT, steps=2)
    folder, verb_of = places(tmp_path).folder(stage), worker.verb_of

    def slept(config: dict, at: attempt.At) -> list:
        monkeypatch.setattr(worker, "verb_of", verb_of)
        (folder / "lease" / "000001.beat").unlink()
        took_over = quietly([stage], tmp_path, lease_s=0.05)
        assert took_over.states[stage.path].record["attempt"] == 2
        return []

    monkeypatch.setattr(worker, "verb_of", lambda _: slept)
    found = quietly([stage], tmp_path, lease_s=1000.0)
    assert found.states[stage.path].record["attempt"] == 2
    assert len(lines(tmp_path, [stage])) == 1 and Register(folder / "result").generations() == [1]


# ---- many processes


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind, limits, why",
    [
        ("sleep", ("0.0001",), "it took more than 0.0001 hours"),
        ("memory", ("9", "0.2"), "it took more than 0.2 GB of memory"),
    ],
)
def test_what_takes_too_much_ends_its_process(
    tmp_path: Path, start: Callable[..., subprocess.Popen], kind: str, limits: tuple, why: str
) -> None:
    stages = failing(kind)
    tries = 1 if kind == "sleep" else 2
    for _ in range(tries):
        process = start("failing", kind, *limits)
        assert process.wait(30) == SAVED, process.communicate()
    assert [(r["why"], r["kind"]) for r in failures(tmp_path, stages[0])] == [
        (why, "time" if kind == "sleep" else kind)
    ] * tries
    assert start("failing", kind, *limits).wait(30) == 1
    found = Survey(stages, places(tmp_path))
    assert [state.name for state in found.states.values()] == ["failed", "done"]


@pytest.mark.slow
def test_kills_at_any_moment_change_no_row(
    tmp_path: Path, start: Callable[..., subprocess.Popen]
) -> None:
    """20 times one of two workers, or both; those that are gone are started again."""
    chance, plan, whole = random.Random(5), counted(5, 0.01), tmp_path / "whole"
    quietly(plan, whole)
    expected = lines(whole, plan)
    (tmp_path / "journal").write_text("")
    workers: list[subprocess.Popen] = []
    for kills in range(20):
        workers = [w for w in workers if w.poll() is None]
        workers += [start("counted") for _ in range(2 - len(workers))]
        more = len(journal(tmp_path)) + chance.randrange(1, 5)
        wait_until(
            lambda more=more, workers=workers: (
                len(journal(tmp_path)) >= more or all(w.poll() is not None for w in workers)
            )
        )
        time.sleep(chance.uniform(0.0, 0.02))
        for process in workers if kills % 3 == 0 else [chance.choice(workers)]:
            process.kill()
            process.wait()
    assert start("counted").wait(60) == 0
    assert lines(tmp_path, plan) == expected != [] == failures(tmp_path, plan[0])
    made = Counter(journal(tmp_path))
    assert set(made) == {f"{s.path} {n + 1}" for s in plan for n in range(s.config["steps"])}
    assert sum(made.values()) - len(made) <= 28  # of a worker that is killed at most a step is lost


@pytest.mark.slow
def test_a_process_that_slept_while_another_took_over(
    tmp_path: Path, start: Callable[..., subprocess.Popen]
) -> None:
    plan = counted(5, 0.01)
    first = start("counted", LEASE_S="1")
    wait_until(lambda: (tmp_path / "journal").exists() and len(journal(tmp_path)) > 4)
    first.send_signal(signal.SIGSTOP)
    second = start("counted", LEASE_S="1")
    assert second.wait(60) == 0
    done = lines(tmp_path, plan)
    records = {s.path: Survey(plan, places(tmp_path)).states[s.path].record for s in plan}
    first.send_signal(signal.SIGCONT)
    assert first.wait(60) == 0
    after = Survey(plan, places(tmp_path))
    assert lines(tmp_path, plan) == done
    assert {s.path: after.states[s.path].record for s in plan} == records
    assert any(record["attempt"] == 2 for record in records.values())


@pytest.mark.slow
def test_a_folder_without_permission() -> None:
    """Root may write anywhere: it becomes nobody for this."""
    user, stages = os.geteuid(), counted(1)
    with tempfile.TemporaryDirectory() as shut:
        os.chmod(shut, 0o555)
        try:
            if user == 0:
                os.seteuid(65534)
            with pytest.raises(
                Unwritable, match=f"'{shut}.*' cannot be written: Permission denied"
            ):
                quietly(stages, Path(shut))
        finally:
            os.seteuid(user)
        os.chmod(shut, 0o755)
        assert quietly(stages, Path(shut)).status == 0


@pytest.mark.slow
def test_a_quota(tmp_path: Path, start: Callable[..., subprocess.Popen]) -> None:
    """A limit on the size of files stands for a full disk; it is lifted, and the work goes on."""
    code = (
        "import resource, runpy, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (150, 150));"
        f"sys.argv = ['x', {str(tmp_path)!r}, 'counted'];"
        f"runpy.run_module('{HERE}', run_name='__main__')"
    )
    full = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert full.returncode == 1 and "Unwritable" in full.stderr and "File too large" in full.stderr
    assert start("counted").wait(60) == 0
    assert Survey(counted(5, 0.01), places(tmp_path)).status == 0


def test_sigterm_leaves_what_is_in_hand_to_the_next(
    tmp_path: Path, start: Callable[..., subprocess.Popen]
) -> None:
    process = start("counted")
    wait_until(lambda: (tmp_path / "journal").exists())
    process.terminate()
    assert process.wait(30) == SAVED
    found = Survey(counted(5, 0.01), places(tmp_path))
    assert not found.named("running", "failed") and found.left > 0
