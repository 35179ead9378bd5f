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
from flax.core import meta

Init = Callable[..., jax.Array]  # (key, shape, dtype) -> values
Axes = tuple[str | None, ...]  # a logical name for each axis


# Initialisers are made once: drawing compiles a program for each distinct one.
zeros: Init = nn.initializers.zeros
ones: Init = nn.initializers.ones
fan_in: Init = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")
kaiming: Init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # a = 5 ** 0.5


class Boxed(flax.struct.PyTreeNode, meta.AxisMetadata):
    """`value` with a logical name for each axis; `init(key, shape, dtype)` draws one unit of it.

    Axes that a scan over layers or a bank of routes put in front ('layers', 'routes') are not part
    of a unit: each slice along them is drawn on its own.
    """

    value: Any
    names: Axes = flax.struct.field(pytree_node=False)
    init: Init = flax.struct.field(pytree_node=False)

    def unbox(self) -> Any:
        """Returns the plain value."""
        return self.value

    def replace_boxed(self, val: Any) -> "Boxed":
        """Returns the same box around another value."""
        return self.replace(value=val)

    def add_axis(self, index: int, params: dict[Any, Any]) -> "Boxed":
        """Names the axis that a lifted transform adds."""
        names = list(self.names)
        names.insert(index, params[nn.PARTITION_NAME])
        return self.replace(names=tuple(names))

    def remove_axis(self, index: int, params: dict[Any, Any]) -> "Boxed":
        """Forgets the axis that a lifted transform takes away."""
        names = list(self.names)
        del names[index]
        return self.replace(names=tuple(names))


def boxed(init: Init, names: Axes) -> Callable[..., Any]:
    """Wraps an initialiser so that it returns its value in a Boxed with these axis names.

    Flax unboxes the value again before a module sees it.
    """

    def make(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> Boxed:
        return Boxed(init(key, shape, dtype), names, init)

    return make
