"""What the heads share: states at words, projections, and losses over labels.

A head's loss is a pair, as in training a language model: the float32 scalar to differentiate,
summed over the batch and not yet normalised, and the sums for reporting, which carry no gradient:
`nll_sum`, `z_sum` (0), `correct_sum`, `weight_sum`, and a number a row [B] in `row_nll`,
`row_correct` and `row_weight`. Labels below 0 are unknown and weigh nothing.
"""

from collections.abc import Container, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxlt.errors import UserError
from jaxlt.models.head import Part
from jaxlt.modules.boxed import Init, fan_in, param, zeros

# Added where there is nothing to choose; finite, so that no gradient is NaN.
NEVER = -1e9

Sums = dict[str, jax.Array]
Batch = Mapping[str, jax.Array]
Loss = tuple[jax.Array, Sums]


class Projection(nn.Module):
    """x @ kernel + bias; the head's own, so nothing plugs in here."""

    features: int
    dtype: Any = jnp.float32  # of the product; float32 for logits
    kernel_init: Init = fan_in

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., I] -> [..., O]."""
        shape = (x.shape[-1], self.features)
        kernel = param(self, "kernel", self.kernel_init, ("embed", None), shape)
        bias = param(self, "bias", zeros, (None,), shape[1:])
        y = jnp.matmul(x, kernel.astype(x.dtype), preferred_element_type=self.dtype)
        return y + bias.astype(self.dtype)


def word_states(states: jax.Array, first: jax.Array) -> tuple[jax.Array, jax.Array]:
    """States [B, T, D] at the words' first tokens [B, W] (-1: no word).

    Returns ([B, W, D], zero where there is no word, and the mask [B, W] bool).
    """
    mask = first >= 0
    found = jnp.take_along_axis(states, jnp.maximum(first, 0)[..., None], axis=1, mode="clip")
    return jnp.where(mask[..., None], found, 0), mask


def words_of(states: jax.Array, batch: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Returns the states of the words [B, W, D] and their mask [B, W] of a batch.

    The states are of tokens where the batch has `word_first` [B, W], and of `words` [B, W] else.
    """
    if "word_first" in batch:
        return word_states(states, batch["word_first"])
    return states, token_mask(batch)


def read_field(fields: Container[str]) -> str:
    """Names the field of what is read: tokens, or whole words."""
    return "encoder_input_tokens" if "encoder_input_tokens" in fields else "words"


def token_mask(batch: Mapping[str, jax.Array]) -> jax.Array:
    """Returns [B, T] bool: what is no padding of `encoder_input_tokens`, or of `words`."""
    return batch[read_field(batch)] > 0


def word_mask(batch: Mapping[str, jax.Array]) -> jax.Array:
    """Returns [B, W] bool: which words there are."""
    return batch["word_first"] >= 0 if "word_first" in batch else token_mask(batch)


def labels_of_words(best: np.ndarray, parts: Sequence[Part], rows: range) -> tuple[int, ...]:
    """The labels of an example's words from those of its parts' rows, best [B, W]."""
    labels: list[int] = []
    for row, part in zip(rows, parts, strict=True):
        labels += best[row, part.first - part.start : part.last - part.start].tolist()
    return tuple(labels)


def check_words(batch: Mapping[str, np.ndarray], where: str = "") -> None:
    """Raises UserError, on the host, for words that begin after the end of their row's tokens.

    A gather would clamp them in silence. Rows without tokens only fill a batch, and weigh nothing.
    where: begins the message.
    """
    if "word_first" not in batch:
        return
    first, lengths = batch["word_first"], (batch["encoder_input_tokens"] > 0).sum(1)
    bad = np.argwhere((first >= lengths[:, None]) & (lengths[:, None] > 0))
    if len(bad):
        row, word = (int(i) for i in bad[0])
        raise UserError(
            f"{where}Row {row}: word {word + 1} begins at token {int(first[row, word])}, but the "
            f"row has {int(lengths[row])} tokens. Raise the inputs' length, or split the sentence."
        )


def label_terms(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """float32 logits [..., C], labels [...] -> (nll [...], correct [...]), 0 where unknown."""
    known = labels >= 0
    logs = jax.nn.log_softmax(logits.astype(jnp.float32))
    index = jnp.maximum(labels, 0)[..., None]
    nll = -jnp.take_along_axis(logs, index, axis=-1)[..., 0]
    hit = jnp.argmax(logits, axis=-1) == labels
    return jnp.where(known, nll, 0.0), jnp.where(known, hit, False).astype(jnp.float32)


def known(labels: jax.Array) -> jax.Array:
    """Returns the float32 weight of labels: 1, or 0 for one below 0."""
    return (labels >= 0).astype(jnp.float32)


def sums_of(
    nll: jax.Array,
    correct: jax.Array,
    weight: jax.Array,
    shares: jax.Array | None = None,
    **rows: jax.Array,
) -> tuple[jax.Array, Sums]:
    """Numbers a row [B] -> (loss_sum, the sums for reporting); `rows` are reported beside.

    shares [B]: what each row's loss is multiplied by, and what is reported is not.
    """
    given = {"row_nll": nll, "row_correct": correct, "row_weight": weight, **rows}
    sums = {name: jax.lax.stop_gradient(value) for name, value in given.items()}
    for name in ("nll", "correct", "weight"):
        sums[f"{name}_sum"] = jnp.sum(sums[f"row_{name}"])
    return jnp.sum(nll if shares is None else nll * shares), sums | {"z_sum": jnp.float32(0.0)}
