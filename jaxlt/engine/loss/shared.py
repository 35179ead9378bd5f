"""Cross-entropy whose vocabulary is split over the devices that also share the rows.

Where weights are shared out over `fsdp`, every device would gather the whole kernel of the logits
and send its whole gradient back, 2 GB and more for 250,000 rows. Here tokens travel instead: a
device holds the logits of all tokens of its group for its own part of the vocabulary, so that the
kernel's gradient is complete where it arises. What is computed, and what comes out, is as
`losses.py` says; its own forms are the reference.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from jaxlt.engine.loss.losses import (
    Extras,
    LossConfig,
    both,
    extras_of,
    hits,
    right,
    with_gradients,
)
from jaxlt.models.manual import Manual, gather, scatter

Array = jax.Array
ABSENT = -1e30  # the logit of what is no entry of the vocabulary


@dataclasses.dataclass(frozen=True)
class _Settings:
    """What is fixed while tracing."""

    chunk_bytes: int
    vocab: int
    ways: int  # devices that share the vocabulary
    manual: Manual

    @property
    def axis(self) -> str:
        """The mesh axis that the vocabulary is split over."""
        return self.manual.axis

    @property
    def part(self) -> int:
        """Entries of the vocabulary that a device has, the last one's padding included."""
        return -(-self.vocab // self.ways)

    @property
    def others(self) -> tuple[str, ...]:
        """Axes whose devices have the same part of the vocabulary and other rows."""
        return tuple(axis for axis in self.manual.batch if axis != self.axis)


def cross_entropy_shared(
    config: LossConfig,
    manual: Manual,
    mesh: Mesh,
    hidden: Array,
    kernel: Array,
    targets: Array,
    weights: Array,
    counted: Array | None = None,
) -> tuple[Array, dict[str, Array]]:
    """The loss of `cross_entropy`; hidden [B, T, D] over `manual.batch`, kernel [D, V] over axis.

    Kernels that the axis does not divide along D are for the other forms.
    """
    settings = _Settings(
        config.chunk_bytes,
        kernel.shape[1],
        mesh.shape[manual.axis],
        manual,
    )
    extras = extras_of(config, kernel.shape[1])
    return _shared(settings, hidden, kernel, targets, *both(weights, counted), extras)


def _walk(
    s: _Settings,
    hidden: Array,
    kernel: Array,
    targets: Array,
    weights: Array,
    extras: Extras,
    want: tuple[bool, bool],
) -> tuple[dict[str, Array], Array | None, Array | None]:
    """(terms [B, T], d loss_sum / d hidden, d loss_sum / d kernel), as their arguments lie."""
    rows, shared = PartitionSpec(s.manual.batch), PartitionSpec(s.axis)
    names = ("loss", "nll", "z", "correct")
    return jax.shard_map(
        functools.partial(_local, s, want),
        in_specs=(rows, shared, rows, rows, PartitionSpec()),
        out_specs=(
            dict.fromkeys(names, rows),
            rows if want[0] else None,
            shared if want[1] else None,
        ),
        check_vma=False,
    )(hidden, kernel, targets, weights, extras)


_shared = with_gradients(_walk)


def _local(
    s: _Settings,
    want: tuple[bool, bool],
    hidden: Array,
    kernel: Array,
    targets: Array,
    weights: Array,
    extras: Extras,
) -> tuple[dict[str, Array], Array | None, Array | None]:
    """A device's rows [b, T, D] and its kernel [D / n, V]; in there, n = s.ways."""
    rows, length, width = hidden.shape
    # bfloat16 has float32's range; float16 would lose small entries, so nothing is sent in it.
    narrow = jnp.bfloat16 if hidden.dtype == jnp.bfloat16 else jnp.float32
    padded = jnp.pad(kernel.astype(hidden.dtype), ((0, 0), (0, s.part * s.ways - s.vocab)))
    own = jax.lax.all_to_all(padded, s.axis, 1, 0, tiled=True)  # [D, part]
    first = jax.lax.axis_index(s.axis) * s.part
    here = first + jnp.arange(s.part) < s.vocab
    positions = max(1, s.chunk_bytes // (4 * s.part * rows * s.ways))
    chunks = -(-length // min(positions, length))
    size = -(-length // chunks)

    def step(total: Array | None, chunk: tuple[Array, ...]) -> tuple[Array | None, Any]:
        h, t, w = (gather(x, 0, s.manual) for x in chunk)  # of the whole group: [M, D], [M], [M]
        logits = jnp.einsum("md,dv->mv", h, own, preferred_element_type=jnp.float32)
        terms, slope = _tokens(s, jnp.where(here, logits, ABSENT), t - first, w, extras, any(want))
        mine = {
            k: jax.lax.dynamic_slice_in_dim(
                v, jax.lax.axis_index(s.axis) * rows * size, rows * size
            )
            for k, v in terms.items()
        }
        if slope is None:
            return total, (mine, None)
        slope = slope.astype(narrow)
        d_hidden = None
        if want[0]:
            d_hidden = jnp.einsum("mv,dv->md", slope, own, preferred_element_type=jnp.float32)
            d_hidden = scatter(d_hidden.astype(narrow), 0, s.manual)
        if total is not None:
            total = total + jnp.einsum("md,mv->dv", h, slope, preferred_element_type=jnp.float32)
        return total, (mine, d_hidden)

    total = jnp.zeros((width, s.part), jnp.float32) if want[1] else None
    parts = tuple(_split(x, chunks) for x in (hidden, targets, weights))
    total, (terms, d_hidden) = jax.lax.scan(step, total, parts)
    if total is not None:
        total = jax.lax.psum(total, s.others).astype(narrow)
        total = jax.lax.all_to_all(total, s.axis, 0, 1, tiled=True)[:, : s.vocab]
    terms = {k: _join(v, rows, length) for k, v in terms.items()}
    return terms, _join(d_hidden, rows, length) if want[0] else None, total


def _split(x: Array, chunks: int) -> Array:
    """[b, T, ...] -> [chunks, b * size, ...], T padded with zeros to a multiple of the chunks."""
    rows, length = x.shape[:2]
    size = -(-length // chunks)
    x = jnp.pad(x, ((0, 0), (0, chunks * size - length)) + ((0, 0),) * (x.ndim - 2))
    x = jnp.moveaxis(x.reshape(rows, chunks, size, *x.shape[2:]), 1, 0)
    return x.reshape(chunks, rows * size, *x.shape[3:])


def _join(x: Array, rows: int, length: int) -> Array:
    """The inverse of `_split`: [chunks, b * size, ...] -> [b, T, ...]."""
    chunks = x.shape[0]
    x = jnp.moveaxis(x.reshape(chunks, rows, -1, *x.shape[2:]), 0, 1)
    return x.reshape(rows, -1, *x.shape[3:])[:, :length]


def _tokens(
    s: _Settings, logits: Array, targets: Array, weights: Array, extras: Extras, sloped: bool
) -> tuple[dict[str, Array], Array | None]:
    """Logits [M, part], targets counted from the first entry -> terms [M], d loss / d logits.

    As `losses.py` has them, with the sums over the vocabulary taken over all devices.
    """
    peak = jax.lax.pmax(jnp.max(logits, axis=-1), s.axis)
    exps = jnp.exp(logits - peak[..., None])
    found = hits(targets, logits.shape[-1])
    sums = [jnp.sum(exps, -1), jnp.sum(jnp.where(found, logits, 0.0), -1)]
    if extras.slope is not None:
        sums.append(jnp.sum(jnp.where(logits == ABSENT, 0.0, logits), -1))
    total, target, *rest = jax.lax.psum(tuple(sums), s.axis)
    log_z = jnp.log(total) + peak
    nll, z = log_z - target, extras.z_loss * jnp.square(log_z)
    loss = nll + z
    if rest:
        loss = loss - extras.low * (rest[0] - s.vocab * target) - extras.entropy
    terms = {"loss": loss, "nll": nll, "z": z, "correct": (target >= peak).astype(jnp.float32)}
    if not sloped:
        return terms, None
    gain = weights * (1.0 + 2.0 * extras.z_loss * log_z) / total
    slope = exps * gain[..., None] - jnp.where(found, right(weights, extras)[..., None], 0.0)
    return terms, slope - (weights * extras.low)[..., None] if rest else slope
