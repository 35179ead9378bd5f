"""The bottleneck adapter: y + scale * up(act(down(norm(input)))): Houlsby, Pfeiffer, parallel.

The kinds differ in what goes down, in the norm before it and in the places; see `Bottleneck`.
"""

import functools
from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlt.modules.boxed import fan_in, kaiming, zeros
from jaxlt.modules.norm_scale import NormScale
from jaxlt.modules.routing import Ids
from jaxlt.modules.site import Method

ACTIVATIONS = {"relu": nn.relu, "swish": nn.swish, "gelu": nn.gelu, "tanh": nn.tanh}
SOURCES = ("output", "residual", "input")
NORMS = ("none", "plain", "own", "shared")


@functools.lru_cache
def start_at(value: float) -> Callable[..., jax.Array]:
    """Returns the one initialiser of that constant."""
    return nn.initializers.constant(value)


def rms(x: jax.Array) -> jax.Array:
    """[..., D] over the root of its mean square, computed in float32."""
    x32 = x.astype(jnp.float32)
    return (x32 * jax.lax.rsqrt(jnp.mean(x32**2, -1, keepdims=True) + 1e-6)).astype(x.dtype)


class Bottleneck(Method):
    """Down to m = D // reduction_factor, a nonlinearity, up again, added to the sublayer's output.

    2 * m * D parameters a place (and D for a learned norm, 1 for a learned scale). The
    up-projection starts at zero, so that the plugged model starts as the plain one.

    source: what goes down. 'output' (Houlsby): the sublayer's output h. 'residual' (Pfeiffer): h
        plus the residual input r, un-normalised and large on T5, where libraries feed it as it is.
        'input' (parallel): r alone.
    norm: 'none'; 'plain', an RMS norm without weights; 'own', an RMS norm with a learned scale, a
        scale a slot in a bank; 'shared', one learned scale for all slots.
    scale: of what is added; with `learned_scale` where a learned one starts.
    """

    reduction_factor: float = 16
    activation: str = "swish"
    source: str = "output"
    norm: str = "none"
    scale: float = 1.0
    learned_scale: bool = False

    places: ClassVar[tuple[str, ...]] = ("attn_out", "cross_attn_out", "mlp_out")
    unmergeable = "it adds a nonlinear function of a sublayer's output, which no weight computes"
    down_init = staticmethod(fan_in)

    @nn.compact
    def __call__(self, y: jax.Array, x: jax.Array | None = None, ids: Ids | None = None):
        """y, x: [B, T, D] -> [B, T, D]."""
        self.check("activation", ACTIVATIONS)
        self.check("source", SOURCES)
        self.check("norm", NORMS)
        width = y.shape[-1]
        size = max(1, int(width / self.reduction_factor))
        r = jnp.zeros_like(y) if x is None else x
        h = self.normed({"output": y, "residual": y + r, "input": r}[self.source], ids)
        h = self.dense("down", h, self.down_init, size, ("embed", "bottleneck"), ids)
        h = ACTIVATIONS[self.activation](h)
        h = self.dense("up", h, zeros, width, ("bottleneck", "embed"), ids)
        if self.learned_scale:
            return y + self.vector("scale", start_at(self.scale), 1, None, ids) * h
        return y + (h if self.scale == 1.0 else h * self.scale)

    def normed(self, h: jax.Array, ids: Ids | None) -> jax.Array:
        """What goes down, [B, T, D], normed as the setting says."""
        if self.norm == "none":
            return h
        if self.norm == "plain":
            return rms(h)
        routes = self.routes if self.norm == "own" else 0
        scale = NormScale(routes, self.key, self.dtype, name="norm")
        return scale(rms(h), None, ids)


class Pfeiffer(Bottleneck):
    """One bottleneck a layer, after the MLP: y + up(relu(down(norm(h + r)))); 2 * m * D a layer."""

    activation: str = "relu"
    source: str = "residual"

    places: ClassVar[tuple[str, ...]] = ("mlp_out",)


class Parallel(Bottleneck):
    """A bottleneck beside the sublayer: y + scale * up(relu(down(r))); 2 * m * D a place.

    Down starts kaiming-uniform, up at zero. `scale` 4.0 is the scaled form; 1.0 the plain one.
    """

    reduction_factor: float = 2
    activation: str = "relu"
    source: str = "input"
    scale: float = 4.0

    places: ClassVar[tuple[str, ...]] = ("mlp_out",)
    down_init = staticmethod(kaiming)
