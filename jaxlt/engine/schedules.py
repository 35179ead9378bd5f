"""Learning rates by step, computed on the host.

In: a `ScheduleConfig` and a step (an int, or a numpy array of steps). Out: a float (or an array).
The engine hands the number to the compiled step as an array, so that runs with different schedules
share one compilation.

    constant  learning_rate
    rsqrt     learning_rate / sqrt(max(step, warmup_steps)): T5's pretraining with 1.0 and 10000
    linear    a line down to learning_rate * final_scale
    cosine    half a cosine down to learning_rate * final_scale
    wsd       warm-up, stable, then a line down over the last decay_steps

All but rsqrt rise linearly from 0 over warmup_steps.
"""

import dataclasses
import math

import numpy as np

from jaxlt.errors import UserError, nearest

SCHEDULES = ("constant", "rsqrt", "linear", "cosine", "wsd")


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """How the learning rate moves.

    total_steps: the step at which linear, cosine and wsd have come down; there they stay.
    decay_steps: how long the way down takes. Needed by wsd (which ends it at total_steps); for
        linear and cosine it counts from the end of the warm-up, in place of total_steps.
    final_scale: the last learning rate as a part of learning_rate.
    """

    name: str = "constant"
    learning_rate: float = 1e-3
    warmup_steps: int = 0
    total_steps: int | None = None
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
            if value is not None and value <= 0:
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
        if self.total_steps is None:
            return
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
        assert config.total_steps is not None and config.decay_steps is not None
        return config.total_steps - config.decay_steps, config.decay_steps
    if config.decay_steps is not None:
        return config.warmup_steps, config.decay_steps
    assert config.total_steps is not None
    return config.warmup_steps, config.total_steps - config.warmup_steps


def learning_rate(config: ScheduleConfig, step: int | np.ndarray) -> float | np.ndarray:
    """Returns the learning rate of the update that leads from `step` to `step` + 1.

    step: an int (a float comes back) or an array of them (a float64 array of the same shape).
    """
    steps = np.asarray(step, np.float64)
    if config.name == "rsqrt":
        rate = config.learning_rate / np.sqrt(np.maximum(steps, max(config.warmup_steps, 1)))
    else:
        rate = config.learning_rate * np.minimum(1.0, steps / max(config.warmup_steps, 1))
        if not config.warmup_steps:
            rate = np.full(steps.shape, config.learning_rate)
    if config.name in ("linear", "cosine", "wsd"):
        start, length = _decay_span(config)
        done = np.clip((steps - start) / length, 0.0, 1.0)
        left = 0.5 * (1.0 + np.cos(np.pi * done)) if config.name == "cosine" else 1.0 - done
        rate = rate * (config.final_scale + (1.0 - config.final_scale) * left)
    return float(rate) if np.ndim(step) == 0 else rate
