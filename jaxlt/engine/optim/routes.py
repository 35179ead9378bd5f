"""Banks that move slot by slot: a step reads, trains and writes the slots of its batch alone.

A `Bank` is all trainable leaves that one route picks among ('source', 'target', 'task') in as many
slots. Its optimizer is the plain one, vmapped over the slots: step counts, moments, Adafactor's
statistics, clipping and learning rate are each slot's own, and a slot that no row of a batch goes
through keeps every bit. Where a batch can hold fewer slots than the bank, they are gathered (and
their part of the optimizer's state), trained, and scattered back into the donated bank, so that the
cost follows the batch.

    state   {'shared': as the optimizer has it, 'routes': {bank: {'steps': [R], 'state': ...}}}

or just as the optimizer has it where nothing is routed. Arrays of a bank's state have the routes
axis in front, or behind 'layers', as the bank itself has it.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from jaxlt.engine.optim.adafactor import UNUSED, Axes
from jaxlt.engine.optim.optimizers import Optimizer, OptimizerConfig, make_optimizer
from jaxlt.engine.optim.schedules import learning_rate
from jaxlt.models.config import ModelConfig
from jaxlt.models.head_parts import read_field
from jaxlt.modules.routing import FIELDS, Ids, Slice, routes_of
from jaxlt.modules.site import owner

Array = jax.Array
Flat = dict[str, Any]
WHOLE = -1  # the place of the routes axis in an array that has none


@dataclasses.dataclass(frozen=True)
class Bank:
    """Trainable leaves of one route: `size` slots, and logical axes and shape of each leaf.

    spread: its slots lie on several devices. Then it is never cut down: each device trains its own
    slots where they are.
    """

    name: str
    key: str
    size: int
    axes: Mapping[str, Axes]
    shapes: Mapping[str, tuple[int, ...]]
    spread: bool = False

    @property
    def places(self) -> dict[str, int]:
        """Where the routes axis is in each leaf."""
        return {name: axes.index("routes") for name, axes in self.axes.items()}

    @property
    def slot_axes(self) -> dict[str, Axes]:
        """The logical axes of one slot of each leaf."""
        return {n: tuple(a for a in axes if a != "routes") for n, axes in self.axes.items()}

    @property
    def one_slot(self) -> Flat:
        """One slot of each leaf, as shapes."""
        shapes = {n: list(shape) for n, shape in self.shapes.items()}
        for name, place in self.places.items():
            del shapes[name][place]
        return {n: jax.ShapeDtypeStruct(tuple(s), jnp.float32) for n, s in shapes.items()}


class Slots(NamedTuple):
    """The slots of a bank that a batch goes through.

    chosen, int32 [A]: in rising order, filled up with a number beyond the bank, which is cut down
        to them. Or None: it stays whole, and only present slots, bool [R], are kept of what is new.
    """

    chosen: Array | None
    present: Array


def banks_of(
    config: ModelConfig,
    axes: Mapping[str, Axes],
    shapes: Mapping[str, tuple[int, ...]],
    shardings: Mapping[str, NamedSharding],
) -> tuple[Bank, ...]:
    """Groups trainable leaves {name: ...} by the route that picks among their slots.

    Leaves without a routes axis, or of a plug all of whose slots serve every row, are in none.
    """
    keys = {p.name: p.key for p in config.plugs if p.routes and p.key in FIELDS}
    groups: dict[tuple[str, int], dict[str, Axes]] = {}
    for name, named in axes.items():
        key = keys.get(owner(name) or "")
        if key is not None and "routes" in named:
            size = shapes[name][named.index("routes")]
            groups.setdefault((key, size), {})[name] = tuple(named)
    several = {key for key, size in groups if (key, size) != next(g for g in groups if g[0] == key)}
    return tuple(
        Bank(
            f"{key}_{size}" if key in several else key,
            key,
            size,
            leaves,
            {name: tuple(shapes[name]) for name in leaves},
            any(shardings[name].spec[named.index("routes")] for name, named in leaves.items()),
        )
        for (key, size), leaves in sorted(groups.items())
    )


class Cut(NamedTuple):
    """A bank that has been cut down to some of its slots, int32 [A]: those of Slots.chosen."""

    bank: Bank
    slots: Array


def cut_down(params: Flat, ids: Ids, cuts: tuple[Cut, ...]) -> tuple[dict[str, Any], Ids]:
    """Tells leaves and routes of the slots that their banks have been cut down to.

    Returns (params, ids): each leaf of such a bank is a Slice, whose slots its route lists.
    """
    out = dict(params)
    for bank, slots in cuts:
        out |= {name: Slice(params[name], bank.name) for name in bank.axes}
        ids = ids.with_route(bank.key, ids[bank.key].with_part(bank.name, slots))
    return out, ids


def _take(array: Array, place: int, slots: Slots) -> Array:
    if slots.chosen is None or place == WHOLE:
        return array
    return jnp.take(array, slots.chosen, axis=place, mode="clip")


def _put(old: Array, new: Array, place: int, slots: Slots) -> Array:
    if place == WHOLE:
        return old
    if slots.chosen is None:
        shape = [1] * old.ndim
        shape[place] = -1
        return jnp.where(slots.present.reshape(shape), new, old)
    where = (*(slice(None),) * place, slots.chosen)
    return old.at[where].set(new, mode="drop", indices_are_sorted=True)


class RoutedOptimizer:
    """An optimizer of shared leaves and of banks; `init` and `state_axes` as `Optimizer` has them.

    In a step: what a batch needs is `taken` of parameters and state, differentiated, and after an
    `update` `put` back.
    """

    def __init__(self, config: OptimizerConfig, axes: Mapping[str, Axes], banks: tuple[Bank, ...]):
        """axes: the logical axes of all trainable leaves."""
        self.axes, self.banks = dict(axes), banks
        self._banked = {name: bank for bank in banks for name in bank.axes}
        shared = {n: a for n, a in axes.items() if n not in self._banked}
        self._shared = make_optimizer(config, shared, axes)
        self._slot = {b.name: make_optimizer(config, b.slot_axes, axes) for b in banks}
        self._places = {b.name: _state_places(b, self._slot[b.name]) for b in banks}

    def init(self, params: Flat) -> Any:
        """The state before the first step."""
        shared = self._shared.init(self._rest(params))
        if not self.banks:
            return shared
        routes = {}
        for bank in self.banks:
            each = jax.vmap(
                self._slot[bank.name].init,
                in_axes=(bank.places,),
                out_axes=_for_vmap(self._places[bank.name]),
            )
            steps = jnp.zeros(bank.size, jnp.int32)
            routes[bank.name] = {"steps": steps, "state": each(_of(bank, params))}
        return {"shared": shared, "routes": routes}

    def state_axes(self, params: Flat) -> Any:
        """The logical axes of each array of the state."""
        shared = self._shared.state_axes(self._rest(params))
        if not self.banks:
            return shared
        routes = {}
        for bank in self.banks:
            axes = jax.tree.map(
                lambda place, a: a if place == WHOLE else (*a[:place], "routes", *a[place:]),
                self._places[bank.name],
                self._slot[bank.name].state_axes(bank.one_slot),
            )
            routes[bank.name] = {"steps": ("routes",), "state": axes}
        return {"shared": shared, "routes": routes}

    def slots(
        self, batch: Mapping[str, Array], languages: int | None
    ) -> tuple[dict[str, Slots], tuple[Cut, ...]]:
        """Finds the slots that a batch goes through: ({bank name: Slots}, banks to be cut down).

        Where a row has no token, a route by token counts for nothing. languages: more slots than
        these no batch has.
        """
        found: dict[str, Slots] = {}
        cuts: list[Cut] = []
        ids, tokens = routes_of(batch), batch[read_field(batch)]
        for bank in self.banks:
            index = ids[bank.key].index
            counts = tokens > 0 if index.shape == tokens.shape else True
            hit = jnp.zeros(bank.size, bool).at[index].max(jnp.broadcast_to(counts, index.shape))
            bound = None if bank.key == "task" else languages
            most = min(index.size, bank.size if bound is None else bound)
            if bank.spread or index.ndim > 1 or most >= bank.size:
                found[bank.name] = Slots(None, hit)
                continue
            active = jnp.nonzero(hit, size=most, fill_value=bank.size)[0].astype(jnp.int32)
            found[bank.name] = Slots(active, hit)
            cuts.append(Cut(bank, active))
        return found, tuple(cuts)

    def rates(self, memory: Any, slots: Mapping[str, Slots], hyper: Any) -> dict[str, Array]:
        """The learning rate of each slot that the batch goes through: {bank: float32 [A]}.

        memory: the state as `take` gave it; hyper: the step's.
        """
        rates: dict[str, Array] = {}
        for bank in self.banks:
            steps = memory["routes"][bank.name]["steps"]
            rate = jnp.broadcast_to(jnp.asarray(hyper.learning_rate, jnp.float32), steps.shape)
            if hyper.schedule is not None:
                rate = learning_rate(hyper.schedule, steps)
            if hyper.route_rates is not None:
                factors, chosen = hyper.route_rates[bank.name], slots[bank.name].chosen
                rate *= factors if chosen is None else jnp.take(factors, chosen, mode="clip")
            rates[bank.name] = rate
        return rates

    def rates_used(
        self, names: Iterable[str], slots: Mapping[str, Slots], rates: Mapping[str, Array]
    ) -> dict[str, Array]:
        """The learning rates of banks, each the mean over the slots that the batch goes through.

        names: of what trains; where that is banks alone, their mean is the step's learning rate.
        """
        out: dict[str, Array] = {}
        for bank in self.banks:
            chosen, present = slots[bank.name]
            there = present if chosen is None else chosen < bank.size
            total = jnp.sum(jnp.where(there, rates[bank.name], 0.0))
            out[f"learning_rate/{bank.name}"] = total / jnp.maximum(jnp.sum(there), 1)
        if self._banked.keys() == set(names):
            out["learning_rate"] = sum(out.values(), jnp.float32(0.0)) / len(out)
        return out

    def taken(
        self, params: Flat, state: Any, batch: Mapping[str, Array], languages: int | None
    ) -> tuple[Flat, Any, dict[str, Slots], tuple[Cut, ...]]:
        """What a batch needs: (parameters and state as `take` gives them, and `slots`' two)."""
        slots, cuts = self.slots(batch, languages)
        return *self.take(params, state, slots), slots, cuts

    def take(self, params: Flat, state: Any, slots: Mapping[str, Slots]) -> tuple[Flat, Any]:
        """Parameters and state with banks cut down to the slots of a batch."""
        return self._each(slots, params, state, lambda place, found, a: _take(a, place, found))

    def put(
        self, params: Flat, state: Any, slots: Mapping[str, Slots], new: Flat, memory: Any
    ) -> tuple[Flat, Any]:
        """Parameters and state with what a step made of the slots of its batch."""

        def one(place: int, found: Slots, old: Array, fresh: Array) -> Array:
            return _put(old, fresh, place, found)

        done, kept = self._each(slots, params, state, one, new, memory)
        done |= self._rest(new)
        return done, {**kept, "shared": memory["shared"]} if self.banks else memory

    def _each(
        self,
        slots: Mapping[str, Slots],
        params: Flat,
        state: Any,
        change: Callable[..., Array],
        *more: Any,
    ) -> tuple[Flat, Any]:
        """Applies change(place, slots, array, ...) to all arrays of banks and of their state."""
        others, other_states = more[::2], more[1::2]
        out = dict(params)
        for name, bank in self._banked.items():
            arrays = (tree[name] for tree in (params, *others))
            out[name] = change(bank.places[name], slots[bank.name], *arrays)
        if not self.banks:
            return out, state
        routes = {}
        for bank in self.banks:
            places = {"steps": 0, "state": self._places[bank.name]}
            found = slots[bank.name]
            routes[bank.name] = jax.tree.map(
                lambda place, *arrays, found=found: change(place, found, *arrays),
                places,
                state["routes"][bank.name],
                *(s["routes"][bank.name] for s in other_states),
            )
        return out, {**state, "routes": routes}

    def update(
        self, grads: Flat, state: Any, params: Flat, rate: Array, rates: Mapping[str, Array]
    ) -> tuple[Flat, Any]:
        """One step of what `take` gave; rates: {bank name: learning rate of each slot [A]}."""
        if not self.banks:
            return self._shared.update(grads, state, params, rate)
        new, shared = self._shared.update(
            self._rest(grads), state["shared"], self._rest(params), rate
        )
        routes = {}
        for bank in self.banks:
            memory, where = state["routes"][bank.name], _for_vmap(self._places[bank.name])
            each = jax.vmap(
                self._slot[bank.name].update,
                in_axes=(bank.places, where, bank.places, 0),
                out_axes=(bank.places, where),
            )
            moved, kept = each(
                _of(bank, grads), memory["state"], _of(bank, params), rates[bank.name]
            )
            new |= moved
            routes[bank.name] = {"steps": memory["steps"] + 1, "state": kept}
        return new, {"shared": shared, "routes": routes}

    def _rest(self, tree: Flat) -> Flat:
        return {n: a for n, a in tree.items() if n not in self._banked}


def _of(bank: Bank, tree: Flat) -> Flat:
    return {n: tree[n] for n in bank.axes}


def _state_places(bank: Bank, optimizer: Optimizer) -> Any:
    """Where the routes axis goes in each array of one slot's state: behind 'layers', or first.

    So a bank's state is stacked over layers as everything else is, whatever is done with layers.
    """
    tree: Any = jax.tree.structure(jax.eval_shape(optimizer.init, bank.one_slot))
    axes = tree.flatten_up_to(optimizer.state_axes(bank.one_slot))
    places = [WHOLE if a == (UNUSED,) else int(a[:1] == ("layers",)) for a in axes]
    return jax.tree.unflatten(tree, places)


def _for_vmap(places: Any) -> Any:
    return jax.tree.map(lambda place: None if place == WHOLE else place, places)
