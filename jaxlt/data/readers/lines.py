"""Lines of any file, streamed and numbered: the ground that all readers of text stand on."""

from collections.abc import Iterable, Iterator

from jaxlt.data.readers.problems import Problems
from jaxlt.data.sources import files
from jaxlt.errors import UserError

Raw = Iterable[tuple[int, bytes]]
MARK = b"\xef\xbb\xbf"  # byte order mark


def raw_lines(
    path: str, problems: Problems | None = None, mark: bool = False
) -> Iterator[tuple[int, bytes]]:
    """Yields (line number from 1, line with its end) of a file.

    A byte order mark is dropped, unless `mark` keeps it. A damaged archive is a problem that ends
    the file.
    """
    number = 0
    with files.open_bytes(path) as file:
        try:
            for raw in file:
                number += 1
                yield number, raw.removeprefix(MARK) if number == 1 and not mark else raw
        except files.DAMAGED as err:
            if isinstance(err, OSError) and err.errno:
                raise UserError(f"'{path}' cannot be read: {err.strerror}.") from err
            message = f"'{path}' breaks off or is damaged after line {number}: {err}."
            (problems or Problems()).add(message)


def text_lines(raw: Raw, path: str, problems: Problems) -> Iterator[tuple[int, str]]:
    """Yields (line number, text without its end); lines that are no text are problems."""
    for number, line in raw:
        try:
            text = line.rstrip(b"\r\n").decode("utf-8")
        except UnicodeDecodeError as err:
            problems.at(path, number, not_utf8(err))
            continue
        if "\0" in text or "\r" in text:
            problems.at(path, number, control(text))
            continue
        yield number, text


def numbered(path: str, problems: Problems | None = None) -> Iterator[tuple[int, str]]:
    """Yields (line number from 1, text without its end) of a file."""
    problems = problems or Problems()
    return text_lines(raw_lines(path, problems), path, problems)


def not_utf8(err: UnicodeDecodeError) -> str:
    """Returns what is wrong with bytes that are no UTF-8."""
    shown = err.object[err.start : err.start + 4].hex(" ")
    return (
        f"not UTF-8 at byte {err.start + 1} of the line ({shown}). Convert the file to UTF-8, for "
        "instance with iconv."
    )


def control(text: str) -> str:
    """Returns what is wrong with text that holds a NUL or a carriage return."""
    if "\0" in text:
        return (
            f"a NUL byte at character {text.index(chr(0)) + 1}. The file is damaged, or not UTF-8 "
            "text (UTF-16, an archive)."
        )
    return f"a carriage return inside the line, at character {text.index(chr(13)) + 1}."


def check_comment(text: str, tabs: bool = False) -> str:
    """Returns a comment that may be written, or raises UserError; `tabs`: it may hold some."""
    if not text.startswith("#"):
        raise UserError(f"A comment begins with '#', not: {text!r}")
    check_field(text.replace("\t", " ") if tabs else text, "A comment")
    return text


def check_field(text: str, what: str, empty: bool = False) -> str:
    """Returns a field that may be written between tabs, or raises UserError."""
    if not text and not empty:
        raise UserError(f"{what} is empty, and cannot be written.")
    for char in "\t\n\r\0":
        if char in text:
            raise UserError(f"{what} holds the character {char!r}, and cannot be written: {text!r}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UserError(f"{what} holds half a surrogate pair: {text!r}") from None
    return text
