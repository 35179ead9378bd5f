"""Files of raw tensors (safetensors, flax msgpack), indexed without reading the tensors.

Both formats are headers around plain bytes. An index pass finds where each tensor's bytes lie; a
`Slot` then reads just those. Nothing here can run code: there is no pickle, and dtypes come from a
fixed list.
"""

import json
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
from etils import epath

from jaxlt.errors import UserError

_PIECE = 64 * 2**20
_MAX_DEPTH = 64
_MAX_HEADER = 100 * 2**20

_SAFETENSORS_DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
_NAMED_DTYPES = {d.name: d for d in _SAFETENSORS_DTYPES.values()} | {
    name: np.dtype(name) for name in ("uint16", "uint32", "uint64")
}


def unreadable(path: object, why: object) -> UserError:
    """Returns the error for a damaged file: its name and the first line of what went wrong."""
    first = (str(why).strip().splitlines() or ["unknown reason"])[0]
    reason = first.partition(" [tensorstore_spec=")[0]
    return UserError(
        f"Cannot read '{path}': {reason.rstrip('.')}. The file is damaged or incomplete; copy it "
        "again from where it came."
    )


@dataclass(frozen=True)
class Slot:
    """Where a tensor's bytes (little-endian, C order) lie: `parts` are (offset, bytes) in order."""

    path: str
    dtype: np.dtype
    shape: tuple[int, ...]
    parts: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        count = sum(n for _, n in self.parts)
        expected = math.prod(self.shape) * self.dtype.itemsize
        if min(self.shape, default=0) < 0 or count != expected:
            raise unreadable(
                self.path,
                f"a tensor of shape {self.shape} and type {self.dtype} has {count} bytes instead "
                f"of {expected}",
            )

    def read(self) -> np.ndarray:
        """Returns the tensor in memory of its own."""
        out = np.empty(sum(n for _, n in self.parts), np.uint8)
        done = 0
        try:
            with epath.Path(self.path).open("rb") as file:
                for offset, count in self.parts:
                    file.seek(offset)
                    for start in range(0, count, _PIECE):
                        piece = file.read(min(_PIECE, count - start))
                        out[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
                        done += len(piece)
        except OSError as error:
            raise unreadable(self.path, error) from error
        if done != out.size:
            raise unreadable(self.path, f"it ends {out.size - done} bytes too early")
        return out.view(self.dtype).reshape(self.shape)

    def read_slice(self, index: tuple[slice, ...]) -> np.ndarray:
        """Returns `read()[index]`; of a local file only the pages of the slice are touched."""
        if "://" in self.path or len(self.parts) != 1 or not self.shape or 0 in self.shape:
            return self.read()[index].copy()
        try:
            mapped = np.memmap(self.path, self.dtype, "r", self.parts[0][0], self.shape)
        except (OSError, ValueError) as error:
            raise unreadable(self.path, error) from error
        return np.array(mapped[index])


def index_safetensors(path: str) -> dict[str, Slot]:
    """Returns name -> Slot for a safetensors file."""
    size = epath.Path(path).stat().length
    with epath.Path(path).open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= min(size - 8, _MAX_HEADER):
            raise unreadable(
                path, f"its {size} bytes are no safetensors file, or only the beginning of one"
            )
        raw = file.read(length)
    try:
        header = json.loads(raw)
        header.pop("__metadata__", None)
        entries = {
            str(name): (
                entry["dtype"],
                tuple(map(int, entry["shape"])),
                tuple(map(int, entry["data_offsets"])),
            )
            for name, entry in header.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise unreadable(path, f"its header is not that of a safetensors file ({error})") from error
    slots = {}
    for name, (dtype, shape, (start, stop)) in entries.items():
        if dtype not in _SAFETENSORS_DTYPES:
            raise UserError(
                f"The tensor '{name}' of '{path}' has type {dtype}, which jaxlt does not read; "
                f"known are {', '.join(_SAFETENSORS_DTYPES)}."
            )
        if not 0 <= start <= stop <= size - 8 - length:
            raise unreadable(path, f"it ends before the tensor '{name}' does")
        slots[name] = Slot(
            path, _SAFETENSORS_DTYPES[dtype], shape, ((8 + length + start, stop - start),)
        )
    return slots


@dataclass(frozen=True)
class _Blob:
    offset: int
    count: int


# Of msgpack's codes above 0xBF: what follows, and how its size (or the number) is written.
_CODES = (
    {0xC4 + i: ("blob", form) for i, form in enumerate("BHI")}
    | {0xC7 + i: ("ext", form) for i, form in enumerate("BHI")}
    | {0xCA + i: ("number", form) for i, form in enumerate("fdBHIQbhiq")}
    | {0xD9 + i: ("text", form) for i, form in enumerate("BHI")}
    | {0xDC + i: ("list", form) for i, form in enumerate("HI")}
    | {0xDE + i: ("mapping", form) for i, form in enumerate("HI")}
)


class _MsgpackWalker:
    """Walks a msgpack file, skipping over array bytes; flax's ext types 1 (array) and 3 (scalar)
    become Slots.
    """

    def __init__(self, file: BinaryIO, path: str, size: int) -> None:
        self.file, self.path, self.size, self.at = file, path, size, 0

    def take(self, count: int) -> bytes:
        data = self.file.read(count)
        self.at += count
        if len(data) != count:
            raise unreadable(self.path, "it ends in the middle of a value")
        return data

    def skip(self, count: int) -> _Blob:
        blob = _Blob(self.at, count)
        if self.at + count > self.size:
            raise unreadable(self.path, f"it ends {self.at + count - self.size} bytes too early")
        self.at += count
        self.file.seek(self.at)
        return blob

    def number(self, form: str) -> Any:
        return struct.unpack(">" + form, self.take(struct.calcsize(form)))[0]

    def text(self, count: int, raw: bool) -> Any:
        if raw:
            return self.skip(count)
        if count > 2**20:
            raise unreadable(self.path, f"it holds a name of {count} bytes")
        return self.take(count).decode("utf-8", "replace")

    def mapping(self, count: int, depth: int, raw: bool) -> dict[Any, Any]:
        out: dict[Any, Any] = {}
        for _ in range(count):
            key = self.value(depth + 1, raw)
            if not isinstance(key, str | int):
                raise unreadable(self.path, "it holds a key that is neither text nor a number")
            out[str(key)] = self.value(depth + 1, raw)
        return out

    def ext(self, count: int, depth: int) -> Any:
        code, end = self.number("b"), self.at + count
        if code not in (1, 3):
            return self.skip(count)
        match self.value(depth + 1, raw=True):
            case [list() as shape, _Blob() as dtype, _Blob() as data] if self.at == end:
                pass
            case _:
                raise unreadable(self.path, "it holds an array that is not in flax's form")
        self.file.seek(dtype.offset)
        name = self.file.read(min(dtype.count, 64)).decode("latin-1")
        self.file.seek(self.at)
        if name not in _NAMED_DTYPES:
            raise unreadable(self.path, f"it holds an array of the unknown type '{name}'")
        part = (data.offset, data.count)
        return Slot(self.path, _NAMED_DTYPES[name], tuple(map(int, shape)), (part,))

    def value(self, depth: int = 0, raw: bool = False) -> Any:
        if depth > _MAX_DEPTH:
            raise unreadable(self.path, f"it is nested more than {_MAX_DEPTH} deep")
        code = self.number("B")
        if code <= 0x7F or code >= 0xE0:
            return code if code <= 0x7F else code - 0x100
        if code in (0xC0, 0xC2, 0xC3):
            return {0xC0: None, 0xC2: False, 0xC3: True}[code]
        if 0xD4 <= code <= 0xD8:
            return self.ext(1 << (code - 0xD4), depth)
        if code <= 0xBF:  # the size is in the code
            kind = "mapping" if code <= 0x8F else "list" if code <= 0x9F else "text"
            count = code & (0x1F if kind == "text" else 0x0F)
        elif code in _CODES:
            kind, form = _CODES[code]
            count = self.number(form)
        else:
            raise unreadable(self.path, "it is not msgpack")
        match kind:
            case "mapping":
                return self.mapping(count, depth, raw)
            case "list":
                return [self.value(depth + 1, raw) for _ in range(count)]
            case "text":
                return self.text(count, raw)
            case "ext":
                return self.ext(count, depth)
            case "blob":
                return self.skip(count)
        return count


def _join_chunks(node: Any, path: str) -> Any:
    """flax cuts arrays above 1 GiB into flat chunks; here they become one Slot of several parts."""
    if not isinstance(node, dict):
        return node
    if "__msgpack_chunked_array__" not in node:
        return {key: _join_chunks(value, path) for key, value in node.items()}
    try:
        shape = tuple(int(node["shape"][str(i)]) for i in range(len(node["shape"])))
        chunks = [node["chunks"][str(i)] for i in range(len(node["chunks"]))]
        return Slot(
            path, chunks[0].dtype, shape, tuple(part for chunk in chunks for part in chunk.parts)
        )
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise unreadable(path, "it holds a chunked array that is not in flax's form") from error


def index_msgpack(path: str) -> dict[str, Any]:
    """Returns the tree of a flax msgpack file with a Slot for every array."""
    size = epath.Path(path).stat().length
    with epath.Path(path).open("rb") as file:
        walker = _MsgpackWalker(file, path, size)
        tree = walker.value()
    if walker.at != size or not isinstance(tree, dict):
        raise unreadable(path, "it is not a msgpack file with one dictionary in it")
    return _join_chunks(tree, path)


def leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields ('a/b/c', leaf) of a nested dictionary; a TensorStore spec counts as a leaf."""
    for key, value in tree.items():
        if isinstance(value, dict) and not (
            "driver" in value and ("kvstore" in value or "base" in value)
        ):
            yield from leaves(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", value
