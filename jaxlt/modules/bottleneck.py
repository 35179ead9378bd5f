"""The bottleneck adapter: y + up(act(down(input))), the reference method of the contract."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlt.errors import UserError, nearest
from jaxlt.modules.routing import Ids
from jaxlt.modules.site import Method

ACTIVATIONS = {"relu": nn.relu, "swish": nn.swish, "gelu": nn.gelu, "tanh": nn.tanh}
# Made once: drawing compiles a program for each distinct initialiser.
fan_in = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")


class Bottleneck(Method):
    """Down to D / reduction_factor, a nonlinearity, up again, added to the sublayer's output.

    2 * m * D parameters a place, m = D // reduction_factor. The up-projection starts at zero, so
    the plugged model starts as the plain one. `source` says what goes down: 'output' (Houlsby: the
    sublayer's output h), or 'residual' (Pfeiffer as libraries have it on T5: h plus the residual
    input r, whose values are large; `own_norm` scales them by an RMS norm without weights first).
    """

    reduction_factor: float = 16
    activation: str = "swish"
    source: str = "output"
    own_norm: bool = False

    places = ("attn_out", "cross_attn_out", "mlp_out")

    @nn.compact
    def __call__(self, y: jax.Array, x: jax.Array | None = None, ids: Ids | None = None):
        """y, x: [B, T, D] -> [B, T, D]."""
        width = y.shape[-1]
        size = max(1, int(width / self.reduction_factor))
        if self.activation not in ACTIVATIONS:
            raise UserError(
                f"Bottleneck has no activation '{self.activation}' (it has: "
                f"{', '.join(ACTIVATIONS)}).{nearest(self.activation, ACTIVATIONS)}"
            )
        if self.source not in ("output", "residual"):
            raise UserError(f"Bottleneck.source is 'output' or 'residual', not '{self.source}'.")
        h = y if self.source == "output" or x is None else y + x
        if self.own_norm:
            h32 = h.astype(jnp.float32)
            h = (h32 * jax.lax.rsqrt(jnp.mean(h32**2, -1, keepdims=True) + 1e-6)).astype(h.dtype)
        down = self.weight("down", fan_in, (width, size), ("embed", "bottleneck"), ids)
        up = self.weight("up", nn.initializers.zeros, (size, width), ("bottleneck", "embed"), ids)
        # A routed weight is [B, D, m]: matmul batches over it just as over an unrouted [D, m].
        return y + ACTIVATIONS[self.activation](h @ down) @ up
