"""Mean squared gradients over a pass of data: which parameters a task asks to change.

The empirical Fisher information's diagonal, a batch's gradient at a time, as ChildTuning D picks
its child network by (`jaxlt.modules.magnitude.sparsify(..., scores=...)`).
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxlt.data.rows.batches import BatchSource
from jaxlt.engine.batch_checks import slots_of
from jaxlt.engine.feed import Feed
from jaxlt.engine.objective import Batch
from jaxlt.engine.state import Flat
from jaxlt.engine.step import Program, StepSpec, layout_of, mesh_context, objective_of
from jaxlt.modules.child_tuning import add_squares


@functools.lru_cache(maxsize=16)
def _adder(spec: StepSpec, names: tuple[str, ...]) -> Any:
    """The compiled (total, part, rest, batch) -> total and the squared gradients of a batch.

    They are a training step's own, normalised and taken in parts as there, without dropout.
    """

    objective = objective_of(spec)

    def add(total: Flat, part: Flat, rest: Flat, batch: Batch) -> Flat:
        grads, _ = objective.gradients(part, rest, batch, (), None, jnp.float32(1.0))
        return add_squares(total, grads)

    places = {n: layout_of(spec).shardings[n] for n in names}
    return jax.jit(add, donate_argnums=0, out_shardings=places)


def mean_squared_gradients(
    program: Program,
    params: Mapping[str, jax.Array],
    data: BatchSource,
    names: Sequence[str],
    steps: int,
) -> Flat:
    """Returns {name: float32 like the parameter}, the mean over the first `steps` batches.

    params: flat, all that the model has; they stay as they are.
    """
    spec, layout = program.spec, program.layout
    part = {n: params[n] for n in names}
    rest = {n: v for n, v in params.items() if n not in part}
    add = _adder(spec, tuple(part))
    total: Flat = {
        n: jax.device_put(jnp.zeros(v.shape, jnp.float32), layout.shardings[n])
        for n, v in part.items()
    }
    with (
        mesh_context(spec.mesh, spec.rules),
        Feed(data, spec.mesh, 0, steps, slots=slots_of(spec.model)) as feed,
    ):
        for _, batch, _ in feed:
            total = add(total, part, rest, batch)
    return {n: v / steps for n, v in total.items()}
