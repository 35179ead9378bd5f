"""What a checkpoint calls its arrays, and how saved layers turn into the layers that are wanted.

A tree becomes flat names ('trainable/params/encoder/layers/mlp/wo/kernel', 'optimizer/0/mu/...'),
on disk a nested dict of them. Scanned and unrolled names of the same layers are converted without
loss (`jaxlt.modules.layout`), optimizer states as well, since they carry their parameters' names.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from jaxlt.modules import layout

_UNUSED = (1,)  # T5X's Adafactor keeps such arrays for moments it does not use, scanned or not


class Leaf(NamedTuple):
    """Shape and dtype name of a saved or wanted array."""

    shape: tuple[int, ...]
    dtype: str


def name_leaves(tree: Any) -> dict[str, Any]:
    """Any pytree -> {'a/b/0/c': leaf}; flat dicts and nested ones give the same names."""
    named: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if name in named:
            raise TypeError(f"two leaves of the tree are called '{name}'")
        named[name] = leaf
    return named


def rebuild(like: Any, named: Mapping[str, Any]) -> Any:
    """Puts named leaves back into a tree of the structure of `like`."""
    return jax.tree.unflatten(jax.tree.structure(like), [named[n] for n in name_leaves(like)])


def nest(named: Mapping[str, Any]) -> dict[str, Any]:
    """{'a/b': x} -> {'a': {'b': x}}, the form on disk."""
    tree: dict[str, Any] = {}
    for name, leaf in named.items():
        *parents, last = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise TypeError(f"'{name}' lies below a leaf of the tree")
        if last in node:
            raise TypeError(f"'{name}' is both a leaf and a branch of the tree")
        node[last] = leaf
    return tree


def as_arrays(named: Mapping[str, Any]) -> dict[str, jax.Array]:
    """Makes every leaf a jax array; a host array that would lose bits on the way is refused."""
    arrays = {}
    for name, leaf in named.items():
        array = leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf)
        if isinstance(leaf, np.ndarray | np.generic) and leaf.dtype != array.dtype:
            raise TypeError(f"'{name}' is {leaf.dtype} and would be saved as {array.dtype}")
        arrays[name] = array
    return arrays


def leaves_of(named: Mapping[str, Any]) -> dict[str, Leaf]:
    """Shapes and dtypes of arrays or of `jax.ShapeDtypeStruct`s."""
    return {n: Leaf(tuple(x.shape), str(jnp.dtype(x.dtype))) for n, x in named.items()}


def scanned_layers(names: Iterable[str]) -> bool | None:
    """True for scanned names, False for unrolled ones, None where there are no layers at all."""
    kinds = {layout.is_scanned(n) for n in names if layout.is_scanned(n) or _layer(n) is not None}
    return (True in kinds) if kinds else None


def _layer(name: str) -> int | None:
    return layout.split_layer(name)[1]


def relaid(saved: Mapping[str, Leaf], wanted: Mapping[str, Leaf]) -> dict[str, Leaf]:
    """Saved names and shapes as they are once in the layout of `wanted`.

    Layers that cannot be joined (gaps between them, unlike shapes) keep their own names.
    """
    source, target = scanned_layers(saved), scanned_layers(wanted)
    if source is None or target is None or source == target:
        return dict(saved)
    result: dict[str, Leaf] = {}
    if target:
        for scanned, members in layout.group_layers(saved).items():
            kinds = {saved[m] for m in members}
            if _layer(members[0]) is None:
                result[members[0]] = saved[members[0]]
            elif scanned in wanted and {leaf.shape for leaf in (*kinds, wanted[scanned])} == {
                _UNUSED
            }:
                result[scanned] = kinds.pop()
            elif len(kinds) == 1 and [_layer(m) for m in members] == list(range(len(members))):
                one = kinds.pop()
                result[scanned] = Leaf((len(members), *one.shape), one.dtype)
            else:
                result.update({m: saved[m] for m in members})
        return result
    layers = layout.group_layers(wanted)
    for name, leaf in saved.items():
        unused = [n for n in layers.get(name, ()) if leaf.shape == wanted[n].shape == _UNUSED]
        if unused and layout.is_scanned(name):
            result.update(dict.fromkeys(unused, leaf))
        elif layout.is_scanned(name) and leaf.shape:
            rest = Leaf(leaf.shape[1:], leaf.dtype)
            result.update({layout.layer_name(name, i): rest for i in range(leaf.shape[0])})
        else:
            result[name] = leaf
    return result


def source_shardings(
    saved: Mapping[str, Leaf], wanted: Mapping[str, jax.ShapeDtypeStruct]
) -> dict[str, Sharding]:
    """Where each saved array goes first: its own place, or its part of (or all of) the layers'."""
    shardings: dict[str, Sharding] = {}
    for name, leaf in saved.items():
        scanned, layer = layout.split_layer(name)
        if name in wanted:
            shardings[name] = _sharding(wanted[name])
        elif layer is not None:
            shardings[name] = _move(_sharding(wanted[scanned]), -1, leaf)
        else:
            shardings[name] = _move(_sharding(wanted[layout.layer_name(name, 0)]), 1, leaf)
    return shardings


def _sharding(leaf: jax.ShapeDtypeStruct) -> Sharding:
    return leaf.sharding or SingleDeviceSharding(jax.local_devices()[0])


def _move(sharding: Sharding, axes: int, leaf: Leaf) -> Sharding:
    """The sharding of `leaf`, which has a layer axis more (1) or less (-1) than what was asked."""
    if not isinstance(sharding, NamedSharding):
        return sharding
    spec = tuple(sharding.spec)
    spec = (None, *spec) if axes > 0 else spec[1:]
    return NamedSharding(sharding.mesh, PartitionSpec(*spec[: len(leaf.shape)]))


def convert(
    arrays: dict[str, jax.Array], wanted: Mapping[str, jax.ShapeDtypeStruct]
) -> dict[str, jax.Array]:
    """Brings restored arrays into the wanted layout, one group of layers at a time."""
    result: dict[str, jax.Array] = {}
    layers = layout.group_layers(wanted)
    for scanned, members in layout.group_layers(list(arrays)).items():
        parts = {m: arrays.pop(m) for m in members}
        if all(m in wanted for m in members):
            result.update(parts)
        elif scanned in wanted:
            place = {scanned: _sharding(wanted[scanned])}
            if wanted[scanned].shape == parts[members[0]].shape == _UNUSED:
                parts = {scanned: parts[members[0]]}  # under its new name the stacking passes it
            result.update(jax.jit(layout.stack, out_shardings=place)(parts))
        elif parts[scanned].shape == wanted[layers[scanned][0]].shape == _UNUSED:
            for name in layers[scanned]:  # arrays of their own, for each may be donated
                copy = jax.jit(jnp.copy, out_shardings=_sharding(wanted[name]))
                result[name] = copy(parts[scanned])
        else:
            places = {n: _sharding(wanted[n]) for n in layers[scanned]}
            result.update(jax.jit(layout.unstack, out_shardings=places)(parts))
    return result
