"""Texts and their translations: `<2swh_Latn> a text` -> `maandishi`.

A direction is named source:target, and its task '<mixture>.<source>:<target>'. Inputs begin with
the tag of the target language, DataConfig.tag. What belongs together (a verse, an id) is in one
split in all languages.
"""

import functools
import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from jaxlt.data.near import nearest_language
from jaxlt.data.readers import bitext, tables
from jaxlt.data.readers.problems import Problems
from jaxlt.data.sources import corpora, files
from jaxlt.data.sources.parts import Parts
from jaxlt.data.tasks import baselines
from jaxlt.data.tasks.examples import Records, TableSource, content_of, known_codes, split_of
from jaxlt.data.tasks.kind import USUAL, Kind, Reading, Stream, Wording
from jaxlt.data.text_forms import Form
from jaxlt.errors import UserError

Record = tuple[str, str, str]  # a text, its translation, and the language of that


class Directed(Kind):
    """Kinds whose answer is the text in another language."""

    spelled = True
    blind = ""  # the copy knows its input
    task = "translate"

    def form(self, record: Record, wording: Wording) -> Form:
        return self.inputs((record[0], record[2]), wording), record[1]

    def inputs(self, asked: tuple[str, str], wording: Wording = USUAL) -> str:
        """Returns the text that asks for (a text, the language that it is to be in)."""
        return f"{wording.tag.format(target=asked[1], origin='')}{asked[0]}"

    def learner(self, heads: bool) -> baselines.Copied:
        return baselines.Copied()

    def of_pairs(self, reading: Reading, layout: str, wanted: Sequence[str] = ()) -> list[Stream]:
        """Returns both directions of tables of pairs, or those that are wanted."""
        table, whole = TableSource(reading, layout), reading.config.rules.whole_groups
        recipe = [layout, table.recipe, reading.config.tag, reading.config.on_malformed]
        recipe += ["whole groups"] if whole else []
        streams = []
        with known_codes(reading.name) as codes:
            for ends in table.languages():
                for back in (False, True):

                    def records(
                        split: str, ends: str = ends, back: bool = back
                    ) -> Iterator[Record]:
                        found = functools.partial(table.of, key=_source)
                        for r in (table.grouped if whole else found)(split, languages=[ends]):
                            texts = (r.target, r.source) if back else (r.source, r.target)
                            own = r.source_language if back else r.target_language
                            yield (*texts, codes.of(own))

                    names = [codes.of(code) for code in ends.split(":")]
                    direction = ":".join(reversed(names) if back else names)
                    if not wanted or direction in wanted:
                        own = content_of(reading, table.paths, direction, recipe)
                        streams.append(self.stream(reading, direction, records, own))
        return streams


def _source(record: tables.Pair) -> str:
    return record.source


class Translation(Directed):
    """Sentences in several languages.

    Sources are line-aligned files (`ids` a file with the id of every line), as a folder of one file
    a language or as FLORES, NTREX and Tatoeba are published, whose splits are kept; a TSV file with
    a column a language, tables of (language, id, text), or tables of pairs. Without `pairs` all
    directions are meant, or with a `pivot` those from and to it.
    """

    takes: ClassVar[tuple[str, ...]] = ("pivot", "pairs", "ids")
    metrics, by_language = ("chrf++", "bleu", "length_ratio"), True
    sentences = True

    def streams(self, reading: Reading) -> list[Stream]:
        task = reading.task
        lines = corpora.walk(task.sources, corpora.LINES, "aligned")
        tabled = corpora.walk(task.sources, corpora.TABLES)
        if lines:
            texts = _aligned(task.sources, task.ids)
        elif tabled and corpora.kind_of(tabled[0]) == "bitext":
            return self.of_pairs(reading, "bitext", task.pairs)
        else:
            texts = _columns(tabled, reading)
        wanted = _directions(texts, task.pivot, task.pairs)
        read = list(dict.fromkeys(path for text in texts for path in text.files.values()))
        codes = {code for text in texts for code in text.files}

        def size() -> int:
            return sum(files.text_size(path) for path in read) // max(len(codes), 1)

        drawn = split_of(reading, read, size)
        recipe = [
            "translation",
            drawn.validation,
            drawn.test,
            drawn.seed,
            reading.config.tag,
            reading.config.on_malformed,
        ]
        streams = []
        for source, target in wanted:
            both = [text for text in texts if {source, target} <= set(text.files)]

            def records(
                name: str,
                source: str = source,
                target: str = target,
                both: Sequence[_Texts] = both,
            ) -> Iterator[Record]:
                with Problems(reading.config.on_malformed) as problems:
                    for text in both:
                        if text.split not in ("", name):
                            continue
                        for item in text.read(source, target, problems):
                            before, after = item.get(source), item.get(target)
                            part = text.split or drawn.of(item.id.encode())
                            if before and after and part == name:
                                yield before, after, target

            used = (
                f for text in both for f in (text.files[source], text.files[target], *text.more)
            )
            name = f"{source}:{target}"
            own = content_of(reading, tuple(dict.fromkeys(used)), name, recipe)
            streams.append(self.stream(reading, name, records, own))
        return streams


