"""The tasks of a DataConfig as token caches: their streams are tokenised without TensorFlow.

    open_texts(config, "train", vocabulary, objective)      # a Text each, tokenised once

seqio knows the same tasks by jaxlt.data.seqio_tasks.configured, with the same tokens; what a cache
is found by still names the steps by which seqio made them first.
"""

import functools
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from jaxlt.data.config import DataConfig
from jaxlt.data.head_example import HeadExample
from jaxlt.data.labelling import NUMBER, SAID, Labels
from jaxlt.data.near import nearest_language
from jaxlt.data.objectives.denoised import PIECE, denoised, denoising
from jaxlt.data.objectives.objectives import Objective
from jaxlt.data.rows.batches import digest
from jaxlt.data.rows.token_cache import UNREAD, VERSION, Example, TokenCache, open_or_build
from jaxlt.data.rows.views import TokenizedText
from jaxlt.data.sources.splits import Nothing
from jaxlt.data.task_config import TaskConfig
from jaxlt.data.tasks import configured
from jaxlt.data.tasks.kind import Stream, head_kind, kind_of
from jaxlt.data.text.labelled import LabelledChange, as_said
from jaxlt.data.text_forms import Form, space_of, words_text
from jaxlt.data.vocabulary.vocabularies import Vocabulary
from jaxlt.errors import UserError, some_of

_INT32 = 1 << 31  # of a cache whose numbers are not a vocabulary's
_AFTER = ["CacheDatasetPlaceholder", "append_eos_after_trim"]
_log = logging.getLogger(__name__)

Streams = Mapping[str, tuple[TaskConfig, Stream]]


def open_texts(
    config: DataConfig, split: str, vocabulary: Vocabulary, objective: Objective
) -> list[TokenizedText]:
    """Returns the texts of `config.tasks` that have something in the split, of `rates` if any."""
    streams = configured.streams(config)
    chosen = _chosen(streams, config)
    there = [name for name in chosen if split in streams[name][1].splits]
    if isinstance(objective, Labels):
        config.text.check_languages(tuple(sorted({name.rpartition(".")[2] for name in streams})))
        texts = [_open_labels(name, *streams[name], config, split, objective) for name in there]
    else:
        features = objective.features
        texts = [_open(n, *streams[n], config, split, vocabulary, features) for n in there]
    full = [text for text in texts if text.cache.examples]
    if not full:
        raise Nothing(
            f"None of the run's tasks ({', '.join(chosen[:5])}) has anything in the split "
            f"'{split}'. Where files do not say what is held out, DataConfig.held_out does."
        )
    absent = sorted({*chosen} - {text.name for text in full})
    if absent:
        _log.warning("Without anything in the split '%s': %s", split, some_of(absent, 5))
    return full


def running_documents(config: DataConfig) -> dict[str, Callable[[str], Iterable[bytes]]]:
    """Returns what reads the documents of a split of each of `config.tasks` of running text."""
    streams = configured.streams(config)
    return {
        name: streams[name][1].examples
        for name in _chosen(streams, config)
        if kind_of(streams[name][0].kind).running
    }


def unread_texts(config: DataConfig, split: str) -> list[TokenizedText]:
    """Returns the texts of `config.tasks` that have a split; none is tokenised.

    Their forms alone are to be read, perhaps none.
    """
    streams = configured.streams(config)
    texts = []
    for name in _chosen(streams, config):
        task, stream = streams[name]
        if split in stream.splits:
            read = _for_heads(stream) if config.objective == "heads" else _forms(task, stream)
            texts.append(_text(name, "", UNREAD, read, split))
    return texts


def labelled_examples(
    config: DataConfig,
    split: str,
    names: Collection[str] | None = None,
    languages: Collection[str] | None = None,
) -> Iterator[tuple[str, list[tuple[str, HeadExample]]]]:
    """Yields each of `config.tasks` that has the split, by its name: those named, or of `rates`.

    With it come its examples: the text form's inputs, and what heads see. Those of other
    `languages` are not read.
    """
    streams = configured.streams(config)
    for name in _chosen(streams, config) if names is None else sorted(names):
        wanted = languages is None or name.rpartition(".")[2] in languages
        if wanted and split in streams[name][1].splits:
            yield name, list(_labelled(name, *streams[name], config, split))


def _text(
    name: str,
    key: str,
    cache: TokenCache,
    read: Callable[[str], Iterable[Form]] | None,
    split: str,
) -> TokenizedText:
    language = name.rpartition(".")[2]
    source, colon, target = language.partition(":")

    def forms() -> Iterator[Form] | None:
        return iter(read(split)) if read else None

    return TokenizedText(language, key, cache, (source, target) if colon else None, name, forms)


def _forms(task: TaskConfig, stream: Stream) -> Callable[[str], Iterable[Form]] | None:
    """Returns what reads examples as texts, if they are no running text."""
    kind = kind_of(task.kind)
    return None if kind.running or kind.denoised else stream.examples


def _for_heads(stream: Stream) -> Callable[[str], Iterable[Form]]:
    return stream.for_heads or stream.examples


