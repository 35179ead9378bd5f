"""Noise of training rows: words misspelt, words cut into other pieces. A function of seed and row.

    noise = TextNoise(TextConfig(noise=0.1), vocabulary_config("bytes"), texts, objective)
    tokens, lengths = noise(tokens, lengths, text, seed, places, width)

Rows are spelled out, misspelt, encoded and cut. Running text is gathered with a margin, so that
rows stay full; what is too long loses an end by chance, so that no part of a text goes unseen.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from jaxlt.data.objectives.objectives import Objective
from jaxlt.data.rows.batches import stream
from jaxlt.data.rows.views import TokenizedText
from jaxlt.data.sources import files
from jaxlt.data.text.noise import CharacterNoise, alphabet_of
from jaxlt.data.text.settings import Change, TextConfig
from jaxlt.data.vocabulary.subwords import SubwordSampler
from jaxlt.data.vocabulary.vocabularies import UNK, VocabularyConfig, open_vocabulary
from jaxlt.errors import UserError

_SAMPLED = 1 << 15  # tokens of a text that its alphabet is taken from
_BROKEN = "\ufffd"


class TextNoise:
    """Makes the noise of a config in the rows of some texts, whose languages it may choose among.

    `feature` is what is changed: the inputs of pairs, or running text. `marks` are what the rows of
    each text begin with, which stays: tags of translation.
    """

    def __init__(
        self,
        config: TextConfig,
        vocabulary: VocabularyConfig,
        texts: list[TokenizedText],
        objective: Objective,
        marks: Sequence[bytes] = (),
    ):
        self._config, self._texts = config, texts
        self._marks = list(marks) or [b""] * len(texts)
        self.feature = "inputs" if "inputs" in objective.features else "targets"
        self._window = objective.window
        self._vocabulary = open_vocabulary(vocabulary)
        self._is_pieces = vocabulary.kind == "sentencepiece"
        self._sampler = SubwordSampler(vocabulary, config.subwords) if config.subwords else None
        self._spelling: dict[str, CharacterNoise] = {}
        self._starts = np.zeros(0, bool)  # [size]: pieces that a word begins with
        self._bare = self._starts  # [size]: those that are no more than its space
        if self._is_pieces:
            spelt = [self._vocabulary.spell([i]) for i in range(self._vocabulary.size)]
            self._starts = np.array([text[:1] == " " for text in spelt])
            self._bare = np.array([text == " " for text in spelt])
        if config.misspells:
            for text in texts:
                if self._has_noise(text):
                    self._spelling[text.language] = self._misspeller(text)

    @property
    def margin(self) -> int:
        """Tokens of running text that a row takes beyond its window."""
        return 16 + self._window // 16 if self._window else 0

    def _has_noise(self, text: TokenizedText) -> bool:
        return self._config.noisy_in(text.source)

    def _misspeller(self, text: TokenizedText) -> CharacterNoise:
        config = self._config
        letters = config.alphabet
        if config.alphabet_file:
            letters = alphabet_of_file(config.alphabet_file)
        elif not letters:
            column = text.cache.columns[self.feature]
            letters = alphabet_of([self._vocabulary.decode(column.tokens[:_SAMPLED])])
        try:
            return CharacterNoise(letters, config.noise, config.edits)
        except UserError as err:
            raise UserError(
                f"{err} It is that of '{text.language}': give one with TextConfig.alphabet, or "
                "leave the language out of TextConfig.noisy."
            ) from None

    def __call__(
        self,
        tokens: np.ndarray,
        lengths: np.ndarray,
        text: np.ndarray,
        seed: int,
        places: np.ndarray,
        most: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns (tokens [R, max(most)], lengths [R]) of rows with noise, each cut to most[i].

        `tokens` [R, N] are gathered from text[i]; noise is drawn at places[i].
        """
        out = np.zeros((len(tokens), max(most, default=0)), np.int32)
        ends = np.zeros_like(lengths)
        for row, (which, place) in enumerate(zip(text.tolist(), places.tolist(), strict=True)):
            where = tuple(place) if isinstance(place, list) else (place,)
            ids = tokens[row, : lengths[row]]
            noisy = self._has_noise(self._texts[which])
            if noisy:
                spelling = self._spelling.get(self._texts[which].language)
                kept = self._marked(ids, self._marks[which])
                rest = self._noisy(ids[kept:], spelling, seed, where)
                ids = np.concatenate([ids[:kept], rest]) if kept else rest
            size, limit = len(ids), int(most[row])
            first = 0
            if noisy and self._window and size > limit:
                first = int(stream(seed, "window", *where).integers(size - limit + 1))
            ends[row] = min(size, limit)
            out[row, : ends[row]] = ids[first : first + ends[row]]
        return out, ends

    def _marked(self, ids: np.ndarray, mark: bytes) -> int:
        """Returns how many ids the mark before a row takes."""
        if not mark or not self._is_pieces:
            return len(mark)
        begins = np.flatnonzero(self._starts[ids])
        words = len(mark.split())
        return int(begins[words]) if words < len(begins) else len(ids)

    def _noisy(
        self, ids: np.ndarray, spelling: CharacterNoise | None, seed: int, place: tuple[int, ...]
    ) -> np.ndarray:
        """Returns the ids of a row with noise; the row itself where nothing would be left of it."""
        draws = stream(seed, "misspell", *place)
        misspelt: Change = partial(spelling, generator=draws) if spelling else str
        if not self._is_pieces:
            out = self._vocabulary.encode(misspelt(self._vocabulary.spell(ids).strip(_BROKEN)))
            return out if len(out) > 1 else ids
        parts: list[np.ndarray] = []
        unknown = np.flatnonzero(ids == UNK)
        runs = np.split(ids, np.unique(np.concatenate([unknown, unknown + 1])))
        for number, run in enumerate(run for run in runs if len(run)):
            if run[0] == UNK:
                parts.append(run)
            else:
                parts += self._pieces(run, misspelt, seed, (*place, number))
        out = np.concatenate(parts) if parts else ids
        return out if len(out) > 1 else ids

    def _pieces(
        self, run: np.ndarray, misspelt: Change, seed: int, place: tuple[int, ...]
    ) -> list[np.ndarray]:
        """Returns the noisy ids of pieces; a part of a word at their start keeps its letters."""
        begins = self._starts[run]
        head = int(begins.argmax()) if begins.any() else len(run)
        end = len(run) - int((~self._bare[run[::-1]]).argmax()) if not self._bare[run].all() else 0
        if end <= head and self._sampler is None:
            return [run]
        words = misspelt(self._vocabulary.spell(run[head:end]))
        if self._sampler is None:
            return [run[:head], self._vocabulary.encode(words), run[end:]]
        whole = self._vocabulary.spell(run[:head]) + words
        drawn = self._sampler(whole, seed, *place, inside=not whole.startswith(" "))
        return [drawn, run[end:]]


def alphabet_of_file(path: str) -> str:
    """Returns the letters of a file's first 4 MiB."""
    with files.open_bytes(path) as file:
        lines = file.read(1 << 22).decode("utf-8", errors="ignore").splitlines()
    return alphabet_of(lines)
