"""Local workers: started anew when they end too early, and seen in one view."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jaxlt.errors import UserError
from jaxlt.experiments import lease, supervisor
from jaxlt.experiments.stage import Stage
from jaxlt.experiments.states import Survey, rows
from jaxlt.experiments.supervisor import run_local
from tests.experiments.jobs import HERE, counted, places
from tests.experiments.test_worker import failing, failures, journal, quietly, wait_until


def started(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", HERE, str(folder), *arguments]


@pytest.mark.slow
def test_two_runs_on_one_folder_share_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL", str(tmp_path / "journal"))
    stages, command = counted(5, 0.05), started(tmp_path, "slowly")

    def local(workers: int) -> Survey:
        return run_local(command, stages, places(tmp_path), workers=workers, stream=io.StringIO())

    other = threading.Thread(target=local, args=(1,))
    other.start()
    found = local(2)
    other.join()
    assert found.status == 0 and len(rows(found)) == len(stages)
    done = journal(tmp_path)
    assert len(done) == len(set(done)) == sum(stage.config["steps"] for stage in stages)
    who = {tuple(state.record["worker"].values()) for state in found.states.values()}
    assert {name for name, *_ in who} <= {"worker-0", "worker-1"} and len(who) > 1
    before = time.monotonic()
    run_local(["no such command"], stages, places(tmp_path))  # nothing is left to start it for
    assert time.monotonic() - before < 1.0


@pytest.mark.slow
def test_workers_that_are_killed_are_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL", str(tmp_path / "journal"))
    stages, killed = counted(5, 0.05), set()

    def kill() -> None:
        while len(killed) < 4 and (now := Survey(stages, places(tmp_path))).left:
            for state in now.named("running"):
                assert state.lease is not None
                if not lease.is_gone(state.lease.record) and len(killed) < 4:
                    killed.add(state.lease.record["pid"])
                    os.kill(state.lease.record["pid"], signal.SIGKILL)
            time.sleep(0.1)

    killer = threading.Thread(target=kill)
    killer.start()
    found = run_local(
        started(tmp_path, "slowly"), stages, places(tmp_path), workers=2, stream=io.StringIO()
    )
    killer.join()
    assert found.status == 0 and found.named("done")[-1].stage is stages[-1]
    quietly(stages, tmp_path / "quiet")
    quiet = rows(Survey(stages, places(tmp_path / "quiet")))
    assert killed and rows(found) == quiet
    assert max(s.record["attempt"] for s in found.states.values()) > 1


@pytest.mark.slow
def test_a_worker_that_dies_is_started_again(tmp_path: Path) -> None:
    stages, said = failing("abort"), io.StringIO()
    found = run_local(
        started(tmp_path, "failing", "abort"), stages, places(tmp_path), workers=1, stream=said
    )
    assert [state.name for state in found.states.values()] == ["failed", "done"]
    records = failures(tmp_path, stages[0])
    assert [r["why"] for r in records] == ["its process died by SIGABRT"] * 2
    assert records[0]["tail"][0] == "about to fail"
    assert said.getvalue() == "failed: all/0/fails: its process died by SIGABRT\n"


@pytest.mark.slow
def test_workers_end_when_their_supervisor_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is lost: the same command goes on."""
    monkeypatch.setenv("JOURNAL", str(tmp_path / "journal"))
    stages = counted(5, 0.01)
    code = (
        f"import sys; from tests.experiments.jobs import *\n"
        "from jaxlt.experiments.supervisor import run_local\n"
        f"folder = Path({str(tmp_path)!r}); command = {started(tmp_path, 'counted')!r}\n"
        "sys.exit(run_local(command, counted(5, 0.01), places(folder), workers=2).status)"
    )
    whole = subprocess.Popen([sys.executable, "-c", code])
    wait_until(lambda: (tmp_path / "journal").exists() and len(journal(tmp_path)) > 10)
    held = [state.lease for state in Survey(stages, places(tmp_path)).named("running")]
    whole.kill()
    whole.wait()
    wait_until(lambda: all(lease.is_gone(entry.record) for entry in held if entry is not None))
    assert held and Survey(stages, places(tmp_path)).left > 0
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert len(rows(Survey(stages, places(tmp_path)))) == len(stages)


