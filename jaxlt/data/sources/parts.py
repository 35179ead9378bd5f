"""Tables of many languages, read once: the rows of each language lie in a part of their own.

    parts = Parts(cache_root / "tables", "text", entries)
    parts.codes("corpus.jsonl")              # ('swh_Latn', 'wol_Latn'), after one reading
    parts.of("corpus.jsonl", "swh_Latn")     # what `entries` makes of those rows, from the part

Parts are JSON lines in the cache folder. They belong to what the table holds and to what it is
called, as a file's name says a split and a language: a renamed table is read again.
"""

import functools
import json
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePosixPath
from typing import Any

from jaxlt.data.readers.problems import Problems
from jaxlt.data.rows import token_cache
from jaxlt.data.rows.batches import digest
from jaxlt.data.sources import files
from jaxlt.errors import UserError

Entries = Callable[[str, Problems], Iterable[tuple[str, Any]]]
_VERSION = 2  # of parts, and of the readers that they come from: others are read again
_INDEX, _HELD = "index.json", 1 << 25  # letters that are held in memory before they are written


@dataclass(frozen=True)
class _Index:
    """The codes of a table, and the files of their parts, where there are some."""

    codes: tuple[str, ...]
    faults: tuple[str, ...] = ()  # the first malformed rows
    parts: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()  # in bytes


class Parts:
    """What tables hold by language; `entries` yields (code, JSON) of a table's rows.

    name: what the entries are, and what their JSON has in it; parts of another name are others.
    """

    def __init__(self, folder: Path, name: str, entries: Entries):
        self._folder, self._name, self._entries = folder, name, entries
        self._index = functools.cache(self._find)

    def codes(self, path: str) -> tuple[str, ...]:
        """Returns the codes of a table's rows, sorted."""
        return self._index(path).codes

    def faults(self, path: str) -> tuple[str, ...]:
        """Returns what is wrong with the first malformed rows of a table."""
        return self._index(path).faults

    def of(self, path: str, code: str) -> Iterator[Any] | None:
        """Yields what `entries` makes of the rows of a code, in their order.

        None where the table itself is to be read: it is of one language, or has malformed rows,
        which every reading tells of.
        """
        place, index = self._place(path), self._index(path)
        if index.parts and not _is_whole(place, index, code):
            index = self._make(path, place)
        return _lines(place / index.parts[index.codes.index(code)]) if index.parts else None

    def _place(self, path: str) -> Path:
        content = files.content_digest(path, self._folder.parent / "digests")
        called = PurePosixPath(files.absolute(path)).parts[-2:]  # no layout reads more of a path
        return self._folder / digest([_VERSION, content, called, self._name])[:32]

    def _find(self, path: str) -> _Index:
        place = self._place(path)
        return _index_in(place) or self._make(path, place)

    def _make(self, path: str, place: Path) -> _Index:
        """Reads a table into parts in the folder `place`; returns their index."""
        token_cache.sweep(self._folder)
        draft = self._folder / f".{place.name}.{uuid.uuid4().hex}.part"
        problems = Problems("skip")
        try:
            names, written = _write(draft, self._entries(path, problems))
            index = _Index(tuple(sorted(names)), tuple(problems.first))
            if written:
                parted = len(names) > 1 and not problems.count
                with suppress(OSError):  # only a memory, as in `_write`
                    return _keep(draft, place, index, names if parted else {})
            return index
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _index_in(place: Path) -> _Index | None:
    """Returns the index in a folder, None where there is none that can be read."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads((place / _INDEX).read_text(encoding="utf-8"))
        return _Index(*(tuple(told[field.name]) for field in fields(_Index)))
    return None


def _is_whole(place: Path, index: _Index, code: str) -> bool:
    """Says whether the part of a code has the size that it was written with."""
    number = index.codes.index(code)
    with suppress(OSError, IndexError):
        return (place / index.parts[number]).stat().st_size == index.sizes[number]
    return False


def _keep(draft: Path, place: Path, index: _Index, names: Mapping[str, str]) -> _Index:
    """Gives a draft its place, with the files `names` of its codes or none; returns its index.

    Somebody else's parts that came there meanwhile are as good, where they are whole.
    """
    parts = tuple(names[code] for code in index.codes) if names else ()
    for spare in set(draft.glob("*.jsonl")) - {draft / name for name in parts}:
        spare.unlink()
    sizes = tuple((draft / name).stat().st_size for name in parts)
    index = replace(index, parts=parts, sizes=sizes)
    files.write_atomically(draft / _INDEX, json.dumps(vars(index)))
    try:
        draft.rename(place)
    except OSError:
        there = _index_in(place)
        if there and all(_is_whole(place, there, c) for c in there.codes if there.parts):
            return there
        token_cache.remove(place)
        draft.rename(place)
    return index


def _lines(part: Path) -> Iterator[Any]:
    """Yields the entries of a part, which is open only meanwhile."""
    try:
        with part.open(encoding="utf-8") as file:
            yield from map(json.loads, file)
    except (OSError, ValueError) as err:
        raise UserError(
            f"'{part}', which is made from a table, cannot be read: {err}. Remove the folder "
            f"'{part.parent}': it is made anew at the next start."
        ) from None


def _write(folder: Path, entries: Iterable[tuple[str, Any]]) -> tuple[dict[str, str], bool]:
    """Writes entries to a file a code; returns the files' names, and whether there was room."""
    names: dict[str, str] = {}
    held: dict[str, list[str]] = {}
    size, room = 0, True

    def flush() -> bool:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for code, lines in held.items():
                with (folder / names[code]).open("a", encoding="utf-8") as file:
                    file.writelines(lines)
        except OSError:  # parts are only a memory: who tokenises tells of the disk
            return False
        finally:
            held.clear()
        return True

    for code, entry in entries:
        names.setdefault(code, f"{len(names)}.jsonl")
        if not room:
            continue
        line = json.dumps(entry, ensure_ascii=False) + "\n"
        held.setdefault(code, []).append(line)
        size += len(line)
        if size > _HELD:
            room, size = flush(), 0
    return names, room and flush()
