"""A tiny trained run, made by the command line itself, for the verbs that need one."""

import os
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxlt.commands import main as cli
from jaxlt.inference import predictor, trained
from jaxlt.inference.model import Model

SIZES = {"emb_dim": 16, "mlp_dim": 32, "num_heads": 2, "head_dim": 8}
SIZES |= {"encoder_layers": 1, "decoder_layers": 1, "scan_layers": False}


def write_texts(folder: Path) -> None:
    """Writes two languages of made-up words, a file each."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for language, letters in (("aa_Latn", "abcdefgh"), ("bb_Latn", "stuvwxyz")):
        words = ["".join(rng.choice(list(letters), rng.integers(2, 7))) for _ in range(30)]
        lines = [" ".join(rng.choice(words, 8)) for _ in range(300)]
        (folder / f"{language}.txt").write_text("\n".join(lines) + "\n")


def flags(texts: Path, workdir: Path, run: str = "runs/pretrain.gin") -> list[str]:
    """The flags of a run of four steps."""
    sizes = [f"--gin.T5Config.{name}={value}" for name, value in SIZES.items()]
    return [
        "--gin_file=models/tiny.gin",
        f"--gin_file={run}",
        "--gin_file=tiny.gin",
        f"--gin.TEXT={texts}",
        f"--gin.WORKDIR={workdir}",
        "--gin.TRAIN_STEPS=4",
        "--gin.CheckpointConfig.every=2",
        "--gin.TrainConfig.eval_every=2",
        "--gin.DataConfig.held_out=0.1",
        "--gin.LEARNING_RATE=10.0",
        *sizes,
    ]


@pytest.fixture(scope="session")
def texts(tmp_path_factory) -> Path:
    """A folder of two languages; caches of this session lie beside it."""
    folder = tmp_path_factory.mktemp("commands") / "texts"
    write_texts(folder)
    return folder


@pytest.fixture(scope="session")
def run_flags(texts) -> Callable[..., list[str]]:
    """A function of (workdir, run's gin file) that returns a tiny run's flags."""
    return lambda workdir, run="runs/pretrain.gin": flags(texts, workdir, run)


@pytest.fixture(scope="session")
def tiny_run(texts) -> Path:
    """The workdir of a trained run (steps 2 and 4) over bytes and span corruption."""
    os.environ.setdefault("JAXLT_CACHE", str(texts.parent / "cache"))
    workdir = texts.parent / "tiny_run"
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)  # most of the time is compiling
    assert cli.main(["train", *flags(texts, workdir)]) == 0
    jax.config.update("jax_disable_most_optimizations", before)
    return workdir


@pytest.fixture(scope="session")
def task_flags(texts) -> list[str]:
    """The flags of a text-to-text model as it starts, which answers at random."""
    return [
        "--gin_file=models/tiny.gin",
        "--gin_file=runs/finetune.gin",
        "--gin_file=data/tasks.gin",
        "--gin_file=tiny.gin",
        *(f"--gin.T5Config.{name}={value}" for name, value in SIZES.items()),
        f"--gin.TEXT={texts}",
        f"--gin.WORKDIR={texts.parent / 'start'}",
        "--gin.KIND=tagging",
        "--gin.INPUTS_LENGTH=96",
        "--gin.TARGETS_LENGTH=24",
        "--step=0",
    ]


@pytest.fixture
def one_width(monkeypatch):
    """Batches of texts are all of one width, so that one program decodes them."""
    monkeypatch.setattr(predictor, "widths", lambda longest: [128])


@pytest.fixture(scope="session")
def start_model(task_flags) -> Model:
    """That model as an object."""
    values = {"gin_file": [], "gin.": []}
    for flag in task_flags:
        for name in values:
            if flag.startswith(f"--{name}") and flag != "--step=0":
                value = flag.removeprefix(f"--{name}").removeprefix("=")
                values[name].append(value)
                break
    run, _ = trained.find_run(None, 0, values["gin_file"], values["gin."])
    return Model(run, *trained.open_model(run, 0))
