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

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlt.engine.config import ScheduleConfig
from jaxlt.errors import UserError


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
    _check_in_steps(config)
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


def _check_in_steps(config: ScheduleConfig) -> None:
    """Raises UserError at what depends on the length of the run, which is not known here."""
    shares_warmup = config.warmup_share is not None and config.name != "rsqrt"
    for field, left in (
        ("total_steps", config.total_steps == "run"),
        ("warmup_share", shares_warmup),
    ):
        if left:
            raise UserError(
                f"ScheduleConfig.{field} = {getattr(config, field)!r} has to be made a number of "
                "steps first, as `jaxlt train` does."
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
