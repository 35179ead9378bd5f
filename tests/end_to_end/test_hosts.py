"""Two processes of two devices each train as one device does, and only one of them speaks."""

import re
import socket
import time

import numpy as np
import pytest

from jaxlt.errors import LOST, SAVED
from tests.end_to_end.conftest import last_step, told, wait_for

pytestmark = pytest.mark.slow

# What the CPUs' collectives print by themselves: piece by piece, from several threads at once.
GLOO = re.compile(
    r"\[Gloo\] Rank |\d+| is connected to | peer ranks\. "
    r"|Expected number of connected peer ranks is : "
)
QUIET = ("--gin.TRAIN_STEPS=8", "--gin.CheckpointConfig.every=4", "--gin.TrainConfig.eval_every=4")
MESHES = {
    "data": ("--gin.MeshConfig.data=4",),
    "fsdp-tensor": (
        "--gin.MeshConfig.data=1",
        "--gin.MeshConfig.fsdp=2",
        "--gin.MeshConfig.tensor=2",
    ),
}


def free_address() -> str:
    with socket.create_server(("localhost", 0)) as server:
        return f"localhost:{server.getsockname()[1]}"


def start_two(shell, workdir, *more):
    address = free_address()
    flags = [f"--coordinator_address={address}", "--num_processes=2", "--timeout_s=60"]
    return [
        shell.start(shell.arguments(workdir, *flags, f"--process_id={i}", *more), devices=2)
        for i in (0, 1)
    ]


def losses(workdir, key="loss"):
    return np.array([row[key] for row in told(workdir) if key in row])


@pytest.fixture(scope="module")
def alone(shell, tmp_path_factory):
    """The run on one device; returns its workdir."""
    workdir = tmp_path_factory.mktemp("alone")
    status, _, errors = shell.run(shell.arguments(workdir, *QUIET))
    assert status == 0, errors
    return workdir


@pytest.mark.parametrize(
    "mesh",
    [
        "data",
        pytest.param(
            "fsdp-tensor",
            marks=pytest.mark.nightly(
                "tests/engine/test_step.py::test_eight_devices_give_the_losses_of_one"
            ),
        ),
    ],
)
def test_two_processes_train_as_one_device(shell, alone, tmp_path, mesh):
    processes = start_two(shell, tmp_path, *QUIET, *MESHES[mesh])
    said = [p.communicate(timeout=200) for p in processes]
    assert [p.returncode for p in processes] == [0, 0], said
    assert "step 8/8" in said[0][0] and "Done: 8 steps" in said[0][0]
    assert GLOO.sub("", said[1][0]).strip() == "", said[1]
    np.testing.assert_allclose(losses(tmp_path), losses(alone), rtol=1e-5)
    np.testing.assert_allclose(losses(tmp_path, "eval/bpb"), losses(alone, "eval/bpb"), rtol=1e-5)
    if mesh == "data":
        return
    status, out, errors = shell.run(shell.arguments(tmp_path, *QUIET, "--gin.TRAIN_STEPS=12"))
    assert status == 0 and "Resumed from step 8" in out, errors  # in one process, on one device
    shell.run(shell.arguments(alone, *QUIET, "--gin.TRAIN_STEPS=12"))
    np.testing.assert_allclose(losses(tmp_path), losses(alone), rtol=1e-5)


def test_sigterm_stops_both_at_one_step_and_they_go_on(shell, tmp_path):
    longer = (*QUIET, "--gin.TRAIN_STEPS=2000", "--gin.CheckpointConfig.every=5000")
    longer += ("--gin.TrainConfig.eval_every=5000",)
    processes = start_two(shell, tmp_path, *longer)
    wait_for(lambda: last_step(tmp_path) >= 20, processes[0], seconds=250)
    processes[1].terminate()
    said = [p.communicate(timeout=100) for p in processes]
    assert [p.returncode for p in processes] == [SAVED, SAVED], said  # one of them was asked
    assert "Stopped by SIGTERM after step " in said[0][0]
    step = int(said[0][0].split("after step ")[1].split(".")[0])
    assert (tmp_path / "checkpoints" / str(step) / "jaxlt.json").exists()
    end = (f"--gin.TRAIN_STEPS={step + 3}", "--gin.CheckpointConfig.every=5000")
    processes = start_two(shell, tmp_path, *longer, *end)
    said = [p.communicate(timeout=100) for p in processes]
    assert [p.returncode for p in processes] == [0, 0], said
    assert f"Resumed from step {step}" in said[0][0]


def test_a_host_that_is_killed_ends_the_other_which_goes_on_alone(shell, tmp_path):
    longer = (*QUIET, "--gin.TRAIN_STEPS=2000", "--gin.TrainConfig.eval_every=5000")
    processes = start_two(shell, tmp_path, *longer, "--gin.MeshConfig.data=-1")
    wait_for(lambda: last_step(tmp_path) >= 9, processes[0], seconds=250)
    processes[0].kill()
    began = time.monotonic()
    out, errors = processes[1].communicate(timeout=60)
    assert time.monotonic() - began < 20 and processes[1].returncode == LOST
    processes[0].communicate()
    words = " ".join(errors.split())
    assert "Process 0 of 2 is gone" in words and "same command again" in words, out
    assert "Traceback" not in errors
    step = last_step(tmp_path) // 4 * 4 + 4
    alone = ("--gin.MeshConfig.data=-1", f"--gin.TRAIN_STEPS={step}")
    status, out, errors = shell.run(shell.arguments(tmp_path, *longer, *alone))
    assert status == 0 and "Resumed from step" in out, errors
    words = " ".join(out.split())
    assert "It was saved on 4 device(s); 1 now take its batches of 4 rows in 4 parts." in words
    assert [row["step"] for row in told(tmp_path) if "loss" in row] == [*range(1, step + 1)]


def test_a_host_that_does_not_come(shell, tmp_path):
    began = time.monotonic()
    flags = (f"--coordinator_address={free_address()}", "--num_processes=2", "--process_id=0")
    status, _, errors = shell.run(shell.arguments(tmp_path, *flags, "--timeout_s=3"))
    assert status == LOST and "did not come" in errors and "Traceback" not in errors
    assert time.monotonic() - began < 30
    assert not (tmp_path / "config.gin").exists()


def test_an_error_on_the_primary_reaches_both(shell, alone, tmp_path):
    processes = start_two(shell, alone, *QUIET, "--gin.LEARNING_RATE=0.5")
    said = [p.communicate(timeout=100) for p in processes]
    assert [p.returncode for p in processes] == [2, 2], said
    assert "ScheduleConfig.learning_rate" in said[0][1] and "process 0" in said[1][1]
