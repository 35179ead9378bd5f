"""Runs that are killed, asked to go, or joined by others end with the same bits as quiet ones."""

import random
import signal

import pytest

from jaxlt.errors import SAVED
from tests.end_to_end.conftest import Shell, assert_identical, last_step, told, wait_for

pytestmark = pytest.mark.slow

STEPS = 240
LONG = (
    f"--gin.TRAIN_STEPS={STEPS}",
    "--gin.TrainConfig.eval_every=40",
    "--gin.CheckpointConfig.every=20",
    "--gin.CheckpointConfig.best_metric=eval/bpb",
    "--gin.DataConfig.mean_span=1.5",  # with these two there is nothing to warn of
    "--gin.DataConfig.held_out=0.6",
)


@pytest.fixture(scope="module")
def shell(texts, tmp_path_factory):
    """A cache of its own: in the others' these texts are split by another share."""
    return Shell(texts, tmp_path_factory.mktemp("cache"), optimised=True)


@pytest.fixture(scope="module")
def whole(shell, tmp_path_factory):
    """An uninterrupted run; returns its workdir."""
    workdir = tmp_path_factory.mktemp("whole")
    status, said, errors = shell.run(shell.arguments(workdir, *LONG))
    assert status == 0, errors
    assert f"Done: {STEPS} steps" in said and f"Saved: {workdir}/checkpoints/{STEPS}" in said
    return workdir


@pytest.mark.nightly("tests/end_to_end/test_kill.py::test_killed_three_times_at_random_steps")
def test_the_same_seed_gives_the_same_bits(shell, whole, tmp_path):
    assert shell.run(shell.arguments(tmp_path, *LONG))[0] == 0
    assert_identical(tmp_path / "checkpoints" / str(STEPS), whole / "checkpoints" / str(STEPS))
    assert told(tmp_path) == told(whole)


def kill_at(shell, workdir, condition):
    process = shell.start(shell.arguments(workdir, *LONG))
    wait_for(condition, process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def finish(shell, workdir, whole):
    status, said, errors = shell.run(shell.arguments(workdir, *LONG))
    assert status == 0 and errors == "", errors
    assert_identical(workdir / "checkpoints" / str(STEPS), whole / "checkpoints" / str(STEPS))
    assert told(workdir) == told(whole)  # no step twice, none missing
    names = lambda folder: sorted(p.name for p in (folder / "checkpoints").iterdir())  # noqa: E731
    assert names(workdir) == names(whole)  # and nothing half-written is left
    return said


def test_killed_three_times_at_random_steps(shell, whole, tmp_path):
    chance = random.Random(7)
    reached = 0
    for _ in range(3):
        target = reached + chance.randrange(5, 50)
        kill_at(shell, tmp_path, lambda target=target: last_step(tmp_path) >= target)
        reached = last_step(tmp_path)
        assert 0 < reached < STEPS, reached
    said = finish(shell, tmp_path, whole)
    assert "Resumed from step " in said


def test_killed_three_times_while_it_saves(shell, whole, tmp_path):
    folder = tmp_path / "checkpoints"

    def saving(step):
        half = lambda p: p.name.startswith(str(step)) and not (p / "jaxlt.json").exists()  # noqa: E731
        return folder.exists() and any(half(p) for p in folder.iterdir())

    for step in (40, 80, 140):
        kill_at(shell, tmp_path, lambda step=step: saving(step))
    finish(shell, tmp_path, whole)


def test_sigterm_saves_says_how_to_go_on_and_asks_to_be_started_again(shell, whole, tmp_path):
    process = shell.start(shell.arguments(tmp_path, *LONG))
    wait_for(lambda: last_step(tmp_path) >= 33, process)
    process.terminate()
    out, errors = process.communicate(timeout=60)
    assert process.returncode == SAVED and errors == "", errors
    line = out.splitlines()[-1]
    step = int(line.split("after step ")[1].split(".")[0])
    assert 33 <= step < STEPS and (tmp_path / "checkpoints" / str(step) / "jaxlt.json").exists()
    assert line.endswith("To go on: jaxlt " + " ".join(shell.arguments(tmp_path, *LONG)))
    status, _, errors = shell.run(line.split("jaxlt ", 1)[1].split())
    assert status == 0, errors
    assert_identical(tmp_path / "checkpoints" / str(STEPS), whole / "checkpoints" / str(STEPS))
    assert told(tmp_path) == told(whole)
