"""Prefixes: trainable keys and values that every position of an attention sees before its own.

plug(Prefix, "lang", length=30)                      # in every attention of the network
plug(Prefix, "lang", hidden=64, sites=["encoder/attention/kv"])
flat = bake(reparameterised)                         # to be used with hidden=0 afterwards
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlt.modules.boxed import fan_in, zeros
from jaxlt.modules.routing import Ids
from jaxlt.modules.site import Method

# Made once: drawing compiles a program for each distinct initialiser.
small = nn.initializers.normal(0.02)
unit = nn.initializers.normal(1.0)

_PARTS = ("prefix_embedding", "down", "down_bias", "up", "up_bias")


class Prefix(Method):
    """`length` keys and values in front of an attention's own (its site is `kv`).

    Over N attentions of inner width J = heads * head_dim (D in most backbones) these are 2 k N J
    parameters, or k N J where `tied`: one set of vectors serves as keys and as values. With
    `hidden` = m > 0 they come, while they are trained, from an embedding by a small network,
    up(tanh(down(e))): N (k J + J m + m + m W + W) parameters, W = 2 J (J where `tied`), which
    `bake` turns into the flat ones. Routed by row; several slots a row are mixed by their weights.
    """

    length: int = 30
    hidden: int = 0
    tied: bool = False

    places = ("kv",)
    combines = True
    lengthens = True

    @nn.compact
    def __call__(self, y: Any, x: Any = None, ids: Ids | None = None) -> Any:
        """y: (k [B, K, H, d], v, bias) -> (k [B, length + K, H, d], v, bias that sees them)."""
        k, v, bias = y
        keys, values = self.vectors(k.shape[2] * k.shape[3], ids)

        def put(own: jax.Array, before: jax.Array) -> jax.Array:
            own = own.reshape(*own.shape[:-1], *before.shape[2:]).astype(before.dtype)
            own = jnp.broadcast_to(own, (before.shape[0], *own.shape[-3:]))
            return jnp.concatenate([own, before], axis=1)

        return put(keys, k), put(values, v), bias.prefixed(self.length)

    def vectors(self, width: int, ids: Ids | None) -> tuple[jax.Array, jax.Array]:
        """Returns keys and values, each [length, width], or [B, length, width] by rows."""
        parts = 1 if self.tied else 2
        if not self.hidden:
            flat = [
                self.row_weight(name, small, (self.length, width), (None, "heads"), ids)
                for name in ("keys", "values")[:parts]
            ]
            return flat[0], flat[-1]
        shapes = {
            "prefix_embedding": (unit, (self.length, width), (None, "heads")),
            "down": (fan_in, (width, self.hidden), ("heads", "bottleneck")),
            "down_bias": (zeros, (self.hidden,), ("bottleneck",)),
            "up": (fan_in, (self.hidden, parts * width), ("bottleneck", None)),
            "up_bias": (zeros, (parts * width,), (None,)),
        }
        made = network(*(self.row_weight(n, *shapes[n], ids) for n in _PARTS))
        return made[..., :width], made[..., -width:]

    def gated(self, gate: jax.Array, new: Any, old: Any) -> Any:
        """Keys cannot come and go within one program: where the gate is closed, none is seen."""
        k, v, _ = new
        return k, v, old[2].prefixed(self.length, gate)


def network(
    embedding: jax.Array,
    down: jax.Array,
    down_bias: jax.Array,
    up: jax.Array,
    up_bias: jax.Array,
) -> jax.Array:
    """[..., k, J], [..., J, m], [..., m], [..., m, W], [..., W] -> the vectors [..., k, W]."""
    inner = jnp.tanh(embedding @ down + down_bias[..., None, :])
    return inner @ up + up_bias[..., None, :]


def bake(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Turns reparameterised prefixes into flat ones, whose plug has `hidden` = 0; the rest passes.

    weights: flat names -> arrays, layers and slots stacked in front or not:
    'modules/encoder/layers/attention/kv/lang/down' [L, (R,) J, m] and its siblings become
    '.../lang/keys' and '.../lang/values' [L, (R,) k, J] (`keys` alone where they were tied).
    """
    first = f"/{_PARTS[0]}"
    places = [name.removesuffix(first) for name in weights if name.endswith(first)]
    own = {f"{place}/{part}" for place in places for part in _PARTS}
    out = {name: value for name, value in weights.items() if name not in own}
    for place in places:
        made = network(*(weights[f"{place}/{part}"] for part in _PARTS))
        width = weights[place + first].shape[-1]
        out[f"{place}/keys"] = made[..., :width]
        if made.shape[-1] > width:
            out[f"{place}/values"] = made[..., width:]
    return out
