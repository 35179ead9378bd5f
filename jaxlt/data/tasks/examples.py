"""Streams of (inputs, targets) as ordinary seqio tasks: what labelled, parallel and facts share."""

import dataclasses
import functools
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import seqio
import tensorflow as tf

from jaxlt.data.read_config import ReadConfig
from jaxlt.data.readers import tables
from jaxlt.data.readers.problems import Bad, Problems
from jaxlt.data.rows.batches import digest
from jaxlt.data.seqio_tasks.text import IdentifiedSource, generated, replace_task, text_features
from jaxlt.data.sources import corpora, files, layouts
from jaxlt.data.sources.groups import Groups
from jaxlt.data.sources.splits import NAMES, Split, remembered
from jaxlt.data.text_forms import Form
from jaxlt.errors import UserError

_UNNAMABLE = re.compile(r"[^\w.:#]")  # what seqio lets no task's name have: my-corpus, en-GB
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stream:
    """Examples of one task: its name's last part is the language, or source:target of a pair."""

    name: str
    examples: Callable[[str], Iterable[Form]]  # split -> (inputs, targets)
    paths: tuple[str, ...]  # what it reads
    splits: tuple[str, ...] = NAMES
    # For heads, where they are told more than the text form tells: entities with IOB2 tags.
    marked: Callable[[str], Iterable[Form]] | None = None


def register(
    mixture: str, streams: Sequence[Stream], config: ReadConfig, recipe: Sequence[Any]
) -> str:
    """Registers '<mixture>.<stream>' for each stream and their equal mixture; returns its name.

    `recipe` is JSON of all beside the files that decides the examples.
    """
    if not streams:
        raise UserError(f"There is nothing in the sources of '{mixture}' to make a task of.")
    names = [f"{mixture}.{_UNNAMABLE.sub('_', stream.name)}" for stream in streams]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(
            f"Two tasks would be named '{twice[0]}': the sources have one language under two "
            "codes, or two corpora whose names differ in their dashes alone. Give it one code."
        )
    for name, stream in zip(names, streams, strict=True):
        _register_one(name, stream, config, list(recipe))
    if mixture in seqio.MixtureRegistry.names():
        seqio.MixtureRegistry.remove(mixture)
    seqio.MixtureRegistry.add(mixture, names, default_rate=1.0)
    return mixture


