"""Soft prompts: trainable embeddings before the text, one set a task or a language."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlt.modules.routing import Ids
from jaxlt.modules.site import Method

scaled = nn.initializers.normal(0.5)  # made once: drawing compiles a program for each initialiser


class SoftPrompt(Method):
    """`length` embeddings of width D before those of the text: k D parameters a prompt.

    The text moves to later positions, everything attends to the prompt, and what comes out of the
    stack for it is dropped (in an encoder-decoder the decoder attends to it). Routed by row;
    several slots a row are mixed by their weights.
    """

    length: int = 20

    places = ("encoder/embed",)
    combines = True
    lengthens = True

    @nn.compact
    def __call__(self, y: jax.Array, x: Any = None, ids: Ids | None = None) -> jax.Array:
        """y: [B, T, D] -> [B, length + T, D]."""
        rows, _, width = y.shape
        prompt = self.row_weight("prompt", scaled, (self.length, width), (None, "embed"), ids)
        prompt = jnp.broadcast_to(prompt.astype(y.dtype), (rows, self.length, width))
        return jnp.concatenate([prompt, y], axis=1)
