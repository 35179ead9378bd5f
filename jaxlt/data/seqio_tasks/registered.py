"""Tasks and mixtures that seqio knows already, as token caches of jaxlt's own mixtures."""

import functools
import logging
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from jaxlt.data.config import DataConfig
from jaxlt.data.labelling import NUMBER, Labels
from jaxlt.data.marked import Marked
from jaxlt.data.near import nearest_language
from jaxlt.data.objectives.objectives import Objective
from jaxlt.data.rows.batches import digest
from jaxlt.data.rows.token_cache import UNREAD, VERSION, Example, TokenCache, open_or_build
from jaxlt.data.rows.views import Forms, Text
from jaxlt.data.seqio_tasks import configured
from jaxlt.data.seqio_tasks.text import FAULTS, IdentifiedSource
from jaxlt.data.sources import files
from jaxlt.data.sources.splits import Nothing
from jaxlt.data.tasks.kind import head_kind
from jaxlt.data.text_forms import Form
from jaxlt.data.vocabulary.vocabularies import EOS, Vocabulary
from jaxlt.errors import UserError, nearest

_INT32 = 1 << 31  # of a cache whose numbers are not a vocabulary's
_log = logging.getLogger(__name__)


def open_texts(
    config: DataConfig, split: str, vocabulary: Vocabulary, objective: Objective
) -> tuple[list[Text], dict[str, float]]:
    """Returns the tokens of each task of `config.mixture`, and the mixture's own rates.

    A task's language is what follows the last dot of its name, of a pair source:target. With
    `config.tasks` the mixture is registered first; those without the split are left out. Tokens
    are what its preprocessors yield before its cache. A change inside a source that is a plain
    function goes unseen: give such a task another name, or the run another cache_dir.
    """
    if config.tasks:
        return _open_configured(config, split, vocabulary, objective), {}
    provider = _provider(config.mixture)
    tasks = {task.name.rpartition(".")[2]: task for task in seqio.get_subtasks(provider)}
    if len(tasks) != len(seqio.get_subtasks(provider)):
        raise UserError(f"Two tasks of the mixture '{config.mixture}' have one language's name.")
    chosen = [name for name, _ in config.rates] or sorted(tasks)
    texts = []
    for language in chosen:
        if language not in tasks:
            raise UserError(
                f"The mixture '{config.mixture}' has no language '{language}'."
                f"{nearest_language(language, tasks)}"
            )
        texts.append(_open(tasks[language], config, split, vocabulary, objective.features))
    own: dict[str, float] = {}
    if isinstance(provider, seqio.Mixture):
        own = {language: float(provider.get_rate(tasks[language])) for language in chosen}
    return texts, own


def named(config: DataConfig) -> dict[str, str]:
    """Returns the language (of a pair source:target) of each task of `config.mixture`.

    By the task's name with `config.tasks`; else a task is named by its language.
    """
    if config.tasks:
        return {name: name.rpartition(".")[2] for name in configured.register(config)}
    tasks = seqio.get_subtasks(_provider(config.mixture))
    return {(name := task.name.rpartition(".")[2]): name for task in tasks}


def _open(
    task: seqio.Task,
    config: DataConfig,
    split: str,
    vocabulary: Vocabulary,
    features: tuple[str, ...],
    name: str = "",
) -> Text:
    _check(task, split, vocabulary, features)
    named = [task.name, _content(task, split, config), [_name(p) for p in task.preprocessors]]
    key = digest(["task", VERSION, *named, vocabulary.fingerprint, split, features])
    cache = open_or_build(
        config.cache_root / "tokens",
        task.name,
        split,
        key,
        vocabulary.size,
        features,
        functools.partial(_examples, task, split, features),
    )
    return _text(task, key, cache, name, functools.partial(_forms, task, split))


def _text(task: seqio.Task, key: str, cache: TokenCache, name: str, forms: Forms) -> Text:
    language = task.name.rpartition(".")[2]
    source, colon, target = language.partition(":")
    return Text(language, key, cache, (source, target) if colon else None, name, forms)