def _register_one(name: str, stream: Stream, config: ReadConfig, recipe: list[Any]) -> None:
    text = tf.TensorSpec([], tf.string)

    def dataset(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
        del shuffle_files, seed  # one stream, read in order; seqio's buffer shuffles
        return generated(lambda: stream.examples(split), (text, text)).map(
            lambda inputs, targets: {"inputs": inputs, "targets": targets}
        )

    def identity() -> Any:
        memory = config.cache_root / "digests"
        return [[files.content_digest(path, memory) for path in stream.paths], stream.name, recipe]

    replace_task(
        name,
        source=IdentifiedSource(
            dataset, identity, stream.splits, stream.marked or stream.examples, stream.examples
        ),
        preprocessors=[
            seqio.preprocessors.tokenize,
            seqio.CacheDatasetPlaceholder(),
            seqio.preprocessors.append_eos_after_trim,
        ],
        output_features=text_features(config),
        metric_fns=[],
    )


def warn_unknown(mixture: str, codes: corpora.Codes) -> None:
    """Warns of codes that no table of languages knows."""
    if codes.unknown:
        _log.warning("The mixture '%s' has codes %s", mixture, codes.report())


Forms = Callable[[str, Problems], Iterable[Form]]


def file_streams(
    found: Sequence[corpora.Corpus], forms: Forms, bad: Bad, marked: Forms | None = None
) -> list[Stream]:
    """Returns a stream '<corpus>.<language>' a corpus, whose files are its splits."""
    streams = []

    def read(corpus: corpora.Corpus, forms: Forms, split: str) -> Iterator[Form]:
        with Problems(bad) as problems:
            for path in corpus.paths[split]:
                yield from forms(path, problems)

    for corpus in found:
        if "" in corpus.paths:
            raise UserError(
                f"'{corpus.paths[''][0]}' says no split: name the file {corpus.name}-train, -dev "
                "or -test."
            )

        splits = tuple(name for name in NAMES if name in corpus.paths)
        paths = tuple(p for split in sorted(splits) for p in corpus.paths[split])
        language = corpus.language or corpus.name
        examples = functools.partial(read, corpus, forms)
        more = functools.partial(read, corpus, marked) if marked else None
        streams.append(Stream(f"{corpus.name}.{language}", examples, paths, splits, more))
    return streams


class TableSource:
    """Tables of one kind over any number of files, by language and split.

    A row's split is its column's, else its file name's, else drawn by `key(record)`, so that what
    has one key is on one side in every language.
    """

    def __init__(
        self,
        mixture: str,
        sources: Sequence[str],
        kind: str,
        config: ReadConfig,
        split: Split | None,
        bad: Bad = "strict",
    ):
        self.kind, self.bad = kind, bad
        self.paths = corpora.table_files(sources, kind)
        self.published: set[str] = set()  # once `languages` has looked
        self.split = split_of(config, mixture, self.paths, split, self._size)

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

        Files that say another split or language than those asked for are not opened.
        """
        for path in self.paths:
            place = layouts.published(path, self.kind)
            if place and split and split != place.split:
                continue
            if place and place.language and languages and place.language not in languages:
                continue
            yield from self._of_file(path, problems)

    def _of_file(self, path: str, problems: Problems) -> Iterator[tuple[str, Any]]:
        kind, found = tables.read(path, problems)
        if kind != self.kind:
            raise UserError(f"'{path}' is a table of {kind}, not of {self.kind}.")
        said = layouts.place(path, self.kind).split
        for record in found:
            yield _SPLIT_COLUMN.get(getattr(record, "split", ""), said), record

    def of(
        self, split: str, key: Callable[[Any], str], languages: Sequence[str] = ()
    ) -> Iterator[Any]:
        """Yields the records of a split; with `languages`, some of others are left out."""
        with Problems(self.bad) as problems:
            for said, record in self.records(problems, split, languages):
                if (said or self.split.of(key(record).encode())) == split:
                    yield record

    def grouped(self, split: str) -> Iterator[Any]:
        """Yields the pairs of a split, of which all that translate each other have the same."""
        with Problems(self.bad) as problems:
            for said, record in self.records(problems, split):
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

    def languages(self, column: Callable[[Any], str]) -> list[str]:
        """Returns what a column holds, sorted, by one pass over the files.

        Published files whose name says their language are not opened; `published` are then the
        languages of collections. Where no row can be read, a UserError says what is wrong with the
        first.
        """
        problems = Problems("skip")
        found: set[str] = set()
        for path in self.paths:
            place = layouts.published(path, self.kind)
            here = {place.language} if place and place.language else set()
            here = here or {column(record) for _, record in self._of_file(path, problems)}
            found.update(here)
            self.published.update(here if place else ())
        if problems.count and not found:
            raise UserError(problems.first[0])
        return sorted(found)

    @property
    def recipe(self) -> list[Any]:
        """JSON of how rows are split."""
        return [self.split.validation, self.split.test, self.split.seed]


def split_of(
    config: ReadConfig,
    mixture: str,
    paths: Sequence[str],
    split: Split | None,
    size: Callable[[], int],
) -> Split:
    """Returns what is held out of files: what it was first, of files with this content.

    Without a split it is the config's, where that goes by the `size` of a language in bytes.
    """
    memory, wanted = config.cache_root, split or config.shares
    if split is None and config.held_out is not None:
        wanted = Split(validation=config.held_out)
    name = mixture
    if config.rules.splits_by_content:
        content = sorted(files.content_digest(path, memory / "digests") for path in paths)
        name = f"table-{digest(content)[:16]}"
    return remembered(memory / "splits", name, wanted, size)


_SPLIT_COLUMN = {"train": "train", "test": "test", "dev": "validation", "validation": "validation"}
