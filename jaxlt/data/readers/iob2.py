"""Entity files: `token<TAB>tag` a line, a blank line between sentences, tags O, B-PER, I-PER.

    for sentence in iob2.read("en_ewt-test.iob2.gz"):
        sentence.tokens, sentence.tags, sentence.spans()    # (start, end, label)

A space may stand for the tab, as in MasakhaNER, and a token begin with its language, as in WikiANN
(`en:Paris`, in the folder `en`), which is taken off. A line that begins with '#' and is no token
with its tag is a comment (a token may be '#'); '# O' is a token where spaces part the sentence's
fields, a comment where tabs do. An I- that continues nothing is repaired to B-
(`orphans='repair'`), refused ('refuse'), or left as it is ('keep').
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, NamedTuple, get_args

from jaxlt.data.readers.lines import (
    Raw,
    check_comment,
    check_field,
    raw_lines,
    text_lines,
)
from jaxlt.data.readers.problems import Problems
from jaxlt.data.sources import files, layouts
from jaxlt.errors import UserError, nearest
from jaxlt.metrics.spans import spans_of

Orphans = Literal["repair", "refuse", "keep"]
_FIRST_LINES = 20  # of a file, by which it is known


class Span(NamedTuple):
    """An entity: the tokens `start` to `end` - 1, and its label."""

    start: int
    end: int
    label: str


@dataclass(frozen=True)
class Tagged:
    """A sentence of n tokens and their n tags."""

    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    comments: tuple[str, ...] = ()  # with their '#'

    def spans(self) -> tuple[Span, ...]:
        """Returns the entities in order; an I- that continues nothing begins one."""
        return tuple(Span(start, end, label) for label, start, end in spans_of(self.tags))


def tags_of(spans: Iterable[Span], count: int) -> tuple[str, ...]:
    """Returns the IOB2 tags [count] of entities that do not overlap."""
    tags = ["O"] * count
    for start, end, label in spans:
        if not 0 <= start < end <= count or any(tag != "O" for tag in tags[start:end]):
            raise UserError(f"The entity {start}:{end} {label} overlaps, or is not in {count}.")
        tags[start:end] = [f"B-{label}"] + [f"I-{label}"] * (end - start - 1)
    return tuple(tags)


def read(
    path: str, problems: Problems | None = None, orphans: Orphans = "repair"
) -> Iterator[Tagged]:
    """Yields the sentences of a file; one with a malformed line is a problem, and left out."""
    problems = problems or Problems()
    return parse(raw_lines(path, problems), path, problems, orphans, folder_mark(path))


def folder_mark(path: str) -> str:
    """Returns what WikiANN writes before each token of a file, "" for a file of no such layout."""
    if not layouts.published(path, "entities"):
        return ""
    return f"{PurePosixPath(files.absolute(path)).parent.name}:"


def holds_tags(path: str) -> bool:
    """Says whether a file is of tokens with their tags, by its first lines."""
    skipped, seen = Problems("skip"), 0
    for _, line in text_lines(raw_lines(path, skipped), path, skipped):
        if line.strip() and not _is_comment(line):
            if _fault(*columns(line), "O", "keep"):
                return False
            seen += 1
        if seen == _FIRST_LINES:
            break
    return bool(seen)


def has_hash_comments(path: str) -> bool:
    """Says whether a file has a comment such as '# O' beside tabs, which once was read as a token.

    Caches of such a file that were made by that reading are others.
    """
    skipped = Problems("skip")
    for block in _blocks(raw_lines(path, skipped), path, skipped):
        if block and block[0][1].startswith("#"):
            lines = [line for _, line in block]
            if not all(map(_is_comment, lines[: comments_of(lines)])):
                return True
    return False


def parse(
    lines: Raw,
    path: str,
    problems: Problems,
    orphans: Orphans,
    mark: str = "",
    untagged: bool = False,
) -> Iterator[Tagged]:
    """Yields the sentences of numbered lines; `path` names them in messages.

    mark: what stands before all tokens, or before none, and is taken off. untagged: all of a
    sentence's lines may be a token alone, or with an empty tag or `_`; its tags are then O.
    """
    known = get_args(Orphans)
    if orphans not in known:
        raise UserError(
            f"An I- without a B- is met with {', '.join(known)}, not '{orphans}'."
            f"{nearest(str(orphans), known)}"
        )
    first = True
    for block in _blocks(lines, path, problems):
        begin = comments_of([line for _, line in block], untagged)
        if first and begin < len(block):
            mark = mark if block[begin][1].startswith(mark) else ""
            first = False
        yield from _sentence(block, begin, path, problems, orphans, mark, untagged)


def _blocks(lines: Raw, path: str, problems: Problems) -> Iterator[list[tuple[int, str]]]:
    """Yields the numbered lines between blank ones; not those of which a line was no text."""
    block: list[tuple[int, str]] = []
    broken = problems.count
    for number, line in itertools.chain(text_lines(lines, path, problems), [(0, "")]):
        if line and not line.isspace():
            block.append((number, line))
            continue
        if problems.count == broken:
            yield block
        block, broken = [], problems.count


def _sentence(
    block: list[tuple[int, str]],
    begin: int,
    path: str,
    problems: Problems,
    orphans: Orphans,
    mark: str,
    untagged: bool,
) -> Iterator[Tagged]:
    tokens: list[str] = []
    tags: list[str] = []
    bare = False  # of tokens alone
    for number, line in block[begin:]:
        token, gap, tag = columns(line)
        blank = tag.strip() in ("", "_") and " " not in token
        bare = blank and untagged if not tokens else bare
        if bare and blank:
            gap, tag = "\t", "O"
        fault = _fault(token, gap, tag, tags[-1] if tags else "O", orphans)
        if not fault and not token.startswith(mark):
            fault = f"the token '{token[:40]}' lacks '{mark}', with which the file's others begin."
        if not fault and token == mark:
            fault = f"there is no token after '{mark}'."
        if fault:
            problems.at(path, number, fault)
            return
        if orphans == "repair" and _orphan(tag, tags[-1] if tags else "O"):
            tag = "B" + tag[1:]
        tokens.append(token.removeprefix(mark))
        tags.append(tag)
    if tokens:
        yield Tagged(tuple(tokens), tuple(tags), tuple(line for _, line in block[:begin]))
    elif block:
        problems.at(path, block[0][0], "comments without a sentence.")


def comments_of(lines: Sequence[str], untagged: bool = False) -> int:
    """Returns how many of a sentence's lines, the first ones, are comments."""
    tabs = any("\t" in line for line in lines)
    comments = itertools.takewhile(lambda line: _is_comment(line, untagged, tabs), lines)
    return sum(1 for _ in comments)


