"""The text of one language as a run tokenises it: chosen, split, and changed as TextConfig says.

    text = Prepared(config, "swh_Latn", ("corpus/swh_Latn.txt.gz",))
    text.documents("train"), text.pairs("train"), text.identity()

Token caches and seqio's tasks both read it, so that they hold the same tokens.
"""

import functools
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from jaxlt.data.read_config import ReadConfig
from jaxlt.data.readers.problems import Problems
from jaxlt.data.rows.batches import digest
from jaxlt.data.sources import files, sources, translation
from jaxlt.data.sources.groups import Groups
from jaxlt.data.sources.language_column import LanguageColumn
from jaxlt.data.sources.splits import Parting, Split, remembered
from jaxlt.data.text.settings import Change
from jaxlt.data.text_forms import Form
from jaxlt.data.vocabulary.vocabularies import Vocabulary


def changed(text: bytes, change: Change | None) -> bytes:
    """Returns UTF-8 text after a change."""
    return change(text.decode("utf-8")).encode("utf-8") if change else text


class Prepared:
    """What a config reads of one language, or of one direction 'eng_Latn-swh_Latn'."""

    def __init__(
        self,
        config: ReadConfig,
        language: str,
        paths: Sequence[str],
        bitext: "Bitext | None" = None,
        origin: str = "",
        notes: bool = True,
    ):
        """bitext: that of the config, which all directions of an opening can share.

        notes: what is held out is written down where nothing was, and stays so.
        """
        self._config, self._language, self._paths = config, language, tuple(paths)
        self._origin, self._notes = origin, notes
        self._bitext = bitext or Bitext(config)
        self._column = language_column(config)

    @property
    def _ends(self) -> tuple[str, str]:
        """The languages of inputs and of targets."""
        if self._config.objective == "translation":
            return translation.ends_of(self._language)
        return self._language, self._language

    @functools.cached_property
    def _drawn(self) -> tuple[Split, ...]:
        """The split of each file: the one that it was first given."""
        config, folder = self._config, self._config.cache_root / "splits"
        if self._in_groups:
            return (self._bitext.split,) * len(self._paths)
        wanted, size = config.shares, functools.cache(self._size)

        def name(path: str) -> str:
            """By size, what is held out of a table is another share for each of its languages."""
            by_size = wanted.validation is None and self._column(path)
            return _memory_name(path) + (f"-{self._language}" if by_size else "")

        every = (name(path) for path in self._paths)
        return tuple(remembered(folder, one, wanted, size, self._notes) for one in every)

    @property
    def _in_groups(self) -> bool:
        """Whether what translates each other is held out together, of all files."""
        return self._config.objective == "translation" and self._config.rules.whole_groups

    def _size(self) -> int:
        """Returns how many bytes of text there are."""
        only = [self._column.only(path, self._language) for path in self._paths]
        every = zip(self._paths, only, strict=True)
        return sum(len(text) for p, o in every for _, text in sources.lines(p, Problems("skip"), o))

    def documents(self, split: str) -> Iterator[bytes]:
        """Yields the documents of a split; what was left out is reported at the end."""
        change = self._config.text.change(self._language)
        with Problems(self._config.on_malformed) as problems:
            for path, drawn in zip(self._paths, self._drawn, strict=True):
                only = self._column.only(path, self._language)
                for document in sources.documents([path], split, drawn, problems, only):
                    yield changed(document, change)

    def pairs(self, split: str) -> Iterator[tuple[bytes, bytes]]:
        """Yields (inputs, targets) of a split; those of a direction begin with its tag."""
        config = self._config
        source, target = self._ends
        change = config.text.change(source)
        other = config.text.change(target) if config.text.targets else None
        mark = b""
        if config.objective == "translation":
            mark = translation.mark(config.tag, self._ends, self._origin)
        with Problems(config.on_malformed) as problems:
            for path, drawn in zip(self._paths, self._drawn, strict=True):
                for inputs, targets in self._raw_pairs(path, split, drawn, problems):
                    yield mark + changed(inputs, change), changed(targets, other)

    def forms(self, split: str) -> Iterator[Form]:
        """Yields the pairs of a split as texts."""
        for inputs, targets in self.pairs(split):
            yield inputs.decode("utf-8"), targets.decode("utf-8")

    def _raw_pairs(
        self, path: str, split: str, drawn: Split, problems: Problems
    ) -> Iterator[tuple[bytes, bytes]]:
        if self._config.objective != "translation":
            return sources.pairs([path], split, drawn, problems)
        parting: Parting = drawn
        if self._in_groups and (drawn.validation or drawn.test):
            mark = translation.mark_of_first(path, self._language)
            parting = self._bitext.groups().under(drawn, mark)
        return translation.pairs([path], self._language, split, parting, problems)

    def tokenised(self, split: str, vocabulary: Vocabulary) -> Iterator[dict[str, np.ndarray]]:
        """Yields the ids of each example by feature, as the task's preprocessors do.

        Pairs have 'inputs' and 'targets', documents 'targets' with the separator after them.
        """
        encode = vocabulary.encode
        if self._config.paired:
            for inputs, targets in self.pairs(split):
                yield {"inputs": encode(inputs), "targets": encode(targets)}
        else:
            separator = self._config.separator_text.encode()
            for document in self.documents(split):
                yield {"targets": encode(document + separator)}

    def identity(self) -> list[Any]:
        """Returns JSON of all that decides the examples."""
        config, memory = self._config, self._config.cache_root / "digests"
        said: list[Any] = [
            [files.content_digest(path, memory) for path in self._paths],
            [[s.validation, s.test, s.seed] for s in self._drawn],
            config.on_malformed,
        ]
        source, target = self._ends
        said.append(config.text.identity(source, memory))
        if config.paired and config.text.targets:
            said.append(config.text.identity(target, memory))
        if config.objective == "translation":
            turned = translation.turned(self._paths, self._language)
            own = [self._origin] if self._origin else []
            said.append([config.tag, self._language, turned, *own])
            if self._in_groups:
                said.append(["whole groups", self._bitext.content])
        elif not config.paired and any(self._column(path) for path in self._paths):
            said.append([config.language_column, self._language])
        return said


