"""One checkpoint on disk: what orbax writes, and the record that makes it count.

    <folder>/trainable/   _METADATA, manifest.ocdbt, d/, ...: written by orbax, readable by it alone
    <folder>/optimizer/   the same: each top-level part of the tree has files of its own
    <folder>/jaxlt.json   the record: written last, by an atomic rename

The record holds the caller's values, every array's shape and dtype, and size and CRC-32 of every
file. A folder without it is a leftover of a killed save, whatever else it holds. In format 1 all
parts share the files of one orbax checkpoint, which is <folder> itself.
"""

import errno
import json
import logging
import os
import shutil
import threading
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from jaxlt.engine.checkpoint import tree as ct
from jaxlt.engine.checkpoint.fit import check_fit
from jaxlt.engine.hosts import distributed
from jaxlt.engine.open import LOSSES
from jaxlt.errors import UserError

RECORD = "jaxlt.json"
_FORMAT = 2
_BLOCK = 1 << 22
_TEMPORARY = ".orbax-checkpoint-tmp"  # orbax writes to <folder> + this, then renames


class Damaged(Exception):
    """A complete checkpoint is not as it was written; the text says which file and how."""


def is_local(path: epath.PathLike) -> bool:
    """True for paths of this machine, False for gs:// and the like."""
    return "://" not in str(path)


def absolute(path: epath.PathLike) -> epath.Path:
    """The path as it is from everywhere; one that is not of this machine stays as it is."""
    path = epath.Path(path)
    return epath.Path(path.expanduser().resolve()) if is_local(path) else path


def is_complete(folder: epath.Path) -> bool:
    """True if the folder holds a checkpoint whose save ran to its end."""
    return (folder / RECORD).exists()


def steps_in(folder: epath.Path) -> list[int]:
    """Steps of the complete checkpoints in a folder of them, oldest first."""
    paths = [p for p in folder.iterdir() if p.name.isdigit()] if folder.exists() else []
    return sorted(int(p.name) for p in paths if is_complete(p))


def read_record(folder: epath.Path) -> dict[str, Any]:
    """Reads a checkpoint's record; raises Damaged if it is not what was written."""
    try:
        record = json.loads((folder / RECORD).read_text())
        crc = record.pop("crc32")
    except (ValueError, KeyError, AttributeError) as error:
        raise Damaged(f"file '{RECORD}' is truncated or altered ({error})") from error
    if crc != zlib.crc32(_canonical(record)):
        raise Damaged(f"file '{RECORD}' was altered after it was written")
    if record["format"] > _FORMAT:
        raise UserError(
            f"Checkpoint '{folder}' has format {record['format']}; this jaxlt reads {_FORMAT} at "
            f"most: use a newer jaxlt."
        )
    return record


def saved_leaves(record: Mapping[str, Any]) -> dict[str, ct.Leaf]:
    """Shapes and dtypes of a record's arrays."""
    return {n: ct.Leaf(tuple(shape), dtype) for n, (shape, dtype) in record["arrays"].items()}


def part_of(name: str) -> str:
    """The part of the tree that an array belongs to: 'optimizer' of 'optimizer/0/mu/...'."""
    return name.partition("/")[0]


def place_of(record: Mapping[str, Any], name: str) -> str:
    """Sub-folder of a checkpoint with the files of an array; '' is the checkpoint's own folder."""
    return part_of(name) if record["format"] > 1 else ""


def verify(
    folder: epath.Path, record: Mapping[str, Any], parts: Collection[str] | None = None
) -> None:
    """Compares each file's size, then its CRC-32, with the record; raises Damaged if unlike.

    parts: of these parts of the tree alone, unless the format lets all share their files.
    """
    files = record["files"]
    if parts is not None and record["format"] > 1:
        files = {n: f for n, f in files.items() if "/" not in n or part_of(n) in parts}
    found = {name: path for name, path in _files(folder) if name != RECORD}
    for name, (size, _) in files.items():
        if name not in found:
            raise Damaged(f"file '{name}' is missing")
        length = found[name].stat().length
        if length != size:
            raise Damaged(f"file '{name}' has {length:,} bytes where {size:,} were written")
    with ThreadPoolExecutor(8) as pool:
        sums = pool.map(_crc32, (found[name] for name in files))
        for (name, (_, crc)), now in zip(files.items(), sums, strict=True):
            if crc != now:
                raise Damaged(
                    f"file '{name}' differs from what was written (CRC-32 {now:08x}, not {crc:08x})"
                )


def remove(folder: epath.Path) -> None:
    """Deletes a checkpoint: it stops counting first, so that a kill leaves no half of one."""
    (folder / RECORD).unlink(missing_ok=True)
    folder.rmtree(missing_ok=True)


def remove_leftovers(folder: epath.Path) -> None:
    """Deletes what killed or failed saves left of `folder` and, if it is a step, of other steps.

    Only who is about to save may call this: a save under way looks like a leftover.
    """
    for path in folder.parent.iterdir():
        name, temporary, _ = path.name.partition(_TEMPORARY)
        ours = name == folder.name or (name.isdigit() and folder.name.isdigit())
        if ours and (temporary or not is_complete(path)):
            path.rmtree(missing_ok=True)


def free_bytes(path: epath.Path) -> int | None:
    """Bytes that are free where `path` lies (or will lie); None where nobody can tell."""
    if not is_local(path):
        return None
    local = os.path.abspath(path)
    while not os.path.exists(local):
        local = os.path.dirname(local)
    try:
        return shutil.disk_usage(local).free
    except OSError:
        return None


def _canonical(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, sort_keys=True).encode()