def unread_texts(config: DataConfig, split: str) -> list[Text]:
    """Returns the texts of `config.tasks` that have a split; none is tokenised.

    Their forms alone are to be read, perhaps none.
    """
    tasks = configured.register(config)
    found = []
    for name in (n for n in _chosen(tasks, config) if split in tasks[n].splits):
        task = tasks[name]
        read = task.source.marked if config.objective == "heads" else None
        forms = functools.partial(read, split) if read else functools.partial(_forms, task, split)
        found.append(_text(task, "", UNREAD, name, forms))
    return found


def _forms(task: seqio.Task, split: str) -> Iterator[Form] | None:
    """Reads a task's examples as texts: its source's own, or what its tokenize kept of them."""
    if isinstance(task.source, IdentifiedSource):
        return iter(task.source.forms(split)) if task.source.forms else None
    made = task.preprocess_precache(task.source.get_dataset(split=split, shuffle=False), seed=0)
    texts = [made.element_spec.get(name) for name in _KEPT]
    if not all(t is not None and t.dtype == tf.string and t.shape.rank == 0 for t in texts):
        return None

    def decoded() -> Iterator[Form]:
        for example in _precached(task, split):
            inputs, targets = (example[name].decode("utf-8") for name in _KEPT)
            yield inputs, targets

    return decoded()


_KEPT = ("inputs_pretokenized", "targets_pretokenized")


def _open_labels(
    task: seqio.Task, config: DataConfig, split: str, labels: Labels, name: str
) -> Text:
    """A task's examples as what heads read."""
    head, language = name.partition(".")[0], name.rpartition(".")[2]
    content = ["heads", VERSION, task.name, task.source.identity(), split]
    storing = labels.storing()

    def rows() -> Iterator[Example]:
        examples = parted = left = 0
        for _, marked in _marked(task, config, head, split):
            pieces = storing.pieces(head, marked)
            if not pieces and split != "train":  # it is scored, as wrong
                pieces = [storing.nothing(head)]
                left += 1
            for piece in pieces:
                yield {**piece.fields, NUMBER: np.array([examples])}
            examples, left, parted = examples + 1, left + (not pieces), parted + (len(pieces) > 1)
        if left or parted:
            what = f"{left} left out" if left else f"{parted} read in parts"
            _log.warning(
                "Of %d examples of '%s', %s: they are longer than a row.", examples, name, what
            )

    root = config.cache_root / "tokens"
    features = (*labels.features, NUMBER)
    stored = digest([*content, labels.stored_identity])
    named = functools.partial(storing.names, head)
    cache = open_or_build(root, task.name, split, stored, _INT32, features, rows, named)
    cache = cache.replaced(labels.renumbered(head, cache.labels))
    key = digest([*content, labels.identity])
    return Text(language, key, cache, None, name, functools.partial(task.source.marked, split))


def _marked(
    task: seqio.Task, config: DataConfig, head: str, split: str
) -> Iterator[tuple[str, Marked]]:
    kind = head_kind(next(one.kind for one in config.tasks if one.label == head))
    for inputs, targets in task.source.marked(split):
        yield inputs, kind.example(inputs, targets)


def marked_examples(
    config: DataConfig,
    split: str,
    names: Collection[str] | None = None,
    languages: Collection[str] | None = None,
) -> Iterator[tuple[str, list[tuple[str, Marked]]]]:
    """Yields each of `config.tasks` that has the split, by its name: those named, or of `rates`.

    With it come its examples: the text form's inputs, and what heads see. Those of other
    `languages` are not read.
    """
    tasks = configured.register(config)
    for name in _chosen(tasks, config) if names is None else sorted(names):
        wanted = languages is None or name.rpartition(".")[2] in languages
        if wanted and split in tasks[name].splits:
            yield name, list(_marked(tasks[name], config, name.partition(".")[0], split))


