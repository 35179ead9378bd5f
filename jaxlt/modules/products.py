"""Products of rows or tokens with the slots of a bank that their route names: several ways, equal.

    routed_matmul(x [B, T, I], bank [R, I, O], index [B] or [B, T]) -> [B, T, O]

`gather` takes a copy of the slot for every row; `blocks` and `ragged` sort the tokens by slot, the
one into blocks of one slot each, the other for `jax.lax.ragged_dot`; `exchange` sends the rows to
the device that holds their slot. A slot for the whole batch (index []) is a plain product.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from jaxlt.errors import UserError, nearest
from jaxlt.modules.placement import axes_of, platform
from jaxlt.modules.routing import select

BLOCK = 64  # tokens of one slot that are multiplied together; each slot is padded to whole blocks
WIDE = 128  # bottlenecks of this width fill the matrix units that ragged_dot is made for
SPARE = 2  # a shard of a bank has room for so many times its even share of the rows


def routed_matmul(x: jax.Array, bank: jax.Array, index: jax.Array, how: str = "auto") -> jax.Array:
    """x [B, T, I] times the slot of each row or token: bank [R, I, O] -> [B, T, O].

    index: int32 [], [B] or [B, T]. how: 'auto' (by platform, width and mesh), or one of
    IMPLEMENTATIONS; all of them give the same.
    """
    if index.ndim == 0:
        return x @ select(bank, index)
    if how == "auto":
        how = chosen(bank, index)
    if how not in IMPLEMENTATIONS:
        raise UserError(
            f"Plug.routing is 'auto' or one of {', '.join(IMPLEMENTATIONS)}, not '{how}'."
            f"{nearest(how, IMPLEMENTATIONS)}"
        )
    return IMPLEMENTATIONS[how](x, bank, index)


def chosen(bank: jax.Array, index: jax.Array) -> str:
    """The implementation for this bank [R, I, O] and index, on this platform and mesh."""
    if index.ndim == 1 and _bank_axis(bank) is not None:
        return "exchange"
    # ragged_dot has a kernel on TPU; elsewhere it falls back on one product a slot, over all rows.
    if platform() == "tpu" and min(bank.shape[1:]) >= WIDE:
        return "ragged"
    return "gather" if index.ndim == 1 else "blocks"


def _gather(x: jax.Array, bank: jax.Array, index: jax.Array) -> jax.Array:
    """A weight a row, batched; the plain form. A weight a token is right, and large."""
    if index.ndim == 2:
        return jnp.einsum("bti,btio->bto", x, select(bank, index))
    return x @ select(bank, index)


def _over_tokens(
    product: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
) -> Callable[[jax.Array, jax.Array, jax.Array], jax.Array]:
    """Makes product(tokens [N, I], bank, slot [N]) -> [N, O] one over [B, T, I].

    On a mesh each device sorts its own rows: a sort over all of them would gather the batch.
    """

    def whole(x: jax.Array, bank: jax.Array, index: jax.Array) -> jax.Array:
        slot = index if index.ndim == 2 else jnp.broadcast_to(index[:, None], x.shape[:2])
        out = product(x.reshape(-1, x.shape[-1]), bank, slot.reshape(-1))
        return out.reshape(*x.shape[:2], -1)

    def run(x: jax.Array, bank: jax.Array, index: jax.Array) -> jax.Array:
        rows = axes_of("batch", x.shape[0])
        if not rows:
            return whole(x, bank, index)
        split = PartitionSpec(rows)
        return jax.shard_map(
            whole, in_specs=(split, PartitionSpec(), split), out_specs=split, axis_names=set(rows)
        )(x, bank, index)

    return run


@_over_tokens
def _blocks(tokens: jax.Array, bank: jax.Array, slot: jax.Array) -> jax.Array:
    """Tokens sorted by slot and cut into blocks of one slot each, padded: static shapes.

    At most R blocks more than the tokens fill, whatever the slots' shares.
    """
    count, slots = tokens.shape[0], bank.shape[0]
    blocks = -(-count // BLOCK) + slots
    sizes = jnp.zeros(slots, jnp.int32).at[slot].add(1)
    padded = -(-sizes // BLOCK) * BLOCK
    begins = jnp.cumsum(padded) - padded  # where a slot's blocks begin
    order = jnp.argsort(slot, stable=True)
    rank = jnp.arange(count) - (jnp.cumsum(sizes) - sizes)[slot[order]]
    place = begins[slot[order]] + rank
    source = jnp.full(blocks * BLOCK, count, jnp.int32).at[place].set(order.astype(jnp.int32))
    rows = tokens.at[source].get(mode="fill", fill_value=0).reshape(blocks, BLOCK, -1)
    ends = jnp.cumsum(padded)
    owner = jnp.sum(ends <= jnp.arange(blocks)[:, None] * BLOCK, axis=-1)
    out = (rows @ select(bank, jnp.minimum(owner, slots - 1))).reshape(blocks * BLOCK, -1)
    return out[jnp.zeros(count, jnp.int32).at[order].set(place.astype(jnp.int32))]


@_over_tokens
def _ragged(tokens: jax.Array, bank: jax.Array, slot: jax.Array) -> jax.Array:
    """Tokens sorted by slot, one `ragged_dot` over all."""
    order = jnp.argsort(slot, stable=True)
    sizes = jnp.zeros(bank.shape[0], jnp.int32).at[slot].add(1)
    out = jax.lax.ragged_dot(tokens[order], bank, sizes)
    return out[jnp.argsort(order)]


def _exchange(x: jax.Array, bank: jax.Array, index: jax.Array) -> jax.Array:
    """Rows travel to the shard of the bank that owns their slot, and their products back.

    Each pair of devices exchanges a buffer of fixed size, SPARE times the even share. A batch that
    does not fit (many rows of few shards) takes buffers for all rows: slower, and as exact.
    """
    axis = _bank_axis(bank)
    if axis is None or index.ndim != 1:
        return _gather(x, bank, index)
    ways = jax.sharding.get_abstract_mesh().shape[axis]
    rows_axes = axes_of("batch", x.shape[0])
    own = bank.shape[0] // ways  # slots of a shard

    def local(x: jax.Array, bank: jax.Array, index: jax.Array) -> jax.Array:
        rows = x.shape[0]
        owner = index // own
        same = owner[:, None] == jnp.arange(ways)
        rank = (jnp.cumsum(same, 0) * same).sum(-1) - 1  # how-manieth row for its owner
        lean = min(rows, SPARE * -(-rows // ways))

        def through(room: int) -> jax.Array:
            place = owner * room + rank  # in the buffers, one a destination

            def send(a: jax.Array) -> jax.Array:
                buffer = jnp.zeros((ways * room, *a.shape[1:]), a.dtype).at[place].set(a)
                return jax.lax.all_to_all(buffer, axis, 0, 0, tiled=True)

            out = send(x) @ select(bank, send(index % own))
            return jax.lax.all_to_all(out, axis, 0, 0, tiled=True)[place]

        if lean == rows:
            return through(rows)
        fits = jax.lax.pmax(jnp.max(rank), axis) < lean
        return jax.lax.cond(fits, lambda: through(lean), lambda: through(rows))

    split = PartitionSpec(rows_axes)
    return jax.shard_map(
        local,
        in_specs=(split, PartitionSpec(axis), split),
        out_specs=split,
        axis_names=set(rows_axes),
    )(x, bank, index)


def _bank_axis(bank: jax.Array) -> str | None:
    """The mesh axis, one of those that split the rows too, that splits the slots of a bank."""
    axes = axes_of("routes", bank.shape[0])
    target: Any = dict(nn.get_logical_axis_rules() or ()).get("batch") or ()
    over_rows = (target,) if isinstance(target, str) else tuple(target)
    return axes[0] if len(axes) == 1 and axes[0] in over_rows else None


IMPLEMENTATIONS: dict[str, Callable[[jax.Array, jax.Array, jax.Array], jax.Array]] = {
    "gather": _gather,
    "blocks": _blocks,
    "ragged": _ragged,
    "exchange": _exchange,
}