def _files(folder: epath.Path, prefix: str = "") -> Iterator[tuple[str, epath.Path]]:
    for path in folder.iterdir():
        if path.is_dir():
            yield from _files(path, f"{prefix}{path.name}/")
        else:
            yield prefix + path.name, path


def _crc32(path: epath.Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            crc = zlib.crc32(block, crc)
    return crc


def _write_record(folder: epath.Path, record: dict[str, Any]) -> None:
    """Hashes what orbax wrote and puts the record in place, atomically."""
    files = {n: (p.stat().length, _crc32(p)) for n, p in sorted(_files(folder)) if n != RECORD}
    record = json.loads(_canonical({"format": _FORMAT, **record, "files": files}))
    record["crc32"] = zlib.crc32(_canonical(record))
    temporary = folder / f"{RECORD}.new"
    temporary.write_text(json.dumps(record))
    temporary.replace(folder / RECORD)


class _Quiet(logging.Filter):
    """Drops orbax's own log lines: each of its errors reaches the caller as an exception."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "orbax" not in record.pathname or record.levelno >= logging.CRITICAL


class Store:
    """Writes checkpoints in the background, one at a time, and reads them onto any mesh."""

    def __init__(self) -> None:
        absl_logger = logging.getLogger("absl")
        if not any(isinstance(f, _Quiet) for f in absl_logger.filters):
            absl_logger.addFilter(_Quiet())
        # Uncompressed: floats shrink by a tenth, and it costs most of the time.
        handler = ocp.PyTreeCheckpointHandler(use_compression=False)
        registry = ocp.handlers.DefaultCheckpointHandlerRegistry()
        registry.add(None, ocp.args.PyTreeSave, handler)  # whatever the parts are called
        self._orbax = ocp.AsyncCheckpointer(
            ocp.CompositeCheckpointHandler(handler_registry=registry),
            async_options=ocp.options.AsyncOptions(timeout_secs=3600),
        )
        self._reader = ocp.Checkpointer(handler)  # of one part
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(
        self,
        folder: epath.Path,
        named: Mapping[str, Any],
        record: dict[str, Any],
        after: Callable[[], None] = lambda: None,
    ) -> None:
        """Copies the arrays to the host and goes on in the background; all processes call this.

        `record` is JSON-able; `after` runs on the primary process once the checkpoint is complete.
        """
        arrays = ct.as_arrays(named)
        _canonical(record)  # a value that is no JSON is told now, not in the background
        need, free = sum(a.nbytes for a in arrays.values()), free_bytes(folder)
        if free is not None and free < need and distributed.process_count() == 1:
            raise OSError(errno.ENOSPC, f"No space left on device: {need:,} bytes are needed")
        leaves = {n: (leaf.shape, leaf.dtype) for n, leaf in ct.leaves_of(arrays).items()}
        if distributed.is_primary():
            folder.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(folder)
        parts: dict[str, dict[str, jax.Array]] = {}
        for name, array in arrays.items():
            if array.size:  # orbax takes no empty arrays
                parts.setdefault(part_of(name), {})[name] = array
        saves = {part: ocp.args.PyTreeSave(ct.nest(held)) for part, held in parts.items()}
        self._orbax.save(folder, args=ocp.args.Composite(**saves))
        self._thread = threading.Thread(
            target=self._finish,
            args=(folder, {**record, "arrays": leaves}, after),
            name="jaxlt-checkpoint",
        )
        self._thread.start()

    def _finish(
        self, folder: epath.Path, record: dict[str, Any], after: Callable[[], None]
    ) -> None:
        try:
            self._orbax.wait_until_finished()
            if distributed.is_primary():
                _write_record(folder, record)
                after()
        except BaseException as error:  # told by wait(), in the caller's thread
            self._error = error

    def wait(self) -> None:
        """Waits for the save that is under way; raises what it raised, on this process alone."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def read(
        self,
        folder: epath.Path,
        record: Mapping[str, Any],
        abstract: Any,
        parts: tuple[str, ...] | None = None,
    ) -> Any:
        """Restores a verified checkpoint into the tree of `jax.ShapeDtypeStruct`s `abstract`.

        parts: the top-level names to read, and no others; all of them unless given. What losses
        have of their own need not be wanted then.
        """
        saved = saved_leaves(record)
        if parts is not None:
            saved = {n: leaf for n, leaf in saved.items() if part_of(n) in parts}
        wanted = ct.name_leaves(abstract)
        if parts is not None:
            saved = {n: a for n, a in saved.items() if f"/{LOSSES}" not in n or n in wanted}
        check_fit(saved, ct.leaves_of(wanted), str(folder))
        places = ct.source_shardings(saved, wanted)
        arguments: dict[str, dict[str, ocp.ArrayRestoreArgs]] = {}  # by place, then by name
        for name, leaf in saved.items():
            if 0 not in leaf.shape:
                arguments.setdefault(place_of(record, name), {})[name] = ocp.ArrayRestoreArgs(
                    restore_type=jax.Array, sharding=places[name], global_shape=leaf.shape
                )
        arrays: dict[str, jax.Array] = {}
        for place, asked in arguments.items():
            tree = self._reader.restore(
                folder / place,
                args=ocp.args.PyTreeRestore(
                    item=ct.nest(dict.fromkeys(asked, 0)),
                    restore_args=ct.nest(asked),
                    partial_restore=True,
                ),
            )
            arrays |= ct.name_leaves(tree)
        for name in saved.keys() - arrays.keys():  # empty, so nothing was on disk
            leaf = saved[name]
            arrays[name] = jax.device_put(np.zeros(leaf.shape, leaf.dtype), places[name])
        return ct.rebuild(abstract, ct.convert(arrays, wanted))
