"""The Slurm file runs with a fake srun; the Kubernetes manifests parse, and their command works."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from jaxlt.errors import LOST, SAVED
from jaxlt.experiments.states import Survey
from tests.experiments import jobs

from .conftest import REPOSITORY, SCRIPTS

# Runs the command as each of two tasks, as Slurm would; remembers their numbers for scancel.
SRUN = """#!/bin/sh
echo "$1 cpus=${SRUN_CPUS_PER_TASK-}" >>"$CALLS"
shift
for task in 0 1; do
  SLURM_PROCID=$task SLURM_NTASKS=2 SLURM_LOCALID=0 "$@" &
  echo "$!" >>"$TASKS"
  last=$!
done
wait "$last"
"""
SCANCEL = """#!/bin/sh
echo "scancel $*" >>"$CALLS"
[ "$1" = --signal=TERM ] && xargs kill -TERM <"$TASKS"
"""
SCONTROL = """#!/bin/sh
echo "scontrol $*" >>"$CALLS"
"""


class Slurm:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, text in {"srun": SRUN, "scancel": SCANCEL, "scontrol": SCONTROL}.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        self.environment = {
            "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
            "CALLS": str(folder / "calls"),
            "TASKS": str(folder / "tasks"),
            "SLURM_JOB_ID": "7",
            "SLURM_GPUS_ON_NODE": "4",
            "SLURM_CPUS_PER_TASK": "6",
        }

    def start(self, *command: str, **changes: str) -> subprocess.Popen:
        return subprocess.Popen(
            ["sh", str(SCRIPTS / "slurm.sbatch"), *command],
            env=self.environment | changes,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *command: str, status: int = 0, **changes: str) -> str:
        process = self.start(*command, **changes)
        said, _ = process.communicate(timeout=30)
        assert process.returncode == status, said
        return said

    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def slurm(tmp_path: Path) -> Slurm:
    return Slurm(tmp_path)


PRINT = 'echo "$SLURM_PROCID of $SLURM_NTASKS: ${JAX_LOCAL_DEVICE_IDS-all} $1"'


def test_every_task_gets_the_command_and_all_gpus_of_its_node(slurm: Slurm) -> None:
    said = slurm.run("sh", "-c", PRINT, "x", "it's one")
    assert sorted(said.splitlines()) == ["0 of 2: 0,1,2,3 it's one", "1 of 2: 0,1,2,3 it's one"]
    assert slurm.calls() == ["--kill-on-bad-exit=1 cpus=6"]
    said = slurm.run("sh", "-c", PRINT, "x", "y", SLURM_GPUS_ON_NODE="0")
    assert "0 of 2: all y" in said
    said = slurm.run("sh", "-c", PRINT, "x", "y", SLURM_NTASKS_PER_NODE="4")
    assert "0 of 2: all y" in said  # a process a GPU: JAX's own choice


def test_a_command_that_fails_fails_the_job(slurm: Slurm) -> None:
    slurm.run("sh", "-c", "exit 3", status=3)
    assert not any("requeue" in call for call in slurm.calls())


def stopped_by_the_clock(slurm: Slurm, **changes: str) -> tuple[int, str]:
    """Status and output of a job that is told that its time is nearly up."""
    wait = "trap 'echo saved; exit 75' TERM; echo began; while :; do sleep 0.05; done"
    job = slurm.start("sh", "-c", wait, **changes)
    assert job.stdout is not None
    assert [job.stdout.readline() for _ in range(2)] == ["began\n"] * 2
    time.sleep(0.1)  # the second task's number is being written
    job.send_signal(signal.SIGUSR1)
    said, _ = job.communicate(timeout=30)
    assert said.count("saved") == 2
    return job.returncode, said


def test_when_the_time_is_up_it_saves_and_queues_again(slurm: Slurm) -> None:
    status, _ = stopped_by_the_clock(slurm)
    assert status == 75 and slurm.calls()[1:] == ["scancel --signal=TERM 7", "scontrol requeue 7"]


@pytest.mark.parametrize("status", [75, 69])
def test_a_run_that_is_to_go_on_queues_again(slurm: Slurm, status: int) -> None:
    """Saved because it was asked to by somebody else than the clock; or a host was lost."""
    said = slurm.run("sh", "-c", f"exit {status}", status=status)
    assert f"exit status {status}" in said and slurm.calls()[1:] == ["scontrol requeue 7"]
    slurm.run("sh", "-c", f"exit {status}", status=11, SLURM_RESTART_COUNT="2", MAX_RESTARTS="2")


def test_a_task_that_was_killed_queues_again(slurm: Slurm) -> None:
    """The others leave with 69, and srun tells the highest status of all."""
    said = slurm.run("sh", "-c", "exit 137", status=137)
    assert "exit status 137" in said and slurm.calls()[1:] == ["scontrol requeue 7"]


def test_it_does_not_queue_for_ever(slurm: Slurm) -> None:
    status, said = stopped_by_the_clock(slurm, SLURM_RESTART_COUNT="2", MAX_RESTARTS="2")
    assert status == 11 and "queued 2 times" in said
    assert not any("requeue" in call for call in slurm.calls())


def test_it_says_what_is_missing(slurm: Slurm) -> None:
    assert "no command" in slurm.run(status=2)
    assert "this is for sbatch" in slurm.run("jaxlt", status=2, SLURM_JOB_ID="")


def test_the_head_is_what_sbatch_reads() -> None:
    lines = (SCRIPTS / "slurm.sbatch").read_text().splitlines()
    options = [line for line in lines if line.startswith("#SBATCH")]
    assert lines[1 : 1 + len(options)] == options  # before anything else, or Slurm ignores them
    assert {"#SBATCH --ntasks-per-node=1", "#SBATCH --requeue"} <= set(options)


SETTINGS = {
    "NAME": "pretrain",
    "IMAGE": "registry/jaxlt:1",
    "NUM_SLICES": "2",
    "COMMAND": """jaxlt train --gin.TEXT="it's: {a}" # b""",
    "ACCELERATOR": "tpu-v5-lite-podslice",
    "TOPOLOGY": "16x16",
    "HOSTS": "64",
    "CHIPS": "4",
    "GPUS": "8",
}


