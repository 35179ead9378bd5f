"""Tasks and mixtures that seqio knows already, as token caches of jaxlt's own mixtures."""

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import seqio

from jaxlt.data import files
from jaxlt.data.batches import digest
from jaxlt.data.tasks.text import IdentifiedSource
from jaxlt.data.token_cache import VERSION, Example, open_or_build
from jaxlt.data.views import Text
from jaxlt.data.vocabularies import EOS, Vocabulary
from jaxlt.errors import UserError, nearest

if TYPE_CHECKING:
    from jaxlt.data.mixtures import DataConfig


def open_texts(
    config: "DataConfig", split: str, vocabulary: Vocabulary, features: tuple[str, ...]
) -> tuple[list[Text], dict[str, float]]:
    """Returns the tokens of each task of `config.mixture`, and the mixture's own rates.

    A task's language is what follows the last dot of its name. Tokens are what its preprocessors
    yield before its cache. A change inside a source that is a plain function goes unseen: give such
    a task another name, or the run another cache_dir.
    """
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
                f"{nearest(language, tasks)}"
            )
        task = tasks[language]
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
        texts.append(Text(language, key, cache))
    own: dict[str, float] = {}
    if isinstance(provider, seqio.Mixture):
        own = {language: float(provider.get_rate(tasks[language])) for language in chosen}
    return texts, own


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
    dataset = task.source.get_dataset(split=split, shuffle=False)
    for example in task.preprocess_precache(dataset, seed=0).as_numpy_iterator():
        yield {name: _without_eos(np.asarray(example[name])) for name in features}


def _content(task: seqio.Task, split: str, config: "DataConfig") -> Any:
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