def language_column(config: ReadConfig) -> LanguageColumn:
    """Returns how a config's tables say the languages of their rows."""
    return LanguageColumn(config.language_column, config.cache_root / "tables")


class Bitext:
    """All bitext of a config, whichever directions it reads: looked through once, when needed."""

    def __init__(self, config: ReadConfig):
        self._config = config

    @functools.cached_property
    def _read(self) -> tuple[tuple[str, str], ...]:
        """The (pair, path)s."""
        by_pair = sources.discover(self._config.sources, sources.PAIRS)
        return tuple((pair, path) for pair in sorted(by_pair) for path in by_pair[pair])

    @functools.cached_property
    def content(self) -> tuple[str, ...]:
        """What the files hold: their pairs and digests."""
        memory = self._config.cache_root / "digests"
        lines = (f"{pair} {files.content_digest(path, memory)}" for pair, path in self._read)
        return tuple(sorted(lines))

    @functools.cached_property
    def split(self) -> Split:
        """What is held out of all of it: one split, remembered by its content."""
        config, name = self._config, f"bitext-{digest(self.content)[:16]}"
        return remembered(config.cache_root / "splits", name, config.shares, self._size)

    def _size(self) -> int:
        """Returns how many bytes a pair of languages has, on average."""
        whole = sum(files.text_size(path) for _, path in self._read)
        return whole // len({pair for pair, _ in self._read})

    def groups(self) -> Groups:
        """Returns what translates each other."""
        return _groups(self._read, self.content)


@functools.lru_cache(maxsize=4)
def _groups(read: tuple[tuple[str, str], ...], content: tuple[str, ...]) -> Groups:
    """Returns the groups of (pair, path)s; `content` says what they hold now."""
    del content

    def pairs() -> Iterator[tuple[bytes, bytes]]:
        for pair, path in read:
            marks = [f"{end}\0".encode() for end in translation.ends_of(pair)]
            for _, line in sources.lines(path, Problems("skip")):
                texts = line.split(b"\t")
                if len(texts) == 2:
                    yield marks[0] + texts[0], marks[1] + texts[1]

    return Groups(pairs())


def _memory_name(path: str) -> str:
    """Returns the name under which a file's split is remembered: its own and its folder's."""
    whole = files.absolute(path)
    stem = PurePosixPath(whole).name.partition(".")[0]
    return f"{stem}-{hashlib.sha256(whole.encode()).hexdigest()[:16]}"