def _open_configured(
    config: DataConfig, split: str, vocabulary: Vocabulary, objective: Objective
) -> list[Text]:
    """Returns the texts of `config.tasks` that have something in the split, of `rates` if any."""
    tasks = configured.register(config)
    chosen = _chosen(tasks, config)
    there = [n for n in chosen if split in tasks[n].splits]
    if isinstance(objective, Labels):
        texts = [_open_labels(tasks[n], config, split, objective, n) for n in there]
    else:
        features = objective.features
        texts = [_open(tasks[n], config, split, vocabulary, features, n) for n in there]
    full = [text for text in texts if text.cache.examples]
    if not full:
        raise Nothing(
            f"None of the run's tasks ({', '.join(chosen[:5])}) has anything in the split "
            f"'{split}'. Where files do not say what is held out, DataConfig.held_out does."
        )
    absent = sorted({*chosen} - {text.name for text in full})
    if absent:
        more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
        _log.warning("Without anything in the split '%s': %s", split, ", ".join(absent[:5]) + more)
    return full


def _chosen(tasks: Mapping[str, seqio.Task], config: DataConfig) -> list[str]:
    """Returns the tasks that `rates` name, by themselves, by language or by kind, or all."""
    languages = {name: name.rpartition(".")[2].partition(":")[0] for name in tasks}
    known = {*tasks, *languages.values(), *(task.label for task in config.tasks)}
    for name, _ in config.rates:
        if name not in known:
            raise UserError(
                f"DataConfig.rates names '{name}', which is no task of the run, no kind and no "
                f"language of its tasks.{nearest_language(name, known)}"
            )
    rated = {name for name, _ in config.rates}
    kinds = {name: name.partition(".")[0] for name in tasks}
    return [n for n in sorted(tasks) if not rated or rated & {n, languages[n], kinds[n]}]


def _provider(name: str) -> "seqio.Task | seqio.Mixture":
    names = [*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()]
    if name not in names:
        raise UserError(
            f"No seqio task or mixture is named '{name}', and DataConfig.sources is empty: name "
            f"folders of text there, or import the module that registers it.{nearest(name, names)}"
        )
    return seqio.get_mixture_or_task(name)


def _check(task: seqio.Task, split: str, vocabulary: Vocabulary, features: tuple[str, ...]) -> None:
    if split not in task.splits:
        known = list(task.splits)
        raise UserError(
            f"Task '{task.name}' has no split '{split}': {', '.join(known)}.{nearest(split, known)}"
        )
    if not task.supports_caching:
        raise UserError(
            f"Task '{task.name}' has no seqio.CacheDatasetPlaceholder(): put one after its "
            "tokenize, so that it is known which of its steps are done once."
        )
    for feature in features:
        theirs = task.output_features[feature].vocabulary
        if theirs != vocabulary.seqio():
            raise UserError(
                f"Task '{task.name}' tokenises with {theirs}, the run with "
                f"{vocabulary.config}: give both the same vocabulary and sentinels."
            )


def _examples(task: seqio.Task, split: str, features: tuple[str, ...]) -> Iterator[Example]:
    for example in _precached(task, split):
        yield {name: _without_eos(np.asarray(example[name])) for name in features}


def _precached(task: seqio.Task, split: str) -> Iterator[dict[str, Any]]:
    """Yields what a task's preprocessors make of its examples before its cache."""
    dataset = task.source.get_dataset(split=split, shuffle=False)
    FAULTS.clear()
    try:
        yield from task.preprocess_precache(dataset, seed=0).as_numpy_iterator()
    except tf.errors.OpError:
        if FAULTS:
            raise FAULTS.pop() from None
        raise


def _content(task: seqio.Task, split: str, config: DataConfig) -> Any:
    """Returns JSON of what a task reads: what its source says of itself, or its files' contents."""
    if isinstance(task.source, IdentifiedSource):
        return task.source.identity()
    memory = config.cache_root / "digests"
    shards = [str(shard) for shard in task.source.list_shards(split=split)]
    read = [files.content_digest(s, memory) for s in shards if s != split and files.exists(s)]
    return [repr(task.source), read]


def _without_eos(ids: np.ndarray) -> np.ndarray:
    return ids[:-1] if len(ids) and ids[-1] == EOS else ids


def _name(preprocessor: object) -> str:
    inner = getattr(preprocessor, "func", preprocessor)
    return str(getattr(inner, "__name__", type(inner).__name__))
