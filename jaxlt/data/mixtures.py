"""Mixtures of languages: from a DataConfig to batches that can be sought.

    train = open_mixture(DataConfig(sources=("corpus/",), inputs_length=512, batch_size=32))
    train.rows(step=1_000_000, start=0, stop=8)      # at once: nothing is skipped through
    held_out = open_evaluation(config)                # a finite pass, its noise always the same

Text is tokenised once into a cache beside the user's other caches; with that in place, opening a
mixture takes milliseconds and no TensorFlow. register_mixture makes the same tasks and rates known
to seqio.
"""

import functools
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from jaxlt.data import corpora, files, rates, sources, splits, task_config, translation
from jaxlt.data.batches import digest
from jaxlt.data.denoisers import Denoisers, PrefixLM
from jaxlt.data.objectives import MaskedLM, Objective, SpanCorruption, TextToText
from jaxlt.data.packed import PackedBatches
from jaxlt.data.prepared import Prepared, language_column
from jaxlt.data.readers.problems import Bad
from jaxlt.data.splits import Split
from jaxlt.data.task_config import TaskConfig
from jaxlt.data.text_noise import TextNoise
from jaxlt.data.text_settings import AS_IT_IS, TextConfig
from jaxlt.data.token_cache import VERSION, open_or_build
from jaxlt.data.views import EvaluationBatches, MixtureBatches, Rows, Text
from jaxlt.data.vocabularies import (
    Sentinels,
    Vocabulary,
    VocabularyConfig,
    open_vocabulary,
    vocabulary_config,
)
from jaxlt.errors import UserError, nearest

_log = logging.getLogger(__name__)

ObjectiveName = Literal["span_corruption", "prefix_lm", "ul2", "mlm", "text_to_text", "translation"]
Mixing = Literal["temperature", "unimax", "equal"]
Packing = Literal["none", "language", "mixed"]
PAIRED = ("text_to_text", "translation")  # objectives whose rows are given inputs and targets
_CHOICES: dict[str, Any] = {
    "objective": ObjectiveName,
    "mixing": Mixing,
    "packing": Packing,
    "bad": Bad,
}


