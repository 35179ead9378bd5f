"""Greedy decoding: the plain form, which decodes the whole prefix at every position."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlt.errors import UserError
from jaxlt.models.config import T5Config
from jaxlt.models.encoder import model_of
from jaxlt.models.init import unflatten
from jaxlt.models.layers import make_context
from jaxlt.models.t5 import logits_of

EOS = 1


@functools.partial(jax.jit, static_argnames=("config", "length"))
def _greedy(
    config: T5Config, params: Mapping[str, jax.Array], batch: Mapping[str, jax.Array], length: int
) -> jax.Array:
    model, variables = model_of(config), unflatten(params)
    ctx = make_context(batch)
    memory = model.apply(variables, batch, ctx, method="encode")
    rows = batch["encoder_input_tokens"].shape[0]

    def step(carry: Any) -> Any:
        i, tokens, done = carry
        shifted = jnp.pad(tokens[:, :-1], ((0, 0), (1, 0)))
        fields = {"encoder_input_tokens": batch["encoder_input_tokens"]}
        hidden: Any = model.apply(
            variables, memory, fields | {"decoder_input_tokens": shifted}, ctx, method="decode"
        )
        here = jax.lax.dynamic_slice_in_dim(hidden.states, i, 1, axis=1)
        best = jnp.argmax(logits_of(hidden._replace(states=here))[:, 0], axis=-1)
        best = jnp.where(done, 0, best).astype(jnp.int32)
        return i + 1, tokens.at[:, i].set(best), done | (best == EOS)

    def more(carry: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        return (carry[0] < length) & ~jnp.all(carry[2])

    start = (jnp.int32(0), jnp.zeros((rows, length), jnp.int32), jnp.zeros(rows, bool))
    return jax.lax.while_loop(more, step, start)[1]


def greedy(
    config: T5Config,
    params: Mapping[str, jax.Array],
    batch: Mapping[str, np.ndarray | jax.Array],
    length: int,
) -> np.ndarray:
    """Decodes [B, S] inputs -> [B, length] tokens, up to and with the end-of-sequence, then 0.

    params: flat, base and modules. Ends early when every row has ended.
    """
    if config.is_encoder:
        raise UserError(
            "Greedy decoding needs a decoder, and T5Config.decoder_layers is 0 (an encoder alone)."
        )
    return np.asarray(_greedy(config, dict(params), dict(batch), length))
