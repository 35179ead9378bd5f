"""Fused attention on GPUs: cuDNN's, with the bias as a table that all rows share.

cuDNN adds a bias of [1, H, Q, K] and takes lengths and causality as such; a mask of booleans would
be made a bias of every row. So rows have to be text first and padding behind, and packed rows are
left to plain attention. It always computes the bias's gradient.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from jaxlt.models.bias import Bias
from jaxlt.models.config import T5Config
from jaxlt.models.fused_attention_shape import Distances

IMPLEMENTATION: Literal["cudnn", "xla"] = "cudnn"


def serves(cfg: T5Config, queries: int, keys: int) -> bool:
    """Whether cuDNN has a kernel for these sizes: half precision, even lengths, small heads."""
    half = cfg.dtype in ("float16", "bfloat16")
    return half and queries % 2 == keys % 2 == 0 and cfg.head_dim % 8 == 0 and cfg.head_dim <= 128


def attend(q: jax.Array, k: jax.Array, v: jax.Array, bias: Bias, scale: float = 1.0) -> jax.Array:
    """q: [B, Q, H, d], k and v: [B, K, H, d] -> [B, Q, H, d]; queries of padding come out as zero.

    bias: without prefix, step or segments; its table None or Distances.
    """
    rows, queries, keys = q.shape[0], q.shape[1], k.shape[1]
    table = None
    if bias.table is not None:
        assert isinstance(bias.table, Distances)
        table = bias.table.spelt_out(queries, keys)[None].astype(q.dtype)
    lengths = (_lengths(bias.query_valid, rows, queries), _lengths(bias.key_valid, rows, keys))
    given = bias.query_valid is not None or bias.key_valid is not None
    return jax.nn.dot_product_attention(
        q,
        k,
        v,
        bias=table,
        scale=scale,
        is_causal=bias.causal,
        query_seq_lengths=lengths[0] if given else None,
        key_value_seq_lengths=lengths[1] if given else None,
        implementation=IMPLEMENTATION,
    )


def _lengths(valid: jax.Array | None, rows: int, length: int) -> jax.Array:
    """[B, T] bool, text first -> [B] int32, at least 1: over nothing there is no softmax."""
    if valid is None:
        return jnp.full(rows, length, jnp.int32)
    return jnp.maximum(jnp.sum(valid, axis=-1, dtype=jnp.int32), 1)