@dataclass(frozen=True)
class DataConfig:
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

    Held-out documents are drawn by `split_seed`, and what was first drawn for a file is kept: other
    shares or another seed are refused as long as it is remembered in the cache folder.

    `mixing` decides the languages' shares of rows where `rates` does not say them: 'temperature'
    (n^alpha of their tokens), 'equal', or 'unimax' (equal, but nobody beyond `max_epochs` of its
    text in `unimax_steps` steps). `packing` puts several examples in a row: of one 'language', or
    'mixed' ones.
    """

    mixture: str = "text"
    sources: str | tuple[str, ...] = ()
    tasks: tuple[TaskConfig, ...] = ()
    split: str = "train"
    inputs_length: int = 512
    targets_length: int | None = None  # None: what the objective needs
    batch_size: int = 8  # global rows a step
    seed: int = 0
    shuffle: bool = True
    objective: ObjectiveName = "span_corruption"
    noise_density: float = 0.15  # of prefix_lm: the share that is asked for
    mean_span: float = 3.0  # mT5 3, ByT5 20
    modes: bool = True  # ul2: each row starts with its kind, as text: [NLU], [NLG], [S2S]
    tag: str = "<2{target}> "  # translation: before the inputs; '' for none
    both_directions: bool = True  # translation: every file serves for both
    packing: Packing = "none"
    vocabulary: str = "bytes"  # or the path of a SentencePiece model
    sentinels: Sentinels = "reuse"  # 'reuse' as T5X pretrains, 'extra' above the vocabulary
    separator: str | None = None  # after each document; None: a newline for bytes, else nothing
    languages: tuple[str, ...] = ()
    mixing: Mixing = "temperature"
    alpha: float = 0.3
    max_epochs: float = 4.0
    unimax_steps: int | None = None
    rates: tuple[tuple[str, float], ...] = ()
    held_out: float = 0.01  # share of documents that are the validation split
    held_out_test: float = 0.0  # and the split 'test'
    split_seed: int = 0  # draws the documents that are held out
    bad: Bad = "strict"  # a malformed line stops; 'skip': left out, counted and reported
    language_column: str = "language"
    text: TextConfig = AS_IT_IS  # normalisation, scripts, glosses; noise in training
    cache_dir: str | None = None  # None: $JAXLT_CACHE or ~/.cache/jaxlt

    def __post_init__(self) -> None:
        given = (self.sources,) if isinstance(self.sources, str) else tuple(self.sources)
        object.__setattr__(self, "sources", given)
        pairs = self.rates.items() if isinstance(self.rates, Mapping) else self.rates
        object.__setattr__(self, "rates", tuple((str(n), float(r)) for n, r in pairs))
        object.__setattr__(self, "languages", tuple(self.languages))
        tasks = (self.tasks,) if isinstance(self.tasks, TaskConfig) else tuple(self.tasks)
        object.__setattr__(self, "tasks", tasks)
        for field, kind in _CHOICES.items():
            value, known = getattr(self, field), get_args(kind)
            if value not in known:
                raise UserError(
                    f"DataConfig.{field} is one of {', '.join(known)}, not '{value}'."
                    f"{nearest(value, known)}"
                )
        if self.batch_size < 1:
            raise UserError(f"DataConfig.batch_size must be at least 1, not {self.batch_size}.")
        for field in ("held_out", "held_out_test"):
            if not 0 <= getattr(self, field) < 1:
                raise UserError(
                    f"DataConfig.{field} is a share in [0, 1), not {getattr(self, field)}."
                )
        Split(self.held_out, self.held_out_test)
        if self.tasks:
            task_config.check(self.tasks, bool(self.sources), self.paired, self.objective)
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
            translation.check_tag(self.tag)
        for field in ("languages", "rates"):
            names = [n if field == "languages" else n[0] for n in getattr(self, field)]
            twice = sorted({n for n in names if names.count(n) > 1})
            if twice:
                raise UserError(f"DataConfig.{field} names '{twice[0]}' more than once.")
            if "" in names:
                raise UserError(f"DataConfig.{field} has an empty name: a language has a code.")
        for name, rate in self.rates:
            if not (np.isfinite(rate) and rate > 0):
                raise UserError(
                    f"DataConfig.rates gives '{name}' the rate {rate:g}: a rate is above 0. Leave "
                    "a language that is not to be read out of the rates."
                )

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
    def shares(self) -> Split:
        """What is held out of the documents."""
        return Split(self.held_out, self.held_out_test, self.split_seed)

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


def build_objective(config: DataConfig, vocabulary: Vocabulary) -> Objective:
    """Returns the objective of a config."""
    lengths = config.inputs_length, config.targets_length
    if config.objective == "span_corruption":
        return SpanCorruption(vocabulary, *lengths, config.noise_density, config.mean_span)
    if config.objective == "prefix_lm":
        return PrefixLM(vocabulary, *lengths, config.noise_density)
    if config.objective == "ul2":
        return Denoisers(vocabulary, *lengths, modes=config.modes)
    if config.objective == "mlm":
        return MaskedLM(vocabulary, config.inputs_length, config.noise_density)
    return TextToText(
        vocabulary, config.inputs_length, config.targets_length or config.inputs_length
    )


def open_mixture(config: DataConfig, split: str | None = None) -> MixtureBatches | PackedBatches:
    """Returns the training batches of a config; tokenises first what has no cache yet."""
    vocabulary = open_vocabulary(config.vocabulary_config)
    objective = build_objective(config, vocabulary)
    texts, own_rates = _open_texts(config, split or config.split, vocabulary, objective)
    for text in texts:
        if not text.windows(objective, partial=False):
            raise UserError(
                f"Language '{text.language}' has no text to train on in the split "
                f"'{split or config.split}' ({text.cache.examples} documents, held_out="
                f"{config.held_out:g}). Give it text, or leave it out of the mixture."
            )
    shares = _rates(config, texts, own_rates, objective)
    said = _identity(config, texts, vocabulary) | {"rates": [float(r) for r in shares]}
    said |= {"seed": config.seed, "shuffle": config.shuffle}
    noise = None
    if config.text.is_noisy:
        pairs = [t.language for t in texts] if any(t.ends for t in texts) else []
        marks = [translation.mark(config.tag, pair) for pair in pairs]
        noise = TextNoise(config.text, config.vocabulary_config, texts, objective, marks)
        said |= {"noise": config.text.noise_identity(config.cache_root / "digests")}
    languages = _ids(config, texts)
    if config.packing != "none":
        return PackedBatches(
            Rows(objective, texts, languages, noise),
            shares,
            languages,
            batch_size=config.batch_size,
            seed=config.seed,
            shuffle=config.shuffle,
            fingerprint=digest(said | {"packing": config.packing}),
            mixed_rows=config.packing == "mixed",
        )
    return MixtureBatches(
        Rows(objective, texts, languages, noise),
        shares,
        languages,
        batch_size=config.batch_size,
        seed=config.seed,
        shuffle=config.shuffle,
        fingerprint=digest(said),
    )


def open_evaluation(
    config: DataConfig, split: str = "validation", limit: int | None = None
) -> EvaluationBatches:
    """Returns one deterministic pass over a split, `limit` rows a language at most.

    Rows of all languages alternate, so that the first batches already hold every language; noise
    depends on the language and the place in its text alone, not on the seed or the mixture.
    """
    vocabulary = open_vocabulary(config.vocabulary_config)
    objective = build_objective(config, vocabulary)
    texts, _ = _open_texts(config, split, vocabulary, objective)
    for text in texts:
        if not text.windows(objective, partial=True):
            raise UserError(
                f"Language '{text.language}' has no text in the split '{split}' (held_out="
                f"{config.held_out:g}): raise DataConfig.held_out, or leave the language out."
            )
    return EvaluationBatches(
        objective,
        texts,
        _ids(config, texts),
        batch_size=config.batch_size,
        limit=limit,
        fingerprint=digest(_identity(config, texts, vocabulary) | {"limit": limit}),
    )


def register_mixture(config: DataConfig) -> str:
    """Registers the config's tasks and their mixture with seqio; returns the mixture's name.

    The rates are those that open_mixture uses; tasks are named '<mixture>.<language>'. They hold
    text without noise, which depends on the row: open_mixture makes it.
    """
    if config.text.is_noisy:
        _log.warning(
            "seqio's tasks of '%s' have no noise: TextConfig's is made in jaxlt's own batches.",
            config.mixture,
        )
    from jaxlt.data.tasks import text as text_tasks

    vocabulary = open_vocabulary(config.vocabulary_config)
    objective = build_objective(config, vocabulary)
    texts, own_rates = _open_texts(config, config.split, vocabulary, objective)
    shares = _rates(config, texts, own_rates, objective)
    by_name = {t.language: float(r) for t, r in zip(texts, shares, strict=True)}
    return text_tasks.register_mixture(config, discover(config), by_name)


def discover(config: DataConfig) -> sources.Files:
    """Returns the files of the languages that take part; of translation, of the directions."""
    rated = tuple(n for n, _ in config.rates)
    if config.objective == "translation":
        found = translation.discover(
            config.sources, config.both_directions, config.languages, rated
        )
        ends: dict[str, list[str]] = {}
        for pair, paths in found.items():
            for end in translation.ends_of(pair):
                ends.setdefault(end, []).extend(paths)
        corpora.check_twins(ends)
        return found
    column = None if config.paired else language_column(config)
    found = sources.discover(config.sources, config.endings, rated or config.languages, column)
    corpora.check_twins(found)
    if column and column.unknown:
        where = ", ".join(config.sources)
        _warn_once(f"The column '{column.name}' in {where} has codes {column.report()}")
    return found


@functools.cache
def _warn_once(text: str) -> None:
    _log.warning("%s", text)


def _open_texts(
    config: DataConfig, split: str, vocabulary: Vocabulary, objective: Objective
) -> tuple[list[Text], dict[str, float]]:
    """Returns each language's tokens, and the rates that a registered mixture brings."""
    config.text.check_files()
    if not config.sources:
        from jaxlt.data.tasks import registered

        if config.text.settles:
            raise UserError(
                f"The tasks of '{config.mixture}' have made their text already: TextConfig can "
                "still add noise, but normalises, glosses and transliterates only what "
                "DataConfig.sources name."
            )
        return registered.open_texts(config, split, vocabulary, objective.features)
    sources.check_split(split, config.splits)
    _check_named(config)
    features = objective.features
    texts = []
    for language, paths in discover(config).items():
        text = Prepared(config, language, paths)
        recipe = ["text", VERSION, text.identity(), split, features, config.endings]
        key = digest([vocabulary.fingerprint, config.separator_text, *recipe])
        examples = functools.partial(text.tokenised, split, vocabulary)
        root = config.cache_root / "tokens"
        cache = open_or_build(root, language, split, key, vocabulary.size, features, examples)
        ends = translation.ends_of(language) if config.objective == "translation" else None
        texts.append(Text(language, key, cache, ends))
    return texts, {}


