"""What `jaxlt infer` reads and writes: each format's records, what is asked, and answers filled in.

for record in Conllu({"tag": kind_of("tagging")}).records(lines, "in.conllu"):
    record.asked["tag"]                              # the words, as Model.ask takes them
    format.render(record, {"tag": ("NOUN", "VERB")})     # the record's bytes, UPOS filled in

A record is written as it was read, byte for byte, but for what is filled in; running text whose
words are asked about becomes CoNLL-U or IOB2.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from jaxlt.data.readers import conllu, iob2
from jaxlt.data.readers.lines import MARK, control, not_utf8
from jaxlt.data.readers.problems import Problems
from jaxlt.data.sources import files, layouts
from jaxlt.data.tasks.kind import Kind
from jaxlt.data.text import words
from jaxlt.errors import UserError, nearest, repeated
from jaxlt.inference.asking import BY_WORD

Lines = Iterable[tuple[int, bytes]]  # numbered from 1, with their ends
_MOST_LINES = 100_000  # a sentence beyond this is a file without blank lines
_SPACES = re.compile(r"[\s\0]+")
Kinds = Mapping[str, Kind]  # by what a model is asked for


def nothing(kind: Kind, returns: int = 1) -> Any:
    """The answer of a kind where there is nothing to ask about."""
    return kind.nothing if kind.nothing != "" or returns == 1 else ()


class Record(NamedTuple):
    """Bytes of the input, and what is asked of them.

    asked: by task, what Model.ask takes; a task that has nothing to read is left out.
    language, target: what the record itself says of them, "" where it says nothing. filled:
    False where it is written as it stands: a blank line, a header.
    """

    raw: bytes
    place: str
    asked: Mapping[str, Any]
    language: str = ""
    target: str = ""
    filled: bool = True


class Format:
    """A format; `kinds` are those whose answers are filled in, by what is asked for."""

    several: ClassVar[bool] = True  # whether it has a place for more than one answer to a text

    def __init__(self, kinds: Kinds, column: str | None = None):
        self.kinds, self.column = kinds, column

    def records(self, lines: Lines, path: str) -> Iterator[Record]:
        """Yields the records of numbered lines; `path` names them in errors."""
        raise TypeError("a format of FORMATS has records")

    def render(self, record: Record, answers: Mapping[str, Any]) -> bytes:
        """Returns a record with its answers, one a task, filled in."""
        raise TypeError("a format of FORMATS renders them")


class Text(Format):
    """A text a line; the answer is a line. An empty line stays empty."""

    several = False

    def records(self, lines: Lines, path: str) -> Iterator[Record]:
        """Yields the lines."""
        for number, raw in lines:
            place = f"'{path}', line {number}"
            try:
                text = (raw.removeprefix(MARK) if number == 1 else raw).decode().rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise UserError(f"{place}: {not_utf8(error)}") from None
            asked = self._asked(text)
            yield Record(f"{text}\n".encode(), place, asked, filled=bool(asked))

    def _asked(self, text: str) -> dict[str, Any]:
        """What is asked of a line."""
        return dict.fromkeys(self.kinds, text) if text else {}

    def render(self, record: Record, answers: Mapping[str, Any]) -> bytes:
        """Returns the answer as a line."""
        (answer,) = answers.values()
        return (answer.replace("\r", "\\r").replace("\n", "\\n") + "\n").encode()


class Running(Text):
    """A sentence a line, whose words are asked about: what is written is CoNLL-U, or IOB2.

    Its words are those of jaxlt.data.text.words, as a comment of each sentence says.
    """

    def __init__(self, kinds: Kinds, column: str | None = None):
        super().__init__(kinds, column)
        tagged = [task for task, kind in kinds.items() if "iob2" in kind.formats]
        if tagged and len(kinds) > 1:
            raise UserError(
                "Entities of running text are written as IOB2, tags and trees as CoNLL-U: ask for "
                f"them one by one (--task={tagged[0]}), not for {', '.join(kinds)}."
            )
        self.unparted: set[str] = set()  # scripts whose every character was taken for a word

    def _asked(self, text: str) -> dict[str, Any]:
        forms = tuple(word.form for word in words.split(text))
        self.unparted.update(words.unparted(text))
        return dict.fromkeys(self.kinds, forms) if forms else {}

    def render(self, record: Record, answers: Mapping[str, Any]) -> bytes:
        """Returns the sentence's words with their answers, and how they came to be."""
        text = record.raw.decode().rstrip("\n")
        tokens = words.split(text)
        forms = tuple(word.form for word in tokens)
        how = f"# words = {words.rule(text)}"
        columns: dict[int, Sequence[str]] = {}
        for task, answer in answers.items():
            kind = self.kinds[task]
            if "iob2" in kind.formats:
                tags = (_one_word(tag).decode() for tag in kind.cell(answer, forms))
                lines = (f"{form}\t{tag}" for form, tag in zip(forms, tags, strict=True))
                return "\n".join((how, *lines, "", "")).encode()
            columns |= kind.filled(answer)
        empty, heads = ("_",) * len(forms), (conllu.NO_HEAD,) * len(forms)
        misc = tuple("_" if word.spaced else "SpaceAfter=No" for word in tokens)
        comments = (how, "# text = " + " ".join(text.split()))
        blank = conllu.Sentence(forms, *(empty,) * 4, heads, *(empty,) * 2, misc, comments)
        return _with_columns(conllu.render(blank).encode(), columns)


