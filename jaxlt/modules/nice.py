"""NICE: an invertible change of the embeddings, and its inverse before the logits (MAD-X)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlt.errors import UserError
from jaxlt.modules.boxed import fan_in, zeros
from jaxlt.modules.routing import Ids
from jaxlt.modules.site import Method


class Nice(Method):
    """Additive coupling of the halves: y1 = x1 + F(x2), y2 = x2 + G(y1); the inverse undoes it.

    F and G are bottlenecks of D/2 -> m -> D/2, m = D // (2 * reduction_factor): 2 * m * D
    parameters in all, one set for all the sites of a model that it plugs into. Up starts at zero:
    the plugged model starts as the plain one. Which way it goes is the place's: forward at 'embed',
    inverse at 'unembed'. Sites are the setting of where the inverse goes, as mT5 unties input and
    output embeddings: 'embed' alone leaves it out, 'encoder/embed' with 'decoder/unembed' spares
    the decoder's input.
    """

    reduction_factor: float = 2

    shared = True
    places = ("embed", "unembed")

    @nn.compact
    def __call__(self, y: jax.Array, x: jax.Array | None = None, ids: Ids | None = None):
        """y: [B, T, D], embeddings or last hidden states -> [B, T, D]."""
        if y.shape[-1] % 2:
            raise UserError(f"NICE splits the width in halves; {y.shape[-1]} is odd.")
        first, second = jnp.split(y, 2, axis=-1)
        if self.place.endswith("unembed"):
            second = second - self.net("g", first, ids)
            first = first - self.net("f", second, ids)
        else:
            first = first + self.net("f", second, ids)
            second = second + self.net("g", first, ids)
        return jnp.concatenate([first, second], axis=-1)

    def net(self, name: str, half: jax.Array, ids: Ids | None) -> jax.Array:
        """F or G: [B, T, D/2] -> [B, T, D/2]."""
        width = half.shape[-1]
        size = max(1, int(width / self.reduction_factor))
        h = self.dense(f"{name}_down", half, fan_in, size, ("embed", "bottleneck"), ids)
        return self.dense(f"{name}_up", nn.relu(h), zeros, width, ("bottleneck", "embed"), ids)
