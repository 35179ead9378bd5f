"""Which module serves which row or token: routes, and the lookup of a bank's slots by them.

A bank is a weight with a leading `routes` axis, one slot a language or task. A `Route` says, for
the rows of a batch, which slot each goes through. Routes are made once a step, not once a layer.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from jaxlt.errors import UserError


class Slice(flax.struct.PyTreeNode):
    """Some slots of a bank, in the bank's place: values [A, ...].

    part: by which name a Route lists them.
    """

    values: Any
    part: str = flax.struct.field(pytree_node=False)


Bank = jax.Array | Slice


def values_of(bank: Bank) -> jax.Array:
    """Returns what a bank holds as it stands, all of it or the slots it has been cut down to."""
    return bank.values if isinstance(bank, Slice) else bank


class Route(flax.struct.PyTreeNode):
    """Slots of a bank for a batch.

    index, int32: [] one slot for the whole batch, which then costs no more than an unrouted module;
        [B] a slot a row; [B, T] a slot a token (packed rows); with `weights`, [B, N]: N slots a row
        whose outputs are added up with these weights.
    weights, float32: [B, N], or [L, B, N] with weights of its own for every layer; or None.
    parts, {part: int32 [A]}: where banks have been cut down to the slots that the batch uses (each
        is a `Slice` then), these slots in rising order, the rest of the A filled with a number
        beyond every bank.
    layer, int32 []: its plugs work at that place of a stack alone, 0 outside of the layers and n in
        the n-th of them; or None.
    """

    index: jax.Array
    weights: jax.Array | None = None
    parts: Mapping[str, jax.Array] = flax.struct.field(default_factory=dict)
    layer: jax.Array | None = None

    def within(self, bank: Bank) -> jax.Array:
        """Returns `index` into a bank as it stands."""
        if not isinstance(bank, Slice):
            return self.index
        return jnp.searchsorted(self.parts[bank.part], self.index).astype(jnp.int32)

    def with_part(self, part: str, slots: jax.Array) -> "Route":
        """Returns the same with the slots of one more part of banks."""
        return self.replace(parts={**self.parts, part: slots})

    def at_layer(self, layer: jax.Array | int) -> "Route":
        """Returns the route as one layer sees it: weights [L, B, N] become that layer's [B, N]."""
        if self.weights is None or self.weights.ndim == 2:
            return self
        return self.replace(weights=self.weights[layer])

    def specs(self, rows: PartitionSpec) -> "Route":
        """How it lies where rows are split, in a Route's place; rows: the spec of [B, ...]."""
        whole, by_layer = PartitionSpec(), PartitionSpec(None, *rows)
        weights = self.weights
        return self.replace(
            index=rows if self.index.ndim else whole,
            weights=weights if weights is None else rows if weights.ndim == 2 else by_layer,
            parts=dict.fromkeys(self.parts, whole),
            layer=None if self.layer is None else whole,
        )

    def spread(self) -> "Route":
        """Several slots a row, [B, N], as one slot a row of a batch repeated N times: [B * N]."""
        return self.replace(index=self.index.reshape(-1), weights=None)


class Ids(flax.struct.PyTreeNode):
    """The routes of a batch by key, and where in the network they are being followed.

    layer: number of the layer (a tracer under a scan), or None outside of the layers.
    """

    routes: Mapping[str, Route]
    layer: Any = None

    def at_layer(self, layer: jax.Array | int) -> "Ids":
        """Returns the routes as one layer sees them."""
        return Ids({key: route.at_layer(layer) for key, route in self.routes.items()}, layer)

    def __contains__(self, key: object) -> bool:
        return key in self.routes

    def __getitem__(self, key: str) -> Route:
        return self.routes[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.routes)

    def __len__(self) -> int:
        return len(self.routes)

    def with_route(self, key: str, route: Route) -> "Ids":
        """Returns the same with another route for one key."""
        return self.replace(routes={**self.routes, key: route})


# A batch field for each key a plug may name; 'target' and 'task' fall back on nothing: a plug that
# names a key the batch does not carry is an error, never a silent slot 0.
FIELDS = {"source": "language", "target": "target_language", "task": "task"}
CYCLE = "cycle"  # the field that says the source's slot in its place, where slots take turns
ALL = "all"  # the key of a plug whose slots all serve every row, their outputs averaged
# Before any other key, the fields of its slot, int32 [] or [B], and of the one layer it works in.
SLOT, LAYER = "slot/", "layer/"


def field_of(key: str) -> str:
    """The batch field that says the slots of a key: 'source' -> 'language', 'x' -> 'slot/x'."""
    return FIELDS.get(key, SLOT + key)


def routes_of(batch: Mapping[str, jax.Array]) -> Ids:
    """Returns the routes that a batch carries: {'source': Route([B]), ...}."""
    fields = FIELDS | ({"source": CYCLE} if CYCLE in batch else {})
    routes = {key: Route(batch[field]) for key, field in fields.items() if field in batch}
    for field in batch:
        if field.startswith(SLOT):
            key = field.removeprefix(SLOT)
            routes[key] = Route(batch[field], layer=batch.get(LAYER + key))
    return Ids(routes)


def check_indices(index: np.ndarray, capacity: int, what: str) -> None:
    """Raises UserError, on the host, for slots outside [0, capacity): a gather would clamp them."""
    bad = np.asarray(index)
    bad = bad[(bad < 0) | (bad >= capacity)]
    if bad.size:
        raise UserError(
            f"{what} {int(bad[0])} has no slot: the bank has {capacity} "
            f"(0 to {capacity - 1}). Give the plug at least {int(bad.max()) + 1} routes."
        )


def select(bank: jax.Array, index: jax.Array) -> jax.Array:
    """Looks a bank up: [R, ...] by [B] -> [B, ...]; by [B, T] -> [B, T, ...]; by [] -> [...]."""
    return jnp.take(bank, index, axis=0, mode="clip")


def cycled(
    seed: int, step: int, rows: np.ndarray, slots: Sequence[int], by: str = "step"
) -> np.ndarray:
    """Slots that take turns: int32 [n] for the rows [n] of a step's batch, by number.

    So a task module is trained while the language module under it changes. by 'step': all rows of
    a step go through one slot, and every len(slots) steps each has had its turn, in an order drawn
    anew. by 'row': the rows of every step are dealt evenly. A function of (seed, step, row) alone.
    """
    if by not in ("step", "row") or not slots:
        raise UserError(
            f"Slots take turns by 'step' or by 'row', not by '{by}', and there has to be at least "
            f"one (got {list(slots)})."
        )
    count = len(slots)
    draw, turn = (step // count, step) if by == "step" else (step, np.asarray(rows))
    order = np.random.default_rng([seed, draw]).permutation(np.asarray(slots, np.int32))
    return np.broadcast_to(order[turn % count], np.shape(rows)).copy()
