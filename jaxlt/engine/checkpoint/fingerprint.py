"""A content hash of a backbone that does not depend on scan, sharding or dtype.

Each canonical (unrolled) parameter is summed up, on the devices that hold it, as four 32-bit lanes:
the values rounded to bfloat16, each mixed with its position, added modulo 2^32. Integer addition
has no order, so any sharding gives the same lanes; rounding makes float32 and bfloat16 copies of
one backbone agree, and what is held in int8 brings the lanes of what it was rounded from. The host
then hashes names, shapes and lanes. Nothing is gathered.

    fingerprint(params)      # of all that is given
    fingerprint_of(params)   # of a backbone and of each of its stacks
"""

import functools
import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from jaxlt.metrics.result import Module
from jaxlt.models.config import ModelConfig
from jaxlt.modules.fingerprints import STACKS, Fingerprint
from jaxlt.modules.int8 import Int8
from jaxlt.modules.layout import is_scanned, layer_name
from jaxlt.modules.site import owner

_SALTS = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F)


def _mix(x: jax.Array) -> jax.Array:
    """A 32-bit finaliser: every input bit reaches every output bit."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


@functools.partial(jax.jit, static_argnames="layered")
def lanes_of(value: jax.Array, layered: bool) -> jax.Array:
    """[...] -> uint32 [4]; with a layer axis in front, [L, ...] -> [L, 4]."""
    bits = jax.lax.bitcast_convert_type(value.astype(jnp.bfloat16), jnp.uint16).astype(jnp.uint32)
    unit = value.shape[int(layered) :]
    axes = tuple(range(int(layered), value.ndim))
    position = jnp.zeros(unit, jnp.uint32)
    for axis, size in enumerate(unit):  # row-major index, modulo 2^32
        position = position * jnp.uint32(size) + jax.lax.broadcasted_iota(jnp.uint32, unit, axis)
    position = _mix(position + jnp.uint32(1))
    sums = [
        jnp.sum(_mix((bits + jnp.uint32(1)) * jnp.uint32(salt) ^ position), axis=axes)
        for salt in _SALTS
    ]
    return jnp.stack(sums, axis=-1)


def fingerprint(params: Mapping[str, Any]) -> str:
    """Flat parameters (scanned or unrolled, any sharding, float dtype) -> 32 hex digits.

    Names are taken without a leading 'params/', so that the engine's flat trees can be passed.
    """
    return _digest(_lanes(params))


def fingerprint_of(params: Mapping[str, Any]) -> Fingerprint:
    """A backbone's parameters, as `fingerprint` takes them -> its hash and those of its stacks.

    An encoder's head for masked words is left out: it is the objective's, and modules fit the
    encoder with it and without. The token embeddings belong to each stack.
    """
    lanes = _lanes(params, leave_out="mlm_head/")
    parts = {}
    for stack in STACKS:
        if any(name.startswith(f"{stack}/") for name in lanes):
            own = (f"{stack}/", "token_embedder/")
            parts[stack] = _digest({n: lane for n, lane in lanes.items() if n.startswith(own)})
    return Fingerprint(_digest(lanes), parts)


_Lanes = dict[str, tuple[tuple[int, ...], np.ndarray]]  # by canonical names: shape and lanes


def _lanes(params: Mapping[str, Any], leave_out: str | None = None) -> _Lanes:
    """leave_out: what names begin with that do not count."""
    lanes: _Lanes = {}
    for full in params:
        name = full.removeprefix("params/")
        if leave_out and name.startswith(leave_out):
            continue
        value = params[full]
        layered = is_scanned(name)
        content = value.content if isinstance(value, Int8) else lanes_of(value, layered)
        found = np.asarray(content)
        if layered:
            for i in range(value.shape[0]):
                lanes[layer_name(name, i)] = (tuple(value.shape[1:]), found[i])
        else:
            lanes[name] = (tuple(value.shape), found)
    return lanes


def _digest(lanes: _Lanes) -> str:
    digest = hashlib.sha256()
    for name in sorted(lanes):
        shape, lane = lanes[name]
        digest.update(f"{name}:{shape}:{lane.astype('<u4').tobytes().hex()}\n".encode())
    return digest.hexdigest()[:32]


def modules_of(
    model: ModelConfig,
    params: Mapping[str, Any] | None = None,
    chosen: Mapping[str, str] | None = None,
) -> tuple[Module, ...]:
    """Returns what is plugged into a model or added to it, as it took part, with content hashes.

    params: flat; without them there are no hashes. chosen: which modules of a library fill a plug
    ('glv_Latn'), by the plug's name.
    """
    found, filled = [], chosen or {}
    for plug in model.plugs:
        name = f"{plug.name}={filled[plug.name]}" if plug.name in filled else plug.name
        found.append((name, {n: v for n, v in (params or {}).items() if owner(n) == plug.name}))
    for delta in getattr(model, "deltas", ()):
        name = f"{delta.name}={epath.Path(delta.file).name}" if delta.file else delta.name
        start = f"deltas/{delta.name}/"
        found.append((name, {n: v for n, v in (params or {}).items() if n.startswith(start)}))
    return tuple(Module(name, fingerprint(mine)[:16] if mine else "") for name, mine in found)
