"""Layers whose weights each device gathers as they are used, and whose gradients it scatters.

The compiler, left alone, reduces the gradients of weights that are shared out (FSDP) as a whole and
then keeps a part of them: twice the bytes of a reduce-scatter. Within `by_hand(Manual(...))` the
stacks run their layers under shard_map instead: rows stay where they are, a layer's weights are
gathered in the compute dtype, and their gradients leave by reduce-scatter in that dtype.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import PartitionSpec

from jaxlt.modules.routing import Bank, Route, Slice, values_of
from jaxlt.modules.site import owner

OWN = "own"  # the part of a bank that a device's rows go through
SLOTS = "slots"  # what was exchanged, for policies of what to keep for the backward pass
TILE = 8  # rows of a TPU's tiles
Groups = tuple[tuple[int, ...], ...] | None  # of positions along an axis; None: all of them


@dataclasses.dataclass(frozen=True)
class Manual:
    """How the layers are run by hand.

    axis: the mesh axis that weights are shared over. batch: the axes that rows are split over, this
    one included. specs: by flat name ('params/encoder/layers/mlp/wo/kernel'), how the weight lies
    on the mesh. gathers, scatters: the groups of devices along `axis` that exchange, stage by
    stage; a gather goes through its stages backwards. banks: the names of weights that have slots.
    """

    axis: str
    batch: tuple[str, ...]
    specs: Mapping[str, PartitionSpec]
    gathers: tuple[Groups, ...] = (None,)
    scatters: tuple[Groups, ...] = (None,)
    banks: frozenset[str] = frozenset()


_MANUAL: ContextVar[Manual | None] = ContextVar("manual", default=None)


@contextmanager
def by_hand(manual: Manual | None) -> Iterator[None]:
    """Within it, stacks run their layers so; None changes nothing."""
    token = _MANUAL.set(manual)
    try:
        yield
    finally:
        _MANUAL.reset(token)


def manual_now() -> Manual | None:
    """What `by_hand` was given, or None."""
    return _MANUAL.get()


def gather(part: jax.Array, dim: int, manual: Manual) -> jax.Array:
    """A device's part of an array along `dim` -> the whole."""
    for groups in reversed(manual.gathers):
        part = jax.lax.all_gather(
            part, manual.axis, axis=dim, tiled=True, axis_index_groups=_lists(groups)
        )
    return part


def scatter(whole: jax.Array, dim: int, manual: Manual) -> jax.Array:
    """Every device's own whole -> a device's part, along `dim`, of their sum."""
    # Along the first dimension and in whole tiles: TPU compilers make all-reduces of the others.
    whole = jnp.moveaxis(whole, dim, 0)
    ways = jax.lax.axis_size(manual.axis)
    size = whole.shape[0] // ways
    short = -size % TILE
    if 0 < short <= size // 4:
        parts = whole.reshape(ways, size, *whole.shape[1:])
        parts = jnp.pad(parts, ((0, 0), (0, short)) + ((0, 0),) * (whole.ndim - 1))
        whole = parts.reshape(ways * (size + short), *whole.shape[1:])
    for groups in manual.scatters:
        whole = jax.lax.psum_scatter(
            whole,
            manual.axis,
            scatter_dimension=0,
            tiled=True,
            axis_index_groups=_lists(groups),
        )
    return jnp.moveaxis(whole[:size], 0, dim)


# As `gather`; the gradient comes back by `scatter`, in the dtype that was gathered.
gathered = jax.custom_vjp(gather, nondiff_argnums=(1, 2))
gathered.defvjp(
    lambda part, dim, manual: (gather(part, dim, manual), None),
    lambda dim, manual, _, gradient: (scatter(gradient, dim, manual),),
)


def _lists(groups: Groups) -> list[list[int]] | None:
    return None if groups is None else [list(group) for group in groups]


def halves(size: int) -> tuple[Groups, Groups]:
    """The stages of an exchange among `size` devices: within each half, then between the two.

    The halves are the even and the odd positions: so the parts that a device has after the first
    stage lie side by side.
    """
    first = tuple(tuple(range(start, size, 2)) for start in range(2))
    return first, tuple((i, i + 1) for i in range(0, size, 2))


