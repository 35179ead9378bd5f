"""Objectives of text, or of texts given in pairs, by their config."""

import numpy as np

from jaxlt.data.objectives.denoisers import Denoisers, PrefixLM
from jaxlt.data.objectives.objectives import MaskedLM, Objective, SpanCorruption, TextToText
from jaxlt.data.read_config import ReadConfig
from jaxlt.data.readers.problems import warn_once
from jaxlt.data.rows.batches import stream
from jaxlt.data.vocabulary.vocabularies import Vocabulary


def text_objective(config: ReadConfig, vocabulary: Vocabulary) -> Objective:
    """Returns the objective that a config names, which is not 'heads'."""
    lengths = config.inputs_length, config.targets_length
    if config.objective == "span_corruption":
        span = config.span
        if span != config.mean_span:
            warn_once(
                f"Spans of DataConfig.mean_span = {config.mean_span:g} are too long for rows of "
                f"{config.inputs_length} tokens, which would have hardly one, always at their end: "
                f"they are {span:.3g} tokens long on average."
            )
        return SpanCorruption(vocabulary, *lengths, config.noise_density, span)
    if config.objective == "prefix_lm":
        return PrefixLM(vocabulary, *lengths, config.noise_density)
    if config.objective == "ul2":
        return Denoisers(vocabulary, *lengths, modes=config.modes)
    if config.objective == "mlm":
        ordinary = config.rules.random_ordinary
        return MaskedLM(vocabulary, config.inputs_length, config.noise_density, ordinary)
    return TextToText(
        vocabulary, config.inputs_length, config.targets_length or config.inputs_length
    )


def corrupted_piece(
    objective: Objective, text: np.ndarray, seed: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns (inputs, targets, weights) of one piece of text [n], without padding at the ends."""

    def draw(rows: np.ndarray, count: int) -> np.ndarray:
        return stream(seed[0], "seqio", seed[1]).random((len(rows), count))

    fields = objective({"targets": (text[None], np.array([len(text)]))}, draw)
    inputs = fields["encoder_input_tokens"][0]
    stack = "encoder" if "encoder_target_tokens" in fields else "decoder"
    targets, weights = fields[f"{stack}_target_tokens"][0], fields[f"{stack}_loss_weights"][0]
    end = np.count_nonzero(targets)
    return inputs[: np.count_nonzero(inputs)], targets[:end], weights[:end]
