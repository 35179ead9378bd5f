"""Learning rates by step, on the host or inside of a compiled step.

In: a `ScheduleConfig` and a step (an int, or a numpy array of steps). Out: a float (or an array).
The engine hands the number to the compiled step as an array. Where a bank's slots follow clocks of
their own, which only the devices know, it hands over the schedule itself as `Numbers`, to be
followed there. Either way runs with different schedules share one compilation.

    constant  learning_rate
    rsqrt     learning_rate / sqrt(max(step, warmup_steps)): T5's pretraining with 1.0 and 10000
    linear    a line down to learning_rate * final_scale
    cosine    half a cosine down to learning_rate * final_scale
    wsd       warm-up, stable, then a line down over the last decay_steps

All but rsqrt rise linearly from 0 over warmup_steps.
"""

import dataclasses
import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlt.errors import UserError, nearest

SCHEDULES = ("constant", "rsqrt", "linear", "cosine", "wsd")


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """How the learning rate moves.

    total_steps: the step at which linear, cosine and wsd have come down; there they stay. 'run' is
        the last step of the run, however that is said, and the warm-up takes half of it at most
        (`jaxlt.commands.session.in_steps`).
    decay_steps: how long the way down takes. Needed by wsd (which ends it at total_steps); for
        linear and cosine it counts from the end of the warm-up, in place of total_steps.
    final_scale: the last learning rate as a part of learning_rate.
    """

    name: str = "constant"
    learning_rate: float = 1e-3
    warmup_steps: int = 0
    total_steps: int | Literal["run"] | None = None
    decay_steps: int | None = None
    final_scale: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in SCHEDULES:
            raise UserError(
                f"ScheduleConfig.name is '{self.name}'; it must be one of {', '.join(SCHEDULES)}."
                f"{nearest(str(self.name), SCHEDULES)}"
            )
        if not (math.isfinite(self.learning_rate) and self.learning_rate >= 0):
            raise UserError(
                f"ScheduleConfig.learning_rate is {self.learning_rate}; it must be finite and 0 or "
                "more."
            )
        if self.warmup_steps < 0:
            raise UserError(
                f"ScheduleConfig.warmup_steps is {self.warmup_steps}; it must be 0 or more."
            )
        if not 0 <= self.final_scale <= 1:
            raise UserError(
                f"ScheduleConfig.final_scale is {self.final_scale}; it is a part of learning_rate "
                "and must lie between 0 and 1."
            )
        for field in ("total_steps", "decay_steps"):
            value = getattr(self, field)
            if value is not None and value != "run" and value <= 0:
                raise UserError(f"ScheduleConfig.{field} is {value}; it must be positive, or None.")
        if self.name in ("linear", "cosine", "wsd"):
            self._check_decay()

    def _check_decay(self) -> None:
        """Raises if the warm-up and the way down do not fit into the steps."""
        if self.name == "wsd":
            missing = [f for f in ("total_steps", "decay_steps") if getattr(self, f) is None]
            if missing:
                raise UserError(
                    f"ScheduleConfig.{missing[0]} is not set, and the schedule 'wsd' needs it: the "
                    "learning rate comes down over the last decay_steps before total_steps."
                )
        elif self.total_steps is None and self.decay_steps is None:
            raise UserError(
                f"ScheduleConfig.total_steps is not set, and the schedule '{self.name}' needs it "
                "(or ScheduleConfig.decay_steps) to know where the learning rate has come down."
            )
        if self.total_steps in (None, "run"):
            return
        assert isinstance(self.total_steps, int)
        needed = self.warmup_steps + (self.decay_steps or 1)
        if needed > self.total_steps:
            raise UserError(
                f"ScheduleConfig.total_steps is {self.total_steps}, too few for "
                f"ScheduleConfig.warmup_steps={self.warmup_steps} and a way down of "
                f"{self.decay_steps or 1} steps (ScheduleConfig.decay_steps); at least {needed} "
                "are needed."
            )


def _decay_span(config: ScheduleConfig) -> tuple[int, int]:
    """Returns (first step of the way down, its length)."""
    if config.name == "wsd":
        assert isinstance(config.total_steps, int) and config.decay_steps is not None
        return config.total_steps - config.decay_steps, config.decay_steps
    if config.decay_steps is not None:
        return config.warmup_steps, config.decay_steps
    assert isinstance(config.total_steps, int)
    return config.warmup_steps, config.total_steps - config.warmup_steps


class Numbers(NamedTuple):
    """A schedule as scalars: all schedules are one formula over these (see `learning_rate`)."""

    peak: Any
    warmup: Any  # steps of the rise; for rsqrt, of the flat beginning
    start: Any  # first step of the way down
    length: Any  # its steps
    final: Any  # what is left at its end, as a part of peak
    rsqrt: Any  # 1 or 0
    cosine: Any  # 1 or 0: along half a cosine, or a line


def numbers_of(config: ScheduleConfig) -> Numbers:
    """Returns the scalars of a schedule; those that do not come down have a `final` of 1."""
    if config.total_steps == "run":
        raise UserError(
            "ScheduleConfig.total_steps = 'run' has to be made a number of steps first, as "
            "`jaxlt train` does."
        )
    down = config.name in ("linear", "cosine", "wsd")
    start, length = _decay_span(config) if down else (0, 1)
    return Numbers(
        peak=config.learning_rate,
        warmup=config.warmup_steps,
        start=start,
        length=length,
        final=config.final_scale if down else 1.0,
        rsqrt=int(config.name == "rsqrt"),
        cosine=int(config.name == "cosine"),
    )


def learning_rate(schedule: ScheduleConfig | Numbers, step: Any) -> Any:
    """Returns the learning rate of the update that leads from `step` to `step` + 1.

    step: an int (a float comes back), a numpy array (a float64 array of the same shape), or a JAX
    array, traced or not (a float32 array; the schedule may then be Numbers of arrays).
    """
    on_device = isinstance(step, jax.Array)
    xp: Any = jnp if on_device else np
    s = numbers_of(schedule) if isinstance(schedule, ScheduleConfig) else schedule
    steps = xp.asarray(step, xp.float32 if on_device else xp.float64)
    whole = xp.maximum(s.warmup, 1)
    rise = xp.where(xp.asarray(s.warmup) > 0, xp.minimum(1.0, steps / whole), 1.0)
    done = xp.clip((steps - s.start) / s.length, 0.0, 1.0)
    left = xp.where(s.cosine, 0.5 * (1.0 + xp.cos(np.pi * done)), 1.0 - done)
    usual = s.peak * rise * (s.final + (1.0 - s.final) * left)
    rate = xp.where(s.rsqrt, s.peak / xp.sqrt(xp.maximum(steps, whole)), usual)
    return float(rate) if not on_device and np.ndim(step) == 0 else rate