def run_by_hand(
    manual: Manual,
    run: Callable[..., jax.Array],
    prefix: str,
    weights: Mapping[str, Any],
    x: jax.Array,
    rest: tuple[Any, ...],
    specs: tuple[Any, ...],
    dtype: Any,
    keys: Mapping[str, str | None],
) -> jax.Array:
    """run(weights, whole, x, *rest) over a device's own rows.

    weights: {kind: nested dict of stacked weights}, whose flat names are kind/prefix/...;
    whole(weights of one layer) -> the same, gathered. x: [B, T, D]. specs: of `rest`, as shard_map
    takes them, whose second is a Context. dtype: what matrices are gathered in; None: as they are
    stored. keys: of each plug whose weights are banks, the route that picks among their slots; of
    those a device gathers the slots that its rows go through.
    """
    named = functools.partial(_by_name, prefix)

    def whole(wanted: Mapping[str, Wanted], layer: Any) -> Any:
        def one(name: str, bank: Bank) -> Bank:
            spec, leaf = manual.specs[name], values_of(bank)
            if manual.axis not in spec:
                return bank
            # Kernels, and banks of matrices, are cast before anything is done with them.
            cast = name.endswith("/kernel") or (name.startswith("modules/") and leaf.ndim > 2)
            if dtype is not None and cast and leaf.dtype == jnp.float32:
                leaf = leaf.astype(dtype)
            dim = spec.index(manual.axis) - 1  # a layer has one axis less
            mine = wanted.get(keys.get(owner(name) or "") or "") if name in manual.banks else None
            if mine is not None and mine.slots.shape[1] < len(leaf):
                places = mine.within(bank)
                return Slice(exchanged(leaf, dim, places, manual), OWN)
            leaf = gathered(leaf, dim, manual)
            return bank.replace(values=leaf) if isinstance(bank, Slice) else leaf

        return named(one, layer)

    def local(weights: Any, x: jax.Array, bias: Any, ctx: Any, *more: Any) -> jax.Array:
        followed = sorted({key for key in keys.values() if key})  # alike on every host
        ctx, wanted = own_slots(ctx, len(x), followed, manual)
        return run(weights, functools.partial(whole, wanted), x, bias, ctx, *more)

    def laid(name: str, bank: Bank) -> Any:
        spec = manual.specs[name]
        return bank.replace(values=spec) if isinstance(bank, Slice) else spec

    rows = PartitionSpec(manual.batch)
    return jax.shard_map(
        local,
        in_specs=(named(laid, weights), rows, *specs),
        out_specs=rows,
        check_vma=False,
    )(weights, x, *rest)


class Wanted(NamedTuple):
    """The slots of banks that the devices' rows go through."""

    slots: jax.Array  # int32 [devices, A], filled up with numbers beyond every bank
    parts: Mapping[str, jax.Array]  # of the route

    def within(self, bank: Bank) -> jax.Array:
        """The places of the slots in a bank as it stands, [devices, A]."""
        return Route(self.slots, parts=self.parts).within(bank)


def own_slots(
    ctx: Any, rows: int, keys: Iterable[str], manual: Manual
) -> tuple[Any, dict[str, Wanted]]:
    """Finds the slots that a device's rows go through, by those of `keys` that route whole rows.

    Returns (the Context, whose routes list the device's OWN slots as a part of banks, {key: what
    everybody wants}).
    """
    found: dict[str, Wanted] = {}
    for key in keys:
        route = ctx.ids.routes.get(key)
        if route is None or route.index.ndim != 1 or route.weights is not None:
            continue
        beyond = jnp.iinfo(jnp.int32).max  # fills up: no row goes through it
        own = jnp.unique(route.index, size=rows, fill_value=beyond)
        found[key] = Wanted(gather(own[None], 0, manual), route.parts)
        ctx = ctx.replace(ids=ctx.ids.with_route(key, route.with_part(OWN, own)))
    return ctx, found


def exchanged(bank: jax.Array, dim: int, slots: jax.Array, manual: Manual) -> jax.Array:
    """A device's part, along `dim`, of all slots -> its own slots, whole.

    bank: [R, ...]; slots: [devices, A], whose are wanted where -> [A, ...].
    """
    wanted = jnp.take(bank, slots.reshape(-1), axis=0, mode="clip")
    wanted = wanted.reshape(*slots.shape, *bank.shape[1:])
    own = jax.lax.all_to_all(wanted, manual.axis, 0, dim + 1, tiled=True)[0]
    return checkpoint_name(own, SLOTS)


def _by_name(prefix: str, make: Callable[[str, Any], Any], tree: Mapping[str, Any]) -> Any:
    """{kind: nested dict} with make(flat name 'kind/prefix/...', leaf) at each leaf."""

    def named(kind: str, path: tuple[Any, ...], leaf: Any) -> Any:
        return make("/".join((kind, prefix, *(str(key.key) for key in path))), leaf)

    return {
        kind: jax.tree_util.tree_map_with_path(
            functools.partial(named, kind), part, is_leaf=lambda leaf: isinstance(leaf, Slice)
        )
        for kind, part in tree.items()
    }
