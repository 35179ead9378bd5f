"""Objectives of text, or of texts given in pairs, by their config."""

from jaxlt.data.objectives.denoisers import Denoisers, PrefixLM
from jaxlt.data.objectives.objectives import MaskedLM, Objective, SpanCorruption, TextToText
from jaxlt.data.read_config import ReadConfig
from jaxlt.data.readers.problems import warn_once
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
