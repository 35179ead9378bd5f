"""Tasks and mixtures that seqio knows already, as token caches of jaxlt's own mixtures."""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from jaxlt.data.config import DataConfig
from jaxlt.data.near import nearest_language
from jaxlt.data.objectives.objectives import Objective
from jaxlt.data.rows.batches import digest
from jaxlt.data.rows.token_cache import VERSION, Example, open_or_build
from jaxlt.data.rows.views import TokenizedText
from jaxlt.data.seqio_tasks.text import FAULTS, IdentifiedSource
from jaxlt.data.sources import files
from jaxlt.data.text_forms import Form
from jaxlt.data.vocabulary.vocabularies import EOS, Vocabulary
from jaxlt.errors import UserError, nearest

_KEPT = ("inputs_pretokenized", "targets_pretokenized")


def open_texts(
    config: DataConfig, split: str, vocabulary: Vocabulary, objective: Objective
) -> tuple[list[TokenizedText], dict[str, float]]:
    """Returns the tokens of each task of `config.mixture`, and the mixture's own rates.

    A task's language is what follows the last dot of its name, of a pair source:target; tasks of a
    mixture that have one language go by their whole names. Tokens are what a task's preprocessors
    yield before its cache, or with `config.use_cached` what seqio's offline cache holds; of a task
    that marks no such place, and of pairs, what all its steps yield. A change inside a source that
    is a plain function goes unseen: give such a task another name, or the run another cache_dir.
    """
    provider, tasks = _provider(config.mixture), _tasks(config)
    chosen = [name for name, _ in config.rates] or sorted(tasks)
    for name in chosen:
        if name not in tasks:
            raise UserError(
                f"The mixture '{config.mixture}' has no language '{name}'."
                f"{nearest_language(name, tasks)}"
            )
    texts = [_open(tasks[n], config, split, vocabulary, objective, n) for n in chosen]
    if not isinstance(provider, seqio.Mixture):
        return texts, {}
    return texts, {name: float(provider.get_rate(tasks[name])) for name in chosen}


def languages(config: DataConfig) -> dict[str, str]:
    """Returns the language (of a pair source:target) of each task of `config.mixture`, by name."""
    return {name: task.name.rpartition(".")[2] for name, task in _tasks(config).items()}


def _tasks(config: DataConfig) -> dict[str, seqio.Task]:
    """Returns the tasks of a mixture by their languages, or else by their names."""
    subtasks = seqio.get_subtasks(_provider(config.mixture))
    tasks = {task.name.rpartition(".")[2]: task for task in subtasks}
    return tasks if len(tasks) == len(subtasks) else {task.name: task for task in subtasks}


def _open(
    task: seqio.Task,
    config: DataConfig,
    split: str,
    vocabulary: Vocabulary,
    objective: Objective,
    name: str,
) -> TokenizedText:
    features = objective.features
    read = _Read(task, config, split)
    _check(task, split, vocabulary, features)
    named = [task.name, read.content(), [_name(p) for p in task.preprocessors]]
    key = digest(["task", VERSION, *named, vocabulary.fingerprint, split, features])
    root = config.cache_root / "tokens"
    examples = functools.partial(read.tokens, features)
    cache = open_or_build(root, task.name, split, key, vocabulary.size, features, examples)
    language = task.name.rpartition(".")[2]
    source, colon, target = language.partition(":")
    ends = (source, target) if colon else None
    return TokenizedText(language, key, cache, ends, "" if name == language else name, read.forms)


