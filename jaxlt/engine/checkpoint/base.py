"""A jaxlt checkpoint as the base of another run: one tensor at a time, under canonical names."""

from typing import Any

import numpy as np
import tensorstore as ts
from etils import epath

from jaxlt.engine.checkpoint import store
from jaxlt.engine.checkpoint.tree import Leaf
from jaxlt.errors import UserError
from jaxlt.modules import layout
from jaxlt.modules.int8 import PARTS


class CheckpointBase:
    """A workdir or one of its checkpoints, as a source of base parameters.

    `shapes` has canonical unrolled names ('encoder/layers_0/mlp/wo/kernel'), whatever the layout
    that was saved. Trainable parameters come from the checkpoint, frozen ones from the workdir's
    `base`; what is there in int8 is read as float32. A run whose frozen part was imported holds
    only what it trained; `meta` says what it was started from.
    """

    def __init__(self, path: epath.PathLike) -> None:
        folder, workdir = _find(epath.Path(path))
        self._where: dict[str, tuple[epath.Path, str, int | None]] = {}  # folder, saved name, layer
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.meta: dict[str, Any] = {}
        base = workdir / "base"
        for source, prefix in ((base, "params/"), (folder, "trainable/params/")):
            if source is not None and store.is_complete(source):
                self.meta |= self._add(source, prefix)
        self.origin = {"path": str(folder or base), "format": "jaxlt"}
        imported = self.meta.get("base_origin", {}).get("path")  # then nothing of it need be here
        if not self.shapes and not imported:
            raise UserError(f"'{folder or base}' holds no base parameters.")

    def _add(self, folder: epath.Path, prefix: str) -> dict[str, Any]:
        try:
            record = store.read_record(folder)
            store.verify(folder, record, (store.part_of(prefix),))
        except store.Damaged as error:
            raise UserError(f"Checkpoint '{folder}' is damaged: {error}.") from error
        leaves = store.saved_leaves(record)
        values, *others = PARTS
        for name, leaf in leaves.items():
            whole, _, part = name.rpartition("/")
            in_int8 = all(f"{whole}/{p}" in leaves for p in PARTS)
            if name.startswith(prefix) and not (in_int8 and part in others):
                real = whole if in_int8 and part == values else name
                place = folder / store.place_of(record, name)
                self._add_leaf(place, name, real.removeprefix(prefix), leaf)
        return record["meta"]

    def _add_leaf(self, folder: epath.Path, saved: str, name: str, leaf: Leaf) -> None:
        if not layout.is_scanned(name):
            self._where[name], self.shapes[name] = (folder, saved, None), leaf.shape
            return
        for i in range(leaf.shape[0]):
            layer = layout.layer_name(name, i)
            self._where[layer], self.shapes[layer] = (folder, saved, i), leaf.shape[1:]

    def read(self, name: str) -> np.ndarray:
        """One whole tensor as it was saved; of scanned layers the one layer."""
        return self.read_slice(name, tuple(slice(0, n) for n in self.shapes[name]))

    def read_slice(self, name: str, index: tuple[slice, ...]) -> np.ndarray:
        """`read(name)[index]`, reading no more than that."""
        folder, saved, layer = self._where[name]
        value = _read(folder, saved, layer, index)
        values, scale, _ = PARTS
        if value.dtype == np.int8 and saved.endswith(f"/{values}"):
            value = value * _read(folder, f"{saved.removesuffix(values)}{scale}", layer, index)
        return value


def _read(
    folder: epath.Path, saved: str, layer: int | None, index: tuple[slice, ...]
) -> np.ndarray:
    """A slice of a saved array, or of a layer of it; an axis of size 1 is the same all along it."""
    url = f"file://{folder}" if store.is_local(folder) else str(folder)
    array = ts.open(
        {
            "driver": "zarr",
            "kvstore": {
                "driver": "ocdbt",
                "base": url.rstrip("/") + "/",
                "path": saved.replace("/", "."),
            },
        },
        open=True,
        read=True,
    ).result()
    whole = array if layer is None else array[layer]
    cut = tuple(i if n > 1 else slice(0, 1) for i, n in zip(index, whole.shape, strict=True))
    return np.asarray((whole[cut] if cut else whole).read().result())


class Overlay:
    """Two sources as one: what `over` holds, and beneath it the rest of `under`."""

    def __init__(self, under: Any, over: Any) -> None:
        self._under, self._over = under, over
        self.shapes: dict[str, tuple[int, ...]] = {**under.shapes, **over.shapes}
        self.meta: dict[str, Any] = getattr(over, "meta", {})
        self.origin: dict[str, str] = dict(over.origin)

    def read(self, name: str) -> np.ndarray:
        """One whole tensor, from the upper source that has it."""
        return (self._over if name in self._over.shapes else self._under).read(name)

    def read_slice(self, name: str, index: tuple[slice, ...]) -> np.ndarray:
        """One slice a dimension of it."""
        return (self._over if name in self._over.shapes else self._under).read_slice(name, index)


def _find(path: epath.Path) -> tuple[epath.Path | None, epath.Path]:
    """(checkpoint folder or None, workdir) for a workdir, a checkpoint, or a workdir's base."""
    path = store.absolute(path)
    if store.is_complete(path):
        if path.name == "base":
            return None, path.parent
        return path, path.parent.parent
    if steps := store.steps_in(path / "checkpoints"):
        return path / "checkpoints" / str(steps[-1]), path
    if store.is_complete(path / "base"):
        return None, path
    raise UserError(
        f"'{path}' is neither a jaxlt workdir with a complete checkpoint nor a checkpoint itself."
    )


def is_checkpoint(path: epath.PathLike) -> bool:
    """True for what CheckpointBase can read: a workdir of jaxlt, a checkpoint, or a base."""
    try:
        _find(epath.Path(path))
    except UserError:
        return False
    return True
