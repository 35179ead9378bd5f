"""Names and random draws of stacked leaves, such that scanned layers equal unrolled ones.

A scanned leaf '.../layers/mlp/wo/kernel' [L, ...] stands for the leaves '.../layers_0/...',
'.../layers_1/...' of an unrolled model; the *stacked name* of all of them is the scanned one.
"""

import re
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

_LAYER = re.compile(r"(^|/)layers_(\d+)(?=/)")
_SCANNED = re.compile(r"(^|/)layers(?=/)")


def stacked_name(name: str) -> tuple[str, int | None]:
    """('a/layers_3/b') -> ('a/layers/b', 3); a name that is no unrolled layer's -> (name, None)."""
    found = _LAYER.search(name)
    if not found:
        return name, None
    return _LAYER.sub(r"\g<1>layers", name, count=1), int(found.group(2))


def members(names: Iterable[str]) -> dict[str, list[str]]:
    """Stacked name -> the names of its layers in order, or the one name itself."""
    groups: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        stacked, layer = stacked_name(name)
        groups.setdefault(stacked, []).append((-1 if layer is None else layer, name))
    return {stacked: [n for _, n in sorted(found)] for stacked, found in groups.items()}


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
