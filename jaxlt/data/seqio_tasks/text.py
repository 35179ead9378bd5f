"""Ordinary seqio tasks: one a language over local text, and text to text from TSV files.

register_text_task("corpus.swh_Latn", ("corpus/swh_Latn.txt.gz",), DataConfig(...))
seqio.get_mixture_or_task("corpus.swh_Latn").get_dataset({"inputs": 512, "targets": 114})
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import seqio
import tensorflow as tf

from jaxlt.data.read_config import ReadConfig
from jaxlt.data.rows.prepared import Bitext, Prepared
from jaxlt.data.seqio_tasks.preprocessors import Corrupt, text_example
from jaxlt.data.sources import sources
from jaxlt.data.vocabulary.vocabularies import open_vocabulary
from jaxlt.errors import UserError

Documents = Callable[[str], Iterable[bytes]]  # split -> documents


FAULTS: list[UserError] = []  # of the generators below, last one last


def generated(make: Callable[[], Iterable[Any]], signature: Any) -> tf.data.Dataset:
    """A dataset of what a function yields.

    TensorFlow turns every error of a generator into one of its own, whose text is a traceback; a
    UserError is kept in FAULTS, for who reads the dataset to raise.
    """

    def run() -> Iterator[Any]:
        try:
            yield from make()
        except UserError as error:
            FAULTS.append(error)
            raise

    return tf.data.Dataset.from_generator(run, output_signature=signature)


class IdentifiedSource(seqio.FunctionDataSource):
    """A function as a source that can say what it reads: `identity()` is JSON that decides it all.

    Token caches are keyed by it; a plain FunctionDataSource has only its name.
    """

    def __init__(
        self,
        dataset: Callable[..., tf.data.Dataset],
        identity: Callable[[], Any],
        splits: Sequence[str] = ("train", "validation"),
    ):
        super().__init__(dataset, splits=splits)
        self.identity = identity


def register_text_task(name: str, paths: Sequence[str], config: ReadConfig) -> seqio.Task:
    """Registers a task of one language's text under the config's objective; returns it.

    The language is what follows the last dot of the name.
    """
    text = Prepared(config, name.rpartition(".")[2], paths)
    return register_documents_task(name, text.documents, config, text.identity)


def register_documents_task(
    name: str, documents: Documents, config: ReadConfig, identity: Callable[[], Any]
) -> seqio.Task:
    """Registers a task over any function from a split to documents; returns it.

    `identity()` returns JSON that decides the documents, as IdentifiedSource says.
    """

    def dataset(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
        del shuffle_files, seed  # one stream, read in order; seqio's buffer shuffles
        return generated(lambda: documents(split), tf.TensorSpec([], tf.string))

    features = text_features(config)
    if config.objective == "mlm":
        features["weights"] = seqio.Feature(
            seqio.PassThroughVocabulary(size=2), add_eos=False, dtype=tf.float32
        )
    separate = functools.partial(text_example, separator=config.separator_text)
    return replace_task(
        name,
        source=IdentifiedSource(
            dataset, lambda: [identity(), config.separator_text], config.splits
        ),
        preprocessors=[
            seqio.map_over_dataset(separate),
            functools.partial(seqio.preprocessors.tokenize, copy_pretokenized=False),
            seqio.CacheDatasetPlaceholder(),
            Corrupt(config),
        ],
        output_features=features,
        metric_fns=[],
    )


def register_pairs_task(
    name: str,
    paths: Sequence[str],
    config: ReadConfig,
    language: str = "",
    bitext: Bitext | None = None,
) -> seqio.Task:
    """Registers a task of inputs<TAB>targets files, or of one direction of bitext; returns it.

    The language (of translation the direction) is what follows the last dot of the name, unless it
    is given. bitext: that of the config, which tasks of all its directions can share.
    """
    pairs = Prepared(config, language or name.rpartition(".")[2], paths, bitext)

    def dataset(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
        del shuffle_files, seed
        text = tf.TensorSpec([], tf.string)
        return generated(lambda: pairs.pairs(split), (text, text)).map(
            lambda inputs, targets: {"inputs": inputs, "targets": targets}
        )

    return replace_task(
        name,
        source=IdentifiedSource(dataset, pairs.identity, config.splits),
        preprocessors=[
            seqio.preprocessors.tokenize,
            seqio.CacheDatasetPlaceholder(),
            seqio.preprocessors.append_eos_after_trim,
        ],
        output_features=text_features(config),
        metric_fns=[],
    )


def register_tasks(config: ReadConfig, found: sources.Files) -> dict[str, str]:
    """Registers '<mixture>.<language>' for each language; returns these names by language."""
    bitext, names = Bitext(config), {}
    for language, paths in found.items():
        # seqio allows no dash, so a direction is 'eng_Latn:swh_Latn'.
        name = names[language] = f"{config.mixture}.{language.replace('-', ':')}"
        if config.paired:
            register_pairs_task(name, paths, config, language, bitext)
        else:
            register_text_task(name, paths, config)
    return names


def text_features(config: ReadConfig) -> dict[str, seqio.Feature]:
    """Returns the features inputs and targets in the config's vocabulary."""
    vocabulary = open_vocabulary(config.vocabulary_config).seqio()
    return {name: seqio.Feature(vocabulary, add_eos=True) for name in ("inputs", "targets")}


def replace_task(name: str, **parts: Any) -> seqio.Task:
    """Registers a task, over the one of that name if there is one: a name means its last config."""
    if name in seqio.TaskRegistry.names():
        seqio.TaskRegistry.remove(name)
    return seqio.TaskRegistry.add(name, **parts)
