"""BitFit: biases. T5 has none, so they are added, at zero."""

import flax.linen as nn
import jax

from jaxlt.modules.boxed import zeros
from jaxlt.modules.routing import Ids
from jaxlt.modules.site import Method


class BitFit(Method):
    """y + bias at projections' outputs; it starts as the plain model.

    As many parameters as a place is wide: in a layer of an encoder 2 * heads * head_dim + D for
    attention (as much again for cross-attention), and 2 * F + D for a gated MLP. Keys have none: a
    bias of theirs adds the same to all logits of a query, which the softmax does not see, so that
    its gradient is nothing but rounding.
    """

    places = ("query", "value", "out", "wi", "wi_0", "wi_1", "wo")

    unmergeable = "T5 has no biases, and nothing else in it adds the same vector to every position"

    @nn.compact
    def __call__(self, y: jax.Array, x: jax.Array | None = None, ids: Ids | None = None):
        """y: [B, T, W] -> [B, T, W]."""
        return y + self.vector("bias", zeros, y.shape[-1], None, ids)
