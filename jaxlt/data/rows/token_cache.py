"""Token ids of a task, written once and mapped into memory: a folder a task and split.

    <folder>/<name>-<split>-<key>/
      meta.json                what it is, counts, checksums
      targets.tokens           all examples' ids end to end, uint16 or int32
      targets.offsets          int64 [examples + 1]: where each example starts

A folder appears under its name complete or not at all, so that two processes may build at once and
a kill leaves nothing that could be taken for a cache.
"""

import itertools
import json
import logging
import os
import re
import shutil
import time
import uuid
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from jaxlt import progress
from jaxlt.errors import UserError

_log = logging.getLogger(__name__)

VERSION = 1
_CHUNK = 1024  # examples that are written together
_CHECK_WHOLE = 1 << 26  # token files up to this size are checked byte by byte at each opening
_ABANDONED = 24 * 3600  # seconds after which a half-written folder of a killed process is removed

Example = dict[str, np.ndarray]


class Column:
    """One feature of all examples: `tokens` [N] end to end, example i from offsets[i] on."""

    def __init__(self, tokens: np.ndarray, offsets: np.ndarray):
        self.tokens, self.offsets = tokens, offsets

    def windows(self, starts: np.ndarray, lengths: np.ndarray, width: int) -> np.ndarray:
        """Returns int32 [R, width]: running text from each start, zeros beyond its length."""
        place = starts[:, None] + np.arange(width)
        inside = np.arange(width) < lengths[:, None]
        return np.where(inside, self.tokens[np.where(inside, place, 0)], 0).astype(np.int32)

    def whole(self, index: int) -> np.ndarray:
        """Returns the tokens [n] of one example."""
        return np.array(self.tokens[self.offsets[index] : self.offsets[index + 1]], np.int32)

    def examples(self, index: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns (tokens [R, width], lengths [R]) of whole examples, cut to `width`."""
        starts = self.offsets[index]
        lengths = np.minimum(self.offsets[index + 1] - starts, width)
        if not len(self.tokens):
            return np.zeros((len(index), width), np.int32), lengths
        return self.windows(starts, lengths, width), lengths


class TokenCache:
    """An opened cache: `columns` by feature, and how many `examples` they have."""

    def __init__(self, folder: Path, meta: dict[str, Any], columns: dict[str, Column]):
        self.folder, self.meta, self.columns = folder, meta, columns
        self.examples = int(meta["examples"])
        self.labels: list[str] = meta.get("labels", [])

    @property
    def counted(self) -> Column:
        """What is counted in tokens: the targets, or what heads read."""
        return self.columns["targets" if "targets" in self.columns else next(iter(self.columns))]

    def tokens(self) -> int:
        """Returns how many tokens there are of what is counted."""
        return len(self.counted.tokens)

    def replaced(self, values: dict[str, np.ndarray]) -> "TokenCache":
        """Returns a cache, some features of which have values[i] in place of each token i."""
        columns = {
            name: Column(values[name][column.tokens], column.offsets) if name in values else column
            for name, column in self.columns.items()
        }
        return TokenCache(self.folder, self.meta, columns)

    def chosen(self, index: np.ndarray) -> "TokenCache":
        """Returns a cache in memory of the examples at `index` [n] alone, in that order."""
        columns = {}
        for name, column in self.columns.items():
            parts = [column.tokens[column.offsets[i] : column.offsets[i + 1]] for i in index]
            ends = np.cumsum([0, *map(len, parts)], dtype=np.int64)
            columns[name] = Column(np.concatenate([column.tokens[:0], *parts]), ends)
        return TokenCache(self.folder, self.meta | {"examples": len(index)}, columns)

    def beginning(self, count: int) -> "TokenCache":
        """Returns a cache of the first `count` tokens of every column, the last example cut."""
        columns = {
            name: Column(column.tokens[:count], np.minimum(column.offsets, count))
            for name, column in self.columns.items()
        }
        return TokenCache(self.folder, self.meta, columns)


UNREAD = TokenCache(Path(), {"examples": 0}, {})  # of a text that is not tokenised


class Damaged(Exception):
    """A cache that does not hold what its meta.json says; the text says where."""


def open_or_build(
    root: Path,
    name: str,
    split: str,
    key: str,
    size: int,
    features: tuple[str, ...],
    examples: Callable[[], Iterable[Example]],
    labels: Callable[[], list[str]] = list,
) -> TokenCache:
    """Returns the cache of a task's split, made by running `examples()` where there is none.

    `key` is the hex digest of all that decides the ids; `size` is the vocabulary's. A damaged cache
    is built again, with a warning that names the file. labels: what the ids of labels mean, once
    all examples are there; the cache's `labels`.
    """
    plain = re.sub(r"[^\w.-]", "_", name)
    folder = root / f"{plain}-{split}-{key[:24]}"
    if folder.exists():
        try:
            return open_cache(folder, key)
        except Damaged as err:
            _log.warning("The token cache is damaged and is built again: %s.", err)
            remove(folder)
    part = root / f".{folder.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part"
    try:
        root.mkdir(parents=True, exist_ok=True)
        sweep(root)
        part.mkdir()
        progress.detail(f"tokenising {name}")
        _write(part, {"name": name, "split": split, "key": key}, size, features, examples(), labels)
        try:
            os.rename(part, folder)
        except OSError:
            if not folder.exists():  # somebody else's cache is as good as ours
                raise
    except OSError as err:
        raise UserError(
            f"The token cache of '{name}' cannot be written to '{root}': {err.strerror}. Free some "
            "space, or name another folder (DataConfig.cache_dir)."
        ) from err
    finally:
        shutil.rmtree(part, ignore_errors=True)
    try:
        return open_cache(folder, key)
    except Damaged as err:
        raise UserError(f"The token cache was written but cannot be read back: {err}.") from None


def open_cache(folder: Path, key: str) -> TokenCache:
    """Returns a cache that exists, or raises Damaged with the file that is wrong."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        if meta["version"] != VERSION or meta["key"] != key:
            raise Damaged(f"'{folder / 'meta.json'}' is of another cache")
        columns = {}
        for feature, one in meta["features"].items():
            tokens = _map(folder / f"{feature}.tokens", meta["dtype"], one["tokens"], one["crc"])
            offsets = _map(
                folder / f"{feature}.offsets", "int64", meta["examples"] + 1, one["offsets_crc"]
            )
            columns[feature] = Column(tokens, offsets)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise Damaged(f"'{folder}': {err}") from None
    return TokenCache(folder, meta, columns)


def _map(path: Path, dtype: str, count: int, crc: int) -> np.ndarray:
    expected = count * np.dtype(dtype).itemsize
    actual = path.stat().st_size
    if actual != expected:
        raise Damaged(f"'{path}' has {actual} bytes, not {expected}")
    if not count:
        return np.zeros(0, dtype)
    array = np.memmap(path, dtype=dtype, mode="r")
    if expected <= _CHECK_WHOLE and zlib.crc32(array.tobytes()) != crc:
        raise Damaged(f"'{path}' does not have the checksum it was written with")
    # A plain view: indexing a memmap object costs several times as much.
    return array.view(np.ndarray)


class _Sink:
    """A file being written, with the checksum of what went in."""

    def __init__(self, path: Path, dtype: str):
        self.file, self.dtype = path.open("wb", buffering=1 << 20), np.dtype(dtype)
        self.count, self.crc = 0, 0

    def write(self, array: np.ndarray) -> None:
        data = array.astype(self.dtype).tobytes()
        self.file.write(data)
        self.crc = zlib.crc32(data, self.crc)
        self.count += len(array)


def _write(
    folder: Path,
    meta: dict[str, Any],
    size: int,
    features: tuple[str, ...],
    rows: Iterable[Example],
    labels: Callable[[], list[str]],
) -> None:
    dtype = "uint16" if size <= 1 << 16 else "int32"
    sinks = {f: _Sink(folder / f"{f}.tokens", dtype) for f in features}
    marks = {f: _Sink(folder / f"{f}.offsets", "int64") for f in features}
    try:
        for mark in marks.values():
            mark.write(np.zeros(1))
        left = iter(rows)
        while chunk := list(itertools.islice(left, _CHUNK)):
            for feature in features:
                arrays = [np.asarray(example[feature]) for example in chunk]
                ends = sinks[feature].count + np.cumsum([len(a) for a in arrays])
                sinks[feature].write(np.concatenate(arrays))
                marks[feature].write(ends)
    finally:
        for sink in (*sinks.values(), *marks.values()):
            sink.file.close()
    meta |= {
        "version": VERSION,
        "dtype": dtype,
        "examples": marks[features[0]].count - 1,
        "features": {
            f: {"tokens": sinks[f].count, "crc": sinks[f].crc, "offsets_crc": marks[f].crc}
            for f in features
        },
    }
    if names := labels():
        meta["labels"] = names
    (folder / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")


def remove(folder: Path) -> None:
    """Removes a folder: renamed first, so that nobody finds it half there."""
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        os.rename(folder, aside)
    except FileNotFoundError:
        return  # another process was faster
    shutil.rmtree(aside, ignore_errors=True)


def sweep(root: Path) -> None:
    """Removes what killed processes left half-written long ago."""
    for path in root.glob(".*.part"):
        try:
            old = time.time() - path.stat().st_mtime > _ABANDONED
        except OSError:
            continue
        if old:
            shutil.rmtree(path, ignore_errors=True)
