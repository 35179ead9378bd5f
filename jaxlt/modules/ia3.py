"""(IA)^3: keys, values and the MLP's inner activation times learned vectors."""

from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax

from jaxlt.modules.boxed import ones
from jaxlt.modules.routing import Ids
from jaxlt.modules.site import Method, Weights


class IA3(Method):
    """y * scale, a vector that starts at one: the plugged model starts as the plain one.

    As many parameters as a place is wide: 2 * heads * head_dim + F a layer and stack, and
    2 * heads * head_dim more for cross-attention. The MLP's inner activation, 'mlp_inner', is what
    goes into `wo`: in a gated MLP the product of the gates, so that a vector there equals one at
    the output of the linear gate (`wi_1`), where the authors' code has it.
    """

    places: ClassVar[tuple[str, ...]] = ("key", "value", "mlp_inner")
    unmergeable = None

    @nn.compact
    def __call__(self, y: jax.Array, x: jax.Array | None = None, ids: Ids | None = None):
        """y: [B, T, W] -> [B, T, W]."""
        return y * self.vector("scale", ones, y.shape[-1], None, ids)

    @classmethod
    def merge(
        cls, settings: Mapping[str, Any], site: str, base: Weights, weights: Weights, inverse: bool
    ) -> dict[str, jax.Array]:
        """The scale goes into what a projection puts out, or before `wo` into what it takes in."""
        scale = 1.0 / weights["scale"] if inverse else weights["scale"]
        if site == "mlp_inner":
            return {"kernel": base["kernel"] * scale[..., :, None]}
        return {
            leaf: value * (scale[..., None, :] if leaf == "kernel" else scale)
            for leaf, value in base.items()
        }
