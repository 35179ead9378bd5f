"""Span corruption as pairs of token ids: running text among tasks with answers.

    for ids in denoised(documents, denoising(config)):
        ids["inputs"], ids["targets"]         # without an end, which comes after trimming
        ids["piece"]                          # what they are made of, for NewSpans

The draws are those of seqio's map_over_dataset(num_seeds=1) under its seed 0, which made such pairs
first: caches of either are the same, and TensorFlow is not needed.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from jaxlt.data.objectives.objectives import (
    Features,
    SpanCorruption,
    corrupted_lengths,
    raw_length,
)
from jaxlt.data.objectives.of_text import corrupted_piece
from jaxlt.data.read_config import ReadConfig
from jaxlt.data.rows.batches import uniforms
from jaxlt.data.rows.views import TokenizedText
from jaxlt.data.vocabulary.vocabularies import open_vocabulary

PIECE = "piece"
_DOCUMENTS = 128  # joined before cutting, as T5's reduce_concat_tokens does
_LOW, _GRAPH_SEED = 0xFFFFFFFF, 87654321  # TensorFlow's seed where none is set


def denoising(config: ReadConfig) -> SpanCorruption:
    """Returns span corruption whose inputs and targets fit the rows of a config's pairs."""
    most = config.inputs_length, config.targets_length or config.inputs_length
    density, span = config.noise_density, config.span
    window = raw_length(most[0], density, span)[0]
    while window > 2 and corrupted_lengths(window, density, span)[1] > most[1]:
        window -= 1
    vocabulary = open_vocabulary(config.vocabulary_config)
    return SpanCorruption(vocabulary, *most, density, span, window)


def denoised(
    documents: Iterable[np.ndarray], objective: SpanCorruption
) -> Iterator[dict[str, np.ndarray]]:
    """Yields the ids of inputs and targets of each piece of documents' tokens [n], joined."""
    seeds = zip(_random(0), _random(1), strict=True)
    for piece, seed in zip(_pieces(documents, objective.window), seeds, strict=False):
        inputs, targets, _ = corrupted_piece(objective, piece, seed)
        yield {"inputs": inputs[:-1], "targets": targets[:-1], PIECE: piece}


class NewSpans:
    """Draws the spans of `denoise` tasks anew at each visit; see jaxlt.data.rows.views.Renew.

    Of one piece inputs and targets have the same lengths, wherever its spans are.
    """

    def __init__(self, texts: Sequence[TokenizedText], objective: SpanCorruption):
        self._columns = [text.cache.columns.get(PIECE) for text in texts]
        self._objective = objective

    def __call__(
        self,
        features: Features,
        text: np.ndarray,
        index: np.ndarray,
        seed: int,
        places: np.ndarray,
        room: np.ndarray | None,
    ) -> None:
        """Puts the new pairs of rows into their features."""
        columns = [self._columns[which] for which in text]
        here = np.array([row for row, column in enumerate(columns) if column], np.int64)
        pieces = [c.whole(index[row]) for row, c in enumerate(columns) if c]
        lengths = np.array([len(piece) for piece in pieces], np.int64)
        tokens = np.zeros((len(here), self._objective.window), np.int32)
        for row, piece in zip(tokens, pieces, strict=True):
            row[: len(piece)] = piece

        def draw(rows: np.ndarray, count: int) -> np.ndarray:
            return uniforms(seed, "spans", places[here[rows]], count)

        fields = self._objective({"targets": (tokens, lengths)}, draw)
        features["inputs"][0][here] = fields["encoder_input_tokens"]
        features["targets"][0][here] = fields["decoder_target_tokens"]


def _pieces(documents: Iterable[np.ndarray], window: int) -> Iterator[np.ndarray]:
    """Joins documents' tokens and cuts them into pieces of `window`; a last single token goes."""
    every = iter(documents)
    while some := list(itertools.islice(every, _DOCUMENTS)):
        tokens = np.concatenate(some)
        for start in range(0, len(tokens), window):
            if len(piece := tokens[start : start + window]) > 1:
                yield piece


def _random(seed: int) -> Iterator[int]:
    """Yields what tf.data.Dataset.random(seed) does: Philox 4x32, ten rounds."""
    for block in itertools.count():
        key = [_GRAPH_SEED, 0]
        state = [block & _LOW, block >> 32, seed, 0]
        for _ in range(10):
            one, two = 0xD2511F53 * state[0], 0xCD9E8D57 * state[2]
            state = [
                (two >> 32) ^ state[1] ^ key[0],
                two & _LOW,
                (one >> 32) ^ state[3] ^ key[1],
                one & _LOW,
            ]
            key = [(key[0] + 0x9E3779B9) & _LOW, (key[1] + 0xBB67AE85) & _LOW]
        yield from state