def _open(
    name: str,
    task: TaskConfig,
    stream: Stream,
    config: DataConfig,
    split: str,
    vocabulary: Vocabulary,
    features: tuple[str, ...],
) -> TokenizedText:
    content, steps, examples = _recipe(task, stream, config, vocabulary)
    if config.text.anew and kind_of(task.kind).denoised:
        features = (*features, PIECE)
    named = f"{config.mixture}.{name}"
    known = [named, content, steps, vocabulary.fingerprint, split, features]
    key = digest(["task", VERSION, *known])
    root, read = config.cache_root / "tokens", functools.partial(examples, split)
    cache = open_or_build(root, named, split, key, vocabulary.size, features, read)
    return _text(name, key, cache, _forms(task, stream), split)


def _recipe(
    task: TaskConfig, stream: Stream, config: DataConfig, vocabulary: Vocabulary
) -> tuple[Any, list[str], Callable[[str], Iterator[Example]]]:
    """Returns (what decides the examples, seqio's steps, split -> ids by feature)."""
    kind, encode = kind_of(task.kind), vocabulary.encode
    separator = config.separator_text

    def pairs(split: str) -> Iterator[Example]:
        for inputs, targets in stream.examples(split):
            yield {"inputs": encode(inputs.encode()), "targets": encode(targets.encode())}

    def documents(split: str) -> Iterator[np.ndarray]:
        return (encode(document + separator.encode()) for document in stream.examples(split))

    if kind.running:
        steps = ["wrapped_fn", "tokenize", "CacheDatasetPlaceholder", config.objective]
        content = [stream.identity(), separator]
        return content, steps, lambda split: ({"targets": ids} for ids in documents(split))
    if kind.denoised:
        objective = denoising(config)
        noise = [objective.window, config.noise_density, config.span]
        steps = ["separate", "_tokenize", "corrupted", "_without_eos", *_AFTER]
        content = ["denoise", stream.identity(), noise, separator]
        return content, steps, lambda split: denoised(documents(split), objective)
    return stream.identity(), ["tokenize", *_AFTER], pairs


def _open_labels(
    name: str, task: TaskConfig, stream: Stream, config: DataConfig, split: str, labels: Labels
) -> TokenizedText:
    """A task's examples as what heads read."""
    named, storing = f"{config.mixture}.{name}", labels.storing()
    content = ["heads", VERSION, named, stream.identity(), split]
    content += _text_identity(name, config, split)
    features = (*labels.features, NUMBER)
    if config.text.renews(name.rpartition(".")[2], split):
        features, content = (*features, SAID), [*content, SAID]

    def rows() -> Iterator[Example]:
        examples = parted = left = 0
        for _, example in _labelled(name, task, stream, config, split):
            pieces = storing.pieces(task.label, example)
            if not pieces and split != "train":  # it is scored, as wrong
                pieces = [storing.nothing(task.label)]
                left += 1
            for piece in pieces:
                more = {SAID: as_said(labels.said(example, piece))} if SAID in features else {}
                yield {**piece.fields, NUMBER: np.array([examples]), **more}
            examples, left, parted = examples + 1, left + (not pieces), parted + (len(pieces) > 1)
        if left or parted:
            what = f"{left} left out" if left else f"{parted} read in parts"
            _log.warning(
                "Of %d examples of '%s', %s: they are longer than a row.", examples, name, what
            )

    root = config.cache_root / "tokens"
    stored = digest([*content, labels.stored_identity])
    known = functools.partial(storing.names, task.label)
    cache = open_or_build(root, named, split, stored, _INT32, features, rows, known)
    cache = cache.replaced(labels.renumbered(task.label, cache.labels))
    return _text(name, digest([*content, labels.identity]), cache, _for_heads(stream), split)


def _text_identity(name: str, config: DataConfig, split: str) -> list[Any]:
    """Returns JSON of what TextConfig does to a task's examples: nothing where it does nothing."""
    memory, language = config.cache_root / "digests", name.rpartition(".")[2]
    settled, noisy = config.text.on_labelled(split)
    said: list[Any] = []
    if settled and (own := config.text.identity(language, memory)):
        said.append(own)
    if noisy and config.text.is_noisy and not config.text.renews(language, split):
        said.append(["noise", config.text.noise_identity(memory)])
    return said


def _labelled(
    name: str, task: TaskConfig, stream: Stream, config: DataConfig, split: str
) -> Iterator[tuple[str, HeadExample]]:
    """Yields (inputs, what heads see) of a split, with words as TextConfig changes them."""
    kind = head_kind(task.kind)

    def examples() -> Iterator[HeadExample]:
        return (kind.example(*form) for form in _for_heads(stream)(split))

    change = None
    if _text_identity(name, config, split):
        language = name.rpartition(".")[2]
        how = config.vocabulary_config
        change = LabelledChange(config.text, language, name, split, examples, how)
    for number, (inputs, targets) in enumerate(_for_heads(stream)(split)):
        example = kind.example(inputs, targets)
        if change:
            example = change(number, example)
            if example.words:
                said = words_text(example.words, space_of(config.rules))
                inputs = f"{inputs.partition(': ')[0]}: {said}"
        yield inputs, example


def _chosen(tasks: Collection[str], config: DataConfig) -> list[str]:
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
