"""The numpy objectives as seqio preprocessors, so that a task yields what batches hold."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import seqio
import tensorflow as tf

from jaxlt.data.objectives.objectives import MaskedLM, Objective
from jaxlt.data.objectives.of_text import corrupted_piece, text_objective
from jaxlt.data.read_config import ReadConfig
from jaxlt.data.vocabulary.vocabularies import open_vocabulary
from jaxlt.errors import UserError

_DOCUMENTS = 128  # joined before cutting, as T5's reduce_concat_tokens does


class Corrupt:
    """A seqio preprocessor: joins and cuts 'targets', then makes inputs and targets of each piece.

    Randomness comes from seqio's stateless seed alone. Rows are as long as
    sequence_length['inputs'] says; masked LM has a feature 'weights' beside them.
    """

    def __init__(self, config: ReadConfig):
        self._config = config
        self.__name__ = config.objective  # seqio names preprocessors in its messages

    def __call__(
        self, dataset: tf.data.Dataset, sequence_length: Mapping[str, int] | None
    ) -> tf.data.Dataset:
        """Returns a dataset of {'inputs', 'targets'} int32 (and 'weights' float32)."""
        if not sequence_length or "inputs" not in sequence_length:
            raise UserError(
                f"The objective {self._config.objective} needs sequence_length={{'inputs': ...}}."
            )
        return corrupted(dataset, self._objective(sequence_length["inputs"]))

    def _objective(self, inputs_length: int) -> Objective:
        config = replace(self._config, inputs_length=inputs_length, targets_length=None)
        return text_objective(config, open_vocabulary(config.vocabulary_config))


def corrupted(dataset: tf.data.Dataset, objective: Objective) -> tf.data.Dataset:
    """Joins and cuts 'targets' as an objective wants them, and makes its rows of the pieces."""
    pieces = _pieces(dataset, objective.window)

    def call(text: np.ndarray, seed: np.ndarray) -> tuple[np.ndarray, ...]:
        return corrupted_piece(objective, text, (int(seed[0]), int(seed[1])))

    @seqio.map_over_dataset(num_seeds=1)
    def corrupt(example: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        kinds = [tf.int32, tf.int32, tf.float32]
        out = tf.numpy_function(call, [example["targets"], seed], kinds, stateful=False)
        for tensor in out:
            tensor.set_shape([None])
        features = {"inputs": out[0], "targets": out[1]}
        return features | ({"weights": out[2]} if isinstance(objective, MaskedLM) else {})

    return corrupt(pieces)


def _pieces(dataset: tf.data.Dataset, window: int) -> tf.data.Dataset:
    """Joins documents' tokens and cuts them into pieces of `window`; a last single token goes."""

    def cut(tokens: tf.RaggedTensor) -> tf.data.Dataset:
        flat = tf.cast(tokens.flat_values, tf.int32)
        return tf.data.Dataset.from_tensor_slices(flat).batch(window)

    def corruptible(piece: tf.Tensor) -> tf.Tensor:
        return tf.size(piece) > 1

    joined = dataset.map(lambda example: example["targets"])
    pieces = joined.ragged_batch(_DOCUMENTS).flat_map(cut).filter(corruptible)
    return pieces.map(lambda tokens: {"targets": tokens})


def text_example(text: tf.Tensor, separator: str) -> dict[str, tf.Tensor]:
    """Returns {'targets': the document with what follows it}: T5's rekey with empty inputs."""
    return {"targets": tf.strings.join([text, separator])}