def _is_comment(line: str, untagged: bool = False, tabs: bool = False) -> bool:
    """Says whether a line before the first token is a comment.

    untagged: that of `parse`. tabs: they part the sentence's fields, and a space parts none.
    """
    if not line.startswith("#") or "\t" in line or (untagged and " " not in line):
        return False
    return tabs or bool(_fault(*columns(line), "O", "keep"))


def columns(line: str) -> tuple[str, str, str]:
    """Returns (token, what parts them, tag); without a tab, a space parts two fields."""
    token, tab, tag = line.partition("\t")
    if tab:
        return token, tab, tag
    fields = line.split(" ")
    while len(fields) > 2 and not fields[-1]:  # MasakhaNER has spaces at the ends of some lines
        fields.pop()
    if len(fields) == 2:
        return fields[0], " ", fields[1]
    return line, "", ""


def _fault(token: str, tab: str, tag: str, before: str, orphans: Orphans) -> str:
    """Returns what is wrong with a line, or ""."""
    if not tab or "\t" in tag:
        columns = 1 + bool(tab) + tag.count(chr(9))
        if not tab and " " in token:
            columns = len(token.split())
        return f"{columns} columns, expected token<TAB>tag."
    if not token:
        return "the token is empty."
    if tag != "O" and (tag[:2] not in ("B-", "I-") or not tag[2:].strip()):
        return f"the tag '{tag[:40]}', expected O, B-TYPE or I-TYPE."
    if orphans == "refuse" and _orphan(tag, before):
        return (
            f"the tag '{tag}' continues no entity of its type (before it: '{before}'). Read the "
            "file with orphans='repair' to take it as the beginning of one."
        )
    return ""


def _orphan(tag: str, before: str) -> bool:
    return tag[0] == "I" and before[1:] != tag[1:]


def render(sentence: Tagged) -> str:
    """Returns a sentence as a file has it, the blank line after it included."""
    if not sentence.tokens or len(sentence.tokens) != len(sentence.tags):
        raise UserError(
            f"A sentence has as many tags as tokens, and some: {len(sentence.tokens)} tokens, "
            f"{len(sentence.tags)} tags."
        )
    lines = [check_comment(comment) for comment in sentence.comments]
    before = "O"
    for token, tag in zip(sentence.tokens, sentence.tags, strict=True):
        fault = _fault(token, "\t", tag, before, "keep")
        if fault:
            raise UserError(f"A line of IOB2 cannot be written: {fault}")
        lines.append(f"{check_field(token, 'A token')}\t{check_field(tag, 'A tag')}")
        before = tag
    return "\n".join(lines) + "\n\n"
