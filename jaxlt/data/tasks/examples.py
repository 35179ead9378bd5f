"""What kinds of task share in reading files: corpora, tables by language, splits, identity."""

import contextlib
import dataclasses
import functools
import heapq
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxlt.data import text_forms
from jaxlt.data.readers import tables
from jaxlt.data.readers.problems import Problems
from jaxlt.data.rows.batches import digest
from jaxlt.data.sources import corpora, files, layouts
from jaxlt.data.sources.groups import Groups
from jaxlt.data.sources.parts import Parts
from jaxlt.data.sources.splits import NAMES, Split, remembered
from jaxlt.data.tasks.kind import Kind, Reading, Stream
from jaxlt.errors import UserError

Read = Callable[[str, Problems], Iterable[Any]]  # (path, problems) -> records
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def known_codes(mixture: str) -> Iterator[corpora.Codes]:
    """Codes of languages; afterwards those are warned of that no table of languages knows."""
    codes = corpora.Codes()
    yield codes
    if codes.unknown:
        _log.warning("The mixture '%s' has codes %s", mixture, codes.report())


def read_content(reading: Reading, paths: Sequence[str]) -> list[str]:
    """Returns the digests of what is in files."""
    return [files.content_digest(path, reading.config.cache_root / "digests") for path in paths]


def content_of(
    reading: Reading,
    paths: Sequence[str],
    name: str,
    recipe: Sequence[Any],
    newer: Callable[[Sequence[str]], Sequence[Any]] = lambda paths: (),
) -> Callable[[], list[Any]]:
    """Returns what says the identity of a stream: its files' content, its name, and all else.

    newer: JSON of what is read of these files otherwise than before, nothing of most.
    """
    return lambda: [read_content(reading, paths), name, [*recipe, *newer(paths)]]


def corpus_streams(
    kind: Kind,
    reading: Reading,
    endings: Sequence[str],
    holds: str,
    read: Read,
    more: Sequence[Any] = (),
    newer: Callable[[Sequence[str]], Sequence[Any]] = lambda paths: (),
) -> list[Stream]:
    """Returns a stream '<corpus>.<language>' a corpus, whose files are its splits.

    holds: what the files are, as jaxlt.data.sources.layouts says it. more: JSON of what decides
    the examples beside what is read, and what a run says of all tasks. newer: as in `content_of`.
    """
    space = reading.wording.space
    recipe = [kind.name, *more, reading.config.on_malformed]
    recipe += [] if space == text_forms.NO_BREAK else [f"inner {space}"]

    def records(corpus: corpora.Corpus, split: str) -> Iterator[Any]:
        with Problems(reading.config.on_malformed) as problems:
            for path in corpus.paths[split]:
                yield from read(path, problems)

    streams = []
    with known_codes(reading.name) as codes:
        kept = corpora.find(reading.task.sources, endings, holds, reading.task.names, codes)
    for corpus in kept:
        if "" in corpus.paths:
            raise UserError(
                f"'{corpus.paths[''][0]}' says no split: name the file {corpus.name}-train, -dev "
                "or -test."
            )
        splits = tuple(name for name in NAMES if name in corpus.paths)
        paths = tuple(p for split in sorted(splits) for p in corpus.paths[split])
        name = f"{corpus.name}.{corpus.language or corpus.name}"
        identity = content_of(reading, paths, name, recipe, newer)
        read_split = functools.partial(records, corpus)
        streams.append(kind.stream(reading, name, read_split, identity, splits))
    return streams


def language_streams(
    kind: Kind,
    reading: Reading,
    layout: str,
    key: Callable[[Any], str],
    more: Sequence[Any] = (),
) -> list[Stream]:
    """Returns a stream a language of tables of a layout; what has one key is in one split.

    more: as in `corpus_streams`.
    """
    table = TableSource(reading, layout)
    written: dict[tuple[str, str], list[str]] = {}
    with known_codes(reading.name) as codes:
        for raw in table.languages():
            # Collections have their own codes: MLQA's `ar` and TyDi's `arabic` are one language.
            alone = "" if raw in table.published else raw
            written.setdefault((codes.of(raw), alone), []).append(raw)
    recipe = [kind.name, table.recipe, reading.config.on_malformed, *more]
    streams = []
    for (code, _), names in written.items():

        def records(split: str, names: list[str] = names) -> Iterator[Any]:
            return table.of(split, key, names)

        identity = content_of(reading, table.paths, code, recipe)
        streams.append(kind.stream(reading, code, records, identity))
    return streams


def language_of(record: Any) -> str:
    """Returns the language of a record, of a pair 'source:target'."""
    if isinstance(record, tables.Pair):
        return f"{record.source_language}:{record.target_language}"
    return str(record.language)


