"""LoRA: a projection's weight W plus a product of two thin matrices, (alpha / r) * A B."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax

from jaxlt.errors import UserError, check_one_of
from jaxlt.modules.boxed import kaiming, zeros
from jaxlt.modules.routing import Ids
from jaxlt.modules.site import Method, Weights

SCALINGS = ("standard", "rsqrt")


def lora_scale(rank: int, alpha: float, scaling: str = "standard") -> float:
    """Returns what the product A B is multiplied by: alpha / r, or alpha / sqrt(r) (rsLoRA)."""
    check_one_of("LoRA.scaling", scaling, SCALINGS)
    if rank < 1:
        raise UserError(f"LoRA.rank is at least 1, not {rank}.")
    return alpha / (rank if scaling == "standard" else rank**0.5)


class LoRA(Method):
    """y + s * (x A) B at a projection's output, which is x (W + s * A B).

    A, [D_in, rank], is drawn and B, [rank, D_out], starts at zero: the plugged model starts as the
    plain one. rank * (D_in + D_out) parameters a projection. Any projections may be named as sites:
    query, key, value, out, wi_0, wi_1, wo.
    """

    rank: int = 8
    alpha: float = 8.0
    scaling: str = "standard"

    places = ("query", "value")
    unmergeable = None

    @nn.compact
    def __call__(self, y: jax.Array, x: jax.Array | None = None, ids: Ids | None = None):
        """y: [B, T, D_out], x: [B, T, D_in], the projection's input -> [B, T, D_out]."""
        scale = lora_scale(self.rank, self.alpha, self.scaling)
        if x is None:
            raise UserError(f"LoRA '{self.name}' stands at a site that is no projection's output.")
        h = self.dense("a", x, kaiming, self.rank, ("embed", "bottleneck"), ids)
        h = self.dense("b", h, zeros, y.shape[-1], ("bottleneck", "embed"), ids)
        return y + scale * h

    @classmethod
    def merge(
        cls, settings: Mapping[str, Any], site: str, base: Weights, weights: Weights, inverse: bool
    ) -> dict[str, jax.Array]:
        """W + s * A B, or W - s * A B."""
        own = {f: settings.get(f, getattr(cls, f)) for f in ("rank", "alpha", "scaling")}
        change = lora_scale(**own) * (weights["a"] @ weights["b"])
        return {"kernel": base["kernel"] - change if inverse else base["kernel"] + change}
