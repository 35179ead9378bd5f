"""TextConfig on labelled examples: their words or texts are changed, and their labels stay.

    change = LabelledChange(TextConfig(transliterate="uroman"), "rus_Cyrl", "tagging.rus_Cyrl")
    change(7, HeadExample("tags", ("кот", "спит"), ("NOUN", "VERB")))   # words ("kot", "spit")

A word is changed by itself, so that as many are left: one that nothing would be left of stays, and
a dictionary's phrases are not looked up. Noise is drawn once for each example by LabelledChange, or
by LabelledNoise at each visit of a row.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from jaxlt.data.head_example import WORDS, HeadExample
from jaxlt.data.labelling import SAID, Labels
from jaxlt.data.objectives.objectives import Features
from jaxlt.data.rows.batches import number_of, stream
from jaxlt.data.rows.views import TokenizedText
from jaxlt.data.text.noise import CharacterNoise, alphabet_of
from jaxlt.data.text.noising import alphabet_of_file
from jaxlt.data.text.settings import TextConfig
from jaxlt.data.vocabulary.subwords import SubwordSampler
from jaxlt.data.vocabulary.vocabularies import VocabularyConfig

_READ = 2000  # examples that an alphabet is taken from
_PARTED = b"\xff"  # between what a row says; no byte of UTF-8


class LabelledChange:
    """What a config does once to the examples of a task in one language, in a split."""

    def __init__(
        self,
        config: TextConfig,
        language: str,
        task: str,
        split: str = "train",
        examples: Callable[[], Iterable[HeadExample]] = tuple,
        vocabulary: VocabularyConfig | None = None,
    ):
        """examples: reads those of the split, for the text's own letters."""
        settled, noisy = config.on_labelled(split)
        noisy = noisy and config.noisy_in(language) and not config.renews(language, split)
        self._change = config.change(language) if settled else None
        self._noise, self._sampler = None, None
        self._task = number_of(task)
        if noisy and config.misspells:
            self._noise = _misspeller(config, ([*e.words, *e.texts] for e in examples()))
        if noisy and config.subwords and vocabulary:
            self._sampler = SubwordSampler(vocabulary, config.subwords)

    def __call__(self, number: int, example: HeadExample) -> HeadExample:
        """Returns the example of a number, changed."""
        words, texts = example.words, example.texts
        if self._change:
            change = self._change
            words = tuple(change(word).strip() or word for word in words)
            texts = tuple(change(text) for text in texts)
        example = replace(example, words=words, texts=texts)
        if self._noise:
            example = _misspelt(example, self._noise, stream(0, "labelled", self._task, number))
        if sampler := self._sampler:
            cut = lambda plain: sampler.tokens(plain, 0, self._task, number)  # noqa: E731
            example = replace(example, cut=cut)
        return example


class LabelledNoise:
    """The noise of training rows of heads, drawn at each visit; see jaxlt.data.rows.views.Renew."""

    def __init__(
        self,
        config: TextConfig,
        vocabulary: VocabularyConfig,
        texts: Sequence[TokenizedText],
        labels: Labels,
    ):
        self._labels, self._texts = labels, texts
        self._shapes = {task.name: task.shape for task in labels.tasks}
        self._sampler = SubwordSampler(vocabulary, config.subwords) if config.subwords else None
        self._noise = {
            text.name: _misspeller(config, self._every(text))
            for text in texts
            if config.misspells and SAID in text.cache.columns
        }

    def _every(self, text: TokenizedText) -> Iterator[list[str]]:
        column = text.cache.columns[SAID]
        return (says(column.whole(row)) for row in range(text.cache.examples))

    def __call__(
        self,
        features: Features,
        text: np.ndarray,
        index: np.ndarray,
        seed: int,
        places: np.ndarray,
        room: np.ndarray | None,
    ) -> None:
        """Puts the new spelling of rows into their features."""
        for row, which in enumerate(text.tolist()):
            columns = self._texts[which].cache.columns
            if SAID not in columns:
                continue
            name, said = self._texts[which].name, says(columns[SAID].whole(index[row]))
            most = None if room is None else int(room[row])
            for field, values in self._spelt(name, said, seed, int(places[row]), most).items():
                features[field][0][row] = 0
                features[field][0][row, : len(values)] = values

    def _spelt(
        self, name: str, said: list[str], seed: int, place: int, room: int | None
    ) -> dict[str, np.ndarray]:
        """Returns the fields of a row's new spelling, nothing where it keeps its own.

        Half of the misspelt words, whichever are drawn, go back until the row is short enough.
        """
        shape = self._shapes[name.partition(".")[0]]
        is_words = shape in WORDS
        parts = ((*said,), ()) if is_words else ((), (*said,))
        example = HeadExample(shape, words=parts[0], texts=parts[1])
        draws = stream(seed, "misspell", place)
        if noise := self._noise.get(name):
            example = _misspelt(example, noise, draws)
        fields: dict[str, np.ndarray] = {}
        if sampler := self._sampler:
            cut = lambda plain: sampler.tokens(plain, seed, place)  # noqa: E731
            fields = self._labels.respelt(replace(example, cut=cut), room)
        changed = [i for i, word in enumerate(example.words) if word != said[i]]
        changed = draws.permutation(np.array(changed, int)).tolist()
        while not fields and (changed or not is_words):
            words = tuple(new if i in changed else said[i] for i, new in enumerate(example.words))
            fields = self._labels.respelt(replace(example, words=words), room)
            changed = changed[: len(changed) // 2]
        return fields


def says(column: np.ndarray) -> list[str]:
    """Returns the words or texts that a row's column SAID holds."""
    return [part.decode() for part in column.astype(np.uint8).tobytes().split(_PARTED)]


def as_said(parts: Sequence[str]) -> np.ndarray:
    """Returns words or texts as a column, uint8 [n]."""
    return np.frombuffer(_PARTED.join(part.encode() for part in parts), np.uint8)


def _misspelt(
    example: HeadExample, noise: CharacterNoise, draws: np.random.Generator
) -> HeadExample:
    words = tuple(noise.words(example.words, draws))
    return replace(example, words=words, texts=tuple(noise(text, draws) for text in example.texts))


def _misspeller(config: TextConfig, said: Iterable[Sequence[str]]) -> CharacterNoise:
    """Returns the noise of a config; its letters are those of what is said, if none are given."""
    letters = config.alphabet
    if config.alphabet_file:
        letters = alphabet_of_file(config.alphabet_file)
    elif not letters:
        letters = alphabet_of(" ".join(parts) for parts in islice(said, _READ))
    return CharacterNoise(letters, config.noise, config.edits)
