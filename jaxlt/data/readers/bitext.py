"""Texts that say the same in several languages: line-aligned files, or a column a language.

    bitext.aligned({"eng_Latn": "eng_Latn.txt.gz", "swh_Latn": "swh_Latn.txt.gz"})
    bitext.wide("corpus.tsv")                       # its header names languages
    bitext.joined(tables.read("seed.tsv.gz")[1])    # rows of (language, id, text), joined by id

All yield Parallel(id, {language: text}); a language that lacks a text is left out of it.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import zip_longest

from jaxlt.data.readers import tables
from jaxlt.data.readers.lines import numbered
from jaxlt.data.readers.problems import Problems
from jaxlt.errors import UserError

_ID = "id"


@dataclass(frozen=True)
class Parallel:
    """One text in several languages: `texts` are (language, text) in the order of the source."""

    id: str
    texts: tuple[tuple[str, str], ...]

    def get(self, language: str) -> str | None:
        """Returns the text in a language, None where there is none."""
        return dict(self.texts).get(language)


def aligned(
    paths: Mapping[str, str], problems: Problems | None = None, ids: str | None = None
) -> Iterator[Parallel]:
    """Yields line i of all files as one text; a blank line is absent, `ids` names a file of ids.

    Files of different length are a problem, which ends the stream with the shortest.
    """
    problems = problems or Problems()
    names, everything = list(paths), [*paths.values(), *([ids] if ids else [])]
    with ExitStack() as stack:
        streams = []
        for path in everything:
            streams.append(stack.enter_context(closing(_every_line(path, problems))))
        for number, row in enumerate(zip_longest(*streams), start=1):
            if None in row:
                short = everything[row.index(None)]
                rest = next(p for p, text in zip(everything, row, strict=True) if text is not None)
                problems.add(
                    f"'{short}' ends after line {number - 1}, but '{rest}' goes on: line-aligned "
                    "files have as many lines as each other, with a blank line for what is absent."
                )
                return
            texts = tuple((name, text) for name, text in zip(names, row, strict=False) if text)
            name = (row[-1] or str(number)) if ids else str(number)
            if texts:
                yield Parallel(name, texts)


def _every_line(path: str, problems: Problems) -> Generator[str, None, None]:
    """Yields every line of a file, "" for one that is blank or, if those are skipped, no text."""
    expected = 1
    for number, text in numbered(path, problems):
        yield from [""] * (number - expected)
        yield "" if text.isspace() else text
        expected = number + 1


def wide(path: str, problems: Problems | None = None) -> Iterator[Parallel]:
    """Yields the rows of a TSV file whose header names languages; a column `id` is the id."""
    problems = problems or Problems()
    names = [name for name in tables.header(path) if name != _ID]
    if len(names) < 2 or not all(names):
        raise UserError(
            f"'{path}', line 1: expected the names of two or more languages, separated by tabs."
        )
    for number, row in tables.rows(path, problems):
        texts = tuple((name, row[name]) for name in names if row[name])
        if texts:
            yield Parallel(row.get(_ID) or str(number - 1), texts)
        else:
            problems.at(path, number, "no language has a text.")


def joined(records: Iterable[tables.Record]) -> Iterator[Parallel]:
    """Yields rows of one language each, joined by id; all of the table is in memory for it."""
    by_id: dict[str, dict[str, str]] = {}
    for record in records:
        if not isinstance(record, tables.Text | tables.Labelled):
            raise UserError("Only a table with a text and an id in every row can be joined.")
        texts = by_id.setdefault(record.id, {})
        if record.language in texts:
            raise UserError(
                f"The id '{record.id}' has more than one text in '{record.language}': a table of "
                "parallel text has an id once a language."
            )
        texts[record.language] = record.text
    for name, texts in by_id.items():
        yield Parallel(name, tuple(texts.items()))
