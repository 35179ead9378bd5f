"""What lies in folders, counted once: items, words and bytes by corpus, language and split.

    counts, notes = count(("ud/", "mt/"), memory=cache_root / "counts")

An item is what the format has: a sentence, a document, a pair, a fact. Counts are remembered by the
contents of a file, so that copies and renamed files are not counted again.
"""

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from jaxlt.data import corpora, files, layouts, sources
from jaxlt.data.batches import digest
from jaxlt.data.readers import bitext, conllu, iob2, tables
from jaxlt.data.readers.problems import Bad, Problems
from jaxlt.data.readers.questions import Question
from jaxlt.errors import UserError

_VERSION = 1
_ENDINGS = (*corpora.ALL, *sources.TEXT, *sources.PAIRS)


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


# (language as the file has it, split or '', items, tokens, bytes); no language: the file's own
_Row = tuple[str, str, int, int | None, int]


def count(paths: Sequence[str], memory: Path, bad: Bad = "strict") -> tuple[list[Count], list[str]]:
    """Returns the counts of all corpora below the paths, and notes on what is not among them."""
    found: list[Count] = []
    notes: list[str] = []
    codes, keys = corpora.Codes(), functools.cache(corpora.own_keys)
    for path in corpora.walk(paths, tuple(dict.fromkeys(_ENDINGS)), holds=""):
        kind = _kind(path)
        if not kind:
            notes.append(f"{path}: its columns fit no kind of table known here")
            continue
        place = layouts.place(path, "aligned" if kind == "text" else kind)
        name, split, own = place.corpus, place.split, codes.of_place(place)
        problems = Problems(bad)
        for language, said, items, tokens, size in _remembered(path, kind, memory, problems):
            known = keys(path) if kind == "texts" else {}
            ends = [known.get(part, part) for part in language.split(":")]
            code = ":".join(map(codes.of, ends)) if language else own
            found.append(Count(name, kind, code, said or split, items, tokens, size))
        if problems.count:
            notes.append(f"{path}: {problems.summary()}")
    if codes.unknown:
        notes.append(codes.report())
    if not found:
        raise UserError(f"There is nothing to count in {', '.join(paths)}.")
    return found, notes


def _kind(path: str) -> str:
    """Returns what a file holds, "" for a table of unknown columns."""
    place = layouts.published(path)
    if place and place.holds == "aligned":
        return "text"
    if place and place.holds == "entities" and iob2.holds_tags(path):
        return "entities"
    for kind, endings in (("treebank", corpora.CONLLU), ("entities", corpora.IOB2)):
        if path.endswith(endings):
            return kind
    if path.endswith(corpora.LINES):
        return "text"
    try:
        return corpora.kind_of(path) if path.endswith((*corpora.TABLES, *tables.SQUAD)) else ""
    except UserError:
        return "text" if path.endswith(sources.TEXT) and _has_text(path) else ""


def _has_text(path: str) -> bool:
    first = next(tables.rows(path, Problems("skip")), None)
    return first is not None and "text" in first[1]


def _remembered(path: str, kind: str, memory: Path, problems: Problems) -> list[_Row]:
    content = files.content_digest(path, memory)
    note = memory / f"{digest([_VERSION, content, kind, problems.bad])[:32]}.counts.json"
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
        problems.count, problems.first = int(known["problems"]), list(known["first"])
        return [_row(*row) for row in known["rows"]]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    rows = list(_rows(path, kind, problems))
    said = {"rows": rows, "problems": problems.count, "first": problems.first}
    files.write_atomically(note, json.dumps(said))
    return rows


def _row(language: str, split: str, items: int, tokens: int | None, size: int) -> _Row:
    return (language, split, items, tokens, size)


def _rows(path: str, kind: str, problems: Problems) -> Iterator[_Row]:
    sums: dict[tuple[str, str], list[int]] = {}
    words = kind in ("treebank", "entities")
    for language, split, tokens, size in _items(path, kind, problems):
        total = sums.setdefault((language, split), [0, 0, 0])
        total[0] += 1
        total[1] += tokens
        total[2] += size
    for (language, split), (items, tokens, size) in sorted(sums.items()):
        yield language, split, items, tokens if words else None, size


def _items(path: str, kind: str, problems: Problems) -> Iterator[tuple[str, str, int, int]]:
    """Yields (language or '', split or '', words, bytes) of every item."""
    if kind == "treebank":
        for sentence in conllu.read(path, problems, trees=False):
            text = sentence.comment("text") or " ".join(sentence.forms)
            yield "", "", len(sentence.forms), len(text.encode())
    elif kind == "entities":
        for tagged in iob2.read(path, problems):
            yield "", "", len(tagged.tokens), len(" ".join(tagged.tokens).encode())
    elif kind == "text":
        for _, document in sources.lines(path, problems):
            yield "", "", 0, len(document)
    elif kind == "wide":
        for parallel in bitext.wide(path, problems):
            for language, text in parallel.texts:
                yield language, "", 0, len(text.encode())
    else:
        for record in tables.read(path, problems)[1]:
            yield _of_record(record)


def _of_record(record: Any) -> tuple[str, str, int, int]:
    split = getattr(record, "split", "")
    split = "validation" if split == "dev" else split
    if isinstance(record, tables.Pair):
        size = len(record.source.encode()) + len(record.target.encode())
        return f"{record.source_language}:{record.target_language}", split, 0, size
    texts = {
        tables.Text: ("text",),
        tables.Labelled: ("text",),
        tables.Fact: ("subject", "object"),
        tables.Template: ("pattern",),
        tables.Inference: ("premise", "hypothesis"),
        Question: ("question", "context"),
    }[type(record)]
    return record.language, split, 0, sum(len(getattr(record, name).encode()) for name in texts)


def as_json(counts: Sequence[Count]) -> str:
    """Returns counts as JSON, an object a count."""
    names = ("corpus", "kind", "language", "split", "items", "tokens", "bytes")
    rows = [dict(zip(names, astuple(count), strict=True)) for count in counts]
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
