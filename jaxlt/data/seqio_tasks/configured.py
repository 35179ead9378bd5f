"""The tasks that a DataConfig describes, registered with seqio."""

import functools
from typing import Any

import seqio
import tensorflow as tf

from jaxlt.data.config import DataConfig
from jaxlt.data.objectives.denoised import denoising
from jaxlt.data.read_config import ReadConfig
from jaxlt.data.seqio_tasks.preprocessors import corrupted, text_example
from jaxlt.data.seqio_tasks.text import (
    IdentifiedSource,
    register_documents,
    register_pairs,
    replace_task,
)
from jaxlt.data.tasks import configured
from jaxlt.data.tasks.kind import Kind, Stream, kind_of


def register(config: DataConfig) -> dict[str, seqio.Task]:
    """Registers `config.tasks`; returns them by their names without the mixture's."""
    return {
        name: register_stream(f"{config.mixture}.{name}", kind_of(task.kind), stream, config)
        for name, (task, stream) in configured.streams(config).items()
    }


def register_stream(name: str, kind: Kind, stream: Stream, config: ReadConfig) -> seqio.Task:
    """Registers the examples of a kind as a task; returns it."""
    if kind.running:
        return register_documents(name, stream.examples, config, stream.identity)
    if kind.denoised:
        return _register_denoised(name, stream, config)
    return register_pairs(name, stream.examples, config, stream.identity, stream.splits)


def _register_denoised(name: str, stream: Stream, config: ReadConfig) -> seqio.Task:
    objective = denoising(config)

    def separate(document: tf.Tensor) -> dict[str, tf.Tensor]:
        return text_example(document, config.separator_text)

    steps = [
        seqio.map_over_dataset(separate),
        _tokenize,
        functools.partial(corrupted, objective=objective),
        _without_eos,
        seqio.CacheDatasetPlaceholder(),
        seqio.preprocessors.append_eos_after_trim,
    ]
    source = IdentifiedSource(stream.examples, stream.identity, stream.splits)
    return replace_task(name, config, source, steps)


def _tokenize(dataset: tf.data.Dataset, output_features: Any) -> tf.data.Dataset:
    only = {"targets": output_features["targets"]}
    return seqio.preprocessors.tokenize(dataset, only, copy_pretokenized=False)


def _without_eos(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Takes off the end that span corruption puts on: it comes after trimming."""
    return dataset.map(lambda example: {name: ids[:-1] for name, ids in example.items()})
