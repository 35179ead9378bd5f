"""What a run reads and how rows are made of it: the part that tasks and sources know.

DataConfig has these settings and adds those of the mixture; a kind of task takes them alone, so
that the tasks that a DataConfig names need not know it.
"""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jaxlt.data import revisions
from jaxlt.data.objectives.objectives import fitting_span
from jaxlt.data.readers.problems import OnMalformed
from jaxlt.data.sources import files, sources, splits
from jaxlt.data.sources.splits import Shares
from jaxlt.data.text.settings import AS_IT_IS, TextConfig
from jaxlt.data.vocabulary.vocabularies import Sentinels, VocabularyConfig, vocabulary_config
from jaxlt.errors import UserError
from jaxlt.identity import HARMLESS, PLACED, renamed

ObjectiveName = Literal[
    "span_corruption", "prefix_lm", "ul2", "mlm", "text_to_text", "translation", "heads"
]
PAIRED = ("text_to_text", "translation")  # objectives whose rows are given inputs and targets


@dataclass(frozen=True)
class ReadConfig:
    """What is read, held out and made of text; DataConfig's docstring describes the fields."""

    mixture: str = "text"
    sources: str | tuple[str, ...] = dataclasses.field(default=(), metadata=PLACED)
    inputs_length: int = 512
    targets_length: int | None = None  # None: what the objective needs
    objective: ObjectiveName = "span_corruption"
    noise_density: float = 0.15  # of prefix_lm: the share that is asked for
    mean_span: float = 3.0  # mT5 3, ByT5 20; shorter where rows are, so that they have a few spans
    modes: bool = True  # ul2: each row starts with its kind, as text: [NLU], [NLG], [S2S]
    tag: str = "<2{target}> "  # translation: before the inputs; '' for none
    origins: tuple[tuple[str, str], ...] = ()  # translation: (('back_translated', 'bt/*'), ...)
    vocabulary: str = dataclasses.field(
        default="bytes", metadata=PLACED
    )  # or the path of a SentencePiece model
    sentinels: Sentinels = "reuse"  # 'reuse' as T5X pretrains, 'extra' above the vocabulary
    separator: str | None = None  # after each document; None: a newline for bytes, else nothing
    held_out: float | None = None  # share of documents that are the validation split; see below
    held_out_test: float = 0.0  # and the split 'test'
    split_seed: int = 0  # draws the documents that are held out
    on_malformed: OnMalformed = dataclasses.field(
        default="strict", metadata=renamed("bad")
    )  # a malformed line stops; 'skip': left out, counted and reported
    language_column: str = "language"
    text: TextConfig = AS_IT_IS  # normalisation, scripts, glosses; noise in training
    cache_dir: str | None = dataclasses.field(
        default=None, metadata=HARMLESS
    )  # None: $JAXLT_CACHE or ~/.cache/jaxlt
    revision: int = revisions.LATEST  # rules of rows; a run that began by others keeps them

    @property
    def rules(self) -> revisions.Rules:
        """The rules by which rows are made."""
        return revisions.rules_of(self.revision)

    @property
    def span(self) -> float:
        """The mean length of spans in a row: `mean_span`, or what fits a short one."""
        if not self.rules.spans_fit:
            return self.mean_span
        return fitting_span(self.inputs_length, self.noise_density, self.mean_span)

    @property
    def paired(self) -> bool:
        """Whether rows are given inputs and targets, rather than made of running text."""
        return self.objective in PAIRED

    @property
    def vocabulary_config(self) -> VocabularyConfig:
        """The vocabulary as its own config."""
        return vocabulary_config(self.vocabulary, self.sentinels)

    @property
    def separator_text(self) -> str:
        """What follows each document; a SentencePiece text marks word starts itself."""
        if self.separator is not None:
            return self.separator
        return "\n" if self.vocabulary == "bytes" else ""

    @property
    def endings(self) -> tuple[str, ...]:
        """Endings of the files that `sources` mean."""
        return sources.PAIRS if self.paired else sources.TEXT

    @property
    def shares(self) -> Shares:
        """What is held out of the documents."""
        return Shares(self.held_out, self.held_out_test, self.split_seed)

    @property
    def said_held_out(self) -> str:
        """`held_out` as messages say it."""
        return "1%, more of little text" if self.held_out is None else f"{self.held_out:g}"

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that text has: 'test' where some of it is held out for that."""
        return splits.NAMES if self.held_out_test else splits.NAMES[:2]

    @property
    def cache_root(self) -> Path:
        """The folder that holds token caches."""
        chosen = self.cache_dir or os.environ.get("JAXLT_CACHE") or "~/.cache/jaxlt"
        if files.is_remote(chosen):
            raise UserError(
                f"The token cache is mapped into memory, so cache_dir is a local folder, not "
                f"'{chosen}'."
            )
        return Path(chosen).expanduser()
