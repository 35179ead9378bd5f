"""Language-specific layers: projections whose weight is chosen by language, for translation."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax

from jaxlt.errors import UserError
from jaxlt.modules.boxed import Init, fan_in, zeros
from jaxlt.modules.routing import Ids
from jaxlt.modules.site import Method

STARTS = ("shared", "seed")


@dataclasses.dataclass(frozen=True)
class SameInAll:
    """An initialiser that draws every slot of a bank alike."""

    init: Init
    same_in_all_slots = True

    def __call__(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        """Draws one slot."""
        return self.init(key, shape, dtype)


# Made once: drawing compiles a program for each distinct one.
drawn = SameInAll(fan_in)


class LanguageLayer(Method):
    """A projection with a weight a language, [D_in, D_out], in place of the shared one.

    At the MLP's projections (as here) a layer's MLP is the language's; with sites query, key, value
    and out as well, the whole layer. D_in * D_out parameters a projection and language: 3 * D * F
    for a gated MLP. Chosen by `key` and for the layers that `layers` names.

    start: 'seed', the weight is the language's alone, drawn from the seed alike in all languages;
        'shared', it is the shared weight plus a difference that starts at zero, so that the plugged
        model starts as the plain one (right for a pretrained backbone).
    """

    start: str = "seed"

    places = ("wi", "wi_0", "wi_1", "wo")

    @nn.compact
    def __call__(self, y: jax.Array, x: jax.Array | None = None, ids: Ids | None = None):
        """y: [B, T, D_out], x: [B, T, D_in], the projection's input -> [B, T, D_out]."""
        self.check("start", STARTS)
        if x is None:
            raise UserError(f"'{self.name}' stands at a site that is no projection's output.")
        init = drawn if self.start == "seed" else zeros
        own = self.dense("kernel", x, init, y.shape[-1], ("embed", "mlp"), ids)
        return own if self.start == "seed" else y + own
