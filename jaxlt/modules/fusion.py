"""Fusion: attention over what several modules would each do.

    plug(Fusion, "fused", inner=plug(Bottleneck, "lang", reduction_factor=16), count=8)

The inner modules are plain ones, trained alone and put side by side by `bank_of`; train the fusion
with `TrainConfig.frozen` naming them ('modules/.*/fused/lang/.*').
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlt.errors import UserError
from jaxlt.modules.routing import Ids
from jaxlt.modules.site import Method, Plug

small = nn.initializers.normal(0.02)


def identity(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """Initialises square matrices [..., D, D] as the identity."""
    return jnp.broadcast_to(jnp.eye(shape[-1], dtype=dtype), shape)


def changes(
    inner: Plug | None, count: int, owner: Method, y: jax.Array, x: Any, ids: Ids | None
) -> jax.Array:
    """Returns what each of `count` modules adds to y [B, T, D]: [count, B, T, D].

    Their weights carry a leading axis 'members': 'modules/.../<owner>/<inner>/down' [L, N, D, m].
    """
    if inner is None or inner.routes or count < 1:
        raise UserError(
            f"Plug '{owner.name}' ({type(owner).__name__}) needs `inner`, a plug without routes, "
            f"and `count`, how many of it there are (got {count})."
        )
    several: Callable[..., Method] = nn.vmap(
        inner.method,
        in_axes=None,
        axis_size=count,
        variable_axes={"modules": 0},
        split_rngs={"params": True},
        metadata_params={nn.PARTITION_NAME: "members"},
    )
    method = several(name=inner.name, place=owner.place, dtype=owner.dtype, **dict(inner.settings))
    return method(y, x, ids) - y


class Fusion(Method):
    """y + V sum_n s_n c_n: c_n is what module n of `inner` adds to y, s = softmax((Q y) K c_n).

    The query is the sublayer's output y, keys and values are the modules' own outputs; V starts as
    the identity, so that equal modules give what one of them does. 3 D^2 parameters a place, beside
    the `count` inner modules. `routes` and `key` give every task or language a fusion of its own
    over the same modules.
    """

    inner: Plug | None = None
    count: int = 0
    temperature: float = 1.0

    @nn.compact
    def __call__(self, y: jax.Array, x: Any = None, ids: Ids | None = None) -> jax.Array:
        """y, x: [B, T, D] -> [B, T, D]."""
        width = y.shape[-1]
        each = changes(self.inner, self.count, self, y, x, ids)
        # (Q y) . (K c_n) = (K' Q y) . c_n: one product a token rather than one a module.
        query = self.dense("query", y, small, width, ("embed", None), ids)
        query = self.dense("keys", query, small, width, (None, "embed"), ids)
        scores = jnp.einsum("btd,nbtd->btn", query, each, preferred_element_type=jnp.float32)
        shares = jax.nn.softmax(scores / self.temperature, axis=-1).astype(y.dtype)
        mixed = jnp.einsum("btn,nbtd->btd", shares, each)
        return y + self.dense("values", mixed, identity, width, ("embed", None), ids)


def bank_of(fused: str, inner: str, modules: Sequence[Mapping[str, Any]]) -> dict[str, jax.Array]:
    """Puts modules trained alone side by side as the members of a fusion or ensemble.

    modules: for each, flat names -> arrays of a plug `inner`, as it was trained:
    'modules/encoder/layers/mlp_out/lang/down' [L, D, m]; they become
    'modules/encoder/layers/mlp_out/fused/lang/down' [L, N, D, m].
    """
    if not modules or any(set(m) != set(modules[0]) for m in modules):
        raise UserError(
            f"The {len(modules)} modules for '{fused}' have to be of one method at the same sites: "
            "they do not hold the same weights."
        )
    out = {}
    for name in modules[0]:
        place, found, leaf = name.rpartition(f"/{inner}/")
        if not found:
            raise UserError(f"'{name}' is no weight of a plug '{inner}', which '{fused}' fuses.")
        axis = int(bool(re.search(r"(^|/)layers/", name)))
        values = [m[name] for m in modules]
        out[f"{place}/{fused}/{inner}/{leaf}"] = jnp.stack(values, axis=axis)
    return out
