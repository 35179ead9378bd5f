"""ChildTuning: fine-tuning in which only a child network of the backbone gets gradients.

F (task-free): every step draws a mask, each entry of a gradient kept with probability `keep` and
    divided by it. `TrainConfig.child_tuning = 0.3`.
D (task-driven): the entries with the largest mean squared gradient over one pass of the data are
    found once, and they alone train. That is a sparse delta whose mask goes by gradients
    (`jaxlt.modules.magnitude.sparsify`): what is outside has neither gradient nor decay nor moment.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxlt.modules.layout import uniform

Arrays = dict[str, jax.Array]


def masked(grads: Mapping[str, jax.Array], keep: float, key: jax.Array) -> Arrays:
    """Gradients under a mask drawn by `key` and each leaf's name: g * Bernoulli(keep) / keep."""
    return {
        name: jnp.where(uniform(key, name, g.shape) < keep, g / keep, jnp.zeros((), g.dtype))
        for name, g in grads.items()
    }


def add_squares(total: Mapping[str, jax.Array], grads: Mapping[str, jax.Array]) -> Arrays:
    """Adds squared gradients, in float32, to the sums so far."""
    return {n: s + jnp.square(grads[n].astype(jnp.float32)) for n, s in total.items()}
