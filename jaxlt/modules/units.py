"""Stacked leaves and random draws by name, such that scanned layers equal unrolled ones."""

import re
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxlt.modules.layer_names import members

_SCANNED = re.compile(r"(^|/)layers(?=/)")


def stacked(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves under their stacked names, unrolled layers joined on a new first axis."""
    return {
        name: flat[name] if names == [name] else jnp.stack([flat[n] for n in names])
        for name, names in members(flat).items()
    }


def uniform(key: jax.Array, name: str, shape: tuple[int, ...]) -> jax.Array:
    """Draws float32 [*shape] from [0, 1) by the name, each layer of a scanned leaf by its own."""

    def of(unit: str) -> jax.Array:
        return jax.random.fold_in(key, zlib.crc32(unit.encode()))

    if not _SCANNED.search(name):
        return jax.random.uniform(of(name), shape)
    units = [_SCANNED.sub(rf"\g<1>layers_{i}", name, count=1) for i in range(shape[0])]
    keys = jnp.stack([of(unit) for unit in units])
    return jax.vmap(lambda k: jax.random.uniform(k, shape[1:]))(keys)
