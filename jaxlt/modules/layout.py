"""Scanned and unrolled names of the same parameters, and the loss-free way between them.

Unrolled (T5X's names, canonical): `.../layers_3/mlp/wo/kernel` [F, D]. Scanned, or *stacked*:
`.../layers/mlp/wo/kernel` [L, F, D], the layer axis first. Trees are flat: {'a/b/c': array}.
Random draws are by unrolled names too, so that scanned layers equal unrolled ones. Configs know the
names: jax is imported where arrays are made.
"""

import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jax

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
    """Groups unrolled names by the scanned name they stack into, layers in order.

    Names that are no layer's stand for themselves: {'a/norm': ['a/norm']}.
    """
    groups: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        scanned, layer = split_layer(name)
        groups.setdefault(scanned, []).append((-1 if layer is None else layer, name))
    return {scanned: [n for _, n in sorted(members)] for scanned, members in groups.items()}


def _stack(values: list[Any]) -> Any:
    import jax.numpy as jnp

    return jnp.stack(values)


def stack(flat: Mapping[str, Any], join: Callable[[list[Any]], Any] = _stack) -> dict[str, Any]:
    """Unrolled -> scanned: layers are joined (jnp.stack) on a new first axis; other leaves pass."""
    return {
        scanned: flat[scanned] if members == [scanned] else join([flat[n] for n in members])
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


def unit_keys(key: "jax.Array", name: str, layers: int) -> "jax.Array":
    """A key for each layer of a scanned leaf, [layers], or of another leaf, [1]; by its name."""
    import jax
    import jax.numpy as jnp

    names = [layer_name(name, i) for i in range(layers)] if is_scanned(name) else [name]
    codes = jnp.asarray([zlib.crc32(n.encode()) for n in names], jnp.uint32)
    return jax.vmap(lambda code: jax.random.fold_in(key, code))(codes)


def uniform(key: "jax.Array", name: str, shape: tuple[int, ...]) -> "jax.Array":
    """Draws float32 [*shape] from [0, 1) by the name, each layer of a scanned leaf by its own."""
    import jax

    keys, unit = unit_keys(key, name, shape[0] if shape else 1), shape[int(is_scanned(name)) :]
    values = jax.vmap(lambda k: jax.random.uniform(k, unit))(keys)
    return values if is_scanned(name) else values[0]
