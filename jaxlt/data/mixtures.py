"""Mixtures of languages: from a DataConfig to batches that can be sought.

    train = open_mixture(DataConfig(sources=("corpus/",), inputs_length=512, batch_size=32))
    train.rows(step=1_000_000, start=0, stop=8)      # at once: nothing is skipped through
    held_out = open_evaluation(config)                # a finite pass, its noise always the same

Text is tokenised once into a cache beside the user's other caches; with that in place, opening a
mixture takes milliseconds and no TensorFlow. jaxlt.data.seqio_tasks.mixtures
makes the same tasks and rates known to seqio.
"""

import functools
import itertools
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from jaxlt.data import amounts, rates, revisions
from jaxlt.data.config import DataConfig
from jaxlt.data.head_example import HeadExample
from jaxlt.data.inventory import NOTHING, Inventory
from jaxlt.data.labelling import SAID, Labels
from jaxlt.data.near import nearest_language
from jaxlt.data.objectives.build import build_objective
from jaxlt.data.objectives.denoised import PIECE, NewSpans, denoising
from jaxlt.data.objectives.objectives import Objective
from jaxlt.data.readers.problems import warn_once
from jaxlt.data.rows.batches import digest
from jaxlt.data.rows.length_buckets import LikeEvaluationBatches, LikeMixtureBatches
from jaxlt.data.rows.packed import PackedBatches
from jaxlt.data.rows.prepared import Bitext, Prepared
from jaxlt.data.rows.token_cache import UNREAD, VERSION, TokenCache, open_or_build
from jaxlt.data.rows.views import (
    EvaluationBatches,
    MixtureBatches,
    Renew,
    Rows,
    TokenizedText,
)
from jaxlt.data.sources import sources, translation
from jaxlt.data.sources.discovery import discover, parted
from jaxlt.data.sources.splits import Nothing
from jaxlt.data.tasks import streamed
from jaxlt.data.text.labelled import LabelledNoise
from jaxlt.data.text.noising import TextNoise
from jaxlt.data.text_forms import Form
from jaxlt.data.transfer import Open, TransferRoles
from jaxlt.data.vocabulary.vocabularies import Vocabulary, open_vocabulary
from jaxlt.errors import UserError, some_of

LITTLE = 20_000  # bytes that are held out of a language, below which a score says little
_log = logging.getLogger(__name__)


def open_mixture(
    config: DataConfig, split: str | None = None, inventory: Inventory = NOTHING
) -> MixtureBatches | PackedBatches:
    """Returns the training batches of a config; tokenises first what has no cache yet."""
    vocabulary, objective, opened = _opener(config, inventory)
    config, texts, own_rates, few = _training(config, split or config.split, opened)
    config, texts, absent, own_rates = _present(config, texts, own_rates)
    for text in texts:
        if not text.windows(objective, partial=False):
            raise UserError(
                f"Language '{text.language}' has no text to train on in the split "
                f"'{split or config.split}' ({text.cache.examples} documents, held_out="
                f"{config.said_held_out}). Give it text, or leave it out of the mixture."
            )
    _say_what_is_cut(config, texts, objective)
    shares = rates_of(config, texts, own_rates, objective, few)
    content = _identity(config, texts, vocabulary) | {"rates": [float(r) for r in shares]}
    content |= {"seed": config.seed, "shuffle": config.shuffle}
    noise = None
    if config.text.is_noisy and config.objective != "heads":  # which have theirs already
        tag = config.tag
        marks = [translation.mark(tag, t.ends, t.origin) if t.ends else b"" for t in texts]
        noise = TextNoise(config.text, config.vocabulary_config, texts, objective, marks)
        content |= {"noise": config.text.noise_identity(config.cache_root / "digests")}
    renew = _renewing(config, texts, objective)
    if isinstance(renew, LabelledNoise):
        content |= {"noise": config.text.noise_identity(config.cache_root / "digests")}
    languages = _ids(config, texts)
    make = Rows(objective, texts, languages, noise, absent, renew)
    order: dict[str, Any] = {
        name: getattr(config, name) for name in ("batch_size", "seed", "shuffle")
    }
    if config.packing != "none":
        return PackedBatches(
            make,
            shares,
            languages,
            **order,
            fingerprint=digest(content | {"packing": config.packing}),
            mixed_rows=config.packing == "mixed",
            cycles_apart=config.rules.cycles_apart,
        )
    if config.length_buckets:
        order["pool"] = config.length_buckets
        content |= {"like_lengths": config.length_buckets}
    batches = LikeMixtureBatches if config.length_buckets else MixtureBatches
    return batches(make, shares, languages, **order, fingerprint=digest(content))


