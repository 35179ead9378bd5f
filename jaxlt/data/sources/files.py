"""Files wherever they are: local paths with the standard library, `gs://` through tf.io.gfile.

`.gz` and `.zst` are unpacked on the way in and packed on the way out; nothing is ever held whole.
"""

import glob as globbing
import gzip
import hashlib
import io
import json
import os
import uuid
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal

from jaxlt.errors import UserError, nearest

PACKED = (".gz", ".zst")


def endings(*plain: str) -> tuple[str, ...]:
    """Returns endings of files with those of packed ones: .txt, .txt.gz, .txt.zst."""
    return tuple(f"{ending}{pack}" for ending in plain for pack in ("", *PACKED))


# What the unpackers raise for an archive that breaks off or is none; an OSError without errno is
# one of theirs and not the disk's.
DAMAGED = (EOFError, zlib.error, OSError)


def is_remote(path: str) -> bool:
    """Says whether a path needs TensorFlow's file system (gs://, s3://, ...)."""
    return "://" in path


def _gfile() -> Any:
    import tensorflow as tf  # only where a path is remote: it takes seconds

    return tf.io.gfile


@contextmanager
def open_bytes(path: str) -> Iterator[IO[bytes]]:
    """Opens a file for reading bytes; `.gz` and `.zst` are decompressed on the way."""
    with open_raw(path) as raw, _packing(path, raw, "rb") as plain:
        yield plain


def open_raw(path: str) -> Any:
    """Opens a file for reading its bytes as they are, for formats that seek (parquet)."""
    if not is_remote(path) and not os.path.isfile(path):
        raise UserError(missing(path))
    return _gfile().GFile(path, "rb") if is_remote(path) else Path(path).open("rb")


def text_size(path: str) -> int:
    """Returns how many bytes a file has, unpacked."""
    with open_bytes(path) as file:
        return sum(len(chunk) for chunk in iter(lambda: file.read(1 << 20), b""))


def write_chunks(path: str, chunks: Iterable[bytes]) -> None:
    """Writes bytes to a file, packed as its ending says; it appears whole or not at all."""
    if is_remote(path):
        part = f"{path}.{uuid.uuid4().hex}.part"
        raw: Any = _gfile().GFile(part, "wb")
    else:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        part = str(Path(path).with_name(f".{Path(path).name}.{uuid.uuid4().hex}.part"))
        raw = open(part, "wb")  # noqa: SIM115 (closed by the `with` below, as the remote one)
    try:
        with raw, _packing(path, raw, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
        if is_remote(path):
            _gfile().rename(part, path, overwrite=True)
        else:
            os.replace(part, path)
    except BaseException:
        if exists(part):
            _gfile().remove(part) if is_remote(path) else os.remove(part)
        raise


def check_apart(folder: str, paths: Iterable[str]) -> None:
    """Raises UserError where one of the files to read lies in the folder that is written."""
    for path in paths:
        if not is_remote(path) and Path(folder).resolve() in Path(path).resolve().parents:
            raise UserError(f"'{folder}' holds the source '{path}': give another folder.")


@contextmanager
def _packing(path: str, raw: Any, mode: Literal["rb", "wb"]) -> Iterator[Any]:
    """What unpacks the bytes of an opened file, or packs them, as its ending says."""
    if path.endswith(".gz"):
        with gzip.GzipFile("", mode, fileobj=raw, mtime=0) as file:
            yield file
    elif path.endswith(".zst"):
        import pyarrow

        plain = pyarrow.PythonFile(raw, mode=mode[0])
        if mode == "wb":
            with pyarrow.CompressedOutputStream(plain, "zstd") as stream:
                yield stream
        else:
            unpacked = pyarrow.CompressedInputStream(plain, "zstd")
            with unpacked as stream, io.BufferedReader(stream, 1 << 20) as file:
                yield file
    else:
        yield raw


def missing(path: str) -> str:
    """Returns the sentence for a path that does not exist, with the nearest name beside it."""
    parent = Path(path).parent
    names = os.listdir(parent) if not is_remote(path) and parent.is_dir() else []
    return f"There is no file or folder '{path}'.{nearest(Path(path).name, names)}"


def exists(path: str) -> bool:
    """Says whether a file or folder is there."""
    return bool(_gfile().exists(path)) if is_remote(path) else os.path.exists(path)


def is_folder(path: str) -> bool:
    """Says whether a path is a folder."""
    return bool(_gfile().isdir(path)) if is_remote(path) else os.path.isdir(path)


def absolute(path: str) -> str:
    """Returns a path from its root on, with '/' between its parts."""
    return path if is_remote(path) else os.path.abspath(path).replace(os.sep, "/")


def listing(folder: str) -> list[str]:
    """Returns the paths of what lies in a folder, sorted, hidden files left out."""
    names = _gfile().listdir(folder) if is_remote(folder) else os.listdir(folder)
    plain = sorted(name.rstrip("/") for name in names if not name.startswith("."))
    return [f"{folder.rstrip('/')}/{name}" for name in plain]


def matches(pattern: str) -> list[str]:
    """Returns the paths that a glob pattern matches, sorted."""
    paths = _gfile().glob(pattern) if is_remote(pattern) else globbing.glob(pattern)
    return sorted(paths)


def content_digest(path: str, memory: Path) -> str:
    """Returns the sha256 of a file's bytes; remembered in the folder `memory` by size and time.

    Content rather than path or time decides what a cache belongs to, so that hosts and copies
    agree; a corpus is read for it once, not at every start.
    """
    state = _state(path)
    note = memory / f"{hashlib.sha256(absolute(path).encode()).hexdigest()[:32]}.json"
    try:
        known = json.loads(note.read_text())
        if known["state"] == state:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    sha = hashlib.sha256()
    with open_raw(path) as file:
        while chunk := file.read(1 << 20):
            sha.update(chunk)
    with suppress(OSError):  # only a memory; who writes the cache itself tells why it cannot be
        write_atomically(note, json.dumps({"state": state, "sha256": sha.hexdigest()}))
    return sha.hexdigest()


def _state(path: str) -> list[int]:
    if is_remote(path):
        stat = _gfile().stat(path)
        return [int(stat.length), int(stat.mtime_nsec)]
    if not os.path.isfile(path):
        raise UserError(missing(path))
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns]


def write_atomically(path: Path, text: str) -> None:
    """Writes a small text file so that readers see the old or the new one, never a part."""
    write_chunks(str(path), [text.encode()])
