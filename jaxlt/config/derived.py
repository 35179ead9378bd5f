"""What follows from a run's configs: steps, the shapes of its rows, what to warn of."""

import dataclasses
import math
from typing import TYPE_CHECKING, Protocol

from jaxlt.config import RunConfig
from jaxlt.config.heads import check_heads
from jaxlt.engine.config import ScheduleConfig

if TYPE_CHECKING:
    from jaxlt.data.rows.batches import Spec
    from jaxlt.data.rows.views import LanguageInfo


class Rows(Protocol):
    """Batches that know how many rows each language has."""

    batch_size: int

    def info(self) -> "list[LanguageInfo]": ...


def in_steps(run: RunConfig, data: Rows) -> RunConfig:
    """Returns the run with its epochs counted in steps; an epoch is all rows of the data once.

    A schedule that ends with the run ends at its last step; it is warm after half of it at least.

    Evaluations by epochs save a checkpoint each, so that the best of them is kept.
    """
    train, checkpoint = run.train, run.checkpoint
    epoch = sum(info.rows for info in data.info()) / data.batch_size
    if train.epochs is not None:
        steps = min(train.steps, max(1, math.ceil(train.epochs * epoch)))
        train = dataclasses.replace(train, steps=steps, epochs=None)
    if train.eval_epochs is not None:
        every = max(1, round(train.eval_epochs * epoch))
        train = dataclasses.replace(train, eval_every=every, eval_epochs=None)
        checkpoint = dataclasses.replace(checkpoint, every=every)
    schedule = _warm_in_time(run.schedule, train.steps)
    if schedule.total_steps == "run":
        warm = min(schedule.warmup_steps, train.steps // 2)
        schedule = dataclasses.replace(schedule, total_steps=train.steps, warmup_steps=warm)
    return dataclasses.replace(run, train=train, checkpoint=checkpoint, schedule=schedule)


def _warm_in_time(schedule: ScheduleConfig, steps: int) -> ScheduleConfig:
    """Returns the schedule with a warm-up of its share of the run's steps at most."""
    if schedule.warmup_share is None or schedule.name == "rsqrt":
        return schedule
    warm = min(schedule.warmup_steps, round(schedule.warmup_share * steps))
    return dataclasses.replace(schedule, warmup_steps=warm)


def hardly_learns(run: RunConfig) -> list[str]:
    """What in a run's optimizer and loss does not go with what it trains, in sentences."""
    name, constant = run.optimizer.name, run.loss.normalize
    found = []
    if not isinstance(constant, str) and (name != "adafactor" or run.model.heads):
        what = "a model with heads" if name == "adafactor" else f"'{name}'"
        steps = "every step, " if name == "sgd" else ""
        eps = "" if name in ("adafactor", "lion", "sgd") else " and eps"
        found.append(
            f"LossConfig.normalize = {constant:g} is a constant for text to text under Adafactor. "
            f"With {what} it scales {steps}the loss in the log, and the gradients that "
            f"OptimizerConfig.clip_norm{eps} are held against: set it to 'tokens'."
        )
    trainable, frozen = run.train.trainable, run.train.frozen
    parts = all(p.startswith(("modules/", "deltas/")) for p in trainable) or "params/.*" in frozen
    if trainable and parts and name == "adafactor" and run.optimizer.parameter_scale:
        found.append(
            "OptimizerConfig.name = 'adafactor' moves a parameter by a share of its size, and what "
            f"trains here beside a frozen backbone ({', '.join(trainable)}) starts at zero: append "
            "--gin_file=runs/adamw.gin."
        )
    return found


def fields(run: RunConfig) -> "Spec":
    """The fields of a row, without opening any data."""
    from jaxlt.data.objectives.build import build_objective
    from jaxlt.data.vocabulary.vocabularies import VocabularyConfig, open_vocabulary

    check_heads(run)
    # Shapes follow from the objective; a plan should not ask for the vocabulary's file.
    return build_objective(run.data, open_vocabulary(VocabularyConfig())).spec()


def lengths(run: RunConfig) -> tuple[int, int]:
    """(inputs, targets) positions a row, without opening any data."""
    from jaxlt.engine.log.flops import tokens_of

    return tokens_of(fields(run))
