"""Hidden states of a forward pass, as arrays.

states = capture(config, params, batch, ["encoder/block_out"])["encoder/block_out"]
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxlt.engine.batch_checks import check_routes, slots_of
from jaxlt.errors import UserError
from jaxlt.models.config import T5Config
from jaxlt.models.encoder import model_of
from jaxlt.models.init import flatten, unflatten
from jaxlt.models.layers import make_context
from jaxlt.modules.deltas import applied
from jaxlt.modules.interventions import Capture
from jaxlt.modules.layout import is_scanned, stack
from jaxlt.modules.placement import rules_now
from jaxlt.modules.site import SITES, plug

_NAME = "captured_states"


def capture(
    config: T5Config,
    params: Mapping[str, jax.Array],
    batch: Mapping[str, np.ndarray | jax.Array],
    sites: Iterable[str] = ("block_out",),
) -> dict[str, Any]:
    """Returns what flows through sites, after all plugs, without dropout: place -> array.

    params: flat, base and modules. sites: patterns as a plug has them. A place in the layers comes
    as [L, B, T, D] ('encoder/block_out'), one outside as [B, T, D] ('encoder/embed'); `kv` as a
    pair (k, v), each [L, B, K, H, d]. Of sharded parameters it is called under their mesh and rules
    (`jaxlt.engine.step.mesh_context`). Padding is in it, as are soft prompts, which stand in front.
    """
    sites = tuple(sites)
    check_routes(batch, slots_of(config))
    states = _capture(config, sites, rules_now(), dict(params), dict(batch))
    if not states:
        known = ", ".join(" ".join(SITES).split())
        raise UserError(f"Nothing to capture: no site matches {list(sites)} (sites are: {known}).")
    return states


@functools.partial(jax.jit, static_argnames=("config", "sites", "rules"))
def _capture(
    config: T5Config, sites: tuple[str, ...], rules: tuple[Any, ...], params: Any, batch: Any
) -> dict[str, Any]:
    looking = dataclasses.replace(config, plugs=(*config.plugs, plug(Capture, _NAME, sites=sites)))
    model, ctx = model_of(looking), make_context(batch)
    variables = unflatten(applied(params, config.deltas))
    method = "encode" if config.heads else "hidden"
    with nn.logical_axis_rules(rules):
        _, state = model.apply(variables, batch, ctx, method=method, mutable=["captured"])
    flat = flatten(state.get("captured", {}))
    if not any(is_scanned(name) for name in flat):
        flat = stack(flat, join=lambda values: jax.tree.map(lambda *a: jnp.stack(a), *values))
    return {name.rpartition("/")[2].replace(":", "/"): value for name, value in flat.items()}
