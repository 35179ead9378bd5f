"""Mean squared gradients over a pass of data: which parameters a task asks to change.

The empirical Fisher information's diagonal, a batch's gradient at a time, as ChildTuning D picks
its child network by (`jaxlt.modules.magnitude.sparsify(..., scores=...)`).
"""

import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from jaxlt.data.batches import BatchSource
from jaxlt.engine.batch_checks import slots_of
from jaxlt.engine.feed import Feed
from jaxlt.engine.losses import normalizer
from jaxlt.engine.state import Flat
from jaxlt.engine.step import Batch, Program, StepSpec, batch_loss, mesh_context
from jaxlt.models.encoder import loss_weights
from jaxlt.modules.child_tuning import add_squares


def _add(spec: StepSpec, total: Flat, part: Flat, rest: Flat, batch: Batch) -> Flat:
    """Adds the squared gradients of a batch's loss by `part`; no dropout."""
    weights = loss_weights(spec.model, batch)

    def loss(chosen: Flat) -> jax.Array:
        summed, _ = batch_loss(spec, {**rest, **chosen}, batch, None)
        return summed / normalizer(spec.loss, weights, weights.shape[0])

    return add_squares(total, jax.grad(loss)(part))


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
    places = {n: layout.shardings[n] for n in names}
    add = jax.jit(functools.partial(_add, spec), donate_argnums=0, out_shardings=places)
    total: Flat = {
        n: jax.device_put(jnp.zeros(v.shape, jnp.float32), places[n]) for n, v in part.items()
    }
    with (
        mesh_context(spec.mesh, spec.rules),
        Feed(data, spec.mesh, 0, steps, slots=slots_of(spec.model)) as feed,
    ):
        for _, batch, _ in feed:
            total = add(total, part, rest, batch)
    return {n: v / steps for n, v in total.items()}