class Blocks(Format):
    """Sentences as lines, with blank lines between them."""

    several = False

    def records(self, lines: Lines, path: str) -> Iterator[Record]:
        """Yields the sentences, each with the blank lines around it."""
        for block in _blocks(lines):
            raw = b"".join(line for _, line in block)
            plain = [(n, line.removeprefix(MARK) if n == 1 else line) for n, line in block]
            plain = [(n, line) for n, line in plain if line.strip()]
            if not plain:
                yield Record(raw, path, {}, filled=False)
                continue
            place = f"'{path}', line {plain[0][0]}"
            if len(plain) > _MOST_LINES:
                raise UserError(f"{place}: a sentence of more than {_MOST_LINES:,} lines.")
            sentences = list(self._read(plain, path))
            if len(sentences) != 1:
                raise UserError(f"{place}: a line of nothing but spaces is inside the sentence.")
            words, language = sentences[0]
            yield Record(raw, place, dict.fromkeys(self.kinds, words), language)

    def _read(self, block: Lines, path: str) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yields the words of a block's sentence, and its language."""
        raise TypeError("a format of FORMATS reads them")


class Conllu(Blocks):
    """CoNLL-U: UPOS is filled in, or HEAD and DEPREL; a comment `# lang = ` is the language."""

    def _read(self, block: Lines, path: str) -> Iterator[tuple[tuple[str, ...], str]]:
        for sentence in conllu.parse(block, path, Problems(), trees=False):
            yield sentence.forms, sentence.comment("lang") or ""

    def render(self, record: Record, answers: Mapping[str, Any]) -> bytes:
        """Returns the sentence's bytes with the columns filled in."""
        columns: dict[int, Sequence[str]] = {}
        for task, answer in answers.items():
            columns |= self.kinds[task].filled(answer)
        return _with_columns(record.raw, columns)


class Iob2(Blocks):
    """`token<TAB>tag` a line, or tokens alone: the tags are filled in."""

    def _read(self, block: Lines, path: str) -> Iterator[tuple[tuple[str, ...], str]]:
        mark = iob2.folder_mark(path)
        for sentence in iob2.parse(block, path, Problems(), "keep", mark, untagged=True):
            yield sentence.tokens, ""

    def render(self, record: Record, answers: Mapping[str, Any]) -> bytes:
        """Returns the sentence's bytes with the tags filled in."""
        ((task, answer),) = answers.items()
        tags = self.kinds[task].cell(answer, record.asked[task])
        out, word = [], 0
        lines = record.raw.splitlines(keepends=True)
        texts = [line.rstrip(b"\r\n").removeprefix(MARK).decode() for line in lines]
        comments = iob2.comments_of([text for text in texts if text.strip()], untagged=True)
        for line, text in zip(lines, texts, strict=True):
            if not text.strip() or comments:
                comments -= bool(text.strip())
                out.append(line)
                continue
            body = line.rstrip(b"\r\n")
            token, gap, _ = iob2.columns(text)
            tag = (gap or "\t").encode() + _one_word(tags[word])
            word += 1
            start = MARK if body.startswith(MARK) else b""
            out.append(start + token.encode() + tag + line[len(body) :])
        return b"".join(out)


