"""Where a computation under way runs: its platform, and the mesh axes that it may be split over."""

import math
from typing import Any

import flax.linen as nn
import jax
from jax.sharding import AxisType


def platform() -> str:
    """'tpu', 'gpu' or 'cpu': of the mesh that is set, whose devices need not be there."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    return device.platform if device is not None else jax.default_backend()


def free_axes() -> tuple[str, ...]:
    """Mesh axes that no shard_map around has taken."""
    mesh = jax.sharding.get_abstract_mesh()
    pairs = zip(mesh.axis_names, mesh.axis_types, strict=True)
    return tuple(name for name, kind in pairs if kind != AxisType.Manual)


def rules_now() -> tuple[Any, ...]:
    """The rules for logical axes that are set, to be handed to what is compiled under them.

    JAX tells apart the meshes that a function was compiled under, and knows nothing of the rules.
    """
    return tuple(nn.get_logical_axis_rules() or ())


def axes_of(logical: str, size: int) -> tuple[str, ...]:
    """Free axes, of more than one device, that split a dimension of this size and logical name.

    As for parameters, axes that do not divide a dimension leave it whole.
    """
    rules: Any = nn.get_logical_axis_rules()
    target = dict(rules).get(logical) if rules else None
    sizes = jax.sharding.get_abstract_mesh().shape
    wanted = (target,) if isinstance(target, str) else tuple(target or ())
    axes = tuple(a for a in wanted if a in free_axes() and sizes[a] > 1)
    return axes if axes and size % math.prod(sizes[a] for a in axes) == 0 else ()
