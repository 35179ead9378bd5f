"""T5X checkpoints, in both forms T5X writes, read tensor by tensor.

Legacy (the public mT5 and ByT5 checkpoints): `checkpoint_N/checkpoint`, a msgpack tree whose large
leaves are TensorStore specs of zarr arrays beside it. Orbax: `checkpoint_N/state/`, zarr arrays,
mostly inside an OCDBT store. Networks with scanned layers ([D, L, H, 64] and the like) come out
under unrolled names, layer by layer.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorstore as ts
from etils import epath

from jaxlt.convert.source import Index, check_complete, known, settings_from_shapes
from jaxlt.convert.tensorfiles import Slot, index_msgpack, leaves, unreadable
from jaxlt.errors import UserError

_SCANNED = re.compile(r"(encoder|decoder)/\1/(.+)")
_STEP_FOLDER = re.compile(r"checkpoint_(\d+)")
# A scanned array up to this size is read once and its layers cut from memory.
_HELD_BYTES = 2**30


def kvstore_of(folder: epath.Path) -> dict[str, Any]:
    """Returns TensorStore's spec of a folder, wherever the checkpoint lies."""
    text = str(folder)
    scheme, remote, rest = text.partition("://")
    if not remote:
        return {"driver": "file", "path": str(folder.expanduser().resolve()) + "/"}
    if scheme != "gs":
        raise UserError(
            f"'{text}' is neither a local folder nor a gs:// address; copy the checkpoint to one "
            "of these."
        )
    bucket, _, path = rest.partition("/")
    return {"driver": "gcs", "bucket": bucket, "path": path.rstrip("/") + "/"}


@dataclass(frozen=True)
class _Zarr:
    """One zarr array: where it lies (`kvstore` as JSON, hashable), its shape by the checkpoint."""

    path: str
    driver: str
    kvstore: str
    shape: tuple[int, ...]

    def open(self, strict: bool = True) -> Any:
        spec = {"driver": self.driver, "kvstore": json.loads(self.kvstore)}
        if strict:
            # Without this a lost chunk would silently read as zeros.
            spec["fill_missing_data_reads"] = False
        return ts.open(spec, open=True, read=True)

    def read_slice(self, index: Index) -> np.ndarray:
        try:
            store = self.open().result()
            if tuple(store.shape) != self.shape:
                raise unreadable(
                    self.path,
                    f"its shape is {tuple(store.shape)}, the checkpoint says {self.shape}",
                )
            try:
                return store[index].read().result()
            except ValueError as error:
                # An array with a declared fill value may leave out chunks that equal it.
                if "NOT_FOUND" not in str(error) or store.fill_value is None:
                    raise
                return self.open(strict=False).result()[index].read().result()
        except (ValueError, OSError) as error:
            raise unreadable(self.path, error) from error

    def read(self) -> np.ndarray:
        return self.read_slice((slice(None),) * len(self.shape))


