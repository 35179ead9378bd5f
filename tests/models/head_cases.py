"""Small things that the tests of the heads and of the baseline share."""

import zlib

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxlt.models.init import Leaf, draw, flatten, unflatten
from jaxlt.models.layers import Context
from jaxlt.modules.boxed import Boxed, zeros

STILL = Context({})


def live(rows, seed=5):
    """A context with dropout, for that many rows."""
    return Context({}, jax.random.key(seed), jnp.arange(rows, dtype=jnp.int32))


def variables_of(init, seed=0, drawn=False):
    """Makes the variables that `init()` declares: each by its own name.

    By numpy, which compiles nothing, or `drawn` as the engine does.
    """
    key, made = jax.random.key(seed), {}
    for name, box in flatten(jax.eval_shape(init)).items():
        assert isinstance(box, Boxed) and len(box.names) == box.value.ndim, name
        shape = tuple(box.value.shape)
        if drawn:
            made[name] = draw(Leaf(shape, box.names, box.init), name, key)
        elif box.init is zeros:
            made[name] = jnp.zeros(shape)
        else:
            noise = np.random.default_rng([seed, zlib.crc32(name.encode())]).normal(size=shape)
            made[name] = jnp.asarray(noise * shape[0] ** -0.5, jnp.float32)
    return unflatten(made)


def fit(loss, params, steps, rate=0.02):
    """Minimises loss(params) -> (scalar, aux) by Adam.

    Returns (params, (loss, aux) at the start, (loss, aux) after so many steps).
    """
    optimizer = optax.adam(rate)

    @jax.jit
    def run(params):
        def step(carry, _):
            params, memory = carry
            found, grads = jax.value_and_grad(loss, has_aux=True)(params)
            updates, memory = optimizer.update(grads, memory)
            return (optax.apply_updates(params, updates), memory), found

        carry = (params, optimizer.init(params))
        (params, _), found = jax.lax.scan(step, carry, None, steps + 1)
        return params, *(jax.tree.map(lambda a, i=i: a[i], found) for i in (0, -1))

    return jax.device_get(run(params))


def names(tree):
    """Flat names of a nested tree."""
    return set(flax.traverse_util.flatten_dict(tree, sep="/"))
