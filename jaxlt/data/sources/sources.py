"""Local text by language: which files there are, and their documents, one a line, streamed.

    discover(("corpus/",), TEXT) -> {"swh_Latn": ("corpus/swh_Latn.txt.gz",), ...}

A source is a file (its stem names the language), a folder (of such files, and of folders that are
named by language and hold any number of files), or a glob pattern. Plain text has a document a
line, blank lines are none; JSON lines and parquet have one in the column `text` of each row.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from jaxlt.data.near import nearest_language
from jaxlt.data.readers import tables
from jaxlt.data.readers.lines import MARK, control, raw_lines
from jaxlt.data.readers.problems import Problems
from jaxlt.data.sources import files
from jaxlt.data.sources.splits import WHOLE, Parting, Split
from jaxlt.errors import UserError, nearest

TEXT = (*files.endings(".txt", ".jsonl"), ".parquet")
PAIRS = files.endings(".tsv")

Files = dict[str, tuple[str, ...]]
Columns = Callable[[str], Sequence[str]]  # path of a table -> languages that its rows name


class Only(NamedTuple):
    """The rows of a table that are read: those whose `column` holds a code that `holds` takes.

    part: these (row number, text)s, where they have been read before.
    """

    column: str
    holds: Callable[[str], bool]
    part: Iterator[tuple[int, str]] | None = None


def discover(
    sources: Sequence[str],
    endings: Sequence[str],
    languages: Sequence[str] = (),
    columns: Columns | None = None,
) -> Files:
    """Returns the files of each language; `languages` keeps only those, and demands them.

    A language has the files of all folders that hold one of it. With `columns`, a table whose rows
    name their languages is a file of each of those.
    """
    by_language: dict[str, list[str]] = {}
    for source in sources:
        for language, path in _expand(source, endings, columns or (lambda _: ())):
            if path not in by_language.setdefault(language, []):
                by_language[language].append(path)
    for language, paths in by_language.items():
        _check_copies(language, paths, endings)
    for language in languages:
        if language not in by_language:
            raise UserError(
                f"There is no text of language '{language}' in {', '.join(sources)}: expected "
                f"{' or '.join(language + e for e in endings)}, or a folder '{language}'."
                f"{nearest_language(language, by_language)}"
            )
    names = languages or sorted(by_language)
    return {name: tuple(sorted(by_language[name])) for name in names}


def _check_copies(language: str, paths: Sequence[str], endings: Sequence[str]) -> None:
    """Raises UserError where a folder has one language under two endings: a packed copy, mostly."""
    folders: dict[str, str] = {}
    for path in sorted(paths):
        folder = str(PurePosixPath(path).parent)
        named_so = _stem(path, endings) == language and PurePosixPath(folder).name != language
        if named_so and folder in folders:
            raise UserError(
                f"Language '{language}' has more than one file in a folder: {folders[folder]}, "
                f"{path}. Keep one, or put all of them in one folder named '{language}'."
            )
        if named_so:
            folders[folder] = path


def _expand(source: str, endings: Sequence[str], columns: Columns) -> list[tuple[str, str]]:
    """Returns (language, path) of every text file that one source means."""

    def named(path: str, language: str = "") -> list[tuple[str, str]]:
        languages = columns(path) if path.endswith(tables.ENDINGS) else ()
        if languages:
            return [(name, path) for name in languages]
        whose = language or _stem(path, endings)
        return [(whose, path)] if path.endswith(tuple(endings)) else []

    if not files.exists(source) and any(c in source for c in "*?["):
        matching = [pair for p in files.matches(source) for pair in named(p)]
        if not matching:
            raise UserError(f"No {' or '.join(endings)} file matches the pattern '{source}'.")
        return matching
    if not files.exists(source):
        raise UserError(files.missing(source))
    if not files.is_folder(source):
        alone = named(source)
        if not alone:
            raise UserError(f"'{source}' is not a text source: expected {' or '.join(endings)}.")
        return alone
    listed = []
    for path in files.listing(source):
        if files.is_folder(path):
            inner = [p for p in files.listing(path) if p.endswith((*endings, *tables.ENDINGS))]
            listed += [pair for p in inner for pair in named(p, PurePosixPath(path).name)]
        else:
            listed += named(path)
    if not listed:
        raise UserError(
            f"The folder '{source}' has no text: expected files such as swh_Latn{endings[0]} or "
            f"swh_Latn{endings[1]}, or folders of such files, named by language."
        )
    return listed


def _stem(path: str, endings: Sequence[str]) -> str:
    name = PurePosixPath(path).name
    for ending in sorted(endings, key=len, reverse=True):
        if name.endswith(ending):
            return name[: -len(ending)]
    return name


def lines(
    path: str, problems: Problems | None = None, only: Only | None = None
) -> Iterator[tuple[int, bytes]]:
    """Yields (line or row number from 1, document) for each document that is not blank.

    A line that is not UTF-8 or holds a NUL, and a damaged archive, are problems. A file without
    any document is an error. `only` reads a table with columns, of any ending.
    """
    problems = problems or Problems()
    some = False
    plain = not only and not path.endswith((*tables.JSONL, ".parquet"))
    for item in _plain(path, problems) if plain else _column(path, problems, only):
        some = True
        yield item
    if not some:
        expected = "a line" if plain else "in the column 'text' of each row"
        raise UserError(f"'{path}' is empty: expected one document {expected}.")


def texts(paths: Iterable[str], problems: Problems | None = None) -> Iterator[str]:
    """Yields the documents of files, each as one line of text."""
    for path in paths:
        for _, raw in lines(path, problems):
            yield " ".join(raw.decode("utf-8").splitlines())


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
    if b"\0" in line or b"\r" in line:
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


def _column(path: str, problems: Problems, only: Only | None) -> Iterator[tuple[int, bytes]]:
    for number, text in _texts(path, problems, only) if not (only and only.part) else only.part:
        if text and not text.isspace():
            yield number, text.encode("utf-8")


def _texts(path: str, problems: Problems, only: Only | None) -> Iterator[tuple[int, str]]:
    for number, row in tables.rows(path, problems):
        if only and not row.get(only.column):
            problems.at(path, number, f"no '{only.column}': whose text is it?")
        elif not only or only.holds(row[only.column]):
            yield number, text_of(row, path, number, problems)


def text_of(row: Mapping[str, str], path: str, number: int, problems: Problems) -> str:
    """Returns what the column 'text' holds; a row without it is a problem."""
    if "text" not in row:
        columns = ", ".join(row) or "none"
        problems.at(path, number, f"no column 'text' (there are: {columns}).")
    return row.get("text", "")


def documents(
    paths: Iterable[str],
    split: str,
    drawn: Split = WHOLE,
    problems: Problems | None = None,
    only: Only | None = None,
) -> Iterator[bytes]:
    """Yields the documents of a split, in the order of the files.

    A document is its own key: equal ones are on one side, in every file and language.
    """
    for path in paths:
        for _, line in lines(path, problems, only):
            if drawn.of(line) == split:
                yield line


def pairs(
    paths: Iterable[str], split: str, drawn: Parting = WHOLE, problems: Problems | None = None
) -> Iterator[tuple[bytes, bytes]]:
    """Yields (inputs, targets) of a split of lines inputs<TAB>targets; the inputs are the key."""
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
            elif drawn.of(fields[0]) == split:
                yield fields[0], fields[1]


def check_split(split: str, known: Sequence[str]) -> None:
    """Raises UserError for a split that a run's text does not have."""
    if split not in known:
        raise UserError(
            f"Text sources have the splits {' and '.join(known)}, not '{split}'."
            f"{nearest(split, known)}"
        )