def _renewing(config: DataConfig, texts: list[TokenizedText], objective: Objective) -> Renew | None:
    """Returns what is drawn anew at each visit beside noise of text, if anything is."""
    if any(PIECE in text.cache.columns for text in texts):
        return NewSpans(texts, denoising(config))
    if isinstance(objective, Labels) and any(SAID in text.cache.columns for text in texts):
        return LabelledNoise(config.text, config.vocabulary_config, texts, objective)
    return None


def _opener(config: DataConfig, inventory: Inventory) -> tuple[Vocabulary, Objective, Open]:
    """Returns a config's vocabulary and objective, and what opens texts for them."""
    vocabulary = open_vocabulary(config.vocabulary_config)
    objective = build_objective(config, vocabulary, inventory)
    return (
        vocabulary,
        objective,
        functools.partial(open_texts, vocabulary=vocabulary, objective=objective),
    )


def _training(
    config: DataConfig, split: str, opened: Open
) -> tuple[DataConfig, list[TokenizedText], dict[str, float], frozenset[str]]:
    """Returns (the config with its languages, what trains, a mixture's own rates, few-shot names).

    The last are those of texts that have TransferConfig.share together.
    """
    few: frozenset[str] = frozenset()
    if config.transfer:
        roles = TransferRoles.of(config)
        (texts, own), few = roles.training(split, opened), roles.few()
        shots = roles.shot_names()
        config = roles.config
    else:
        (texts, own), shots = opened(config, split), few
    if config.amounts:
        seed = config.seed if config.amounts_seed is None else config.amounts_seed
        texts = amounts.dosed(texts, config.amounts, seed, shots)
    return config, texts, own, few


def _present(
    config: DataConfig, texts: list[TokenizedText], own: dict[str, float]
) -> tuple[DataConfig, list[TokenizedText], list[TokenizedText], dict[str, float]]:
    """Returns (config, texts, those whose amount is 0, a mixture's own rates) without the third.

    Languages keep the ids that they have with it; rates for it alone are left out.
    """
    absent = [text for text in texts if text.dosed and not text.cache.examples]
    if not absent:
        return config, texts, absent, own
    present = [text for text in texts if text not in absent]

    def names(some: list[TokenizedText]) -> set[str]:
        return {name for t in some for name in (t.name, t.source, t.language, t.kind)}

    gone = names(absent) - names(present)
    rates = tuple((name, rate) for name, rate in config.rates if name not in gone)
    config = replace(config, languages=_ids(config, texts), rates=rates)
    return config, present, absent, {name: r for name, r in own.items() if name not in gone}


def training_forms(
    config: DataConfig, inventory: Inventory = NOTHING, most: int | None = None
) -> Iterator[tuple[TokenizedText, Iterator[tuple[int, Form]]]]:
    """Yields each text that a config trains on, with (number, form) of its first examples.

    They are read from the files, those too long for heads among them; nothing is tokenised but what
    few_shot draws from (of a target the examples that it draws), mixtures of a user's own, and what
    `amounts` count.
    """
    _, _, opened = _opener(config, inventory)
    if config.amounts or not (config.sources or config.tasks):
        texts = [t for t in _training(config, config.split, opened)[1] if t.cache.examples]
    elif config.transfer:
        texts = TransferRoles.of(config).training(config.split, opened, _unread_texts)[0]
    else:
        texts = _unread_texts(config, config.split)[0]
    for text in texts:
        yield text, _first_forms(text, most)


