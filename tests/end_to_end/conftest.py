"""The command line as its users run it: small made languages, a tiny model, a shared cache."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from jaxlt.data.synth.languages import FAMILY, write_languages
from tests.conftest import PLAIN_KERNELS

TINY = (
    "--gin_file=models/tiny.gin",
    "--gin_file=runs/pretrain.gin",
    "--gin_file=tiny.gin",
)
SMALL = (
    "--gin.T5Config.emb_dim=16",
    "--gin.T5Config.mlp_dim=24",
    "--gin.T5Config.num_heads=2",
    "--gin.T5Config.head_dim=8",
    "--gin.T5Config.dropout=0.1",
    "--gin.OptimizerConfig.min_factored=8",
    "--gin.BATCH_SIZE=4",
    "--gin.INPUTS_LENGTH=32",
)
TIMES = ("time", "steps_per_second", "tokens_per_second", "seconds_left", "mfu")


class Shell:
    """Starts `jaxlt` in processes of their own; one cache for all, so that few compile.

    Their programs are optimised little, unless they are to be those of users.
    """

    def __init__(self, texts: Path, cache: Path, optimised: bool = False):
        self.texts, self.cache, self.optimised = texts, cache, optimised

    def arguments(self, workdir: Path, *more: str, verb: str = "train") -> list[str]:
        """A small pretraining run in `workdir`; `more` wins."""
        fixed = (f"--gin.TEXT={self.texts}", f"--gin.WORKDIR={workdir}")
        return [verb, *TINY, *SMALL, *fixed, *more]

    def start(self, arguments: list[str], devices: int = 1) -> subprocess.Popen:
        """Starts a process with so many CPU devices."""
        env = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "JAX_"))}
        env |= {"JAX_PLATFORMS": "cpu", "JAXLT_CACHE": str(self.cache)}
        env["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
        if not self.optimised:
            env["XLA_FLAGS"] += f" {PLAIN_KERNELS}"
            env["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
        return subprocess.Popen(
            [sys.executable, "-m", "jaxlt", *arguments],
            env=env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, arguments: list[str], devices: int = 1) -> tuple[int, str, str]:
        """Runs a process to its end: (status, what it said, its errors)."""
        process = self.start(arguments, devices)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three small languages."""
    folder = tmp_path_factory.mktemp("texts")
    write_languages(folder, FAMILY, sentences=1200, seed=0)
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of compiled programs and tokens of all these tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def shell(texts: Path, cache: Path) -> Shell:
    """Starts processes."""
    return Shell(texts, cache)


@pytest.fixture
def command(cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Calls the command line in this process: command(arguments) -> (status, said, errors)."""
    from jaxlt.commands.main import main

    monkeypatch.setenv("JAXLT_CACHE", str(cache))

    def call(arguments: list[str]) -> tuple[int, str, str]:
        status = main(arguments)
        said = capsys.readouterr()
        return status, said.out, " ".join(said.err.split())

    return call


def arrays_in(checkpoint: Path) -> dict[str, np.ndarray]:
    """Every array of a checkpoint, read by orbax alone."""
    parts = [part for part in sorted(checkpoint.iterdir()) if part.is_dir()]
    tree = {}
    for part in parts:
        tree |= ocp.PyTreeCheckpointer().restore(part)
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in flat}


def assert_identical(found: Path, expected: Path) -> None:
    """Fails unless two checkpoints hold the same bits under the same names."""
    ours, theirs = arrays_in(found), arrays_in(expected)
    assert ours.keys() == theirs.keys() and any("optimizer" in n for n in ours)
    unlike = [n for n in ours if ours[n].tobytes() != theirs[n].tobytes()]
    assert not unlike, unlike


def told(workdir: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl without what depends on the clock."""
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


def wait_for(
    condition: Callable[[], bool], process: subprocess.Popen, seconds: float = 120
) -> None:
    """Waits until something is so; fails if the process ends or time runs out before."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.002)


def last_step(workdir: Path) -> int:
    """The newest step that a run has logged."""
    path = workdir / "metrics.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return json.loads(lines[-1])["step"] if lines else 0
