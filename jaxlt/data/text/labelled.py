"""TextConfig on labelled examples: their words or texts are changed, and their labels stay.

    change = LabelledChange(TextConfig(transliterate="uroman"), "rus_Cyrl", "tagging.rus_Cyrl")
    change(7, HeadExample("tags", ("кот", "спит"), ("NOUN", "VERB")))   # words ("kot", "spit")

A word is changed by itself, so that as many are left: one that nothing would be left of stays, and
a dictionary's phrases are not looked up. Misspellings are drawn once for each example.
"""

import dataclasses
from collections.abc import Callable, Iterable
from itertools import islice

from jaxlt.data.head_example import HeadExample
from jaxlt.data.rows.batches import number_of, stream
from jaxlt.data.text.noise import CharacterNoise, alphabet_of
from jaxlt.data.text.noising import alphabet_of_file
from jaxlt.data.text.settings import TextConfig

_READ = 2000  # examples that an alphabet is taken from


class LabelledChange:
    """What a config does to the examples of a task in one language, in a split."""

    def __init__(
        self,
        config: TextConfig,
        language: str,
        task: str,
        split: str = "train",
        examples: Callable[[], Iterable[HeadExample]] = tuple,
    ):
        """examples: reads those of the split, for the text's own letters."""
        settled, noisy = config.on_labelled(split)
        self._change = config.change(language) if settled else None
        self._noise: CharacterNoise | None = None
        self._task = number_of(task)
        if noisy and config.misspells and (not config.noisy or language in config.noisy):
            letters = config.alphabet
            if config.alphabet_file:
                letters = alphabet_of_file(config.alphabet_file)
            elif not letters:
                read = islice(examples(), _READ)
                letters = alphabet_of(" ".join([*e.words, *e.texts]) for e in read)
            self._noise = CharacterNoise(letters, config.noise, config.edits)

    def __call__(self, number: int, example: HeadExample) -> HeadExample:
        """Returns the example of a number, changed."""
        words, texts = example.words, example.texts
        if self._change:
            change = self._change
            words = tuple(change(word).strip() or word for word in words)
            texts = tuple(change(text) for text in texts)
        if self._noise:
            draws = stream(0, "labelled", self._task, number)
            words = tuple(self._noise.words(words, draws))
            texts = tuple(self._noise(text, draws) for text in texts)
        return dataclasses.replace(example, words=words, texts=texts)
