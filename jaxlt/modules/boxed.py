"""A parameter as the models declare it: its value, the names of its axes, and how it is drawn.

The box exists while a model is traced for its shapes; what trains and is saved is the plain array.
The names decide the sharding. The initialiser travels along so that the engine can draw every
parameter by its own name (see `jaxlt.models.init`), whatever the layout of the layers.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

Init = Callable[..., jax.Array]  # (key, shape, dtype) -> values
Axes = tuple[str | None, ...]  # a logical name for each axis


# Initialisers are made once: drawing compiles a program for each distinct one.
zeros: Init = nn.initializers.zeros
ones: Init = nn.initializers.ones
fan_in: Init = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")
kaiming: Init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # a = 5 ** 0.5


class Boxed(nn.Partitioned):
    """`value` with a logical name for each axis; `init(key, shape, dtype)` draws one unit of it.

    Axes that a scan over layers or a bank of routes put in front ('layers', 'routes') are not part
    of a unit: each slice along them is drawn on its own.
    """

    init: Init = flax.struct.field(pytree_node=False, default=zeros)

    def unbox(self, apply_constraint: bool = True) -> Any:
        """Returns the plain value: its names are logical ones, and no axes of a mesh."""
        return self.value


def param(
    module: nn.Module, name: str, init: Init, axes: Axes, shape: tuple[int, ...]
) -> jax.Array:
    """Makes (or reads) a float32 weight of a module that is being called.

    It is born in a Boxed, which Flax takes off again before the module sees it.
    """

    def make(key: jax.Array, *of: Any) -> Any:
        return Boxed(init(key, *of), axes, init=init)

    return module.param(name, make, shape, jnp.float32)