@dataclass(frozen=True)
class _Texts:
    """Texts that say the same: the file of each language, and how two of them are read.

    split: what the files' names say, "" where it is drawn. more: what is read beside them.
    """

    files: Mapping[str, str]
    read: Callable[[str, str, Problems], Iterable[bitext.Parallel]]
    split: str = ""
    more: tuple[str, ...] = ()


def _aligned(sources: Sequence[str], ids: str | None) -> list[_Texts]:
    """Returns the groups of line-aligned files; `ids` are those of files that say no split."""

    def texts(group: corpora.Aligned) -> _Texts:
        own = None if group.split else ids

        def read(source: str, target: str, problems: Problems) -> Iterator[bitext.Parallel]:
            paths = {name: group.paths[name] for name in (source, target)}
            return bitext.aligned(paths, problems, own)

        return _Texts(group.paths, read, group.split, (own,) if own else ())

    return [texts(group) for group in corpora.aligned(sources)]


def _columns(paths: Sequence[str], reading: Reading) -> list[_Texts]:
    if len(paths) != 1:
        raise UserError(f"Parallel text is one table or one folder of files, not {len(paths)}.")
    path, codes = paths[0], corpora.Codes()
    kind, memory = corpora.kind_of(path), reading.config.cache_root / "tables"
    wide, table = Parts(memory, "columns", _cells), Records(kind, memory)
    if kind == "wide":
        names = tuple(name for name in tables.header(path) if name != "id")
    else:
        names = table.languages(path)
    own = {codes.of(name): name for name in names}
    known = {name: code for code, name in own.items()}

    def read(source: str, target: str, problems: Problems) -> Iterator[bitext.Parallel]:
        both = (own[source], own[target])
        if kind == "wide":
            items = _of_columns(path, wide, both, problems)
        else:
            items = bitext.joined(record for _, record in table.of(path, problems, both))
        for item in items:
            yield bitext.Parallel(item.id, tuple((known[n], t) for n, t in item.texts if n in both))

    return [_Texts(dict.fromkeys(own, path), read)]


def _cells(path: str, problems: Problems) -> Iterator[tuple[str, tuple[int, str, str, str]]]:
    """Yields (language, (row's number, its id, language, text)) of each cell of a wide table."""
    for number, row in enumerate(bitext.wide(path, problems)):
        for name, text in row.texts:
            yield name, (number, row.id, name, text)


def _of_columns(
    path: str, parts: Parts, names: Sequence[str], problems: Problems
) -> Iterator[bitext.Parallel]:
    """Yields rows of a wide table with their texts in some languages; it is read once for all."""
    columns = [parts.of(path, name) for name in names if name in parts.codes(path)]
    if None in columns:
        yield from bitext.wide(path, problems)
        return
    cells = heapq.merge(*(column for column in columns if column is not None))
    for (_, row), texts in itertools.groupby(cells, key=lambda cell: (cell[0], cell[1])):
        yield bitext.Parallel(row, tuple((name, text) for *_, name, text in texts))


def _directions(
    texts: Sequence[_Texts], pivot: str | None, pairs: Sequence[str]
) -> list[tuple[str, str]]:
    """Returns the (source, target) that are meant, or raises UserError for a language not there."""
    codes = sorted({code for text in texts for code in text.files})
    there = {(a, b) for text in texts for a in text.files for b in text.files if a != b}
    named = [(pair.partition(":")[0], pair.partition(":")[2]) for pair in pairs]
    for code in [code for pair in named for code in pair] + ([pivot] if pivot else []):
        if code not in codes:
            raise UserError(
                f"There is no text of language '{code}' among the parallel ones; a direction is "
                f"named source:target.{nearest_language(code, codes)}"
            )
    for a, b in named:
        if (a, b) not in there:
            beside = [code for code in codes if (a, code) in there]
            raise UserError(
                f"No text is there both in '{a}' and in '{b}'; beside '{a}' there are "
                f"{', '.join(beside)}."
            )
    return named or [pair for pair in sorted(there) if pivot is None or pivot in pair]
