"""CoNLL-U: sentences as columns, checked to be trees, at hundreds of thousands of words a second.

    for sentence in conllu.read("en_ewt-dev.conllu.gz"):
        sentence.forms, sentence.upos, sentence.heads       # tuples, one entry a word
    conllu.render(sentence)                             # as the file has it

Multiword tokens and empty nodes are kept beside the words, whole, and written back in their place.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from jaxlt.data.readers.lines import Raw, check_comment, check_field, control, not_utf8, raw_lines
from jaxlt.data.readers.problems import Problems
from jaxlt.errors import UserError
from jaxlt.metrics.trees import NO_HEAD, fault_of

_COLUMNS = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
_MOST_LINES = 100_000  # a sentence beyond this is a file without blank lines
_IDS = tuple(str(i) for i in range(1, 1001))
_NUMBERS = {str(i): i for i in range(1001)}  # quicker than int(), and only as heads are written


@dataclass(frozen=True)
class Range:
    """A multiword token over the words `first` to `last`; `columns` are FORM to MISC."""

    first: int
    last: int
    columns: tuple[str, ...]


@dataclass(frozen=True)
class EmptyNode:
    """An empty node `after`.`index` of the enhanced graph; `columns` are FORM to MISC."""

    after: int
    index: int
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Sentence:
    """A sentence of n words: every column is a tuple [n]; heads count from 1, 0 is the root."""

    forms: tuple[str, ...]
    lemmas: tuple[str, ...]
    upos: tuple[str, ...]
    xpos: tuple[str, ...]
    feats: tuple[str, ...]
    heads: tuple[int, ...]
    deprels: tuple[str, ...]
    deps: tuple[str, ...]
    misc: tuple[str, ...]
    comments: tuple[str, ...] = ()  # with their '#'
    ranges: tuple[Range, ...] = ()
    empty_nodes: tuple[EmptyNode, ...] = ()

    def comment(self, key: str) -> str | None:
        """Returns the value of `# key = value`, "" for a bare `# key`, None where there is none."""
        for comment in self.comments:
            name, _, value = comment[1:].partition("=")
            if name.strip() == key:
                return value.strip()
        return None


class _Malformed(Exception):
    """What is wrong, and in which line of the sentence's block (from 0)."""

    def __init__(self, line: int, what: str):
        super().__init__(what)
        self.line, self.what = line, what


def read(path: str, problems: Problems | None = None, trees: bool = True) -> Iterator[Sentence]:
    """Yields the sentences of a file; a malformed one is a problem, and left out.

    `trees=False` takes any HEAD that is a number or `_`, for text that is not parsed.
    """
    problems = problems or Problems()
    return parse(raw_lines(path, problems), path, problems, trees)


def parse(lines: Raw, path: str, problems: Problems, trees: bool = True) -> Iterator[Sentence]:
    """Yields the sentences of numbered lines; `path` names them in messages."""
    block: list[bytes] = []
    start = too_long = 0
    for number, raw in lines:
        if len(raw) > 20 or raw.strip():
            if not block:
                start = number
            if len(block) < _MOST_LINES:
                block.append(raw)
            elif not too_long:
                too_long = number
                problems.at(path, number, f"a sentence of more than {_MOST_LINES:,} lines.")
        elif block:
            if not too_long:
                yield from _guarded(block, path, start, problems, trees)
            block, too_long = [], 0
    if block and not too_long:
        yield from _guarded(block, path, start, problems, trees)


def _guarded(
    block: list[bytes], path: str, start: int, problems: Problems, trees: bool
) -> Iterator[Sentence]:
    try:
        sentence = _sentence(block, trees)
    except _Malformed as err:
        problems.at(path, start + err.line, err.what)
    else:
        yield sentence


def _sentence(block: list[bytes], trees: bool) -> Sentence:
    text = _text(block)
    lines = text.split("\n")
    first = 0
    while first < len(lines) and lines[first].startswith("#"):
        first += 1
    if first == len(lines):
        raise _Malformed(0, "comments without a sentence: a blank line must not follow them.")
    rows = [line.split("\t") for line in lines[first:]]
    for place, row in enumerate(rows):
        if len(row) != 10 or "" in row:
            raise _Malformed(first + place, _columns_problem(lines[first + place], row))
    ranges: tuple[Range, ...] = ()
    empty: tuple[EmptyNode, ...] = ()
    ids, *columns = zip(*rows, strict=True)
    if ids != _ids(len(rows)):
        words, ranges, empty = _others(rows, first)
        if not words:
            raise _Malformed(first, "a sentence without words.")
        _, *columns = zip(*words, strict=True)
    try:
        heads = tuple([_NUMBERS[head] for head in columns[5]])
    except KeyError:
        heads = _heads(columns[5], rows, first, trees)
    fault = fault_of(heads, trees)
    if fault:
        place = [i for i, row in enumerate(rows) if row[0].isdecimal()][fault[0]]
        raise _Malformed(first + place, fault[1])
    form, lemma, upos, xpos, feats, _, deprel, deps, misc = columns
    comments = tuple(lines[:first])
    return Sentence(
        form, lemma, upos, xpos, feats, heads, deprel, deps, misc, comments, ranges, empty
    )


