"""Tables with a row a record: TSV (with a header line, no quoting), JSON lines, parquet, SQuAD's.

    kind, records = tables.read("sib200_test.tsv.gz")       # 'labelled', Labelled(...), ...
    tables.write("copy.jsonl.zst", records)

What a table holds is known by its columns (`LAYOUTS`): texts by language, labelled texts, bitext,
dictionaries, facts, templates, pairs of texts with a label, questions (their answers in
`jaxlt.data.readers.questions`). Every field is text.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, fields
from itertools import chain
from typing import Any, NamedTuple

from jaxlt.data.readers import questions, squad
from jaxlt.data.readers.lines import check_field, numbered
from jaxlt.data.readers.problems import Problems
from jaxlt.data.readers.questions import Question
from jaxlt.data.sources import files, layouts
from jaxlt.errors import UserError, nearest, repeated

TSV, JSONL, SQUAD = files.endings(".tsv"), files.endings(".jsonl"), files.endings(".json")
ENDINGS = (*TSV, *JSONL, ".parquet")
_MARKS = re.compile(r"(\[X\]|\[Y\])")


@dataclass(frozen=True)
class Text:
    """A text of a language; equal ids are translations of each other."""

    language: str
    id: str
    text: str


@dataclass(frozen=True)
class Labelled:
    """A text of a language with its class."""

    language: str
    id: str
    label: str
    text: str


@dataclass(frozen=True)
class Pair:
    """Two texts, or two words, that mean the same; `split` is "" where the table says none."""

    source_language: str
    target_language: str
    source: str
    target: str
    split: str = ""


@dataclass(frozen=True)
class Fact:
    """A subject, a relation and an object: ids that are the same in all languages, and names."""

    language: str
    relation: str
    subject_id: str
    object_id: str
    subject: str
    object: str


@dataclass(frozen=True)
class Template:
    """How a language says a relation: a sentence with [X] for the subject and [Y] for the object.

    `checked` is '1' where a person has looked at it.
    """

    language: str
    relation: str
    pattern: str
    checked: str = "0"

    def fill(self, subject: str, answer: str = "[Y]") -> str:
        """Returns the sentence of a fact; without an answer, [Y] stands for what is asked."""
        names = {"[X]": subject, "[Y]": answer}
        return "".join(names.get(part, part) for part in _MARKS.split(self.pattern))


@dataclass(frozen=True)
class Inference:
    """A premise, a hypothesis, and what holds between them: a name, or a number as XNLI's."""

    language: str
    id: str
    premise: str
    hypothesis: str
    label: str
    split: str = ""


Record = Text | Labelled | Pair | Fact | Template | Inference | Question


class Layout(NamedTuple):
    """The columns of a kind of table, in the order of the record's fields.

    A column "=x" is the same in every row and not in the file; "a|0" and "a|1" are the halves of
    a column that joins them with a hyphen; a file may do without those of `lacking`. `called` are
    values that it writes otherwise than the others of its kind.
    """

    kind: str
    record: type[Record]
    columns: tuple[str, ...]
    lacking: tuple[str, ...] = ()
    called: tuple[tuple[str, str], ...] = ()

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns that the file has."""
        names = (c.partition("|")[0] for c in self.columns if not c.startswith("="))
        return tuple(name for name in dict.fromkeys(names) if name not in self.lacking)

    def build(self, row: Mapping[str, str]) -> Record:
        """Returns the record of a row."""
        if self.record is Question:
            return questions.build(row)
        record: Callable[..., Record] = self.record
        values = (_value(column, row) for column in self.columns)
        if self.called:
            values = (dict(self.called).get(value, value) for value in values)
        return record(*values)

    def row(self, record: Record) -> dict[str, str]:
        """Returns what a record has in the columns of its first layout."""
        if isinstance(record, Question):
            return questions.row_of(record)
        return dict(zip(self.columns, astuple(record), strict=True))


def _value(column: str, row: Mapping[str, str]) -> str:
    if column.startswith("="):
        return column[1:]
    name, _, half = column.partition("|")
    return row[name].split("-")[int(half)] if half else row.get(name, "")


# The first layout of a record is the one that it is written in.
LAYOUTS = (
    Layout("texts", Text, ("lang", "id", "text")),
    Layout("texts", Text, ("key", "para", "text")),
    Layout("labelled", Labelled, ("lang", "id", "category", "text")),
    Layout("labelled", Labelled, ("lang", "index_id", "category", "text")),
    Layout("bitext", Pair, ("source_lang", "target_lang", "source_text", "target_text", "split")),
    Layout("bitext", Pair, ("lang", "=eng", "text", "english")),
    Layout("dictionary", Pair, ("=en", "lang", "english", "translation")),
    Layout("dictionary", Pair, ("pair|0", "pair|1", "source", "target", "split")),
    Layout("facts", Fact, ("lang", "relation", "sub_uri", "obj_uri", "sub_label", "obj_label")),
    Layout("templates", Template, ("lang", "relation", "pattern", "checked_by_human")),
    Layout(
        "pairs",
        Inference,
        ("lang", "id", "premise", "hypothesis", "label", "split"),
        ("id", "split"),
    ),
    Layout(
        "pairs",
        Inference,
        ("language", "pairID", "sentence1", "sentence2", "gold_label", "split"),
        ("split",),
    ),
    Layout(
        "pairs",
        Inference,
        ("lang", "id", "premise", "hypo", "label", "split"),
        ("id", "split"),
        (("contradictory", "contradiction"),),
    ),
    Layout("questions", Question, questions.COLUMNS, ("id", "answer_start", "split")),
    Layout(
        "questions",
        Question,
        ("lang", "id", "question", "context", "answer", "answer_start", "split"),
        ("id", "answer_start", "split"),
    ),
)
# Columns that may be empty.
_OPTIONAL = frozenset({"split", "id", "index_id", "para"})


def fields_of(kind: str) -> tuple[str, ...]:
    """Returns the names of the fields of a kind's records, () of a kind that has none."""
    record = next((layout.record for layout in LAYOUTS if layout.kind == kind), None)
    return tuple(field.name for field in fields(record)) if record else ()