class _Read:
    """One split of a task: its examples as they are before random steps, once."""

    def __init__(self, task: seqio.Task, config: DataConfig, split: str):
        self._task, self._config, self._split = task, config, split
        if config.use_cached and not task.cache_dir:
            raise UserError(
                f"DataConfig.use_cached is set, and seqio has no offline cache of '{task.name}': "
                "write one (jaxlt data cache, or seqio_cache_tasks), and name its folder in your "
                "module by seqio.add_global_cache_dirs."
            )
        if not config.use_cached and not task.supports_caching and not config.paired:
            raise UserError(
                f"Task '{task.name}' has no seqio.CacheDatasetPlaceholder(): put one after its "
                "tokenize, so that it is known which of its steps are done once."
            )

    @property
    def _lengths(self) -> dict[str, int]:
        """The lengths that the steps of a task without a place for a cache are told."""
        config = self._config
        targets = config.targets_length or config.inputs_length
        return {"inputs": config.inputs_length, "targets": targets}

    def dataset(self) -> tf.data.Dataset:
        """Returns the examples, in order."""
        task, split = self._task, self._split
        if self._config.use_cached:
            steps = task.preprocessors
            place = [isinstance(s, seqio.CacheDatasetPlaceholder) for s in steps].index(True)
            cached = seqio.Task(task.name, task.source, task.output_features, steps[: place + 1])
            return cached.get_dataset(None, split, use_cached=True, shuffle=False)
        if not task.supports_caching:
            return task.get_dataset(self._lengths, split, shuffle=False, seed=0)
        dataset = task.source.get_dataset(split=split, shuffle=False)
        return task.preprocess_precache(dataset, seed=0)

    def examples(self) -> Iterator[dict[str, Any]]:
        """Yields the examples; what was wrong in a source of jaxlt's is a UserError."""
        FAULTS.clear()
        try:
            yield from self.dataset().as_numpy_iterator()
        except tf.errors.OpError:
            if FAULTS:
                raise FAULTS.pop() from None
            raise

    def tokens(self, features: tuple[str, ...]) -> Iterator[Example]:
        """Yields the ids of each example by feature."""
        for example in self.examples():
            yield {name: _without_eos(np.asarray(example[name])) for name in features}

    def forms(self) -> Iterator[Form] | None:
        """Reads examples as texts, where the task's tokenize kept them."""
        spec = self.dataset().element_spec
        texts = [spec.get(name) for name in _KEPT]
        if not all(t is not None and t.dtype == tf.string and t.shape.rank == 0 for t in texts):
            return None
        decoded = ([e[name].decode("utf-8") for name in _KEPT] for e in self.examples())
        return ((inputs, targets) for inputs, targets in decoded)

    def content(self) -> Any:
        """Returns JSON of what is read: what a source says of itself, or its files' contents."""
        task, split, memory = self._task, self._split, self._config.cache_root / "digests"
        if self._config.use_cached:
            every = files.listing(task.cache_dir)
            paths = [path for path in every if path.rpartition("/")[2].startswith(f"{split}.")]
            return ["cached", [files.content_digest(path, memory) for path in paths]]
        if isinstance(task.source, IdentifiedSource):
            said = task.source.identity()
        else:
            shards = [str(shard) for shard in task.source.list_shards(split=split)]
            there = [shard for shard in shards if shard != split and files.exists(shard)]
            said = [repr(task.source), [files.content_digest(shard, memory) for shard in there]]
        return said if task.supports_caching else [said, self._lengths]


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
    for feature in features:
        if feature not in task.output_features:
            known = list(task.output_features)
            raise UserError(
                f"Task '{task.name}' has no feature '{feature}', which the run's objective reads; "
                f"it has {', '.join(known)}."
            )
        theirs = task.output_features[feature].vocabulary
        if theirs != vocabulary.seqio():
            raise UserError(
                f"Task '{task.name}' tokenises with {theirs}, the run with "
                f"{vocabulary.config}: give both the same vocabulary and sentinels."
            )


def _without_eos(ids: np.ndarray) -> np.ndarray:
    return ids[:-1] if len(ids) and ids[-1] == EOS else ids


def _name(preprocessor: object) -> str:
    inner = getattr(preprocessor, "func", preprocessor)
    return str(getattr(inner, "__name__", type(inner).__name__))