def _first_forms(text: TokenizedText, most: int | None) -> Iterator[tuple[int, Form]]:
    """Reads a text once it is asked to, tokenised or not."""
    if text.cache is not UNREAD:
        yield from text.read_forms(most)
    elif text.forms is not None:
        yield from enumerate(itertools.islice(text.forms() or (), most))


def _unread_texts(config: DataConfig, split: str) -> tuple[list[TokenizedText], dict[str, float]]:
    """Returns texts as `open_texts` does, whose forms alone are to be read."""
    if not config.sources:
        return streamed.unread_texts(config, split), {}
    sources.check_split(split, config.splits)
    shared = Bitext(config)
    texts = []
    for name, origin, paths in parted(config):
        text = Prepared(config, name, paths, shared, origin)
        texts.append(_text(config, split, text, name, origin))
    return texts, {}


def _text(
    config: DataConfig,
    split: str,
    text: Prepared,
    language: str,
    origin: str,
    key: str = "",
    cache: TokenCache = UNREAD,
) -> TokenizedText:
    ends = translation.ends_of(language) if config.objective == "translation" else None
    forms = functools.partial(text.forms, split) if config.paired else None
    return TokenizedText(language, key, cache, ends, forms=forms, origin=origin)


def training_documents(config: DataConfig, notes: bool = True) -> dict[str, amounts.Documents]:
    """Returns what reads the running text that a config trains on, for a vocabulary of its own.

    By language or task; what is held out, or beyond `amounts`, is left out. notes: as of Prepared.
    """
    if config.paired or config.objective == "heads" or config.transfer:
        raise UserError(
            "A vocabulary is trained on running text: name data of an objective such as "
            f"'span_corruption', not '{config.objective}', and leave DataConfig.transfer out."
        )
    read: dict[str, amounts.Documents] = {}
    if config.sources:
        for name, paths in discover(config).items():
            text = Prepared(config, name, paths, notes=notes)
            read[name] = functools.partial(text.documents, "train")
    else:
        for name, examples in streamed.running_documents(config).items():
            read[name] = functools.partial(examples, "train")
    tasks = {name: "" if config.sources else name for name in read}
    texts = [TokenizedText(n.rpartition(".")[2], "", UNREAD, task=t) for n, t in tasks.items()]
    seed = config.seed if config.amounts_seed is None else config.amounts_seed
    return amounts.dosed_documents(read, texts, config.amounts, seed)


def training_examples(config: DataConfig) -> Iterator[tuple[str, HeadExample]]:
    """Yields what heads are trained on, each with its head's name; of few_shot all of the targets'.

    For the names of labels: what trains is what open_mixture opens.
    """
    languages, taken = None, {}
    if config.amounts:
        texts = _training(config, "train", _opener(config, NOTHING)[2])[1]
        taken = {text.name: set(text.numbers().tolist()) for text in texts}
    if config.transfer:
        config, languages = TransferRoles.of(config).read_to_train()
    for name, examples in streamed.labelled_examples(config, "train", languages=languages):
        for number, (_, example) in enumerate(examples):
            if not taken or number in taken.get(name, ()):
                yield name.partition(".")[0], example


def examples_of(
    config: DataConfig, split: str, source: EvaluationBatches
) -> Iterator[tuple[TokenizedText, list[tuple[str, HeadExample]]]]:
    """Yields the examples behind a pass for heads, task by task: inputs, and what heads see."""
    chosen = {text.name: (text, numbers) for text, numbers in source.numbers()}
    for name, examples in streamed.labelled_examples(config, split, chosen):
        text, numbers = chosen[name]
        yield text, [examples[number] for number in numbers]