def record_of(kind: str, values: Iterable[Any]) -> Record:
    """Returns the record of a kind with these values of its fields, lists for tuples."""
    record: Callable[..., Record] = next(one.record for one in LAYOUTS if one.kind == kind)
    return record(*(tuple(value) if isinstance(value, list) else value for value in values))


def layout_of(columns: Iterable[str], path: str) -> Layout:
    """Returns the layout that a table's columns fit, the one with the most columns."""
    names = set(columns)
    fitting = [layout for layout in LAYOUTS if names >= set(layout.needed)]
    if not fitting:
        forms = "; ".join(", ".join(layout.needed) for layout in LAYOUTS)
        raise UserError(
            f"'{path}' has the columns {', '.join(sorted(names)) or '(none)'}, which fit no kind "
            f"of table known here. Known: {forms}."
        )
    return max(fitting, key=lambda layout: len(layout.needed))


def read(path: str, problems: Problems | None = None) -> tuple[str, Iterator[Record]]:
    """Returns the kind of a table, and its records as a stream.

    Where its rows do not say their language, a published collection's layout does.
    """
    problems = problems or Problems()
    stream = _told(rows(path, problems), path)
    first = next(stream, None)
    if first is None:
        layout = layout_of(header(path) if ".tsv" in path else (), path)
        return layout.kind, iter(())
    layout = layout_of(first[1], path)
    return layout.kind, _records(chain([first], stream), layout, path, problems)


