"""The tasks that a DataConfig describes, registered with seqio."""

import functools
from collections.abc import Sequence
from typing import Any

import seqio
import tensorflow as tf

from jaxlt.data.config import DataConfig
from jaxlt.data.objectives.objectives import SpanCorruption, corrupted_lengths, raw_length
from jaxlt.data.read_config import ReadConfig
from jaxlt.data.seqio_tasks.preprocessors import corrupted, text_example
from jaxlt.data.seqio_tasks.text import (
    IdentifiedSource,
    generated,
    register_documents_task,
    replace_task,
    text_features,
)
from jaxlt.data.task_config import TaskConfig
from jaxlt.data.tasks import configured
from jaxlt.data.tasks.kind import Kind, Stream, kind_of
from jaxlt.data.vocabulary.vocabularies import open_vocabulary


def register(config: DataConfig) -> dict[str, seqio.Task]:
    """Registers `config.tasks` and the mixture over them, `config.mixture`.

    Returns the tasks by their names without the mixture's: 'tagging.en_ewt.eng_Latn'.
    """
    found = {
        name: _register(f"{config.mixture}.{name}", kind_of(task.kind), stream, config)
        for name, (task, stream) in configured.streams(config).items()
    }
    _mixture(config.mixture, [task.name for task in found.values()])
    return found


def register_task(mixture: str, task: TaskConfig, config: ReadConfig) -> str:
    """Registers '<mixture>.<stream>' for each stream of a task and their equal mixture."""
    kind, streams = kind_of(task.kind), configured.chosen(mixture, task, config)
    for name, stream in streams.items():
        _register(name, kind, stream, config)
    return _mixture(mixture, list(streams))


def _register(name: str, kind: Kind, stream: Stream, config: ReadConfig) -> seqio.Task:
    if kind.running:
        return register_documents_task(name, stream.examples, config, stream.identity)
    return (_register_denoised if kind.denoised else _register_pairs)(name, stream, config)


def _mixture(name: str, tasks: Sequence[str]) -> str:
    """Registers an equal mixture, over the one of that name if there is one."""
    if name in seqio.MixtureRegistry.names():
        seqio.MixtureRegistry.remove(name)
    seqio.MixtureRegistry.add(name, tasks, default_rate=1.0)
    return name


def _register_pairs(name: str, stream: Stream, config: ReadConfig) -> seqio.Task:
    text = tf.TensorSpec([], tf.string)

    def dataset(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
        del shuffle_files, seed  # one stream, read in order; seqio's buffer shuffles
        return generated(lambda: stream.examples(split), (text, text)).map(
            lambda inputs, targets: {"inputs": inputs, "targets": targets}
        )

    return replace_task(
        name,
        source=IdentifiedSource(
            dataset, stream.identity, stream.splits, stream.for_heads, stream.examples
        ),
        preprocessors=[
            seqio.preprocessors.tokenize,
            seqio.CacheDatasetPlaceholder(),
            seqio.preprocessors.append_eos_after_trim,
        ],
        output_features=text_features(config),
        metric_fns=[],
    )


def denoising(config: ReadConfig) -> SpanCorruption:
    """Returns span corruption whose inputs and targets fit the rows of a config's pairs."""
    most = config.inputs_length, config.targets_length or config.inputs_length
    density, span = config.noise_density, config.span
    window = raw_length(most[0], density, span)[0]
    while window > 2 and corrupted_lengths(window, density, span)[1] > most[1]:
        window -= 1
    vocabulary = open_vocabulary(config.vocabulary_config)
    return SpanCorruption(vocabulary, *most, density, span, window)


def _register_denoised(name: str, stream: Stream, config: ReadConfig) -> seqio.Task:
    objective = denoising(config)

    def dataset(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
        del shuffle_files, seed  # one stream, read in order
        return generated(lambda: stream.examples(split), tf.TensorSpec([], tf.string))

    def identity() -> list[Any]:
        noise = [objective.window, config.noise_density, config.span]
        return ["denoise", stream.identity(), noise, config.separator_text]

    def separate(document: tf.Tensor) -> dict[str, tf.Tensor]:
        return text_example(document, config.separator_text)

    return replace_task(
        name,
        source=IdentifiedSource(dataset, identity, stream.splits),
        preprocessors=[
            seqio.map_over_dataset(separate),
            _tokenize,
            functools.partial(corrupted, objective=objective),
            _without_eos,
            seqio.CacheDatasetPlaceholder(),
            seqio.preprocessors.append_eos_after_trim,
        ],
        output_features=text_features(config),
        metric_fns=[],
    )


def _tokenize(dataset: tf.data.Dataset, output_features: Any) -> tf.data.Dataset:
    only = {"targets": output_features["targets"]}
    return seqio.preprocessors.tokenize(dataset, only, copy_pretokenized=False)


def _without_eos(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Takes off the end that span corruption puts on: it comes after trimming."""
    return dataset.map(lambda example: {name: ids[:-1] for name, ids in example.items()})
