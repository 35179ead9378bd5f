"""Ensembles: several modules, their outputs added up by learned weights.

A plain average needs no method of its own: a bank with `key="all"`. Weights that are given rather
than learned, by layer and row, are a `Route` with `weights` [L, B, N].
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlt.modules.boxed import zeros
from jaxlt.modules.fusion import changes
from jaxlt.modules.routing import Ids
from jaxlt.modules.site import Method, Plug


class Ensemble(Method):
    """y + sum_n w_n c_n: c_n is what module n of `inner` adds to y, w = softmax(logits).

    `count` parameters a place, beside the modules themselves; they start as the average. `routes`
    and `key` give every task or language weights of its own over the same modules.
    """

    inner: Plug | None = None
    count: int = 0

    @nn.compact
    def __call__(self, y: jax.Array, x: Any = None, ids: Ids | None = None) -> jax.Array:
        """y, x: [B, T, D] -> [B, T, D]."""
        each = changes(self.inner, self.count, self, y, x, ids)
        logits = self.vector("logits", zeros, self.count, None, ids)
        shares = jax.nn.softmax(logits.astype(jnp.float32), axis=-1).astype(y.dtype)
        if shares.ndim == 1:
            return y + jnp.einsum("n,nbtd->btd", shares, each)
        shares = jnp.broadcast_to(shares, (*y.shape[:2], self.count))
        return y + jnp.einsum("btn,nbtd->btd", shares, each)
