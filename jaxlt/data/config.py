"""What a run reads and how rows are made of it, as one config."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from jaxlt.data import revisions, task_config
from jaxlt.data.amounts import Amount, amount_of
from jaxlt.data.labelling import Overlength
from jaxlt.data.read_config import PAIRED, ObjectiveName, ReadConfig
from jaxlt.data.readers.problems import OnMalformed
from jaxlt.data.sources import translation
from jaxlt.data.task_config import TaskConfig
from jaxlt.data.tasks.kind import head_kind, kind_of
from jaxlt.data.text.settings import AS_IT_IS
from jaxlt.data.transfer_config import TransferConfig
from jaxlt.errors import UserError, check_choices, repeated
from jaxlt.identity import DRAWN, as_tuples, renamed

Mixing = Literal["temperature", "unimax", "equal"]
Packing = Literal["none", "language", "mixed"]
Reads = Literal["tokens", "words"]
_CHOICES: dict[str, Any] = {
    "objective": ObjectiveName,
    "mixing": Mixing,
    "packing": Packing,
    "on_malformed": OnMalformed,
    "overlength": Overlength,
    "reads": Reads,
}


@dataclass(frozen=True)
class DataConfig(ReadConfig):
    """What to read and how rows are made of it.

    `sources` are folders, files or patterns of text by language (.txt, .txt.gz; for text_to_text
    .tsv, .tsv.gz with inputs<TAB>targets; for translation such files named by both languages,
    eng_Latn-swh_Latn.tsv); without them `mixture` names a registered seqio task or mixture, or is
    the name given to `tasks` over treebanks, tables and other corpora. Several of these may be of
    one language: `rates` then name tasks ('tagging.en_ewt.eng_Latn') or languages, and a module is
    routed by the language.
    `languages` gives the ids of languages (default: sorted names) and with `rates` may name more
    than take part. A language has all its files, of every folder. A table (.jsonl, .parquet, or
    .tsv with a header) whose rows have a `language_column` beside `text` is a text of each of its
    languages; such a table is read once for each of them.

    A registered task may read TensorFlow Datasets: seqio.TfdsDataSource as its source, and
    seqio.CacheDatasetPlaceholder() after its tokenize.

    Held-out documents are drawn by `split_seed`, and what was first drawn for a file of text is
    kept, however it grows; of tables of tasks, and of all bitext together, for what they hold (in
    revision 1 for their name), so that one line more is drawn anew. Other shares or another seed
    are refused as long as that is remembered in the cache folder. Without `held_out` 1% of a
    language is for validation, of little text more: what makes 50 kB, up to 5%.

    Pairs of translation whose paths fit a pattern of `origins` are not real, but back_translated
    or copied: a text of their own, eng_Latn-swh_Latn.back_translated, that rates and amounts name
    by that, by the pair or by the origin. `tag` may hold {origin}: '<back_translated> ', and
    nothing before what is real (eng_Latn-swh_Latn.real). Only real pairs are evaluated.

    `mixing` decides the languages' shares of rows where `rates` does not say them: 'temperature'
    (n^alpha of their tokens), 'equal', or 'unimax' (equal, but nobody beyond `max_epochs` of its
    text in `unimax_steps` steps). `packing` puts several examples in a row: of one 'language', or
    'mixed' ones.

    `amounts` are doses of what trains, by language, pair of languages, task or kind: '10k tokens',
    '300 examples', a share 0.25, or a number (of tokens of running text, else of examples). A
    smaller one is the beginning of a larger one by the same seed; `mixing` goes by what is left.
    What has 0 does not train, and keeps the id of its language and its evaluation.
    """

    tasks: tuple[TaskConfig, ...] = ()
    use_cached: bool = False  # a registered task is read from seqio's own offline cache
    split: str = "train"
    batch_size: int = 8  # global rows a step
    seed: int = dataclasses.field(default=0, metadata=DRAWN)
    shuffle: bool = True
    both_directions: bool = True  # translation: every file serves for both
    packing: Packing = "none"
    languages: tuple[str, ...] = ()
    mixing: Mixing = "temperature"
    alpha: float = 0.3
    max_epochs: float = 4.0
    unimax_steps: int | None = None
    rates: tuple[tuple[str, float], ...] = ()
    amounts: tuple[tuple[str, Amount], ...] = ()
    amounts_seed: int | None = dataclasses.field(default=None, metadata=DRAWN)  # None: `seed`
    words_length: int = 128  # heads: words of a row at most, beside inputs_length tokens
    reads: Reads = "tokens"  # heads: tokens, or (BiLSTM) whole words with `word_chars` characters
    word_chars: int = 20
    overlength: Overlength = dataclasses.field(
        default="refuse", metadata=renamed("long")
    )  # heads: what is longer than a row stops, is left out, is read in parts
    length_buckets: int = dataclasses.field(
        default=0, metadata=renamed("like_lengths")
    )  # heads: batches, so many at a time, of rows of like length; 0: as drawn
    transfer: TransferConfig | None = None  # whose examples train, stop training and are scored

    def __post_init__(self) -> None:
        if isinstance(self.tasks, TaskConfig):
            object.__setattr__(self, "tasks", (self.tasks,))
        as_tuples(self, "sources", "tasks")
        object.__setattr__(self, "languages", tuple(self.languages))
        pairs = self.rates.items() if isinstance(self.rates, Mapping) else self.rates
        object.__setattr__(self, "rates", tuple((str(n), float(r)) for n, r in pairs))
        doses = self.amounts.items() if isinstance(self.amounts, Mapping) else self.amounts
        from_where = self.origins.items() if isinstance(self.origins, Mapping) else self.origins
        object.__setattr__(self, "origins", tuple((str(n), str(p)) for n, p in from_where))
        own = tuple((str(name), amount_of(amount, str(name))) for name, amount in doses)
        object.__setattr__(self, "amounts", own)
        check_choices(self, "DataConfig.", **_CHOICES)
        if self.batch_size < 1:
            raise UserError(f"DataConfig.batch_size must be at least 1, not {self.batch_size}.")
        for field in ("held_out", "held_out_test"):
            if not 0 <= (getattr(self, field) or 0) < 1:
                raise UserError(
                    f"DataConfig.{field} is a share in [0, 1), not {getattr(self, field)}."
                )
        self.shares.split(0)
        revisions.rules_of(self.revision)
        if self.tasks:
            paired = self.paired or self.objective == "heads"
            task_config.check(self.tasks, bool(self.sources), paired, self.objective)
        self._check_heads()
        if not np.isfinite(self.alpha):
            raise UserError(f"DataConfig.alpha must be a number, not {self.alpha}.")
        if self.mixing == "unimax" and not (self.unimax_steps or 0) > 0 and not self.rates:
            raise UserError(
                "UniMax's shares depend on how much is read: DataConfig.unimax_steps is the number "
                f"of training steps, at least 1, not {self.unimax_steps}."
            )
        if not self.max_epochs > 0:
            raise UserError(f"DataConfig.max_epochs is above 0, not {self.max_epochs}.")
        if self.packing != "none" and not self.paired:
            raise UserError(
                f"DataConfig.packing = '{self.packing}' is for {' and '.join(PAIRED)}: rows of "
                f"'{self.objective}' are full already."
            )
        if self.objective == "translation":
            translation.check_tag(self.tag, self.origins)
        elif self.origins:
            raise UserError(
                "DataConfig.origins are those of the objective 'translation', not of "
                f"'{self.objective}': leave them out."
            )
        self._check_names()

    def _check_names(self) -> None:
        """Raises UserError for languages that are named twice, or rated at nothing."""
        for field in ("languages", "rates", "amounts"):
            names = [n if field == "languages" else n[0] for n in getattr(self, field)]
            if twice := repeated(names):
                raise UserError(f"DataConfig.{field} names '{twice[0]}' more than once.")
            if "" in names:
                raise UserError(f"DataConfig.{field} has an empty name: a language has a code.")
        for name, rate in self.rates:
            if not (np.isfinite(rate) and rate > 0):
                raise UserError(
                    f"DataConfig.rates gives '{name}' the rate {rate:g}: a rate is above 0. Leave "
                    "a language that is not to be read out of the rates."
                )

    def _check_heads(self) -> None:
        """Raises UserError for what has no meaning with heads, or without."""
        for field in ("words_length", "word_chars"):
            if getattr(self, field) < 1:
                raise UserError(f"DataConfig.{field} is at least 1, not {getattr(self, field)}.")
        if self.length_buckets < 0 or (self.length_buckets and self.objective != "heads"):
            raise UserError(
                "DataConfig.length_buckets is a number of batches, 0 or more, and only heads have "
                f"it above 0; it is {self.length_buckets}, of the objective '{self.objective}'."
            )
        if self.objective == "heads":
            self._check_labelling()
        elif self.reads == "words":
            raise UserError(
                "DataConfig.reads = 'words' is for the objective 'heads' alone, not for "
                f"'{self.objective}': append runs/heads.gin, or set it to 'tokens'."
            )

    def _check_labelling(self) -> None:
        """Raises UserError for what has no meaning with heads."""
        if not self.tasks:
            raise UserError(
                "DataConfig.objective = 'heads' learns tasks: give DataConfig.tasks (data/tasks.gin"
                "), whose names are those of the model's heads."
            )
        for task in self.tasks:
            head_kind(task.kind)
        if self.packing != "none":
            raise UserError(
                f"DataConfig.packing = '{self.packing}': a row of heads holds one example, so set "
                "it to 'none'."
            )
        if self.text.subwords and self.reads == "words":
            raise UserError(
                "TextConfig.subwords samples the pieces that words are cut into, and "
                "DataConfig.reads = 'words' cuts none: set it to 0, or read 'tokens'."
            )
        spans = [task.label for task in self.tasks if head_kind(task.kind).shape == "span"]
        if spans and self.text != AS_IT_IS:
            raise UserError(
                f"TextConfig changes words, and the answers of '{spans[0]}' stand at places of the "
                "text as it is: leave the task out, or TextConfig."
            )

    @property
    def spells_text(self) -> bool:
        """Whether the targets are text, so that bits per byte of them mean something.

        Those of a task are answers, unless it is translating.
        """
        if self.objective != "text_to_text" or not self.rules.bytes_of_text:
            return self.objective != "heads"
        return bool(self.tasks) and all(kind_of(task.kind).spelled for task in self.tasks)
