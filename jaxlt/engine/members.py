"""Runs of one shape in one compiled step: states, batches and numbers side by side.

    group = members_of(program, 3)
    states = group.join([first, second, third])                   # each leaf [3, ...]
    states, metrics = group.train(states, batch, side_by_side(hypers), alive)     # numbers [3]
    group.member(states, 1)                                       # the second's own state

Members may differ in seed, learning rate, initial state and, where each has its own, in batches of
equal shape. On several devices each has its members: nothing is exchanged between them.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from jaxlt.engine.compilation import remembered
from jaxlt.engine.objective import Batch, Metrics
from jaxlt.engine.partitioning import MeshConfig, make_mesh
from jaxlt.engine.state import Flat, TrainState
from jaxlt.engine.step import (
    Hyper,
    Program,
    StepSpec,
    abstract_state,
    build,
    mesh_context,
    sweepable,
)
from jaxlt.errors import UserError

AXIS = "members"


@dataclasses.dataclass(frozen=True)
class Members:
    """A program for `count` runs at once; `program` is that of one of them, on one device."""

    program: Program
    count: int
    mesh: Mesh  # of AXIS alone

    @property
    def each(self) -> NamedSharding:
        """Where arrays lie that have the members in front."""
        return NamedSharding(self.mesh, PartitionSpec(AXIS))

    @property
    def whole(self) -> NamedSharding:
        """Where arrays lie that all members read."""
        return NamedSharding(self.mesh, PartitionSpec())

    def join(self, states: Sequence[TrainState]) -> TrainState:
        """Stacks states, [...] -> [K, ...]; a frozen part that all of them share is held once."""
        if len(states) != self.count:
            raise UserError(f"A group of {self.count} members is given {len(states)} states.")
        moving = [state.replace(frozen={}) for state in states]
        shapes = [jax.tree.map(jnp.shape, state) for state in moving]
        if any(shape != shapes[0] for shape in shapes):
            raise UserError(
                "Members of a group are of one shape, and these states differ in their arrays: "
                "train what differs in model, optimizer or trainable parameters one by one."
            )
        joined = jax.device_put(side_by_side(moving), self.each)
        return joined.replace(frozen=self.join_frozen([state.frozen for state in states]))

    def join_frozen(self, frozen: Sequence[Flat]) -> Flat:
        """The members' frozen parts, [...] -> [K, ...], or where all are one object, that one."""
        first, *others = frozen
        if all(other[name] is value for other in others for name, value in first.items()):
            return jax.device_put(first, self.whole)
        return jax.device_put(side_by_side(frozen), self.each)

    def abstract(self) -> TrainState:
        """What changes of the joined states (no frozen part), as shapes with shardings."""
        alone = abstract_state(self.program).replace(frozen={})
        stack = lambda a: jax.ShapeDtypeStruct((self.count, *a.shape), a.dtype, sharding=self.each)  # noqa: E731
        return jax.tree.map(stack, alone)

    def member(self, states: TrainState, index: int) -> TrainState:
        """The state of one member, where its program alone has it."""
        place = SingleDeviceSharding(self.program.spec.mesh.devices.flat[0])

        def own(tree: Any) -> Any:
            return jax.device_put(jax.tree.map(lambda a: a[index], tree), place)

        moving = states.replace(frozen={})
        frozen = own(states.frozen) if self._frozen_apart(states) else states.frozen
        return own(moving).replace(frozen=jax.device_put(frozen, place))

    def train(
        self, states: TrainState, batch: Batch, hypers: Hyper, alive: Any, apart: bool = False
    ) -> tuple[TrainState, Metrics]:
        """One step of each member -> (states, what a step tells, each [K]); states are donated.

        hypers: as `side_by_side` makes them. alive: bool [K]; a member that is not keeps its bits.
        apart: each member has a batch of its own, fields [K, B, ...]; else one is for all.
        """
        if hypers.values is None:
            hypers = hypers.replace(values=side_by_side([self.program.values] * self.count))
        step = self._compiled(self._frozen_apart(states), apart)
        with mesh_context(self.mesh, ()):  # inside, a member is on one device
            new, metrics = step(states.replace(frozen={}), states.frozen, batch, hypers, alive)
        return new.replace(frozen=states.frozen), metrics

    @functools.cached_property
    def _steps(self) -> dict[tuple[bool, ...], Callable]:
        """Those that this group has used, so that a step looks up nothing large."""
        return {}

    def _compiled(self, *apart: bool) -> Callable:
        """The step for (frozen parts apart, batches apart)."""
        if apart not in self._steps:
            self._steps[apart] = _vmapped(sweepable(self.program.spec)[0], self.mesh, *apart)
        return self._steps[apart]

    def _frozen_apart(self, states: TrainState) -> bool:
        """Whether each member has a frozen part of its own."""
        if not states.frozen:
            return False
        name = next(iter(states.frozen))
        alone = jax.tree.leaves(self.program.layout.abstract([name]))[0]
        return jax.tree.leaves(states.frozen[name])[0].ndim > alone.ndim


def side_by_side(trees: Sequence[Any]) -> Any:
    """Stacks trees of one structure: leaves [...] -> [K, ...]."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def members_of(
    program: Program, count: int, devices: Sequence[jax.Device] | None = None
) -> Members:
    """The group of `count` runs of a program's shape, over as many devices as divide the count."""
    if count < 1:
        raise UserError(f"A group has at least one member, not {count}.")
    devices = list(program.spec.mesh.devices.flat if devices is None else devices)
    used = devices[: math.gcd(count, len(devices))]
    alone = dataclasses.replace(
        program.spec, mesh=make_mesh(MeshConfig(data=1), used[:1]), collectives="compiler"
    )
    mesh = jax.make_mesh((len(used),), (AXIS,), axis_types=(AxisType.Auto,), devices=used)
    return Members(build(alone), count, mesh)


@remembered(16, "compiled steps of groups")
def _vmapped(spec: StepSpec, mesh: Mesh, frozen_apart: bool, batch_apart: bool) -> Callable:
    """The compiled (states, frozen, batch, hypers, alive) -> (states, metrics).

    spec: as `sweepable` gives it, so that groups that differ in numbers share it.
    """
    program = build(spec)

    def step(state: Any, frozen: Any, batch: Any, hyper: Any, alive: Any) -> tuple[Any, Metrics]:
        new, metrics = program.step(state, frozen, batch, hyper)
        return jax.tree.map(lambda a, b: jnp.where(alive, a, b), new, state), metrics

    axes = (0, 0 if frozen_apart else None, 0 if batch_apart else None, 0, 0)
    each = NamedSharding(mesh, PartitionSpec(AXIS))
    options = dict(spec.compiler_options) or None
    together = jax.vmap(step, in_axes=axes)
    return jax.jit(together, donate_argnums=0, out_shardings=each, compiler_options=options)
