"""The two sides of a batch of translations as sentence vectors: what losses over pairs share.

A row is a pair where its input and its target are in two languages (`language`,
`target_language`). Both sides go through the encoder; a sentence's vector is the mean of its
tokens' states.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxlt.errors import UserError

Batch = Mapping[str, jax.Array]


def check_pairs(what: str, model: Any) -> None:
    """Raises UserError where a model's batches hold no pairs, or its encoder cannot read both."""
    if not getattr(model, "decoder_layers", 0):
        raise UserError(
            f"{what} compares the two sides of translations, the encoder's input and the decoder's "
            "target, and this model has no decoder. Take a model with T5Config.decoder_layers."
        )
    routed = [plug.name for plug in model.plugs if plug.routes and plug.key == "source"]
    if routed:
        raise UserError(
            f"{what} reads targets through the encoder too, but the plug '{routed[0]}' has slots "
            "by the language of the input alone (key = 'source'). Leave out the one or the other."
        )


def pair_vectors(
    network: Any, params: dict[str, Any], batch: Batch, key: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns float32 vectors of length 1 of inputs and of targets, [B, D] each; is it a pair, [B].

    network: see `jaxlt.engine.objective.Network`.
    """
    if "encoder_segment_ids" in batch:
        raise UserError(
            "Losses over pairs of sentences take one pair a row, and these rows are packed: set "
            "DataConfig.packing = 'none'."
        )
    if "target_language" not in batch:
        raise UserError(
            "Losses over pairs of sentences need translations, and the batch's rows do not say in "
            "which language their targets are (target_language): train on bitext "
            "(data/translation.gin)."
        )
    targets, language = batch["decoder_target_tokens"], batch["target_language"]
    other = {**batch, "encoder_input_tokens": targets, "language": language}
    sides = [_vectors(network.states(params, side, key), side) for side in (batch, other)]
    there = jnp.any(batch["encoder_input_tokens"] > 0, axis=1) & jnp.any(targets > 0, axis=1)
    there &= batch["language"] != language
    return sides[0], sides[1], there.astype(jnp.float32)


def token_means(states: jax.Array, batch: Batch) -> jax.Array:
    """States [B, S, D] -> float32 means over tokens [B, D]."""
    mask = (batch["encoder_input_tokens"] > 0).astype(jnp.float32)[..., None]
    return jnp.sum(states.astype(jnp.float32) * mask, axis=1) / jnp.maximum(jnp.sum(mask, 1), 1.0)


def _vectors(states: jax.Array, batch: Batch) -> jax.Array:
    """States [B, S, D] -> means over tokens [B, D], scaled to length 1."""
    mean = token_means(states, batch)
    return mean * jax.lax.rsqrt(jnp.sum(jnp.square(mean), -1, keepdims=True) + 1e-12)
