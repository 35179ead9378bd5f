"""DiffPruning's gates: delta = z * w, where z in [0, 1] is drawn from a hard-concrete distribution.

    z = clip(sigmoid(log u - log(1 - u) + alpha) * (HIGH - LOW) + LOW, 0, 1),  u ~ U(0, 1)

so that z is exactly 0 or exactly 1 with positive probability, and the expected number of values
that are not 0 has a gradient. In evaluation u is 1/2.
"""

import math

import jax
import jax.numpy as jnp

from jaxlt.modules.layout import uniform

LOW, HIGH = -1.5, 1.5
ALPHA = 5.0  # at the start nearly all gates are open
_LEAST = 1e-6  # u stays as far from 0 and 1


def gates(alpha: jax.Array, key: jax.Array | None = None, name: str = "") -> jax.Array:
    """alpha [...] -> z [...] float32; drawn under `key` by the leaf's name, or that of u = 1/2."""
    logits = alpha.astype(jnp.float32)
    if key is not None:
        u = jnp.clip(uniform(key, name, alpha.shape), _LEAST, 1 - _LEAST)
        logits = logits + jnp.log(u) - jnp.log1p(-u)
    return jnp.clip(jax.nn.sigmoid(logits) * (HIGH - LOW) + LOW, 0.0, 1.0)


def expected_count(alpha: jax.Array) -> jax.Array:
    """The expected number of gates that are not 0: a float32 scalar."""
    return jnp.sum(jax.nn.sigmoid(alpha.astype(jnp.float32) - math.log(-LOW / HIGH)))