class Table(Format):
    """Rows with columns: answers are columns of their own, named by the task or as is said.

    Words are in a column `words` or `text`, texts in `text`, pairs in `premise` and `hypothesis`,
    questions in `question` and `context`; `language` and `target_language` are the row's.
    """

    def name(self, task: str) -> str:
        """The column of a task's answers."""
        return self.column or task

    def _record(self, raw: bytes, place: str, row: Mapping[str, Any]) -> Record:
        """The record of a row, whose columns are known to be there."""
        asked = {}
        for task, kind in self.kinds.items():
            values = [row[name] for name in self._columns(task, row, place)]
            if kind.shape in BY_WORD:
                values = [_words(values[0], place)]
            elif not all(isinstance(value, str) for value in values):
                raise UserError(f"{place}: what {task} reads is text, not {json.dumps(values)}.")
            if any(values):
                asked[task] = tuple(values) if len(values) > 1 else values[0]
        says = [row.get(name) for name in ("language", "target_language")]
        language, target = (value if isinstance(value, str) else "" for value in says)
        return Record(raw, place, asked, language, target)

    def _columns(self, task: str, row: Iterable[str], place: str) -> list[str]:
        """The columns that a task reads; one that is not there is a UserError."""
        known, out = list(row), []
        for names in self.kinds[task].columns:
            column = next((name for name in names if name in known), None)
            if column is None:
                raise UserError(
                    f"{place}: no column '{names[0]}', which --task={task} reads"
                    f"{f' (or {names[1]})' if len(names) > 1 else ''}.{nearest(names[0], known)} "
                    f"There are {', '.join(known) or 'none'}."
                )
            out.append(column)
        return out

    def _check_new(self, row: Iterable[str], place: str) -> None:
        for task in self.kinds:
            if self.name(task) in row:
                raise UserError(
                    f"{place}: there is a column '{self.name(task)}' already: name that of the "
                    "answers with --column."
                )

    def _values(self, record: Record, answers: Mapping[str, Any]) -> dict[str, Any]:
        """The answers by column, as JSON has them."""
        return {
            self.name(task): kind.cell(answers[task], record.asked.get(task, ()))
            for task, kind in self.kinds.items()
        }


class Tsv(Table):
    """Tab-separated, with a header and no quoting; an answer that is no text is written as JSON."""

    def records(self, lines: Lines, path: str) -> Iterator[Record]:
        """Yields the header, of which nothing is asked, and the rows."""
        names: list[str] = []
        for number, raw in lines:
            place = f"'{path}', line {number}"
            fields = _decoded(raw, place).split("\t")
            if not names:
                names = fields
                if twice := repeated(names):
                    raise UserError(f"{place}: the column '{twice[0]}' is there more than once.")
                self._check_new(names, place)
                for task in self.kinds:
                    self._columns(task, names, place)
                added = "".join(f"\t{self.name(task)}" for task in self.kinds)
                yield Record(_appended(raw, added), place, {}, filled=False)
            elif fields == [""] and len(names) > 1:
                yield Record(raw, place, {}, filled=False)
            elif len(fields) != len(names):
                raise UserError(
                    f"{place}: {len(fields)} fields, the header names {len(names)} columns."
                )
            else:
                yield self._record(raw, place, dict(zip(names, fields, strict=True)))

    def render(self, record: Record, answers: Mapping[str, Any]) -> bytes:
        """Returns the row with the answers in new columns."""
        cells = (_cell(value) for value in self._values(record, answers).values())
        return _appended(record.raw, "".join(f"\t{cell}" for cell in cells))


