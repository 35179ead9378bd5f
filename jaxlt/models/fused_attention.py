"""Which attention a layer takes, plain or fused, and the fused one as the network calls it.

    way = way_of(config, "encoder/attention", queries, keys)
    y = fused(way, q, k, v, bias, config.logit_scale)     # what plain attention makes of the same

On TPUs it is the kernels of `jaxlt.models.fused_attention_tpu`, under shard_map on a mesh; on GPUs
cuDNN's. Neither has scores, masks or (on TPUs) biases in main memory.
"""

import functools
import math
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import PartitionSpec

from jaxlt.models import fused_attention_gpu
from jaxlt.models.bias import Bias
from jaxlt.models.config import T5Config
from jaxlt.models.fused_attention_shape import MASKED, Distances, Shape
from jaxlt.modules.placement import axes_of, free_axes, platform

NAME = "fused_attention"  # of what comes out, for policies of what to keep for the backward pass


def way_of(
    cfg: T5Config, place: str, queries: int, keys: int, packed: bool = False, stepping: bool = False
) -> str:
    """Decides: 'plain', 'tpu', 'interpreted' (the TPU's kernels, where there is none) or 'gpu'.

    place: of the attention, such as 'encoder/attention'. packed: rows have segments. stepping:
    decoding with a cache. All is known while tracing, and both who makes a bias and who reads it
    ask here.
    """
    if cfg.attention == "plain" or stepping:
        return "plain"
    where = platform()
    if where != "tpu" and cfg.attention == "auto":
        return "plain"  # on GPUs too, until one has been measured
    if any(plug.matches(f"{place}/{site}") for plug in cfg.plugs for site in ("kv", "weights")):
        return "plain"  # prefixes have no distance, and its weights are never written down
    if where in ("gpu", "cuda", "rocm"):
        serves = not packed and fused_attention_gpu.serves(cfg, queries, keys)
        return "gpu" if serves else "plain"
    # Without a mesh, how arrays may be split over several devices is not known here.
    unknown = not jax.sharding.get_abstract_mesh().axis_names and jax.device_count() > 1
    if where == "tpu" and (cfg.dtype == "float16" or cfg.head_dim % 16 or unknown):
        return "plain"
    shape = Shape(
        1, queries, keys, _parts("heads", cfg.num_heads)[1], cfg.head_dim, cfg.dtype, True, True
    )
    if not shape.fits:
        return "plain"
    return "tpu" if where == "tpu" else "interpreted"


def fused(
    way: str, q: jax.Array, k: jax.Array, v: jax.Array, bias: Bias, scale: float = 1.0
) -> jax.Array:
    """q: [B, Q, H, d], k and v: [B, K, H, d] -> [B, Q, H, d].

    bias: without prefix or step; its table None or Distances. scale: of the logits before the bias.
    """
    if way == "gpu":
        return checkpoint_name(fused_attention_gpu.attend(q, k, v, bias, scale), NAME)
    (rows, queries, heads, head_dim), keys = q.shape, k.shape[1]
    values, codes = values_of(bias, heads, queries, keys), codes_of(bias, rows, queries, keys)
    shape = Shape(
        rows,
        queries,
        keys,
        heads,
        head_dim,
        q.dtype.name,
        values is not None,
        codes is not None,
        scale,
        way == "interpreted",
    )
    flat = lambda x: x.reshape(*x.shape[:2], -1)  # noqa: E731
    out = _fused(shape, flat(q), flat(k), flat(v), values, codes)
    return checkpoint_name(out, NAME).reshape(q.shape)


def values_of(bias: Bias, heads: int, queries: int, keys: int) -> jax.Array | None:
    """What is added by distance, float32 [H, Q + K - 1]: the bias, and what causality hides."""
    given = bias.table
    assert given is None or isinstance(given, Distances)
    values = None if given is None else given.values.astype(jnp.float32)
    if bias.causal:
        hidden = np.where(np.arange(1 - queries, keys) > 0, MASKED, 0.0).astype(np.float32)
        values = jnp.broadcast_to(hidden, (heads, len(hidden))) + (0 if values is None else values)
    return values


