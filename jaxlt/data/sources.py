"""Local text by language: which files there are, and their documents, one a line, streamed.

    discover(("corpus/",), TEXT) -> {"swh_Latn": ("corpus/swh_Latn.txt.gz",), ...}

A source is a file (its stem names the language), a folder (of such files, and of folders that are
named by language and hold any number of files), or a glob pattern. Blank lines are not documents.
"""

import gzip
import hashlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

import numpy as np

from jaxlt.data import files
from jaxlt.data.vocabularies import Vocabulary
from jaxlt.errors import UserError, nearest

TEXT = (".txt", ".txt.gz")
PAIRS = (".tsv", ".tsv.gz")
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
            f"swh_Latn{endings[-1]}, or folders of such files, named by language."
        )
    return found


def _stem(path: str, endings: Sequence[str]) -> str:
    name = PurePosixPath(path).name
    for ending in sorted(endings, key=len, reverse=True):
        if name.endswith(ending):
            return name[: -len(ending)]
    return name


def lines(path: str) -> Iterator[tuple[int, bytes]]:
    """Yields (line number from 1, line without its end) for each line that is not blank.

    Raises UserError where a line is not UTF-8, where a .gz is broken, and where there is no text.
    """
    number, offset, some = 0, 0, False
    with files.open_bytes(path) as file:
        try:
            for raw in file:
                number += 1
                line = raw[3:] if number == 1 and raw.startswith(b"\xef\xbb\xbf") else raw
                line = line.rstrip(b"\r\n")
                if line and not line.isspace():
                    line.isascii() or line.decode("utf-8")
                    some = True
                    yield number, line
                offset += len(raw)
        except UnicodeDecodeError as err:
            place = raw.find(err.object) + err.start
            raise UserError(
                f"'{path}' is not UTF-8 at line {number}, byte {place + 1} of the line (byte "
                f"offset {offset + place} of the text): {raw[place : place + 4].hex(' ')}. Convert "
                "the file to UTF-8, for instance with iconv."
            ) from None
        except (EOFError, gzip.BadGzipFile, zlib.error) as err:
            raise UserError(
                f"'{path}' breaks off or is damaged after line {number}: {err}."
            ) from None
    if not some:
        raise UserError(f"'{path}' is empty: expected one document a line.")


def split_of(document: bytes, held_out: float) -> str:
    """Returns 'validation' for a share `held_out` of documents, 'train' for the rest.

    The document's hash decides, so equal documents are on one side, in every file and language.
    """
    word = int.from_bytes(hashlib.blake2b(document, digest_size=8).digest(), "big")
    return "validation" if word < held_out * 2**64 else "train"


def documents(paths: Iterable[str], split: str, held_out: float) -> Iterator[bytes]:
    """Yields the documents of a split, in the order of the files."""
    check_split(split)
    for path in paths:
        for _, line in lines(path):
            if split_of(line, held_out) == split:
                yield line


def pairs(paths: Iterable[str], split: str, held_out: float) -> Iterator[tuple[bytes, bytes]]:
    """Yields (inputs, targets) of a split of lines inputs<TAB>targets; the inputs' hash splits."""
    check_split(split)
    for path in paths:
        for number, line in lines(path):
            fields = line.split(b"\t")
            if len(fields) != 2:
                raise UserError(
                    f"'{path}', line {number}: expected inputs<TAB>targets, but the line has "
                    f"{len(fields)} field{'s' if len(fields) > 1 else ''}."
                )
            if split_of(fields[0], held_out) == split:
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