class T5XSource:
    """A T5X checkpoint as a BaseSource."""

    def __init__(
        self, folder: epath.Path, form: str, tree: Mapping[str, Any], note: str = ""
    ) -> None:
        """tree: flat, 'target/...' and 'state/...' -> leaf; form: the format's name."""
        self.origin = {"path": str(folder), "format": form} | ({"note": note} if note else {})
        self.tree = dict(tree)
        self._places: dict[str, tuple[str, int | None]] = {}
        self._held: tuple[str, np.ndarray] | None = None
        self.shapes: dict[str, tuple[int, ...]] = {}
        for key, leaf in sorted(self.tree.items()):
            if not key.startswith("target/"):
                continue
            if not isinstance(leaf, Slot | _Zarr):
                raise unreadable(
                    folder / "checkpoint", f"'{key}' is not an array but {type(leaf).__name__}"
                )
            name = key.removeprefix("target/")
            if match := _SCANNED.fullmatch(name):
                if len(leaf.shape) < 2:
                    raise unreadable(
                        folder,
                        f"the scanned parameter '{name}' has shape {leaf.shape}, no layer axis",
                    )
                for layer in range(leaf.shape[1]):
                    unrolled = f"{match[1]}/layers_{layer}/{match[2]}"
                    self._add(unrolled, (key, layer), (leaf.shape[0], *leaf.shape[2:]))
            else:
                self._add(name, (key, None), leaf.shape)
        if not self.shapes:
            raise UserError(
                f"The checkpoint '{folder}' has no parameters under 'target'; it was not written "
                "by T5X. Found: "
                f"{', '.join(sorted({k.split('/')[0] for k in self.tree})) or 'nothing'}."
            )
        check_complete(self.shapes, str(folder))
        self.settings = settings_from_shapes(self.shapes, str(folder))

    def _add(self, name: str, place: tuple[str, int | None], shape: tuple[int, ...]) -> None:
        self._places[name] = place
        self.shapes[name] = _joined(name, shape)

    def read(self, name: str) -> np.ndarray:
        """Returns a parameter; attention kernels as [D, J] even where the file has heads apart."""
        known(name, self.shapes, self.origin["path"])
        key, layer = self._places[name]
        leaf = self.tree[key]
        if layer is None:
            return leaf.read().reshape(self.shapes[name])
        size = int(np.prod(leaf.shape, dtype=np.int64)) * 4
        if size > _HELD_BYTES:
            rest = (slice(None),) * (len(leaf.shape) - 2)
            index = (slice(None), slice(layer, layer + 1), *rest)
            return np.ascontiguousarray(leaf.read_slice(index)).reshape(self.shapes[name])
        if self._held is None or self._held[0] != key:
            self._held = None
            self._held = (key, leaf.read())
        out = np.ascontiguousarray(self._held[1][:, layer]).reshape(self.shapes[name])
        if layer + 1 == leaf.shape[1]:
            self._held = None
        return out

    def read_slice(self, name: str, index: Index) -> np.ndarray:
        """Returns `read(name)[index]`; of an unrolled zarr array only its chunks are read."""
        known(name, self.shapes, self.origin["path"])
        key, layer = self._places[name]
        leaf = self.tree[key]
        if layer is None and leaf.shape == self.shapes[name]:
            return leaf.read_slice(index)
        return self.read(name)[index]


