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
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from jaxlt.data.readers.problems import Problems
from jaxlt.data.rows.batches import digest
from jaxlt.data.sources import files

Entries = Callable[[str, Problems], Iterable[tuple[str, Any]]]
_INDEX, _HELD = "index.json", 1 << 25  # letters that are held in memory before they are written


@dataclass(frozen=True)
class _Index:
    """The codes of a table, and the files of their parts, where there are some."""

    codes: tuple[str, ...]
    faults: tuple[str, ...] = ()  # the first malformed rows
    parts: tuple[str, ...] = ()


class Parts:
    """What tables hold by language; `entries` yields (code, JSON) of a table's rows.

    name: what the entries are; parts of another name are others.
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
        index = self._index(path)
        if not index.parts:
            return None
        return _lines(self._place(path) / index.parts[index.codes.index(code)])

    def _place(self, path: str) -> Path:
        content = files.content_digest(path, self._folder.parent / "digests")
        called = PurePosixPath(files.absolute(path)).parts[-2:]  # no layout reads more of a path
        return self._folder / digest([content, called, self._name])[:32]

    def _find(self, path: str) -> _Index:
        place = self._place(path)
        with suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads((place / _INDEX).read_text(encoding="utf-8"))
            return _Index(*(tuple(told[name]) for name in ("codes", "faults", "parts")))
        draft = self._folder / f".{place.name}.{uuid.uuid4().hex}"
        problems = Problems("skip")
        try:
            codes = _write(draft, self._entries(path, problems))
            parted = len(codes) > 1 and not problems.count
            order = sorted(codes)
            parts = [codes[code] for code in order] if parted else []
            index = _Index(tuple(order), tuple(problems.first), tuple(parts))
            for name in codes.values() if not parted else ():
                (draft / name).unlink()
            files.write_atomically(draft / _INDEX, json.dumps(vars(index)))
            with suppress(OSError):  # somebody else's parts are as good as these
                draft.rename(place)
        except OSError:  # no room for parts: only a memory, and who tokenises tells of the disk
            problems = Problems("skip")
            found = {code for code, _ in self._entries(path, problems)}
            return _Index(tuple(sorted(found)), tuple(problems.first))
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return index


def _lines(part: Path) -> Iterator[Any]:
    """Yields the entries of a part, which is open only meanwhile."""
    with part.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def _write(folder: Path, entries: Iterable[tuple[str, Any]]) -> dict[str, str]:
    """Writes entries to a file a code; returns the names of the files."""
    folder.mkdir(parents=True)
    names: dict[str, str] = {}
    held: dict[str, list[str]] = {}
    size = 0

    def flush() -> None:
        for code, lines in held.items():
            with (folder / names[code]).open("a", encoding="utf-8") as file:
                file.writelines(lines)
        held.clear()

    for code, entry in entries:
        names.setdefault(code, f"{len(names)}.jsonl")
        line = json.dumps(entry, ensure_ascii=False) + "\n"
        held.setdefault(code, []).append(line)
        size += len(line)
        if size > _HELD:
            flush()
            size = 0
    flush()
    return names