def _text(block: list[bytes]) -> str:
    data = b"".join(block)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        for place, line in enumerate(block):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as err:
                raise _Malformed(place, not_utf8(err)) from None
        raise
    if "\r" in text:
        text = text.replace("\r\n", "\n").removesuffix("\r")
    if "\0" in text or "\r" in text:
        for place, part in enumerate(text.split("\n")):
            if "\0" in part or "\r" in part:
                raise _Malformed(place, control(part))
    return text.removesuffix("\n")


def _columns_problem(line: str, row: list[str]) -> str:
    if line.startswith("#"):
        return "a comment inside the sentence: comments stand before its first word."
    if len(row) != 10:
        return f"{len(row)} column{'s' * (len(row) != 1)}, expected 10 separated by tabs."
    return f"the column {_COLUMNS[row.index('')]} is empty: expected `_` where nothing is said."


def _ids(count: int) -> tuple[str, ...]:
    return _IDS[:count] if count <= 1000 else tuple(str(i) for i in range(1, count + 1))


def _others(
    rows: list[list[str]], first: int
) -> tuple[list[list[str]], tuple[Range, ...], tuple[EmptyNode, ...]]:
    """Returns the rows of words, the multiword tokens, and the empty nodes; ids are checked."""
    words: list[list[str]] = []
    ranges: list[Range] = []
    empty: list[EmptyNode] = []
    for place, row in enumerate(rows):
        name, columns = row[0], tuple(row[1:])
        if name == str(len(words) + 1):
            words.append(row)
            continue
        low, dash, high = name.partition("-")
        after, dot, index = name.partition(".")
        if dash and _plain(low) and _plain(high):
            start, end = int(low), int(high)
            covered = ranges[-1].last if ranges else 0
            if start != len(words) + 1 or end < start or start <= covered:
                raise _Malformed(
                    first + place,
                    f"the range {name} is out of order: expected it before the word it begins "
                    f"with, after all earlier ranges, and not ending before it begins.",
                )
            ranges.append(Range(start, end, columns))
        elif dot and _plain(after) and _plain(index):
            same = [node.index for node in empty if node.after == len(words)]
            expected = f"{len(words)}.{max(same, default=0) + 1}"
            if name != expected:
                raise _Malformed(
                    first + place, f"the empty node {name} is out of order: expected {expected}."
                )
            empty.append(EmptyNode(int(after), int(index), columns))
        else:
            raise _Malformed(first + place, f"the ID '{name[:40]}', expected {len(words) + 1}.")
    if ranges and ranges[-1].last > len(words):
        last = ranges[-1]
        place = next(i for i, row in enumerate(rows) if row[0] == f"{last.first}-{last.last}")
        raise _Malformed(
            first + place,
            f"the range {last.first}-{last.last} ends after the last word, {len(words)}.",
        )
    return words, tuple(ranges), tuple(empty)


def _plain(number: str) -> bool:
    """Says whether this is a number as ids are written: digits of ASCII, no leading zero."""
    ascii_digits = number.isascii() and number.isdecimal() and len(number) < 10
    return ascii_digits and (number == "0" or number[0] != "0")


def _heads(
    column: tuple[str, ...], rows: list[list[str]], first: int, trees: bool
) -> tuple[int, ...]:
    """Returns heads that are large, `_` where trees are not asked for, or no numbers."""
    heads = []
    places = [i for i, row in enumerate(rows) if row[0].isdecimal()]
    for word, head in enumerate(column):
        if head == "_" and not trees:
            heads.append(NO_HEAD)
        elif _plain(head):
            heads.append(int(head))
        else:
            raise _Malformed(
                first + places[word], f"the HEAD '{head[:40]}' is not the number of a word."
            )
    return tuple(heads)


def render(sentence: Sentence) -> str:
    """Returns a sentence as CoNLL-U, the blank line after it included."""
    count = len(sentence.forms)
    columns = (
        sentence.forms,
        sentence.lemmas,
        sentence.upos,
        sentence.xpos,
        sentence.feats,
        tuple("_" if head == NO_HEAD else str(head) for head in sentence.heads),
        sentence.deprels,
        sentence.deps,
        sentence.misc,
    )
    if not count or any(len(column) != count for column in columns):
        raise UserError(f"A sentence's columns are of one length, not {[len(c) for c in columns]}.")
    before: dict[int, list[str]] = {}
    for node in sentence.empty_nodes:
        row = (f"{node.after}.{node.index}", *node.columns)
        before.setdefault(node.after, []).append(_row(row))
    for token in sentence.ranges:
        row = (f"{token.first}-{token.last}", *token.columns)
        before.setdefault(token.first - 1, []).append(_row(row))
    lines = [check_comment(comment, tabs=True) for comment in sentence.comments]
    for place, fields in enumerate(zip(*columns, strict=True)):
        lines += before.pop(place, [])
        lines.append(_row((str(place + 1), *fields)))
    lines += before.pop(count, [])
    if before:
        raise UserError("A multiword token or an empty node stands beyond the sentence's words.")
    return "\n".join(lines) + "\n\n"


def _row(fields: tuple[str, ...]) -> str:
    if len(fields) != 10:
        raise UserError(f"A line of CoNLL-U has 10 columns, not {len(fields)}.")
    return "\t".join(check_field(f, n) for f, n in zip(fields, _COLUMNS, strict=True))
