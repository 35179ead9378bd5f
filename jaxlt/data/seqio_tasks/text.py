"""Documents and pairs as ordinary seqio tasks, and those of a config's files, one a language.

register_tasks(config, discover(config))                 # {"swh_Latn": "corpus.swh_Latn", ...}
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

Examples = Callable[[str], Iterable[Any]]  # split -> documents, or (inputs, targets)
FAULTS: list[UserError] = []  # of the generators below, last one last


class IdentifiedSource(seqio.FunctionDataSource):
    """A function as a source that can say what it reads: `identity()` is JSON that decides it all.

    Token caches are keyed by it; a plain FunctionDataSource has only its name. TensorFlow turns
    every error of a generator into one of its own, whose text is a traceback; a UserError is kept
    in FAULTS, for who reads the dataset to raise.
    """

    def __init__(
        self,
        examples: Examples,
        identity: Callable[[], Any],
        splits: Sequence[str],
        pairs: bool = False,
    ):
        self.identity = identity

        def dataset(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
            del shuffle_files, seed  # one stream, read in order; seqio's buffer shuffles

            def run() -> Iterator[Any]:
                try:
                    yield from examples(split)
                except UserError as error:
                    FAULTS.append(error)
                    raise

            text = tf.TensorSpec([], tf.string)
            signature = (text, text) if pairs else text
            made = tf.data.Dataset.from_generator(run, output_signature=signature)
            return made.map(lambda a, b: {"inputs": a, "targets": b}) if pairs else made

        super().__init__(dataset, splits=splits)


def register_documents(
    name: str, documents: Examples, config: ReadConfig, identity: Callable[[], Any]
) -> seqio.Task:
    """Registers a task of documents under the config's objective; returns it."""
    more = {}
    if config.objective == "mlm":
        more["weights"] = seqio.Feature(
            seqio.PassThroughVocabulary(size=2), add_eos=False, dtype=tf.float32
        )
    separate = functools.partial(text_example, separator=config.separator_text)
    content: Callable[[], Any] = lambda: [identity(), config.separator_text]  # noqa: E731
    steps = [
        seqio.map_over_dataset(separate),
        functools.partial(seqio.preprocessors.tokenize, copy_pretokenized=False),
        seqio.CacheDatasetPlaceholder(),
        Corrupt(config),
    ]
    source = IdentifiedSource(documents, content, config.splits)
    return replace_task(name, config, source, steps, **more)


def register_pairs(
    name: str,
    pairs: Examples,
    config: ReadConfig,
    identity: Callable[[], Any],
    splits: Sequence[str],
) -> seqio.Task:
    """Registers a task of (inputs, targets); returns it."""
    steps = [
        seqio.preprocessors.tokenize,
        seqio.CacheDatasetPlaceholder(),
        seqio.preprocessors.append_eos_after_trim,
    ]
    return replace_task(name, config, IdentifiedSource(pairs, identity, splits, pairs=True), steps)


def register_tasks(config: ReadConfig, found: sources.Files) -> dict[str, str]:
    """Registers '<mixture>.<language>' for each language; returns these names by language."""
    bitext, names = Bitext(config), {}
    for language, paths in found.items():
        # seqio allows no dash, so a direction is 'eng_Latn:swh_Latn'.
        name = names[language] = f"{config.mixture}.{language.replace('-', ':')}"
        text = Prepared(config, language, paths, bitext)
        if config.paired:
            register_pairs(name, text.pairs, config, text.identity, config.splits)
        else:
            register_documents(name, text.documents, config, text.identity)
    return names


def replace_task(
    name: str, config: ReadConfig, source: Any, steps: Sequence[Any], **more: Any
) -> seqio.Task:
    """Registers a task, over the one of that name if there is one: a name means its last config.

    more: its features beside inputs and targets, which are in the config's vocabulary.
    """
    if name in seqio.TaskRegistry.names():
        seqio.TaskRegistry.remove(name)
    vocabulary = open_vocabulary(config.vocabulary_config).seqio()
    features = {n: seqio.Feature(vocabulary, add_eos=True) for n in ("inputs", "targets")}
    return seqio.TaskRegistry.add(
        name, source=source, preprocessors=[*steps], output_features=features | more, metric_fns=[]
    )
