"""What lies in folders, counted once: items, words and bytes by corpus, language and split.

    counts, notes = count(("ud/", "mt/"), memory=cache_root / "counts")

An item is what the format has: a sentence, a document, a pair, a fact. Counts are remembered by the
contents of a file, so that copies and renamed files are not counted again.
"""

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from jaxlt.data.readers.problems import OnMalformed, Problems
from jaxlt.data.rows.batches import digest
from jaxlt.data.sources import corpora, files, items, layouts
from jaxlt.errors import UserError

_VERSION = 1


@dataclass(frozen=True)
class Count:
    """One language of one file. `tokens` are words where the file has them, else None."""

    corpus: str
    kind: str
    language: str
    split: str  # '' where the file does not say
    items: int
    tokens: int | None
    bytes: int


class _Row(NamedTuple):
    """Counts of a language as the file has it; no language: the file's own."""

    language: str
    split: str
    items: int
    tokens: int | None
    bytes: int


def count(
    paths: Sequence[str], memory: Path, on_malformed: OnMalformed = "strict"
) -> tuple[list[Count], list[str]]:
    """Returns the counts of all corpora below the paths, and notes on what is not among them."""
    counts: list[Count] = []
    notes: list[str] = []
    codes, keys = corpora.Codes(), functools.cache(corpora.own_keys)
    for path in corpora.walk(paths, items.ENDINGS, holds=""):
        kind = items.kind_of(path)
        if not kind:
            notes.append(f"{path}: its columns fit no kind of table known here")
            continue
        place = items.place_of(path, kind)
        name, split, default = place.corpus, place.split, codes.of_place(place)
        problems = Problems(on_malformed)
        for language, row_split, number, tokens, size in _remembered(path, kind, memory, problems):
            known = keys(path) if kind == "texts" else {}
            ends = [known.get(part, part) for part in language.split(":")]
            code = ":".join(map(codes.of, ends)) if language else default
            counts.append(Count(name, kind, code, row_split or split, number, tokens, size))
        if problems.count:
            notes.append(f"{path}: {problems.summary()}")
    if codes.unknown:
        notes.append(codes.report())
    if not counts:
        raise UserError(f"There is nothing to count in {', '.join(paths)}.")
    if nameless := sorted({count.corpus for count in counts if not count.language}):
        notes.append(f"{', '.join(nameless)}: no name or column says which language this is")
    return counts, notes


def _remembered(path: str, kind: str, memory: Path, problems: Problems) -> list[_Row]:
    content = files.content_digest(path, memory)
    key = [_VERSION, content, kind, problems.on_malformed]
    if place := layouts.published(path):  # whose name says what a copy's need not
        key.append(place.language)
    note = memory / f"{digest(key)[:32]}.counts.json"
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
        problems.count, problems.first = int(known["problems"]), list(known["first"])
        return [_Row(*row) for row in known["rows"]]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    rows = list(_rows(path, kind, problems))
    counted = {"rows": rows, "problems": problems.count, "first": problems.first}
    files.write_atomically(note, json.dumps(counted))
    return rows


def _rows(path: str, kind: str, problems: Problems) -> Iterator[_Row]:
    sums: dict[tuple[str, str], list[int]] = {}
    words = kind in ("treebank", "entities")
    for item in items.items(path, kind, problems):
        total = sums.setdefault((item.language, item.split), [0, 0, 0])
        total[0] += 1
        total[1] += item.words
        total[2] += sum(len(text.encode()) for _, text in item.texts)
    for (language, split), (number, tokens, size) in sorted(sums.items()):
        yield _Row(language, split, number, tokens if words else None, size)


def as_json(counts: Sequence[Count]) -> str:
    """Returns counts as JSON, an object a count."""
    return json.dumps([asdict(one) for one in counts], indent=1, ensure_ascii=False) + "\n"


def grouped(notes: Sequence[str]) -> list[str]:
    """Returns notes with those that say the same of several files in one: `a, b: what`."""
    about: dict[str, list[str]] = {}
    for note in notes:
        path, colon, what = note.partition(": ")
        about.setdefault(what if colon else note, []).append(path if colon else "")
    return [f"{', '.join(paths)}: {what}" if paths[0] else what for what, paths in about.items()]
