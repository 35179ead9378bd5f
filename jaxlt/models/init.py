"""Shapes first, then values: what parameters a model has, and how each is drawn.

Every unit (a layer of a scanned leaf, a slot of a bank) is drawn with a key made of the seed and
its own canonical name. So the values depend neither on scan, nor on the mesh, nor on what else is
plugged in, nor on the number of slots.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np

from jaxlt.models.config import BiLSTMConfig, ModelConfig
from jaxlt.models.encoder import model_of
from jaxlt.models.layers import make_context
from jaxlt.modules.boxed import Boxed
from jaxlt.modules.delta_files import Stored
from jaxlt.modules.deltas import declare
from jaxlt.modules.layout import unit_keys
from jaxlt.modules.routing import ALL, FIELDS, field_of
from jaxlt.modules.site import as_probe, owner, unplugged

UNIT_AXES = ("layers", "routes", "members")


@dataclasses.dataclass(frozen=True)
class Leaf:
    """What is known of a parameter before it exists."""

    shape: tuple[int, ...]
    axes: tuple[str | None, ...]  # a logical name a dimension
    init: Callable[..., Any]
    dtype: str | None = None  # where it is always the same, whatever else is frozen in


def flatten(variables: Mapping[str, Any]) -> dict[str, Any]:
    """{'params': {'encoder': ...}} -> {'params/encoder/...': leaf}.

    Heads are no part of a backbone: {'params': {'heads': ...}} -> {'heads/...': leaf}.
    """
    flat = flax.traverse_util.flatten_dict(dict(variables), sep="/")
    return {
        n.removeprefix("params/") if n.startswith("params/heads/") else n: v
        for n, v in flat.items()
    }


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `flatten`."""
    whole = {f"params/{n}" if n.startswith("heads/") else n: v for n, v in flat.items()}
    return flax.traverse_util.unflatten_dict(whole, sep="/")


def tiny_batch(config: ModelConfig) -> dict[str, np.ndarray]:
    """The smallest batch a model of this config accepts: enough to trace shapes."""
    tokens = np.ones((1, 4), np.int32)
    if isinstance(config, BiLSTMConfig):
        return {"words": tokens, "chars": np.ones((1, 4, 4), np.int32)}
    batch = {"encoder_input_tokens": tokens, "language": np.zeros(1, np.int32)}
    if not config.is_encoder:
        batch |= {"decoder_input_tokens": tokens, "decoder_target_tokens": tokens}
    for plug in config.plugs:
        if plug.key == "target":
            batch["target_language"] = batch["language"]
        if plug.key == "task":
            batch["task"] = batch["language"]
        if plug.routes and plug.key and plug.key not in (ALL, *FIELDS):
            batch[field_of(plug.key)] = np.zeros((), np.int32)
    return batch


@functools.lru_cache(maxsize=64)
def _network(config: ModelConfig) -> dict[str, Leaf]:
    """The parameters that a network declares by itself: traced, so once for equal configs."""
    model, batch = model_of(config), tiny_batch(config)

    def init() -> Any:
        return model.init(jax.random.key(0), batch, make_context(batch))

    boxes = flatten(jax.eval_shape(init))
    for name, box in boxes.items():
        if not isinstance(box, Boxed):
            raise TypeError(f"Parameter {name} was declared without axis names.")
    return {n: Leaf(tuple(b.value.shape), b.names, b.init) for n, b in boxes.items()}


def describe(config: ModelConfig) -> dict[str, Leaf]:
    """Lists every parameter, flat, without making any: {'params/...': Leaf, ...}."""
    leaves = dict(_network(config))
    names = [n for n in leaves if n.startswith("modules/")]
    unknown = {p.name for p in config.plugs} - {owner(n) for n in names}
    if unknown and not isinstance(config, BiLSTMConfig):
        # Some have no weights to be known by, or meet no site.
        probes = dataclasses.replace(config, plugs=tuple(map(as_probe, config.plugs)))
        names = [n for n in _network(probes) if n.startswith("modules/")]
    unplugged(config.plugs, names)
    return leaves | {n: Leaf(*declared) for n, declared in declare(config.deltas, leaves).items()}


@functools.partial(
    jax.jit, static_argnames=("init", "unit", "slots", "scanned", "dtype", "sharding")
)
def _draw(keys, init, unit, slots, scanned, dtype, sharding):
    """keys [L] (or [1]) -> the leaf. One small program a distinct shape, not one a parameter."""

    def make(key: jax.Array) -> jax.Array:
        return init(key, unit, jnp.float32).astype(dtype)

    def bank(key: jax.Array) -> jax.Array:
        # slot r is drawn the same however many slots there are
        if getattr(init, "same_in_all_slots", False):
            return jnp.broadcast_to(make(key), (slots, *unit))
        fold = jax.vmap(lambda r: jax.random.fold_in(key, r))
        return jax.vmap(make)(fold(jnp.arange(slots)))

    values = jax.vmap(bank if slots else make)(keys)
    values = values if scanned else values[0]
    return values if sharding is None else jax.lax.with_sharding_constraint(values, sharding)


def draw(
    leaf: Leaf, name: str, key: jax.Array, dtype: Any = jnp.float32, sharding: Any = None
) -> jax.Array:
    """Draws one parameter under `key` (the seed's), by its own name, where it will live.

    One that lies in a file is read.
    """
    if isinstance(leaf.init, Stored):
        value = leaf.init().astype(dtype)
        if sharding is None:
            return jnp.asarray(value)
        return jax.make_array_from_callback(leaf.shape, sharding, lambda index: value[index])
    lead = 0
    while lead < len(leaf.axes) and leaf.axes[lead] in UNIT_AXES:
        lead += 1
    scanned = bool(lead) and leaf.axes[0] == "layers"
    keys = unit_keys(key, name, leaf.shape[0] if scanned else 1)
    slots = leaf.shape[int(scanned)] if lead > int(scanned) else 0
    return _draw(keys, leaf.init, leaf.shape[lead:], slots, scanned, jnp.dtype(dtype), sharding)


def count(leaves: Mapping[str, Leaf]) -> int:
    """Number of values in those parameters."""
    return sum(int(np.prod(leaf.shape)) for leaf in leaves.values())