class Jsonl(Table):
    """An object a line; words may be a list. The answers are new fields at its end."""

    def records(self, lines: Lines, path: str) -> Iterator[Record]:
        """Yields the objects; a blank line has no questions."""
        for number, raw in lines:
            place = f"'{path}', line {number}"
            text = _decoded(raw, place)
            if not text.strip():
                yield Record(raw, place, {}, filled=False)
                continue
            try:
                row = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{place}: not JSON: {error}.") from None
            if not isinstance(row, dict):
                raise UserError(f'{place}: not an object such as {{"text": "..."}}.')
            self._check_new(row, place)
            yield self._record(raw, place, row)

    def render(self, record: Record, answers: Mapping[str, Any]) -> bytes:
        """Returns the object with the answers as fields."""
        body = record.raw.rstrip()
        added = json.dumps(self._values(record, answers), ensure_ascii=False)[1:]
        inner = body[:-1]
        comma = b"" if inner.rstrip().endswith(b"{") else b", "
        return inner + comma + added.encode() + record.raw[len(body) :]


FORMATS: Mapping[str, type[Format]] = {
    "text": Text,
    "conllu": Conllu,
    "iob2": Iob2,
    "tsv": Tsv,
    "jsonl": Jsonl,
}


TABLES = ("tsv", "jsonl")  # which have a place for any kind


def asked_in(name: str, kinds: Kinds) -> tuple[str, ...]:
    """What a format of that name has a place for; of plain text, texts before words."""
    there = [task for task, kind in kinds.items() if name in (*kind.formats, *TABLES)]
    return tuple(sorted(there, key=lambda task: name == "text" and kinds[task].shape in BY_WORD))


def format_for(name: str, kinds: Kinds, column: str | None = None) -> Format:
    """Returns the format of a name that has a place for these kinds."""
    running = name == "text" and any(kind.shape in BY_WORD for kind in kinds.values())
    return (Running if running else FORMATS[name])(kinds, column)


def format_of(path: str) -> str:
    """Returns the name of the format that a path says, 'text' where it says none."""
    if path != "-" and layouts.published(path, "entities") and files.exists(path):
        return "iob2" if iob2.holds_tags(path) else "text"
    plain = path
    for packed in files.PACKED:
        plain = plain.removesuffix(packed)
    ending = plain.rpartition(".")[2]
    return ending if ending in FORMATS else "text"


def _blocks(lines: Lines) -> Iterator[list[tuple[int, bytes]]]:
    """Yields blank lines, a sentence's lines and the one blank line after them, together."""
    block: list[tuple[int, bytes]] = []
    begun = False
    for number, line in lines:
        block.append((number, line))
        blank = not line.removeprefix(MARK).strip()
        begun = begun or not blank
        if (begun and blank) or len(block) > _MOST_LINES:
            yield block
            block, begun = [], False
    if block:
        yield block


def _with_columns(sentence: bytes, columns: Mapping[int, Sequence[str]]) -> bytes:
    """A sentence of CoNLL-U with a value a word in some of its columns."""
    out, word = [], 0
    for line in sentence.splitlines(keepends=True):
        fields = line.split(b"\t")
        if fields[0].removeprefix(MARK).isdigit():
            for place, values in columns.items():
                fields[place] = _one_word(values[word])
            word += 1
        out.append(b"\t".join(fields))
    return b"".join(out)


def _appended(line: bytes, text: str) -> bytes:
    """A line with text before its end."""
    body = line.rstrip(b"\r\n")
    return body + text.encode() + line[len(body) :]


def _decoded(raw: bytes, place: str) -> str:
    """The text of a line without its end and mark; what no table may hold is a UserError."""
    try:
        text = raw.removeprefix(MARK).rstrip(b"\r\n").decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{place}: {not_utf8(error)}") from None
    if "\0" in text or "\r" in text:
        raise UserError(f"{place}: {control(text)}")
    return text


def _words(value: Any, place: str) -> tuple[str, ...]:
    """The words of a list, or of a text with spaces between them."""
    words = tuple(value.split()) if isinstance(value, str) else value
    if not isinstance(words, list | tuple) or not all(isinstance(w, str) and w for w in words):
        shown = json.dumps(value, ensure_ascii=False)[:60]
        raise UserError(f"{place}: words are text, or a list of words, not {shown}.")
    return tuple(words)


def _one_word(label: str) -> bytes:
    """What a model answers, as a field that no space or control character breaks up."""
    return _SPACES.sub("_", label).encode()


def _cell(value: Any) -> str:
    """An answer as a field between tabs."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    for char, shown in (("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(char, shown)
    return text
