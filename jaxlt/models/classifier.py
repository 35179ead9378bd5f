"""A class a row, of one sentence or of a pair: pooled states through a linear layer.

Reads `label` [B]: the class of the row, below 0 where unknown; and `sentence` [B, T]: 1 and 2 at
the tokens of the first and second sentence (absent: all are 1).
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxlt.errors import UserError, check_one_of
from jaxlt.models import head_parts
from jaxlt.models.head import Decoded, Example, HeadConfig, with_rows
from jaxlt.models.head_parts import Batch, Loss, Projection
from jaxlt.models.layers import Context, Dropout

POOLING = ("mean", "first")


@dataclasses.dataclass(frozen=True)
class ClassifierConfig(HeadConfig):
    """A class a row, of one sentence or of a pair.

    pooling: 'mean' of a sentence's tokens, or its 'first' one. A pair (u, v), in one text or in
    two, is seen as [u, v, |u - v|, u * v]. hidden: width of a tanh layer before the classes (0:
    none).
    """

    labels: int
    pair: bool = False
    pooling: str = "mean"
    hidden: int = 0
    dropout: float = 0.1

    shapes: ClassVar[tuple[str, ...]] = ("class", "pair")
    label_fields: ClassVar[tuple[str, ...]] = ("label",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_one_of("ClassifierConfig.pooling", self.pooling, POOLING)
        if self.hidden < 0:
            raise UserError(f"ClassifierConfig.hidden is 0 or more, not {self.hidden}.")

    @property
    def form(self) -> str:
        """Its class, and whether it is for pairs."""
        return self.form_for("pair" if self.pair else "class")

    @classmethod
    def form_for(cls, shape: str) -> str:
        """See HeadConfig."""
        return f"{cls.__name__} with pair = {shape == 'pair'}"

    def outputs(self, states: jax.Array, batch: Batch, ctx: Context, dtype: Any) -> jax.Array:
        """Logits, float32 [B, labels]."""
        mask = head_parts.token_mask(batch)
        sentences = jnp.where(mask, batch.get("sentence", mask.astype(jnp.int32)), 0)
        return Classifier(self, dtype, name=self.name)(states, sentences, ctx)

    def loss(self, outputs: jax.Array, batch: Batch, shares: jax.Array | None = None) -> Loss:
        """Cross-entropy of the classes."""
        nll, correct = head_parts.label_terms(outputs, batch["label"])
        return head_parts.sums_of(nll, correct, head_parts.known(batch["label"]), shares)

    def weights(self, batch: Batch) -> jax.Array:
        """[B, 1]."""
        return head_parts.known(batch["label"])[:, None]

    def predictions(self, outputs: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """[B] each."""
        return jnp.argmax(outputs, axis=-1).astype(jnp.int32), batch["label"]

    def decode(self, outputs: jax.Array, examples: Sequence[Example], count: int) -> list[Decoded]:
        """The class of the summed log-probabilities of all parts."""
        logs = np.asarray(jax.nn.log_softmax(outputs[:, :count]))
        best = (int(logs[list(rows)].sum(0).argmax()) for _, rows in with_rows(examples))
        return [Decoded((label,)) for label in best]


class Classifier(nn.Module):
    """Pooled sentences through a linear layer."""

    config: ClassifierConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, states: jax.Array, sentences: jax.Array, ctx: Context) -> jax.Array:
        """states: [B, T, D], sentences: [B, T] (0: neither) -> float32 logits [B, labels]."""
        cfg = self.config
        pooled = [pool(states, sentences == 1, cfg.pooling)]
        if cfg.pair:
            u, v = pooled[0], pool(states, sentences == 2, cfg.pooling)
            pooled = [u, v, jnp.abs(u - v), u * v]
        x = jnp.concatenate(pooled, axis=-1).astype(self.dtype)[:, None]
        x = Dropout(cfg.dropout, name="dropout")(x, ctx)
        if cfg.hidden:
            x = nn.tanh(Projection(cfg.hidden, self.dtype, name="hidden")(x))
            x = Dropout(cfg.dropout, name="hidden_dropout")(x, ctx)
        return Projection(cfg.labels, name="logits")(x)[:, 0]


def pool(states: jax.Array, mask: jax.Array, how: str) -> jax.Array:
    """[B, T, D] at [B, T] -> float32 [B, D]: the mean, or the first; 0 where nothing is masked in.

    The mean is summed in float32: bfloat16 would stop counting at 256 tokens.
    """
    if how == "first":
        first = jnp.argmax(mask, axis=1)[:, None]
        mask = mask & (jnp.arange(mask.shape[1]) == first)
    kept = jnp.where(mask[..., None], states, 0).astype(jnp.float32)
    count = jnp.maximum(jnp.sum(mask, axis=1, dtype=jnp.float32), 1.0)
    return jnp.sum(kept, axis=1) / count[:, None]
