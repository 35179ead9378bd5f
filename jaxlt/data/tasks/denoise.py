"""Running text among tasks with answers: span corruption as pairs, to be mixed into fine-tuning.

A model that is fine-tuned on one language's answers forgets to write the others; some text of
theirs beside the task is a remedy. Such a task has a training split alone: nothing is asked of it.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import seqio
import tensorflow as tf

from jaxlt.data.objectives.objectives import SpanCorruption, corrupted_lengths, raw_length
from jaxlt.data.read_config import ReadConfig
from jaxlt.data.rows.prepared import Prepared, language_column
from jaxlt.data.seqio_tasks.preprocessors import corrupted, text_example
from jaxlt.data.seqio_tasks.text import IdentifiedSource, generated, replace_task, text_features
from jaxlt.data.sources import corpora, sources
from jaxlt.data.tasks.examples import warn_unknown
from jaxlt.data.vocabulary.vocabularies import open_vocabulary
from jaxlt.errors import UserError

SPLITS = ("train",)


def register_denoise(mixture: str, given: Sequence[str], config: ReadConfig) -> str:
    """Registers a task '<mixture>.<language>' for each language of text; returns the mixture.

    Text is cut into pieces that fill a row, and the spans that are asked for are drawn once: an
    epoch is like the one before. Documents that are held out elsewhere are left out.
    """
    objective = objective_of(config)
    codes = corpora.Codes()
    names = []
    for found, paths in sources.discover(given, sources.TEXT, (), language_column(config)).items():
        text = Prepared(config, found, paths)
        names.append(f"{mixture}.{codes.of(found)}")
        _register_one(names[-1], text, config, objective)
    warn_unknown(mixture, codes)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"The text of '{twice[0]}' is there under two codes: give it one.")
    if mixture in seqio.MixtureRegistry.names():
        seqio.MixtureRegistry.remove(mixture)
    seqio.MixtureRegistry.add(mixture, names, default_rate=1.0)
    return mixture


def objective_of(config: ReadConfig) -> SpanCorruption:
    """Returns span corruption whose inputs and targets fit the rows of a config's pairs."""
    most = config.inputs_length, config.targets_length or config.inputs_length
    density, span = config.noise_density, config.span
    window = raw_length(most[0], density, span)[0]
    while window > 2 and corrupted_lengths(window, density, span)[1] > most[1]:
        window -= 1
    vocabulary = open_vocabulary(config.vocabulary_config)
    return SpanCorruption(vocabulary, *most, density, span, window)


def _register_one(name: str, text: Prepared, config: ReadConfig, objective: SpanCorruption) -> None:
    def dataset(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
        del shuffle_files, seed  # one stream, read in order
        return generated(lambda: _documents(text, split), tf.TensorSpec([], tf.string))

    def identity() -> list[Any]:
        noise = [objective.window, config.noise_density, config.span]
        return ["denoise", text.identity(), noise, config.separator_text]

    def separate(document: tf.Tensor) -> dict[str, tf.Tensor]:
        return text_example(document, config.separator_text)

    replace_task(
        name,
        source=IdentifiedSource(dataset, identity, SPLITS),
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


def _documents(text: Prepared, split: str) -> Iterator[bytes]:
    yield from text.documents(split)


def _tokenize(dataset: tf.data.Dataset, output_features: Any) -> tf.data.Dataset:
    only = {"targets": output_features["targets"]}
    return seqio.preprocessors.tokenize(dataset, only, copy_pretokenized=False)


def _without_eos(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Takes off the end that span corruption puts on: it comes after trimming."""
    return dataset.map(lambda example: {name: ids[:-1] for name, ids in example.items()})