def open_evaluation(
    config: DataConfig,
    split: str = "validation",
    limit: int | None = None,
    languages: tuple[str, ...] | None = None,
    inventory: Inventory = NOTHING,
) -> EvaluationBatches:
    """Returns one deterministic pass over a split, `limit` rows a language at most.

    With `config.transfer` it is over the languages that stop training, or over those given.

    Rows of all languages alternate, so that the first batches already hold every language; noise
    depends on the language and the place in its text alone, not on the seed or the mixture.
    """
    vocabulary, objective, opened = _opener(config, inventory)
    if config.transfer:
        roles = TransferRoles.of(config)
        config, texts = roles.config, roles.evaluation(split, opened, languages)
    else:
        texts, _ = opened(config, split)
        texts = [replace(t, origin="") for t in texts if t.origin in ("", translation.REAL)]
        if not texts:
            raise Nothing(
                "Only real pairs are evaluated, and DataConfig.origins and rates leave none: name "
                f"some in DataConfig.rates ('{translation.REAL}'), or evaluate other data."
            )
    for text in texts:
        if not text.windows(objective, partial=True):
            raise UserError(
                f"Language '{text.language}' has no text in the split '{split}' (held_out="
                f"{config.said_held_out}): raise DataConfig.held_out, or leave the language out."
            )
    _say_what_is_cut(config, texts, objective)
    if config.spells_text:
        _say_what_is_little(texts, vocabulary, split)
    batches = LikeEvaluationBatches if config.length_buckets else EvaluationBatches
    return batches(
        objective,
        texts,
        _ids(config, texts),
        batch_size=config.batch_size,
        limit=limit,
        fingerprint=digest(_identity(config, texts, vocabulary) | {"limit": limit}),
        spells_text=config.spells_text,
    )


def _say_what_is_cut(config: DataConfig, texts: list[TokenizedText], objective: Objective) -> None:
    """Warns of examples whose inputs or targets, with their ends, are longer than a row."""
    if not config.paired:
        return
    fields = {"inputs": "encoder_input_tokens", "targets": "decoder_target_tokens"}
    for feature, field in fields.items():
        width = objective.spec()[field][0][0]
        for text in texts:
            lengths = np.diff(text.cache.columns[feature].offsets) + 1
            if cut := int((lengths > width).sum()):
                warn_once(
                    f"Of {len(lengths):,} {feature} of '{text.name}', {cut:,} are longer than "
                    f"DataConfig.{feature}_length = {width} and are cut."
                )


def _say_what_is_little(texts: list[TokenizedText], vocabulary: Vocabulary, split: str) -> None:
    """Warns of texts that are too small for bits per byte to say much of a language."""
    little = []
    for text in texts:
        tokens = text.cache.columns["targets"].tokens
        if len(tokens) < LITTLE:  # a token spells a byte at least, as a rule
            size = vocabulary.byte_length(tokens)
            little += [f"{text.name} ({size:,})"] if size < LITTLE else []
    if little:
        warn_once(
            f"The split '{split}' has fewer than {LITTLE:,} bytes of {some_of(little)}: bits per "
            "byte of so little text are uncertain (`jaxlt eval` shows their interval). Raise "
            "DataConfig.held_out, or give it more text."
        )