def _check_named(config: DataConfig) -> None:
    """Raises UserError for languages of TextConfig that the sources have not."""
    text = config.text
    if text.glossed or text.transliterated or text.noisy:
        found = tuple(discover(replace(config, rates=(), languages=())))
        if config.objective == "translation":
            found = tuple(end for pair in found for end in translation.ends_of(pair))
        text.check_languages(found)


def _rates(
    config: DataConfig, texts: list[Text], own: dict[str, float], objective: Objective
) -> np.ndarray:
    """Returns the share of rows of each text; float64 [L], summing to 1."""
    said = dict(config.rates) or own
    names = [t.name for t in texts]
    if config.tasks:
        said = rates.by_task(said, {t.name: t.source for t in texts})
    for name in said:
        if name not in names:
            raise UserError(f"DataConfig.rates names '{name}', unknown.{nearest(name, names)}")
    if said:
        return rates.explicit(said, names)
    counts = np.array([t.amount for t in texts], np.float64)
    if config.mixing == "equal":
        return rates.equal(counts)
    if config.mixing == "unimax":
        read = (config.unimax_steps or 0) * config.batch_size * (objective.window or 1)
        return rates.unimax(counts, read, config.max_epochs)
    return rates.temperature(counts, config.alpha)


def _ids(config: DataConfig, texts: list[Text]) -> tuple[str, ...]:
    """Returns the language names by id; every text's language is among them."""
    ends = {end for t in texts for end in (t.source, t.target)}
    names = config.languages or tuple(sorted(ends))
    for name in sorted(ends):
        if name not in names:
            raise UserError(
                f"Language '{name}' has a rate or text but is not in "
                f"DataConfig.languages.{nearest(name, names)}"
            )
    return names


def _identity(config: DataConfig, texts: list[Text], vocabulary: Vocabulary) -> dict[str, Any]:
    """Returns all but seeds and rates that decides the rows, for the fingerprint."""
    shape = ("inputs_length", "targets_length", "batch_size", "objective", "noise_density")
    more = {"modes": config.modes} if config.objective == "ul2" else {}
    return more | {
        "texts": {t.name: t.key for t in texts},
        "languages": _ids(config, texts),
        "vocabulary": vocabulary.fingerprint,
        **{name: getattr(config, name) for name in (*shape, "mean_span")},
    }
