"""Scanned and unrolled names of the same parameters, and the loss-free way between them.

Unrolled (T5X's names, canonical): `.../layers_3/mlp/wo/kernel` [F, D]. Scanned:
`.../layers/mlp/wo/kernel` [L, F, D], the layer axis first. Trees are flat: {'a/b/c': array}.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax.numpy as jnp

_LAYER = re.compile(r"(^|/)layers_(\d+)(?=/)")
_SCANNED = re.compile(r"(^|/)layers(?=/)")


def is_scanned(name: str) -> bool:
    """Says whether a flat name is that of a stacked leaf."""
    return bool(_SCANNED.search(name))


def layer_name(name: str, layer: int) -> str:
    """Unrolled name of one layer of a scanned leaf: ('a/layers/b', 3) -> 'a/layers_3/b'."""
    return _SCANNED.sub(rf"\g<1>layers_{layer}", name, count=1)


def split_layer(name: str) -> tuple[str, int | None]:
    """('a/layers_3/b') -> ('a/layers/b', 3); names outside the layers come back with None."""
    found = _LAYER.search(name)
    if not found:
        return name, None
    return _LAYER.sub(r"\g<1>layers", name, count=1), int(found.group(2))


def group_layers(names: Iterable[str]) -> dict[str, list[str]]:
    """Groups unrolled names by the scanned name they stack into, layers in order."""
    groups: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        scanned, layer = split_layer(name)
        groups.setdefault(scanned, []).append((-1 if layer is None else layer, name))
    return {scanned: [n for _, n in sorted(members)] for scanned, members in groups.items()}


def stack(flat: Mapping[str, Any], join: Callable[[list[Any]], Any] = jnp.stack) -> dict[str, Any]:
    """Unrolled -> scanned: layers are joined on a new first axis; other leaves pass."""
    return {
        scanned: join([flat[n] for n in members])
        if split_layer(members[0])[1] is not None
        else flat[members[0]]
        for scanned, members in group_layers(flat).items()
    }


def unstack(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Scanned -> unrolled: each layer under its own name; other leaves pass."""
    out: dict[str, Any] = {}
    for name, value in flat.items():
        if is_scanned(name):
            out.update({layer_name(name, i): value[i] for i in range(value.shape[0])})
        else:
            out[name] = value
    return out