def _told(
    stream: Iterator[tuple[int, dict[str, str]]], path: str
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields rows with the language that their file's name says, or that their ids begin with."""
    place = layouts.published(path, "questions") or layouts.published(path, "pairs")
    if path.endswith(SQUAD):
        place = place or layouts.place(path)
        if not (place.language or place.language_in_ids):
            raise UserError(
                f"'{path}' does not say the language of its questions: let its name begin with "
                "its code, as in fra_Latn_fquad-train.json."
            )
    if place is None:
        yield from stream
        return
    for number, row in stream:
        if place.language_in_ids:
            row["lang"] = row["id"].partition("-")[0]
        elif place.language and not {"lang", "language"} & set(row):
            row["lang"] = place.language
        yield number, row


def _records(
    stream: Iterable[tuple[int, Mapping[str, str]]], layout: Layout, path: str, problems: Problems
) -> Iterator[Record]:
    unit = "question" if path.endswith(SQUAD) else "line"
    for number, row in stream:
        fault = _fault(row, layout)
        if fault:
            problems.at(path, number, fault, unit)
        else:
            yield layout.build(row)


def _fault(row: Mapping[str, str], layout: Layout) -> str:
    """Returns what is wrong with a row, or ""."""
    for name in layout.needed:
        if name not in row:
            return f"no '{name}'.{nearest(name, row)}"
        if not row[name] and name not in _OPTIONAL:
            return f"the column '{name}' is empty."
    if "pair|0" in layout.columns:
        parts = row["pair"].split("-")
        if len(parts) != 2 or not all(parts):
            return f"the pair '{row['pair'][:40]}', expected two languages as in tr-fi."
    if layout.record is Template and any(row["pattern"].count(m) != 1 for m in ("[X]", "[Y]")):
        return f"the template '{row['pattern'][:80]}' needs one [X] and one [Y]."
    return questions.fault(row) if layout.record is Question else ""


def header(path: str) -> tuple[str, ...]:
    """Returns the columns of a TSV file, from its first line."""
    for _, line in numbered(path):
        names = tuple(line.split("\t"))
        if twice := repeated(names):
            raise UserError(f"'{path}', line 1: the column '{twice[0]}' is there more than once.")
        return names
    raise UserError(f"'{path}' is empty: expected a line that names the columns.")


def rows(path: str, problems: Problems) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields (line or row number from 1, text by column) of a table of any columns."""
    if path.endswith(SQUAD):
        return squad.rows(path, problems)
    if path.endswith((*JSONL, ".parquet")):
        return _typed(path, problems)
    return _tsv(path, problems)


def _tsv(path: str, problems: Problems) -> Iterator[tuple[int, dict[str, str]]]:
    names = header(path)
    for number, line in numbered(path, problems):
        fields = line.split("\t")
        if number == 1 or (not line and len(names) > 1):
            continue
        if len(fields) == len(names):
            yield number, dict(zip(names, fields, strict=True))
        else:
            problems.at(
                path, number, f"{len(fields)} fields, the header names {len(names)} columns."
            )


def _typed(path: str, problems: Problems) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields the rows of formats whose values have types."""
    rows = _parquet(path, problems) if path.endswith(".parquet") else _jsonl(path, problems)
    for number, value in rows:
        row = _as_text(value)
        if fault := _unwritable(row):
            problems.at(path, number, fault)
        else:
            yield number, row


def _jsonl(path: str, problems: Problems) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in numbered(path, problems):
        if not line or line.isspace():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as err:
            problems.at(path, number, f"not JSON: {err}.")
            continue
        if not isinstance(value, dict):
            problems.at(path, number, 'not an object such as {"text": "..."}.')
            continue
        yield number, value


def _parquet(path: str, problems: Problems) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow
    import pyarrow.parquet

    with files.open_raw(path) as raw:
        number = 0
        try:
            for batch in pyarrow.parquet.ParquetFile(raw).iter_batches(1024):
                for value in batch.to_pylist():
                    number += 1
                    yield number, value
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as err:
            problems.add(f"'{path}' is damaged, or no parquet file, after row {number}: {err}.")


def _as_text(value: Mapping[str, Any]) -> dict[str, str]:
    """Returns text and numbers by column; what is null or nested is left out, but for answers."""
    kept = {k: v for k, v in value.items() if isinstance(v, str | int | float)}
    row = {str(k): v if isinstance(v, str) else json.dumps(v) for k, v in kept.items()}
    return row | questions.columns_of(value)


def _unwritable(row: Mapping[str, str]) -> str:
    for name, text in row.items():
        if "\0" in text:
            return f"a NUL in '{name}'."
        if any("\ud800" <= char <= "\udfff" for char in text):
            return f"half a surrogate pair in '{name}'."
    return ""


def write(path: str, records: Iterable[Record]) -> None:
    """Writes records of one kind as TSV or JSON lines; the ending says which."""
    stream = iter(records)
    first = next(stream, None)
    if first is None:
        raise UserError(f"'{path}': no records to write, so its columns are not known.")
    layout = next(layout for layout in LAYOUTS if layout.record is type(first))
    names = layout.columns
    as_json = path.endswith(JSONL)

    def chunks() -> Iterator[bytes]:
        if not as_json:
            yield ("\t".join(names) + "\n").encode()
        for record in chain([first], stream):
            if type(record) is not layout.record:
                raise UserError(f"{record} cannot be written beside {layout.kind}.")
            row = layout.row(record)
            if fault := _fault(row, layout) or _unwritable(row):
                raise UserError(f"{record} cannot be written beside {layout.kind}: {fault}")
            if as_json:
                lists = {n: json.loads(row[n]) for n in questions.LISTS if n in row}
                yield (json.dumps(row | lists, ensure_ascii=False) + "\n").encode()
            else:
                fields = (check_field(row[n], f"The column '{n}'", empty=True) for n in names)
                yield ("\t".join(fields) + "\n").encode()

    files.write_chunks(path, chunks())