def codes_of(bias: Bias, rows: int, queries: int, keys: int) -> tuple[jax.Array, jax.Array] | None:
    """float32 [B, Q] and [B, K], equal where a query sees a key; None where all see all."""
    packed = bias.query_segments is not None and bias.key_segments is not None
    if not packed and bias.query_valid is None and bias.key_valid is None:
        return None

    def code(length: int, valid: Any, segments: Any, none: float) -> jax.Array:
        own = segments.astype(jnp.float32) if packed else jnp.zeros((rows, length), jnp.float32)
        return own if valid is None else jnp.where(valid, own, none)

    return (
        code(queries, bias.query_valid, bias.query_segments, -1.0),
        code(keys, bias.key_valid, bias.key_segments, -2.0),
    )


# --- on a mesh, and backwards ---------------------------------------------------------------------
def _parts(logical: str, size: int) -> tuple[tuple[str, ...], int]:
    """(mesh axes that split a dimension of this logical name, what of it a device has)."""
    axes, sizes = axes_of(logical, size), jax.sharding.get_abstract_mesh().shape
    return axes, size // math.prod(sizes[axis] for axis in axes)


def _on_mesh(shape: Shape, work: Any, inputs: tuple[Any, ...], outputs: Any) -> Any:
    """Runs work(shape of a device's part, axes of rows, *inputs) on each device's rows and heads.

    inputs: (tensors [B, T, H * d], biases [H, W], codes [B, T]); outputs: (count of tensors,
    whether a bias comes behind them).
    """
    if not free_axes():
        return work(shape, (), *inputs)
    (batch, rows), (heads, own) = _parts("batch", shape.rows), _parts("heads", shape.heads)
    tensor, line = PartitionSpec(batch, None, heads), PartitionSpec(heads)
    part = shape.part(rows, own)
    count, biased = outputs
    specs = (tensor,) * count + ((line,) if biased else ())
    return jax.shard_map(
        functools.partial(work, part, batch),
        in_specs=(tensor, line, PartitionSpec(batch)),
        out_specs=specs,
        axis_names=set(free_axes()),
        check_vma=False,
    )(*inputs)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _fused(shape: Shape, q: Any, k: Any, v: Any, values: Any, codes: Any) -> jax.Array:
    """q: [B, Q, H * d] -> [B, Q, H * d]; values [H, Q + K - 1] and codes as `Shape` says."""
    from jaxlt.models.fused_attention_tpu import attend  # Pallas is loaded where it is used

    def work(part: Shape, _: Any, tensors: Any, values: Any, codes: Any) -> tuple[jax.Array]:
        q, k, v = tensors
        return (attend(part, q, k, v, values, codes),)

    return _on_mesh(shape, work, ((q, k, v), values, codes), (1, False))[0]


@flax.struct.dataclass
class _Kept:
    """What the backward pass needs."""

    tensors: tuple[jax.Array, jax.Array, jax.Array]
    values: jax.Array | None
    codes: Any
    learned: bool = flax.struct.field(pytree_node=False)


def _fused_forward(shape: Shape, q: Any, k: Any, v: Any, values: Any, codes: Any) -> Any:
    learned = values is not None and values.perturbed  # False where the bias's table is frozen
    tensors = (q.value, k.value, v.value)
    values = None if values is None else values.value
    codes = None if codes is None else tuple(code.value for code in codes)
    return _fused(shape, *tensors, values, codes), _Kept(tensors, values, codes, learned)


def _fused_backward(shape: Shape, kept: _Kept, out: Any) -> Any:
    from jaxlt.models.fused_attention_tpu import attend_back

    if isinstance(out, jax.custom_derivatives.SymbolicZero):
        return (None,) * 5

    def work(part: Shape, rows: Any, tensors: Any, values: Any, codes: Any) -> tuple[Any, ...]:
        q, k, v, last = tensors
        *found, line = attend_back(part, q, k, v, values, codes, last, kept.learned)
        if line is None:
            return tuple(found)
        return (*found, jax.lax.psum(line, rows) if rows else line)

    inputs = ((*kept.tensors, out), kept.values, kept.codes)
    found = _on_mesh(shape, work, inputs, (3, kept.learned))
    return (*found, *(() if kept.learned else (None,)), None)


_fused.defvjp(_fused_forward, _fused_backward, symbolic_zeros=True)