class Records:
    """The records of tables of one kind by language, of a pair 'source:target'.

    A table is read once, however many languages it has (jaxlt.data.sources.parts).
    """

    def __init__(self, kind: str, memory: Path):
        self.kind = kind
        name = f"records {kind}: {', '.join(tables.fields_of(kind))}"
        self._parts = Parts(memory, name, self._entries)
        self.languages, self.faults = self._parts.codes, self._parts.faults

    def of(
        self, path: str, problems: Problems, languages: Sequence[str]
    ) -> Iterator[tuple[str, Any]]:
        """Yields what `every` does of some languages in their order, or in any order of all."""
        codes = [c for c in self._parts.codes(path) if not languages or c in languages]
        parts = [self._parts.of(path, code) for code in codes]
        read = [part for part in parts if part is not None]
        if self._parts.faults(path) or len(read) < len(parts):
            for said, record in self.every(path, problems):
                if not languages or language_of(record) in languages:
                    yield said, record
            return
        rows = heapq.merge(*read) if languages else itertools.chain.from_iterable(read)
        for _, said, values in rows:
            yield said, tables.record_of(self.kind, values)

    def _entries(self, path: str, problems: Problems) -> Iterator[tuple[str, Any]]:
        """Yields (language, [place in the table, split, values]) of each record."""
        for number, (said, record) in enumerate(self.every(path, problems)):
            yield language_of(record), (number, said, dataclasses.astuple(record))

    def every(self, path: str, problems: Problems) -> Iterator[tuple[str, Any]]:
        """Yields (split that the row or its file's name says, or "", record) of a table."""
        kind, found = tables.read(path, problems)
        if kind != self.kind:
            raise UserError(f"'{path}' is a table of {kind}, not of {self.kind}.")
        said = layouts.place(path, self.kind).split
        for record in found:
            yield _SPLIT_COLUMN.get(getattr(record, "split", ""), said), record


class TableSource:
    """Tables of one kind over any number of files, by language and split.

    A row's split is its column's, else its file name's, else drawn by `key(record)`, so that what
    has one key is on one side in every language.
    """

    def __init__(self, reading: Reading, kind: str):
        self.kind, self.on_malformed = kind, reading.config.on_malformed
        self.paths = corpora.table_files(reading.task.sources, kind)
        self.published: set[str] = set()  # once `languages` has looked
        self._records = Records(kind, reading.config.cache_root / "tables")
        self.split = split_of(reading, self.paths, self._size)

    def _size(self) -> int:
        """Returns how many letters a language has, on average."""
        letters, languages = 0, set()
        for _, record in self.records(Problems("skip")):
            said = dataclasses.asdict(record)
            letters += sum(len(value) for value in said.values() if isinstance(value, str))
            languages.add(said.get("language", said.get("source_language")))
        return letters // max(len(languages), 1)

    def records(
        self, problems: Problems, split: str = "", languages: Sequence[str] = ()
    ) -> Iterator[tuple[str, Any]]:
        """Yields (split that the row or its file says, or "", record) of all files.

        With `languages` theirs alone, in the order of the rows. Files that say another split or
        language than those asked for are not opened.
        """
        for path in self.paths:
            place = layouts.published(path, self.kind)
            if place and split and split != place.split:
                continue
            if place and place.language and languages and place.language not in languages:
                continue
            if place and place.language:
                yield from self._records.every(path, problems)
            else:
                yield from self._records.of(path, problems, languages)

    def of(self, split: str, key: Callable[[Any], str], languages: Sequence[str]) -> Iterator[Any]:
        """Yields the records of a split in some languages."""
        with Problems(self.on_malformed) as problems:
            for said, record in self.records(problems, split, languages):
                if (said or self.split.of(key(record).encode())) == split:
                    yield record

    def grouped(self, split: str, languages: Sequence[str]) -> Iterator[Any]:
        """Yields the pairs of a split, of which all that translate each other have the same."""
        with Problems(self.on_malformed) as problems:
            for said, record in self.records(problems, split, languages):
                if (said or self._groups.of(self.split, self._ends(record)[0])) == split:
                    yield record

    @functools.cached_property
    def _groups(self) -> Groups:
        return Groups(self._ends(record) for _, record in self.records(Problems("skip")))

    def _ends(self, pair: Any) -> tuple[bytes, bytes]:
        """Returns the two texts of a pair with their languages."""
        source, target = self._code(pair.source_language), self._code(pair.target_language)
        return f"{source}\0{pair.source}".encode(), f"{target}\0{pair.target}".encode()

    @functools.cached_property
    def _code(self) -> Callable[[str], str]:
        return functools.cache(corpora.Codes().of)

    def languages(self) -> list[str]:
        """Returns the languages of the rows, sorted.
        Published files whose name says their language are not opened; `published` are then the
        languages of collections. Where no row can be read, a UserError says what is wrong with the
        first.
        """
        names: set[str] = set()
        faults: list[str] = []
        for path in self.paths:
            place = layouts.published(path, self.kind)
            here = [place.language] if place and place.language else self._records.languages(path)
            faults += [] if place and place.language else self._records.faults(path)
            names.update(here)
            self.published.update(here if place else ())
        if faults and not names:
            raise UserError(faults[0])
        return sorted(names)

    @property
    def recipe(self) -> list[Any]:
        """JSON of how rows are split."""
        return [self.split.validation, self.split.test, self.split.seed]


def split_of(reading: Reading, paths: Sequence[str], size: Callable[[], int]) -> Split:
    """Returns what is held out of files: what it was first, of files with this content.

    Where no share is said it goes by the `size` of a language in bytes.
    """
    name = reading.name
    if reading.config.rules.splits_by_content:
        name = f"table-{digest(sorted(read_content(reading, paths)))[:16]}"
    return remembered(reading.config.cache_root / "splits", name, reading.config.shares, size)


_SPLIT_COLUMN = {"train": "train", "test": "test", "dev": "validation", "validation": "validation"}
