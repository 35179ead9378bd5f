"""Small runs on arrays for the tests of the loop: a job, its data, and what it left."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxlt.data.rows.batches import ArrayBatches
from jaxlt.engine.checkpoint.checkpoints import CheckpointConfig
from jaxlt.engine.checkpoint.workdir import Workdir
from jaxlt.engine.config import TrainConfig
from jaxlt.engine.loop import Outcome, train
from jaxlt.engine.loss.losses import LossConfig
from jaxlt.engine.optim.optimizers import OptimizerConfig
from jaxlt.engine.optim.schedules import ScheduleConfig
from jaxlt.engine.partitioning import MeshConfig
from jaxlt.engine.resume import arrays_of
from jaxlt.models.config import T5Config
from tests.conftest import make_batch, make_config, make_mlm_batch

LANGUAGES = ("aa", "bb", "cc")


@dataclasses.dataclass(frozen=True)
class ArrayJob:
    """The configs of a run on arrays."""

    model: T5Config
    train: TrainConfig
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    loss: LossConfig
    mesh: MeshConfig
    checkpoint: CheckpointConfig


def job(
    steps: int = 6,
    every: int = 2,
    model: dict[str, Any] | None = None,
    optimizer: dict[str, Any] | None = None,
    schedule: dict[str, Any] | None = None,
    mesh: dict[str, Any] | None = None,
    checkpoint: dict[str, Any] | None = None,
    **train: Any,
) -> ArrayJob:
    """A job of six steps with a factored optimizer; every part may be changed.

    Without dropout, whose random bits are most of what there would be to compile.
    """
    return ArrayJob(
        model=make_config(**(model or {})),
        train=TrainConfig(steps, **({"log_every": 1} | train)),
        optimizer=OptimizerConfig(**({"name": "adafactor", "min_factored": 8} | (optimizer or {}))),
        schedule=ScheduleConfig(**({"learning_rate": 0.01} | (schedule or {}))),
        loss=LossConfig(),
        mesh=MeshConfig(**(mesh or {})),
        checkpoint=CheckpointConfig(**({"every": every} | (checkpoint or {}))),
    )


def small_job(
    steps: int = 6,
    every: int = 2,
    model: dict[str, Any] | None = None,
    optimizer: dict[str, Any] | None = None,
    **changes: Any,
) -> ArrayJob:
    """The same of an encoder of one layer by AdamW: a fifth of what there would be to compile."""
    alone = {"encoder_layers": 1, "decoder_layers": 0} | (model or {})
    return job(steps, every, alone, {"name": "adamw"} | (optimizer or {}), **changes)


def data(batch_size: int = 4, seed: int = 0, rows: int = 22) -> ArrayBatches:
    """Batches of random rows in three languages."""
    return ArrayBatches(make_batch(rows), batch_size, seed=seed, languages=LANGUAGES)


def texts(batch_size: int = 4, seed: int = 0, rows: int = 22) -> ArrayBatches:
    """The same for an encoder alone."""
    return ArrayBatches(make_mlm_batch(rows), batch_size, seed=seed, languages=LANGUAGES)


def run(
    given: ArrayJob, path: Path, source: Any = None, devices: int = 1, **kwargs: Any
) -> Outcome:
    """Trains (or goes on) in `path` on the first `devices` devices, on random rows by default."""
    source = source or (data() if given.model.decoder_layers else texts())
    with Workdir.open(path, "", "hash") as workdir:
        return train(given, source, workdir, devices=jax.devices()[:devices], **kwargs)


def content(result: Outcome) -> dict[str, np.ndarray]:
    """Every array that a run ended with, frozen ones included, on the host."""
    trees = {**arrays_of(result.state), "frozen": result.state.frozen}
    flat, _ = jax.tree_util.tree_flatten_with_path(trees)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in flat}


def assert_identical(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """Fails unless both hold the same bits under the same names."""
    assert found.keys() == expected.keys()
    unlike = [
        n
        for n in expected
        if found[n].dtype != expected[n].dtype or found[n].tobytes() != expected[n].tobytes()
    ]
    assert not unlike, unlike


def logged(path: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl."""
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


TIMES = ("time", "steps_per_second", "tokens_per_second", "seconds_left", "mfu")


def told(path: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl without what depends on the clock."""
    return [{k: v for k, v in row.items() if k not in TIMES} for row in logged(path)]
