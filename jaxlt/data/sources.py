"""Local text by language: which files there are, and their documents, one a line, streamed.

    discover(("corpus/",), TEXT) -> {"swh_Latn": ("corpus/swh_Latn.txt.gz",), ...}

A source is a file (its stem names the language), a folder (of such files, and of folders that are
named by language and hold any number of files), or a glob pattern. Plain text has a document a
line, blank lines are none; JSON lines and parquet have one in the column `text` of each row.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

import numpy as np

from jaxlt.data import files
from jaxlt.data.readers import tables
from jaxlt.data.readers.lines import MARK, control, raw_lines
from jaxlt.data.readers.problems import Problems
from jaxlt.data.vocabularies import Vocabulary
from jaxlt.errors import UserError, nearest

TEXT = (".txt", ".txt.gz", ".txt.zst", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
PAIRS = (".tsv", ".tsv.gz", ".tsv.zst")
SPLITS = ("train", "validation")

Files = dict[str, tuple[str, ...]]


def discover(
    sources: Sequence[str], endings: Sequence[str], languages: Sequence[str] = ()
) -> Files:
    """Returns the files of each language; `languages` keeps only those, and demands them."""
    found: dict[str, list[str]] = {}
    for source in sources:
        for language, path in _expand(source, endings):
            found.setdefault(language, []).append(path)
    for language, paths in found.items():
        folders = {str(PurePosixPath(p).parent) for p in paths}
        if len(paths) > 1 and (len(folders) > 1 or PurePosixPath(paths[0]).parent.name != language):
            raise UserError(
                f"Language '{language}' has more than one file: {', '.join(sorted(paths))}. Keep "
                f"one, or put all of them in one folder named '{language}'."
            )
    for language in languages:
        if language not in found:
            raise UserError(
                f"There is no text of language '{language}' in {', '.join(sources)}: expected "
                f"{' or '.join(language + e for e in endings)}, or a folder '{language}'."
                f"{nearest(language, found)}"
            )
    names = languages or sorted(found)
    return {name: tuple(sorted(found[name])) for name in names}


def _expand(source: str, endings: Sequence[str]) -> list[tuple[str, str]]:
    """Returns (language, path) of every text file that one source means."""
    if not files.exists(source) and any(c in source for c in "*?["):
        paths = [p for p in files.matches(source) if p.endswith(tuple(endings))]
        if not paths:
            raise UserError(f"No {' or '.join(endings)} file matches the pattern '{source}'.")
        return [(_stem(path, endings), path) for path in paths]
    if not files.exists(source):
        raise UserError(files.missing(source))
    if not files.is_folder(source):
        if not source.endswith(tuple(endings)):
            raise UserError(f"'{source}' is not a text source: expected {' or '.join(endings)}.")
        return [(_stem(source, endings), source)]
    found = []
    for path in files.listing(source):
        if path.endswith(tuple(endings)):
            found.append((_stem(path, endings), path))
        elif files.is_folder(path):
            inner = [p for p in files.listing(path) if p.endswith(tuple(endings))]
            found += [(PurePosixPath(path).name, p) for p in inner]
    if not found:
        raise UserError(
            f"The folder '{source}' has no text: expected files such as swh_Latn{endings[0]} or "
            f"swh_Latn{endings[1]}, or folders of such files, named by language."
        )
    return found


def _stem(path: str, endings: Sequence[str]) -> str:
    name = PurePosixPath(path).name
    for ending in sorted(endings, key=len, reverse=True):
        if name.endswith(ending):
            return name[: -len(ending)]
    return name


def lines(path: str, problems: Problems | None = None) -> Iterator[tuple[int, bytes]]:
    """Yields (line or row number from 1, document) for each document that is not blank.

    A line that is not UTF-8 or holds a NUL, and a damaged archive, are problems. A file without
    any document is an error.
    """
    problems = problems or Problems()
    some = False
    plain = path.endswith(tuple(e for e in TEXT if e.startswith(".txt")) + PAIRS)
    for item in _plain(path, problems) if plain else _column(path, problems):
        some = True
        yield item
    if not some:
        expected = "a line" if plain else "in the column 'text' of each row"
        raise UserError(f"'{path}' is empty: expected one document {expected}.")


def _plain(path: str, problems: Problems) -> Iterator[tuple[int, bytes]]:
    offset = 0
    for number, raw in raw_lines(path, problems, mark=True):
        line = raw.removeprefix(MARK) if number == 1 else raw
        line = line.rstrip(b"\r\n")
        if line and not line.isspace():
            fault = _not_text(line, raw.find(line), offset, number)
            if fault:
                problems.add(f"'{path}' {fault}")
            else:
                yield number, line
        offset += len(raw)


def _not_text(line: bytes, start: int, offset: int, number: int) -> str:
    """Returns what is wrong with a line, with its line, byte and offset, or ""."""
    if b"\0" in line:
        return f"has at line {number} {control(line.decode('utf-8', 'replace'))}"
    if line.isascii():
        return ""
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as err:
        place = start + err.start
        return (
            f"is not UTF-8 at line {number}, byte {place + 1} of the line (byte offset "
            f"{offset + place} of the text): {line[err.start : err.start + 4].hex(' ')}. "
            "Convert the file to UTF-8, for instance with iconv."
        )
    return ""


def _column(path: str, problems: Problems) -> Iterator[tuple[int, bytes]]:
    for number, row in tables.rows(path, problems):
        if "text" not in row:
            found = ", ".join(row) or "none"
            problems.at(path, number, f"no column 'text' (there are: {found}).")
        elif row["text"] and not row["text"].isspace():
            yield number, row["text"].encode("utf-8")


def split_of(document: bytes, held_out: float) -> str:
    """Returns 'validation' for a share `held_out` of documents, 'train' for the rest.

    The document's hash decides, so equal documents are on one side, in every file and language,
    and a larger share holds out what a smaller one did.
    """
    word = int.from_bytes(hashlib.blake2b(document, digest_size=8).digest(), "big")
    return "validation" if word < held_out * 2**64 else "train"


def documents(
    paths: Iterable[str], split: str, held_out: float, problems: Problems | None = None
) -> Iterator[bytes]:
    """Yields the documents of a split, in the order of the files."""
    check_split(split)
    for path in paths:
        for _, line in lines(path, problems):
            if split_of(line, held_out) == split:
                yield line


def pairs(
    paths: Iterable[str], split: str, held_out: float, problems: Problems | None = None
) -> Iterator[tuple[bytes, bytes]]:
    """Yields (inputs, targets) of a split of lines inputs<TAB>targets; the inputs' hash splits."""
    check_split(split)
    problems = problems or Problems()
    for path in paths:
        for number, line in lines(path, problems):
            fields = line.split(b"\t")
            if len(fields) != 2:
                problems.at(
                    path,
                    number,
                    f"expected inputs<TAB>targets, but the line has {len(fields)} "
                    f"field{'s' if len(fields) > 1 else ''}.",
                )
            elif split_of(fields[0], held_out) == split:
                yield fields[0], fields[1]


def check_split(split: str) -> None:
    """Raises UserError for a split that text sources do not have."""
    if split not in SPLITS:
        raise UserError(
            f"Text sources have the splits {' and '.join(SPLITS)}, not '{split}'."
            f"{nearest(split, SPLITS)}"
        )


def tokenised(
    paths: Sequence[str], split: str, held_out: float, vocabulary: Vocabulary, separator: bytes
) -> Iterator[dict[str, np.ndarray]]:
    """Yields {'targets': ids [n]} of each document, `separator` after it.

    The same ids as the text task's preprocessors before its cache, without TensorFlow.
    """
    for document in documents(paths, split, held_out):
        yield {"targets": vocabulary.encode(document + separator)}


def tokenised_pairs(
    paths: Sequence[str], split: str, held_out: float, vocabulary: Vocabulary
) -> Iterator[dict[str, np.ndarray]]:
    """Yields {'inputs': ids, 'targets': ids} of each pair, as the pair task's preprocessors do."""
    for inputs, targets in pairs(paths, split, held_out):
        yield {"inputs": vocabulary.encode(inputs), "targets": vocabulary.encode(targets)}