def open_texts(
    config: DataConfig, split: str, vocabulary: Vocabulary, objective: Objective
) -> tuple[list[TokenizedText], dict[str, float]]:
    """Returns each language's tokens, and the rates that a registered mixture brings."""
    config.text.check_files()
    if not config.sources:
        if config.text.settles and config.objective != "heads":
            raise UserError(
                f"The tasks of '{config.mixture}' have made their text already: TextConfig can "
                "still add noise, but normalises, glosses and transliterates only what "
                "DataConfig.sources name."
            )
        if config.tasks:
            return streamed.open_texts(config, split, vocabulary, objective), {}
        from jaxlt.data.seqio_tasks import registered

        return registered.open_texts(config, split, vocabulary, objective)
    sources.check_split(split, config.splits)
    _check_named(config)
    features, bitext = objective.features, Bitext(config)
    texts = []
    for language, origin, paths in parted(config):
        text = Prepared(config, language, paths, bitext, origin)
        recipe = ["text", VERSION, text.identity(), split, features, config.endings]
        key = digest([vocabulary.fingerprint, config.separator_text, *recipe])
        examples = functools.partial(text.tokenised, split, vocabulary)
        root = config.cache_root / "tokens"
        cache = open_or_build(root, language, split, key, vocabulary.size, features, examples)
        texts.append(_text(config, split, text, language, origin, key, cache))
    return texts, {}


def _check_named(config: DataConfig) -> None:
    """Raises UserError for languages of TextConfig that the sources have not."""
    text = config.text
    if text.glossed or text.transliterated or text.noisy:
        found = tuple(discover(replace(config, rates=(), languages=())))
        if config.objective == "translation":
            found = tuple(end for pair in found for end in translation.ends_of(pair))
        text.check_languages(found)


def rates_of(
    config: DataConfig,
    texts: list[TokenizedText],
    own: dict[str, float],
    objective: Objective,
    few: frozenset[str] = frozenset(),
) -> np.ndarray:
    """Returns the share of rows of each text; float64 [L], summing to 1.

    Those named in `few` have TransferConfig.share of it, all alike, unless rates are said.
    """
    chosen = dict(config.rates) or own
    names = [t.name for t in texts]
    if config.tasks or config.origins:
        chosen = rates.by_task(chosen, {t.name: t.origin or t.source for t in texts})
    for name in chosen:
        if name not in names:
            raise UserError(
                f"DataConfig.rates names '{name}', unknown."
                f"{nearest_language(name, {*names, *(n for n, _ in config.origins)})}"
            )
    if chosen:
        return rates.explicit(chosen, names)
    is_few = np.array([name in few for name in names])
    if config.transfer and is_few.any() and not is_few.all():
        out = np.full(len(texts), config.transfer.share / is_few.sum())
        others = [text for text in texts if text.name not in few]
        out[~is_few] = (1 - config.transfer.share) * rates_of(config, others, own, objective)
        return out
    counts = np.array([t.amount for t in texts], np.float64)
    if config.mixing == "equal":
        return rates.equal(counts)
    if config.mixing == "unimax":
        read = (config.unimax_steps or 0) * config.batch_size * (objective.window or 1)
        return rates.unimax(counts, read, config.max_epochs)
    return rates.temperature(counts, config.alpha)


def _ids(config: DataConfig, texts: list[TokenizedText]) -> tuple[str, ...]:
    """Returns the language names by id; every text's language is among them."""
    ends = {end for t in texts for end in (t.source, t.target)}
    names = config.languages or tuple(sorted(ends))
    for name in sorted(ends):
        if name not in names:
            raise UserError(
                f"Language '{name}' has a rate or text but is not in "
                f"DataConfig.languages.{nearest_language(name, names)}"
            )
    return names


def _identity(
    config: DataConfig, texts: list[TokenizedText], vocabulary: Vocabulary
) -> dict[str, Any]:
    """Returns all but seeds and rates that decides the rows, for the fingerprint."""
    shape = ["inputs_length", "targets_length", "batch_size", "objective", "noise_density"]
    shape += ["mean_span"] + ["modes"] * (config.objective == "ul2")
    return {
        "texts": {t.name: t.key for t in texts},
        "languages": _ids(config, texts),
        "vocabulary": vocabulary.fingerprint,
        **{name: getattr(config, name) for name in shape},
        **revisions.identity(config.revision),
    }
