"""Decoding with a cache: greedy, sampling, beam search; free, from forced tokens, or constrained.

    tokens, scores = decode(config, params, batch, DecodingConfig(method="beam", returns=4))

The encoder runs once, its keys and values are made once a layer, and each position costs one token
a hypothesis. A batch may mix languages: its routes hold for every step. Rows end on their own, and
the loop with the last of them. Seed, temperature, top_p and length penalty are arrays: other ones
compile nothing.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from jaxlt.engine.batch_checks import check_routes, slots_of
from jaxlt.engine.decode.config import EOS, DecodingConfig
from jaxlt.engine.decode.search import Decoded, Limits, beam_search, walk
from jaxlt.engine.decode.steps import Stepper
from jaxlt.engine.decode.trie import Trie
from jaxlt.errors import UserError
from jaxlt.models.config import T5Config
from jaxlt.models.layers import make_context
from jaxlt.models.traced import Traced, given, with_marks
from jaxlt.modules.placement import rules_now

__all__ = ["EOS", "Decoded", "DecodingConfig", "decode", "greedy"]


@functools.partial(jax.jit, static_argnames=("config", "decoding", "rules", "scored"))
def _decode(
    config: T5Config,
    params: Mapping[str, jax.Array],
    batch: Mapping[str, jax.Array],
    decoding: DecodingConfig,
    values: Mapping[str, jax.Array],
    trie: Trie | None,
    rules: tuple[Any, ...],
    scored: bool,
) -> Decoded:
    rows = make_context(batch).rows
    limits = Limits(batch.get("decoder_prefix_tokens"), trie, batch.get("label_set"), rows)
    with nn.logical_axis_rules(rules), given(values):
        # On CPUs a scan would copy every layer's weights at every step.
        unroll = jax.default_backend() == "cpu"
        stepper = Stepper(config, params, batch, decoding.length, decoding.hypotheses, unroll)
        if decoding.method == "beam":
            return beam_search(stepper, decoding, limits)
        return walk(stepper, decoding, limits, scored)


def sweepable(decoding: DecodingConfig) -> tuple[DecodingConfig, dict[str, Any]]:
    """What is compiled of a config, with marks for the numbers that it takes; and these numbers.

    A top_p of 1 stays: it leaves all tokens in, and costs nothing.
    """
    names = ["temperature", "length_penalty", "seed"] + ["top_p"] * (decoding.top_p < 1)
    values: dict[str, Any] = {
        f"decoding.{name}": np.float32(getattr(decoding, name)) for name in names
    }
    values["decoding.seed"] = np.uint32(decoding.seed % 2**32)
    marks = {name: Traced(f"decoding.{name}") for name in names}
    return with_marks(decoding, **marks), values


def _decoded(
    config: T5Config,
    params: Mapping[str, jax.Array],
    batch: Mapping[str, np.ndarray | jax.Array],
    decoding: DecodingConfig,
    trie: Trie | None,
    scored: bool,
) -> Decoded:
    check(config, batch, decoding, trie)
    plain = dataclasses.replace(config, remat="none", dropout=0.0)
    fixed, values = sweepable(decoding)
    return _decode(plain, dict(params), dict(batch), fixed, values, trie, rules_now(), scored)


def decode(
    config: T5Config,
    params: Mapping[str, jax.Array],
    batch: Mapping[str, np.ndarray | jax.Array],
    decoding: DecodingConfig,
    trie: Trie | None = None,
) -> Decoded:
    """Decodes [B, S] inputs -> tokens [B, returns, length] up to and with the end, then 0; scores.

    params: flat, base and modules. batch: encoder_input_tokens, the fields that routes go by, and
    where they are wanted `row` [B] (whose draws are a row's own), `decoder_prefix_tokens` [B, P],
    tokens to begin with (0 from where a row is free; they are in what comes back, and in no score),
    and `label_set` [B], the set of `trie` that a row decodes into.

    Parameters that are sharded are decoded with under their mesh and rules (`mesh_context`).

    Scores are sums of log-probabilities, in beam search divided by the length penalty; a trie
    forbids tokens and leaves the probabilities of the others as they are. A beam search that finds
    fewer than `returns` fills up with rows of 0 whose score is -inf.
    """
    found = _decoded(config, params, batch, decoding, trie, scored=True)
    return Decoded(np.asarray(found.tokens), np.asarray(found.scores))


def greedy(
    config: T5Config,
    params: Mapping[str, jax.Array],
    batch: Mapping[str, np.ndarray | jax.Array],
    length: int,
) -> np.ndarray:
    """Decodes [B, S] inputs -> [B, length] tokens, up to and with the end-of-sequence, then 0.

    params: flat, base and modules. Ends early when every row has ended.
    """
    found = _decoded(config, params, batch, DecodingConfig(length), None, scored=False)
    return np.asarray(found.tokens[:, 0])


def check(
    config: T5Config,
    batch: Mapping[str, np.ndarray | jax.Array],
    decoding: DecodingConfig,
    trie: Trie | None,
) -> None:
    """Raises UserError for what cannot be decoded."""
    check_routes(batch, slots_of(config))
    if config.is_encoder:
        raise UserError(
            "Decoding needs a decoder, and T5Config.decoder_layers is 0 (an encoder alone)."
        )
    if config.positions == "absolute" and decoding.length > config.max_positions:
        raise UserError(
            f"DecodingConfig.length = {decoding.length} is beyond T5Config.max_positions = "
            f"{config.max_positions}, for which there are embeddings of positions."
        )
    forced = batch["decoder_prefix_tokens"].shape[1] if "decoder_prefix_tokens" in batch else 0
    depth = 0 if trie is None else trie.depth
    if forced + depth > decoding.length or forced >= decoding.length:
        raise UserError(
            f"DecodingConfig.length = {decoding.length} is too short for {forced} forced tokens "
            f"and the longest sequence of the constraint, {depth} tokens with its end."
        )
    if trie is None:
        return
    if np.max(trie.tokens) >= config.vocab_rows:
        raise UserError(
            f"The constraint has token {np.max(trie.tokens)}, and the model's last is "
            f"{config.vocab_rows - 1} (T5Config.vocab_rows)."
        )
    sets = np.asarray(batch.get("label_set", [0]))
    if sets.min() < 0 or sets.max() >= trie.sets:
        raise UserError(
            f"label_set has a {sets.min() if sets.min() < 0 else sets.max()}, and the constraint "
            f"has sets 0 to {trie.sets - 1}."
        )