@pytest.mark.parametrize(
    "code, why",
    [(2, "^a paragraph$"), (1, r"status 1 .*:\na/0/b: done\njaxlt: error: a\nparagraph$")],
)
def test_workers_that_cannot_work_end_the_run(tmp_path: Path, code: int, why: str) -> None:
    words = "a/0/b: done\njaxlt: error: a\nparagraph"
    text = f"import sys; sys.stderr.write({words!r}); sys.exit({code})"
    command = [sys.executable, "-S", "-c", text]
    with pytest.raises(UserError, match=why):
        run_local(command, counted(1), places(tmp_path), workers=1, stream=io.StringIO())


def test_what_is_stale_is_refused_and_run_again_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the crew is one worker in this process."""

    def work(crew: supervisor._Crew) -> None:
        quietly(crew.survey.stages, tmp_path)

    monkeypatch.setattr(supervisor._Crew, "work", work)
    old, new = ([s for s in counted(n, cells=1, seeds=1)] for n in (1, 2))

    def local(stages: list[Stage], **settings: str) -> Survey:
        return run_local([], stages, places(tmp_path), stream=io.StringIO(), **settings)

    assert local(old).status == 0
    with pytest.raises(UserError, match=r"3 are done, but not as the study asks now"):
        local(new)
    with pytest.raises(UserError, match=r"2 are done, but not as the study asks now"):
        local(new, rerun="base")
    assert Survey(old, places(tmp_path)).status == 0  # nothing was withdrawn
    assert local(new, rerun="stale").status == 0
    assert local(new, rerun="base").status == 0
    with pytest.raises(UserError, match="no stage 'bose'"):
        local(new, rerun="bose")


def test_a_worker_goes_to_a_gpu_or_else_to_a_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cores = sorted(os.sched_getaffinity(0))
    assert [slot.core for slot in supervisor.slots()] == cores  # JAX_PLATFORMS is cpu
    monkeypatch.delenv("JAX_PLATFORMS")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(supervisor, "_GPUS", str(tmp_path / "nvidia[0-9]"))
    monkeypatch.setattr(supervisor, "_TPUS", (str(tmp_path / "accel*"),))
    plugins = ["jax_cuda13_plugin", "libtpu"]
    monkeypatch.setattr(supervisor, "find_spec", lambda name: name in plugins)
    assert [slot.core for slot in supervisor.slots()] == cores
    for name in ("nvidia0", "nvidia1", "nvidiactl", "accel0", "accel1"):
        (tmp_path / name).touch()
    names = [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in supervisor.slots()]
    assert [name.rpartition("nvidia")[2] for name in names] == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert supervisor.slots() == [
        supervisor.Slot(None, {"CUDA_VISIBLE_DEVICES": gpu}) for gpu in ("3", "5")
    ]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # GPUs are hidden: there are TPU chips
    assert supervisor.slots() == [supervisor.Slot(None, {})]
    del plugins[:]
    assert [slot.core for slot in supervisor.slots()] == cores


@pytest.mark.parametrize("workers, asked", [(2, None), (3, "false")])
def test_workers_are_told_their_slot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, asked: str | None
) -> None:
    gpus = [supervisor.Slot(None, {"CUDA_VISIBLE_DEVICES": gpu}) for gpu in ("3", "5")]
    monkeypatch.setattr(supervisor, "slots", lambda: gpus)
    monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE", raising=False)
    started: list[dict[str, str]] = []

    class Process:
        pid = 1

        def __init__(self, argv: list[str], env: dict[str, str], **_: object) -> None:
            started.append(env)

    monkeypatch.setattr(supervisor.subprocess, "Popen", Process)
    survey = Survey(counted(1), places(tmp_path))
    view = supervisor.View(survey, workers, io.StringIO())
    crew = supervisor._Crew([], survey, supervisor.Bounds(), view, workers)
    for number in range(workers):
        crew._start(number)
    assert [env["CUDA_VISIBLE_DEVICES"] for env in started] == ["3", "5", "3"][:workers]
    assert [env.get("XLA_PYTHON_CLIENT_PREALLOCATE") for env in started] == [asked] * workers
    assert [env["JAXLT_WORKER"] for env in started] == [f"worker-{n}" for n in range(workers)]
    for file in crew.errors:
        file.close()
