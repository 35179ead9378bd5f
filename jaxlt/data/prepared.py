"""The text of one language as a run tokenises it: chosen, split, and changed as TextConfig says.

    text = Prepared(config, "swh_Latn", ("corpus/swh_Latn.txt.gz",))
    text.documents("train"), text.pairs("train"), text.identity()

Token caches and seqio's tasks both read it, so that they hold the same tokens.
"""

import functools
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlt.data import files, sources, translation
from jaxlt.data.language_column import LanguageColumn
from jaxlt.data.readers.problems import Problems
from jaxlt.data.splits import Split, remembered
from jaxlt.data.text_forms import Form
from jaxlt.data.text_settings import Change
from jaxlt.data.vocabularies import Vocabulary

if TYPE_CHECKING:
    from jaxlt.data.config import DataConfig


def changed(text: bytes, change: Change | None) -> bytes:
    """Returns UTF-8 text after a change."""
    return change(text.decode("utf-8")).encode("utf-8") if change else text


class Prepared:
    """What a config reads of one language, or of one direction 'eng_Latn-swh_Latn'."""

    def __init__(self, config: "DataConfig", language: str, paths: Sequence[str]):
        self._config, self._language, self._paths = config, language, tuple(paths)
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
        folder, wanted = self._config.cache_root / "splits", self._config.shares
        return tuple(remembered(folder, _memory_name(path), wanted) for path in self._paths)

    def documents(self, split: str) -> Iterator[bytes]:
        """Yields the documents of a split; what was left out is reported at the end."""
        change = self._config.text.change(self._language)
        with Problems(self._config.bad) as problems:
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
            mark = translation.mark(config.tag, self._language)
        with Problems(config.bad) as problems:
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
        if self._config.objective == "translation":
            return translation.pairs([path], self._language, split, drawn, problems)
        return sources.pairs([path], split, drawn, problems)

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
            config.bad,
        ]
        source, target = self._ends
        said.append(config.text.identity(source, memory))
        if config.paired and config.text.targets:
            said.append(config.text.identity(target, memory))
        if config.objective == "translation":
            turned = translation.turned(self._paths, self._language)
            said.append([config.tag, self._language, turned])
        elif not config.paired and any(self._column(path) for path in self._paths):
            said.append([config.language_column, self._language])
        return said


def language_column(config: "DataConfig") -> LanguageColumn:
    """Returns how a config's tables say the languages of their rows."""
    return LanguageColumn(config.language_column, config.cache_root / "languages")


def _memory_name(path: str) -> str:
    """Returns the name under which a file's split is remembered: its own and its folder's."""
    whole = path if files.is_remote(path) else os.path.abspath(path)
    stem = PurePosixPath(whole).name.partition(".")[0]
    return f"{stem}-{hashlib.sha256(whole.encode()).hexdigest()[:16]}"
