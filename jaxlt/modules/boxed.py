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


def boxed(init: Init, names: Axes) -> Callable[..., Any]:
    """Wraps an initialiser so that it returns its value in a Boxed with these axis names.

    Flax unboxes the value again before a module sees it.
    """

    def make(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> Boxed:
        return Boxed(init(key, shape, dtype), names, init=init)

    return make
