"""All heads of a model over the states of its encoder: `jaxlt.models.head` says what one is.

    heads = Heads((TaggerConfig("pos", 17), ParserConfig("deps", 37)), dtype, name="heads")
    outputs = heads(states, batch, ctx, only="pos")      # inside a model's apply
    loss, sums = heads_loss(configs, outputs, batch)     # pure, see jaxlt.models.head_parts

Parameters are `heads/<name>/...`. The states [B, T, D] are those of an encoder's tokens, or of
words (`jaxlt.models.bilstm`). Fields of a batch, int32, beside the encoder's own and the labels
that each head says (its `label_fields`):

    word_first   [B, W]   place of each word's first token, -1 for none (absent: states are words')
    head         [B]      the place among the model's heads of the one that the row is for
                          (absent: all); the others leave its labels out

Rows hold one example each: packed rows are for language models.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlt.models.head import HeadConfig, find_head
from jaxlt.models.head_parts import Sums, token_mask
from jaxlt.models.layers import Context

Outputs = dict[str, Any]  # by the name of the head


class Heads(nn.Module):
    """All heads of a model, `<name>/...` each."""

    heads: tuple[HeadConfig, ...]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        states: jax.Array,
        batch: Mapping[str, jax.Array],
        ctx: Context,
        only: str | None = None,
    ) -> Outputs:
        """states: [B, T, D] -> outputs by name; of one head, where `only` names it."""
        find_head(self.heads, only)
        return {
            head.name: head.outputs(states, batch, ctx, self.dtype)
            for head in self.heads
            if only in (None, head.name)
        }


def rows_of_head(
    heads: tuple[HeadConfig, ...], index: int, batch: Mapping[str, jax.Array]
) -> dict[str, jax.Array]:
    """The batch with a head's labels unknown in rows that are for another head, or empty."""
    mine = jnp.any(token_mask(batch), axis=1)
    if "head" in batch:
        mine &= batch["head"] == index

    def own(values: jax.Array) -> jax.Array:
        return jnp.where(mine.reshape(-1, *(1,) * (values.ndim - 1)), values, -1)

    return {**batch, **{field: own(batch[field]) for field in heads[index].label_fields}}


def heads_loss(
    heads: tuple[HeadConfig, ...],
    outputs: Outputs,
    batch: Mapping[str, jax.Array],
    shares: jax.Array | None = None,
) -> tuple[jax.Array, Sums]:
    """The sum of the heads' losses, and of their sums; shares [B]: see `head_parts.sums_of`."""
    total, sums = jnp.float32(0.0), Sums()
    for i, head in enumerate(heads):
        loss, own = head.loss(outputs[head.name], rows_of_head(heads, i, batch), shares)
        total = total + loss
        sums |= {name: sums[name] + value if name in sums else value for name, value in own.items()}
    return total, sums


def heads_weights(heads: tuple[HeadConfig, ...], batch: Mapping[str, jax.Array]) -> jax.Array:
    """Returns [B, .] float32: the weights of all labels of a batch, head after head."""
    parts = [head.weights(rows_of_head(heads, i, batch)) for i, head in enumerate(heads)]
    return jnp.concatenate(parts, axis=1)


def heads_predictions(
    heads: tuple[HeadConfig, ...], outputs: Outputs, batch: Mapping[str, jax.Array]
) -> dict[str, jax.Array]:
    """What heads predict of a batch beside the gold labels: `predicted/<name>`, `gold/<name>`.

    `head` [B] is the place of the head that a row is for.
    """
    rows = next(iter(batch.values())).shape[0]
    fields = {"head": batch.get("head", jnp.zeros((rows,), jnp.int32))}
    for i, head in enumerate(heads):
        pair = head.predictions(outputs[head.name], rows_of_head(heads, i, batch))
        if pair is not None:
            fields |= {f"predicted/{head.name}": pair[0], f"gold/{head.name}": pair[1]}
    return fields
