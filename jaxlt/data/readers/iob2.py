"""Entity files: `token<TAB>tag` a line, a blank line between sentences, tags O, B-PER, I-PER.

    for sentence in iob2.read("en_ewt-test.iob2.gz"):
        sentence.tokens, sentence.tags, sentence.spans()    # (start, end, label)

A line that begins with '#' and has no tab is a comment (a token may be '#'). An I- that continues
nothing is repaired to B- (`orphans='repair'`), refused ('refuse'), or left as it is ('keep').
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from jaxlt.data import files
from jaxlt.data.readers.lines import Raw, check_field, raw_lines, text_lines
from jaxlt.data.readers.problems import Problems
from jaxlt.errors import UserError, nearest

Orphans = Literal["repair", "refuse", "keep"]


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
        found: list[Span] = []
        start, label = 0, ""
        for place, tag in enumerate((*self.tags, "O")):
            kind, _, name = tag.partition("-")
            if label and (kind != "I" or name != label):
                found.append(Span(start, place, label))
                label = ""
            if kind != "O" and not label:
                start, label = place, name
        return tuple(found)


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
    return parse(raw_lines(path, problems), path, problems, orphans)


def parse(lines: Raw, path: str, problems: Problems, orphans: Orphans) -> Iterator[Tagged]:
    """Yields the sentences of numbered lines; `path` names them in messages."""
    known = get_args(Orphans)
    if orphans not in known:
        raise UserError(
            f"An I- without a B- is met with {', '.join(known)}, not '{orphans}'."
            f"{nearest(str(orphans), known)}"
        )
    block: list[tuple[int, str]] = []
    broken = problems.count
    for number, line in text_lines(lines, path, problems):
        if line and not line.isspace():
            block.append((number, line))
            continue
        yield from _sentence(block, path, problems, orphans, problems.count > broken)
        block, broken = [], problems.count
    yield from _sentence(block, path, problems, orphans, problems.count > broken)


def _sentence(
    block: list[tuple[int, str]], path: str, problems: Problems, orphans: Orphans, broken: bool
) -> Iterator[Tagged]:
    tokens: list[str] = []
    tags: list[str] = []
    comments: list[str] = []
    if broken:  # a line of it was no text
        return
    for number, line in block:
        if line.startswith("#") and "\t" not in line and not tokens:
            comments.append(line)
            continue
        token, tab, tag = line.partition("\t")
        fault = _fault(token, tab, tag, tags[-1] if tags else "O", orphans)
        if fault:
            problems.at(path, number, fault)
            return
        if orphans == "repair" and _orphan(tag, tags[-1] if tags else "O"):
            tag = "B" + tag[1:]
        tokens.append(token)
        tags.append(tag)
    if tokens:
        yield Tagged(tuple(tokens), tuple(tags), tuple(comments))
    elif comments:
        problems.at(path, block[0][0], "comments without a sentence.")


def _fault(token: str, tab: str, tag: str, before: str, orphans: Orphans) -> str:
    """Returns what is wrong with a line, or ""."""
    if not tab or "\t" in tag:
        return f"{1 + bool(tab) + tag.count(chr(9))} columns, expected token<TAB>tag."
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
    lines = []
    for comment in sentence.comments:
        if not comment.startswith("#"):
            raise UserError(f"A comment begins with '#', not: {comment!r}")
        lines.append(check_field(comment, "A comment"))
    before = "O"
    for token, tag in zip(sentence.tokens, sentence.tags, strict=True):
        fault = _fault(token, "\t", tag, before, "keep")
        if fault:
            raise UserError(f"A line of IOB2 cannot be written: {fault}")
        lines.append(f"{check_field(token, 'A token')}\t{check_field(tag, 'A tag')}")
        before = tag
    return "\n".join(lines) + "\n\n"


def write(path: str, sentences: Iterable[Tagged]) -> None:
    """Writes a file of sentences; the ending says how it is packed."""
    files.write_chunks(path, (render(sentence).encode("utf-8") for sentence in sentences))
