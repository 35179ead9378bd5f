"""What a compiled training step takes on the devices that are there: by running it a few times.

    found = measure(program, compiled, batch)   # batch: as of `aot.abstract_batch`

The state is a fresh one and the batch is made up: what a step takes does not depend on values.
"""

import dataclasses
import statistics
import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlt.engine.batch_checks import slots_of
from jaxlt.engine.state import make_state
from jaxlt.engine.step import Hyper, Program, mesh_context
from jaxlt.models.config import BiLSTMConfig

WARM = 2  # steps that are run before the first that counts


@dataclasses.dataclass(frozen=True)
class Measured:
    """Of one step, the median of several, in seconds."""

    steps: int
    seconds: float  # as a clock on the wall has it
    processor_seconds: float  # of this host's processors, all threads together


def measure(
    program: Program,
    compiled: Any,
    batch: Mapping[str, jax.ShapeDtypeStruct],
    seconds: float = 5.0,
    most: int = 20,
) -> Measured:
    """Runs a compiled step (`aot.compile_train`) for so long, three times at least.

    batch: the shapes and shardings that it was compiled for.
    """
    state = make_state(program.layout, program.optimizer, 0, loss_scaling=program.loss_scaling)
    given = made_batch(program, batch)
    hyper = program.complete(Hyper(jnp.float32(0.0), jnp.uint32(0)))
    wall: list[float] = []
    busy: list[float] = []
    with mesh_context(program.spec.mesh, program.spec.rules):
        while len(wall) < WARM + 3 or (sum(wall[WARM:]) < seconds and len(wall) < WARM + most):
            began = time.perf_counter(), time.process_time()
            new, metrics = compiled(state.replace(frozen={}), state.frozen, given, hyper)
            jax.block_until_ready((new, metrics))
            state = new.replace(frozen=state.frozen)
            wall.append(time.perf_counter() - began[0])
            busy.append(time.process_time() - began[1])
    counted = wall[WARM:]
    return Measured(len(counted), statistics.median(counted), statistics.median(busy[WARM:]))


def made_batch(program: Program, batch: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, jax.Array]:
    """A batch of these shapes: random tokens, slots that exist, weights of 1, and zeros."""
    model, rng = program.spec.model, np.random.default_rng(0)
    vocab = model.word_rows if isinstance(model, BiLSTMConfig) else model.vocab_rows
    slots = slots_of(model, program.spec.languages)

    def values(name: str, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if name == "row":
            return np.arange(leaf.shape[0])
        if name in slots:
            return np.broadcast_to(np.arange(leaf.shape[0]) % slots[name], leaf.shape)
        if name.endswith("_tokens"):
            return rng.integers(1, max(2, vocab), leaf.shape)
        return np.full(leaf.shape, 1 if name.endswith("_weights") else 0)

    return {
        name: jax.device_put(values(name, leaf).astype(leaf.dtype), leaf.sharding)
        for name, leaf in batch.items()
    }
