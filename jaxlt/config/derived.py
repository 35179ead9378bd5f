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


def in_steps(run: RunConfig, data: Rows, warmup_steps: int | None = None) -> RunConfig:
    """Returns the run with its epochs counted in steps; an epoch is all rows of the data once.

    A schedule that ends with the run ends at its last step; it is warm after half of it at least.
    warmup_steps: the warm-up that the run began with, where it is under way: one that is made
    longer is not warmed up again.

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
    schedule = _schedule_in(run.schedule, train.steps, warmup_steps)
    return dataclasses.replace(run, train=train, checkpoint=checkpoint, schedule=schedule)


def _schedule_in(schedule: ScheduleConfig, steps: int, begun: int | None) -> ScheduleConfig:
    """Returns the schedule of a run of so many steps; `begun` is the warm-up that it began with."""
    ends_with_run = schedule.total_steps == "run"
    warm = schedule.warmup_steps
    if begun is not None:
        warm = min(begun, steps - 1) if ends_with_run else begun
    else:
        if schedule.warmup_share is not None and schedule.name != "rsqrt":
            warm = min(warm, round(schedule.warmup_share * steps))
        if ends_with_run:
            warm = min(warm, steps // 2)
    end = steps if ends_with_run else schedule.total_steps
    return dataclasses.replace(schedule, warmup_steps=warm, warmup_share=None, total_steps=end)


def hardly_learns(run: RunConfig) -> list[str]:
    """What in a run's optimizer and loss does not go with what it trains, in sentences."""
    name, constant = run.optimizer.name, run.loss.normalize
    warnings = []
    if not isinstance(constant, str) and (name != "adafactor" or run.model.heads):
        what = "a model with heads" if name == "adafactor" else f"'{name}'"
        steps = "every step, " if name == "sgd" else ""
        eps = "" if name in ("adafactor", "lion", "sgd") else " and eps"
        warnings.append(
            f"LossConfig.normalize = {constant:g} is a constant for text to text under Adafactor. "
            f"With {what} it scales {steps}the loss in the log, and the gradients that "
            f"OptimizerConfig.clip_norm{eps} are held against: set it to 'tokens'."
        )
    trainable, frozen = run.train.trainable, run.train.frozen
    parts = all(p.startswith(("modules/", "deltas/")) for p in trainable) or "params/.*" in frozen
    if trainable and parts and name == "adafactor" and run.optimizer.parameter_scale:
        warnings.append(
            "OptimizerConfig.name = 'adafactor' moves a parameter by a share of its size, and what "
            f"trains here beside a frozen backbone ({', '.join(trainable)}) starts at zero: append "
            "--gin_file=runs/adamw.gin."
        )
    return warnings


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

    return tokens_of(fields(run))[:2]
