"""Mixtures of languages: from a DataConfig to batches that can be sought.

    train = open_mixture(DataConfig(sources=("corpus/",), inputs_length=512, batch_size=32))
    train.rows(step=1_000_000, start=0, stop=8)      # at once: nothing is skipped through
    held_out = open_evaluation(config)                # a finite pass, its noise always the same

Text is tokenised once into a cache beside the user's other caches; with that in place, opening a
mixture takes milliseconds and no TensorFlow. register_mixture makes the same tasks and rates known
to seqio.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from jaxlt.data import files, rates, sources, translation
from jaxlt.data.batches import digest
from jaxlt.data.denoisers import Denoisers, PrefixLM
from jaxlt.data.objectives import MaskedLM, Objective, SpanCorruption, TextToText
from jaxlt.data.packed import PackedBatches
from jaxlt.data.token_cache import VERSION, TokenCache, open_or_build
from jaxlt.data.views import EvaluationBatches, MixtureBatches, Rows, Text
from jaxlt.data.vocabularies import (
    Sentinels,
    Vocabulary,
    VocabularyConfig,
    open_vocabulary,
    vocabulary_config,
)
from jaxlt.errors import UserError, nearest

ObjectiveName = Literal["span_corruption", "prefix_lm", "ul2", "mlm", "text_to_text", "translation"]
Mixing = Literal["temperature", "unimax", "equal"]
Packing = Literal["none", "language", "mixed"]
PAIRED = ("text_to_text", "translation")  # objectives whose rows are given inputs and targets


@dataclass(frozen=True)
class DataConfig:
    """What to read and how rows are made of it.

    `sources` are folders, files or patterns of text by language (.txt, .txt.gz; for text_to_text
    .tsv, .tsv.gz with inputs<TAB>targets; for translation such files named by both languages,
    eng_Latn-swh_Latn.tsv); without them `mixture` names a registered seqio task or mixture.
    `languages` gives the ids of languages (default: sorted names) and with `rates` may name more
    than take part.

    `mixing` decides the languages' shares of rows where `rates` does not say them: 'temperature'
    (n^alpha of their tokens), 'equal', or 'unimax' (equal, but nobody beyond `max_epochs` of its
    text in `unimax_steps` steps). `packing` puts several examples in a row: of one 'language', or
    'mixed' ones.
    """

    mixture: str = "text"
    sources: str | tuple[str, ...] = ()
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
    cache_dir: str | None = None  # None: $JAXLT_CACHE or ~/.cache/jaxlt

    def __post_init__(self) -> None:
        given = (self.sources,) if isinstance(self.sources, str) else tuple(self.sources)
        object.__setattr__(self, "sources", given)
        pairs = self.rates.items() if isinstance(self.rates, Mapping) else self.rates
        object.__setattr__(self, "rates", tuple((str(n), float(r)) for n, r in pairs))
        object.__setattr__(self, "languages", tuple(self.languages))
        for field, kind in (("objective", ObjectiveName), ("mixing", Mixing), ("packing", Packing)):
            value, known = getattr(self, field), get_args(kind)
            if value not in known:
                raise UserError(
                    f"DataConfig.{field} is one of {', '.join(known)}, not '{value}'."
                    f"{nearest(value, known)}"
                )
        if self.batch_size < 1:
            raise UserError(f"DataConfig.batch_size must be at least 1, not {self.batch_size}.")
        if not 0 <= self.held_out < 1:
            raise UserError(f"DataConfig.held_out is a share in [0, 1), not {self.held_out}.")
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
    if config.packing != "none":
        languages = _ids(config, texts)
        return PackedBatches(
            Rows(objective, texts, languages),
            shares,
            languages,
            batch_size=config.batch_size,
            seed=config.seed,
            shuffle=config.shuffle,
            fingerprint=digest(said | {"packing": config.packing}),
            mixed_rows=config.packing == "mixed",
        )
    return MixtureBatches(
        objective,
        texts,
        shares,
        _ids(config, texts),
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

    The rates are those that open_mixture uses; tasks are named '<mixture>.<language>'.
    """
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
        return translation.discover(config.sources, config.both_directions, config.languages, rated)
    return sources.discover(config.sources, config.endings, rated or config.languages)


def _open_texts(
    config: DataConfig, split: str, vocabulary: Vocabulary, objective: Objective
) -> tuple[list[Text], dict[str, float]]:
    """Returns each language's tokens, and the rates that a registered mixture brings."""
    if not config.sources:
        from jaxlt.data.tasks import registered

        return registered.open_texts(config, split, vocabulary, objective.features)
    sources.check_split(split)
    root = config.cache_root
    texts = []
    for language, paths in discover(config).items():
        content = [files.content_digest(path, root / "digests") for path in paths]
        recipe = ["text", VERSION, config.held_out, split, objective.features, config.endings]
        ends = None
        if config.objective == "translation":
            ends = translation.ends_of(language)
            recipe += [config.tag, language, translation.turned(paths, language)]
        key = digest([content, vocabulary.fingerprint, config.separator_text, *recipe])
        cache = _open_cache(config, language, paths, split, key, vocabulary, objective.features)
        texts.append(Text(language, key, cache, ends))
    return texts, {}


def _open_cache(
    config: DataConfig,
    language: str,
    paths: tuple[str, ...],
    split: str,
    key: str,
    vocabulary: Vocabulary,
    features: tuple[str, ...],
) -> TokenCache:
    def examples() -> Any:
        if config.objective == "translation":
            found = translation.pairs(paths, language, split, config.held_out, config.tag)
            encode = vocabulary.encode
            return ({"inputs": encode(a), "targets": encode(b)} for a, b in found)
        if "inputs" in features:
            return sources.tokenised_pairs(paths, split, config.held_out, vocabulary)
        separator = config.separator_text.encode()
        return sources.tokenised(paths, split, config.held_out, vocabulary, separator)

    root = config.cache_root / "tokens"
    return open_or_build(root, language, split, key, vocabulary.size, features, examples)


def _rates(
    config: DataConfig, texts: list[Text], own: dict[str, float], objective: Objective
) -> np.ndarray:
    """Returns the share of rows of each text; float64 [L], summing to 1."""
    said = dict(config.rates) or own
    names = [t.language for t in texts]
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
        "texts": {t.language: t.key for t in texts},
        "languages": _ids(config, texts),
        "vocabulary": vocabulary.fingerprint,
        **{name: getattr(config, name) for name in (*shape, "mean_span")},
    }
