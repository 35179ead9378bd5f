"""How fast a step learns: the schedule's rate, and what the slots of banks make of it.

In: the schedule, TrainConfig.route_clock and route_rates, the program's banks and the languages of
the data. Out: the `Hyper` of each step.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlt.data.near import nearest_language
from jaxlt.engine.config import Job
from jaxlt.engine.open import LOSSES
from jaxlt.engine.optim.schedules import learning_rate, numbers_of
from jaxlt.engine.partitioning import replicated
from jaxlt.engine.step import Hyper, Program
from jaxlt.errors import UserError
from jaxlt.models.config import ModelConfig

SPARE = 8  # so many languages may join before a step is compiled anew


def spare(model: ModelConfig, languages: Sequence[str]) -> int | None:
    """The most languages that a step is compiled for: those of the data, and some more.

    None where that many fill all banks anyway, or there are none: so that runs share a compilation.
    """
    most = -(-len(languages) // SPARE) * SPARE
    sizes = [p.routes for p in model.plugs if p.key in ("source", "target")]
    return most if 0 < most < max(sizes, default=0) else None


class Pace:
    """A run's Hyper by step."""

    def __init__(self, job: Job, program: Program, languages: Sequence[str]):
        """languages: those of the data, by id."""
        self._schedule, self._seed = job.schedule, jnp.uint32(job.train.seed)
        self._banks, self._values = pace_of_banks(job, program, languages), program.values

    def rate(self, step: int) -> float:
        """The schedule's learning rate of the step that leads from `step` to `step` + 1."""
        return learning_rate(self._schedule, step)

    def at(self, step: int) -> Hyper:
        """All that this step does not share with others."""
        rate = np.float32(self.rate(step))  # a number of jax's would cost a millisecond to make
        return Hyper(rate, self._seed, **self._banks, values=self._values)


def pace_of_banks(job: Job, program: Program, languages: Sequence[str]) -> dict[str, Any]:
    """Returns what a run's Hyper says of its banks, the same at all steps: {} without any."""
    clock, rates = job.train.route_clock, job.train.route_rates
    banks, whole = program.optimizer.banks, replicated(program.spec.mesh)
    factors = {b.name: np.ones(b.size, np.float32) for b in banks if b.key in ("source", "target")}
    if rates and not factors:
        raise UserError(
            "TrainConfig.route_rates sets learning rates of languages, but nothing that trains has "
            "a slot a language: give a plug key = 'source' or 'target' and routes, or leave it out."
        )
    for language, factor in rates:
        if language not in languages:
            raise UserError(
                f"TrainConfig.route_rates names '{language}', which is no language of this run: "
                f"{', '.join(languages)}.{nearest_language(language, languages)}"
            )
        for values in factors.values():
            values[list(languages).index(language)] = factor
    if not banks:
        return {}
    every = {b.name: factors.get(b.name, np.ones(b.size, np.float32)) for b in banks}
    out: dict[str, Any] = {"route_rates": jax.device_put(every, whole)}
    banked = {name for bank in banks for name in bank.axes}
    trained = {name for name in program.layout.trainable if not name.startswith(LOSSES)}
    if clock == "own" or (clock == "auto" and banked == trained):
        numbers = jax.tree.map(jnp.float32, numbers_of(job.schedule))
        out["schedule"] = jax.device_put(numbers, whole)
    return out