def _joined(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Heads and head_dim as one axis: [D, H, 64] -> [D, J], of `out` [H, 64, D] -> [J, D]."""
    if len(shape) != 3 or not name.endswith("/kernel"):
        return shape
    if name.endswith("/out/kernel"):
        return (shape[0] * shape[1], shape[2])
    return (shape[0], shape[1] * shape[2])


def _legacy_leaf(folder: epath.Path, key: str, leaf: Any, present: set[str]) -> Any:
    if not isinstance(leaf, dict):
        return leaf
    spec = leaf
    while "base" in spec:
        spec = spec["base"]
    path = spec.get("path") or spec.get("kvstore", {}).get("path") or ""
    # The spec's own bucket and folder are where T5X wrote it; only the array's name counts here.
    name = str(path).rstrip("/").rpartition("/")[2]
    shape = spec.get("metadata", {}).get("shape")
    if (
        not name
        or name in (".", "..")
        or shape is None
        or spec.get("driver") not in ("zarr", "zarr3")
    ):
        raise unreadable(folder / "checkpoint", f"'{key}' is not the spec of a zarr array")
    if name not in present:
        raise UserError(
            f"The checkpoint '{folder}' lacks the folder '{name}' of the array '{key}'; the copy "
            "is incomplete."
        )
    return _Zarr(
        str(folder / name),
        spec["driver"],
        json.dumps(kvstore_of(folder / name)),
        tuple(map(int, shape)),
    )


def open_legacy(path: str | epath.Path, note: str = "") -> T5XSource:
    """Opens a legacy checkpoint: the folder that holds the msgpack file `checkpoint`."""
    folder = epath.Path(path)
    tree = index_msgpack(str(folder / "checkpoint"))
    body = tree.get("optimizer", tree)
    if not isinstance(body, dict) or "target" not in body:
        raise UserError(
            f"'{folder / 'checkpoint'}' is msgpack, but no T5X checkpoint: expected "
            f"optimizer/target, found {', '.join(map(str, tree)) or 'nothing'}."
        )
    version = tree.get("version", 3)
    if version not in (2, 3):
        raise UserError(
            f"'{folder / 'checkpoint'}' is of T5X's version {version}; jaxlt reads versions 2 "
            "and 3."
        )
    present = {entry.name for entry in folder.iterdir()}
    flat = {key: _legacy_leaf(folder, key, leaf, present) for key, leaf in leaves(body)}
    return T5XSource(folder, "t5x-legacy", flat, note)


def open_orbax(path: str | epath.Path, note: str = "") -> T5XSource:
    """Opens the orbax form: `checkpoint_N` with `state/` in it, or that `state` folder itself."""
    folder = epath.Path(path)
    state = folder / "state" if (folder / "state").is_dir() else folder
    base = kvstore_of(state)
    ocdbt = (state / "manifest.ocdbt").exists()
    root: dict[str, Any] = {"driver": "ocdbt", "base": base} if ocdbt else base
    try:
        names = [k.decode() for k in ts.KvStore.open(root).result().list().result()]
        heads = {
            n.rpartition("/")[0]: n.rpartition("/")[2]
            for n in names
            if n.endswith((".zarray", "zarr.json"))
        }
        opening = {}
        for name, head in heads.items():
            driver = "zarr" if head == ".zarray" else "zarr3"
            spec = root | {"path": root.get("path", "") + name + "/"}
            opening[name] = (
                driver,
                spec,
                ts.open({"driver": driver, "kvstore": spec}, open=True, read=True),
            )
        stored = {
            name: (driver, spec, tuple(f.result().shape))
            for name, (driver, spec, f) in opening.items()
        }
    except (ValueError, OSError) as error:
        raise unreadable(state, error) from error
    flat = {
        name.replace(".", "/"): _Zarr(f"{state}/{name}", driver, json.dumps(spec), shape)
        for name, (driver, spec, shape) in stored.items()
    }
    _check_listed(state, flat)
    return T5XSource(folder, "t5x-orbax", flat, note)


def _check_listed(state: epath.Path, flat: Mapping[str, Any]) -> None:
    """Orbax lists what it saved in `_METADATA`; arrays of the list, but not the store, are lost."""
    listing = state / "_METADATA"
    if not listing.exists():
        return
    try:
        tree = json.loads(listing.read_text())["tree_metadata"].values()
        wanted = {"/".join(str(k["key"]) for k in entry["key_metadata"]) for entry in tree}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise unreadable(listing, f"it is not orbax's list of arrays ({error})") from error
    if lost := sorted(k for k in wanted - set(flat) if k.startswith("target/")):
        raise UserError(
            f"The checkpoint '{state}' lacks {len(lost)} arrays that its _METADATA lists, "
            f"'{lost[0]}' first; the copy is incomplete."
        )


def form_of(folder: epath.Path) -> str | None:
    """Returns 't5x-legacy' or 't5x-orbax' by what lies in the folder, or None."""
    if (folder / "checkpoint").is_file():
        return "t5x-legacy"
    state = folder / "state"
    if any(
        (place / name).exists()
        for place in (state, folder)
        for name in ("manifest.ocdbt", "_METADATA")
    ):
        return "t5x-orbax"
    return None


def open_t5x(path: str | epath.Path) -> T5XSource | None:
    """Opens a T5X checkpoint, or the newest `checkpoint_N` of a folder; None if it is neither."""
    folder = epath.Path(path)
    if folder.name == "checkpoint" and folder.is_file():
        folder = folder.parent
    note = ""
    form = form_of(folder)
    if form is None:
        steps = {int(m[1]): e for e in folder.iterdir() if (m := _STEP_FOLDER.fullmatch(e.name))}
        complete = {step: entry for step, entry in steps.items() if form_of(entry)}
        if not complete:
            return None
        newest = max(complete)
        if len(steps) > 1:
            note = f"took the newest whole one, checkpoint_{newest}, of {len(steps)} in '{folder}'"
        folder, form = complete[newest], form_of(complete[newest])
    return open_legacy(folder, note) if form == "t5x-legacy" else open_orbax(folder, note)