def manifest(name: str, **changes: str) -> dict:
    """A manifest as envsubst fills it in with the settings that its head names."""
    text = (SCRIPTS / name).read_text()
    named = re.findall(r"\$([A-Z_]+)", text.split("envsubst '")[1].split("'")[0])
    assert set(named) == set(re.findall(r"\$\{([A-Z_]+)\}", text))
    values = SETTINGS | changes
    filled = re.sub(r"\$\{([A-Z_]+)\}", lambda found: values[found[1]], text)
    return yaml.safe_load(filled)


@pytest.mark.parametrize("name", ["jobset_tpu.yaml", "jobset_gpu.yaml"])
def test_manifests(name: str) -> None:
    made = manifest(name)
    assert made["apiVersion"] == "jobset.x-k8s.io/v1alpha2" and made["kind"] == "JobSet"
    assert made["spec"]["failurePolicy"]["maxRestarts"] == 100
    (replicated,) = made["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    assert job["completionMode"] == "Indexed" and job["parallelism"] == job["completions"] == 64
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == SETTINGS["IMAGE"] and pod["restartPolicy"] == "Never"
    assert SETTINGS["COMMAND"] in container["args"][0]
    if name == "jobset_tpu.yaml":
        assert replicated["replicas"] == 2
        assert container["resources"]["limits"] == {"google.com/tpu": 4}
        assert pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"] == "16x16"
    else:
        assert container["resources"]["limits"] == {"nvidia.com/gpu": 8}
        settings = {entry["name"]: entry for entry in container["env"]}
        subdomain = made["spec"]["network"]["subdomain"]
        address = f"pretrain-{replicated['name']}-0-0.{subdomain}:8482"
        assert settings["JAX_COORDINATOR_ADDRESS"]["value"] == address
        assert settings["JAX_NUM_PROCESSES"]["value"] == "64"
        assert "job-completion-index" in str(settings["JAX_PROCESS_ID"])


def test_the_manifest_of_workers(tmp_path: Path) -> None:
    """Pods that know nothing of each other, and are started again one by one."""
    made = manifest("jobset_workers.yaml", WORKERS="3", CLAIM="studies", GPUS="0")
    (replicated,) = made["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    assert job["parallelism"] == job["completions"] == 3 and "completionMode" not in job
    (container,) = job["template"]["spec"]["containers"]
    (mount,), (volume,) = container["volumeMounts"], job["template"]["spec"]["volumes"]
    assert mount["name"] == volume["name"] and mount["mountPath"] == container["workingDir"]
    assert volume["persistentVolumeClaim"] == {"claimName": "studies"} and "env" not in container
    ends = job["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"]
    assert {SAVED, LOST} & set(ends) == set() and 137 not in ends
    command = "sh -c 'echo \"it is $0\"; exit 75' one"
    made = manifest("jobset_workers.yaml", WORKERS="3", CLAIM="studies", COMMAND=command)
    container = made["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"][
        "containers"
    ][0]
    pod = [*container["command"], *container["args"]]
    done = subprocess.run(pod, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (75, "it is one\n")


@pytest.mark.slow
def test_an_array_of_workers_shares_a_study(slurm: Slurm, tmp_path: Path) -> None:
    """One of its jobs loses a worker, is queued again, and nothing is done twice."""
    journal = tmp_path / "journal"
    worker = [sys.executable, "-m", jobs.HERE, str(tmp_path), "counted"]
    settings = {"JOURNAL": str(journal), "PYTHONPATH": str(REPOSITORY), "LEASE_S": "5"}

    def start(task: int) -> subprocess.Popen:
        return slurm.start(*worker, **settings, SLURM_ARRAY_TASK_ID=str(task))

    array = [start(task) for task in range(2)]
    stages, places = jobs.counted(5, 0.01), jobs.places(tmp_path)
    while not (running := Survey(stages, places).named("running")):
        time.sleep(0.01)
    assert running[0].lease is not None
    os.kill(running[0].lease.record["pid"], signal.SIGKILL)
    for job in array:
        job.communicate(timeout=60)
    queued = [call for call in slurm.calls() if "requeue" in call]
    assert [job.returncode for job in array].count(0) == 2 - len(queued)
    for _ in queued:
        start(0).communicate(timeout=60)
    found = Survey(stages, places)
    assert found.status == 0 and {s.record["attempt"] for s in found.states.values()} == {1, 2}
    lines = journal.read_text().splitlines()
    assert len(lines) - len(set(lines)) <= 1  # the step that was in hand


@pytest.mark.parametrize("name", ["jobset_tpu.yaml", "jobset_gpu.yaml"])
def test_what_a_pod_runs(name: str) -> None:
    def pod(command: str) -> list[str]:
        jobs = manifest(name, COMMAND=command)["spec"]["replicatedJobs"]
        container = jobs[0]["template"]["spec"]["template"]["spec"]["containers"][0]
        return [*container["command"], *container["args"]]

    for code in (0, 2, 5):
        assert subprocess.run(pod(f"sh -c 'exit {code}'"), check=False).returncode == code
    save = "sh -c 'trap \"echo saved; exit 0\" TERM; echo began; while :; do sleep 0.05; done'"
    process = subprocess.Popen(pod(save), stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None and process.stdout.readline() == "began\n"
    process.send_signal(signal.SIGTERM)
    try:
        assert process.communicate(timeout=30)[0] == "saved\n"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == 75  # not done: JobSet is to start it again
