"""What a training step will take on a machine: memory, time, traffic; fits or does not fit.

    found = estimate(program, work, machine, lambda: compile_train(program, batch))

Nothing is run. For TPU topologies times come from the compiler's own cycle counts and a ring model
of collectives (`jaxlt.plan.hlo_costs`): estimates, for comparing one configuration with another.
`Estimate.step` is a bracket: everything overlapped, and only what the program's order overlaps.
"""

import dataclasses
import glob
import math
import re
import time
import timeit
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxlt.engine.partitioning import BATCH_AXES, batch_shards
from jaxlt.engine.step import Program, abstract_state
from jaxlt.plan import collectives
from jaxlt.plan.hlo_costs import Costs, Rates, step_costs
from jaxlt.plan.hlo_text import parse
from jaxlt.plan.topologies import GIB, GPU_SHARE, Chip, Topology

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
REDUCTIONS = ("all-reduce", "reduce-scatter", "reduce-scatter in steps", "across slices")
COSTLIEST = 10  # sources that are named
CACHE = 2**21  # bytes of an array that a CPU's cache holds
# Share of the peak that attention's kernels reach: forward and backward, 2 rows of 512 by 512 with
# heads of 64, by the instructions of the compiled kernels, each a cycle: nothing waits for memory.
# Printed by benchmarks/fused_attention.py.
KERNELS = {"v4": 0.24, "v5e": 0.31, "v5p": 0.31, "v6e": 0.10}
_LIMIT = re.compile(
    r"\(([\d.]+)([KMGT]?)\) exceeds available \w+ \(([\d.]+)([KMGT]?)\)"
    r"|Used ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?) hbm"
)


@dataclasses.dataclass(frozen=True)
class Machine:
    """What a step is compiled for: chips of a topology, or devices that are there."""

    chip: Chip
    topology: Topology | None = None  # None: devices that are there, their chip as measured
    cached: float = 0.0  # bytes a second of what a cache holds, as measured

    @property
    def name(self) -> str:
        """The topology's, or the devices' kind."""
        return self.topology.name if self.topology else self.chip.name


@dataclasses.dataclass(frozen=True)
class Work:
    """A step, and how many of them."""

    rows: int
    tokens: int
    flops: float  # of the model, by hand, over all devices
    steps: int


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Bytes and seconds of one device, unless said otherwise; brackets are (best, worst)."""

    machine: str
    devices: int = 0
    mesh: Mapping[str, int] = dataclasses.field(default_factory=dict)
    rows: int = 0
    tokens: int = 0
    fits: bool = False
    limit: int = 0  # bytes that a program may have; 0 where nobody tells
    needed: int = 0  # bytes, as the compiler counts them
    memory: Mapping[str, int] = dataclasses.field(default_factory=dict)  # empty: it did not fit
    failure: str = ""  # why it did not compile, where that was not memory
    model_flops: float = 0.0  # a step, all devices, by hand
    program_flops: float = 0.0  # those of the compiled program: recomputation and padding included
    compute: float = 0.0
    matrix: float = 0.0  # of `compute`, what holds matrix products
    vector: float = 0.0  # of `compute`, the rest: element by element, bound by memory
    vector_at_bandwidth: float = 0.0  # its bytes at the memory's rate: no less is possible
    communication: float = 0.0
    exposed: float = 0.0
    traffic: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    reduced: float = 0.0  # bytes that a device sends in reductions: gradients, above all
    reduced_ideal: float = 0.0  # of a reduce-scatter of all gradients, in the computation's dtype
    costliest: tuple[tuple[str, float], ...] = ()  # of `compute`: where from, and seconds
    step: tuple[float, float] = (0.0, 0.0)
    tokens_per_second: tuple[float, float] = (0.0, 0.0)
    mfu: tuple[float, float] = (0.0, 0.0)
    days: tuple[float, float] = (0.0, 0.0)
    chip_hours: tuple[float, float] = (0.0, 0.0)
    checkpoint: int = 0  # bytes, of all devices together
    compile_seconds: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def headroom(self) -> int:
        """Bytes that are left; negative where it does not fit."""
        return self.limit - self.needed

    def as_json(self) -> dict[str, Any]:
        """All figures."""
        return {**dataclasses.asdict(self), "headroom": self.headroom}


def read_estimate(values: Mapping[str, Any]) -> Estimate:
    """Makes an Estimate of what `dataclasses.asdict` made of one, through JSON or not."""
    lists = {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
    return Estimate(**{**values, **lists})


def estimate(
    program: Program,
    work: Work,
    machine: Machine,
    compile_step: Callable[[], Any],
    dumped: str = "",
) -> Estimate:
    """Compiles a training step and reads what it costs.

    compile_step: returns the step, compiled.
    dumped: a folder that the compiler writes its programs to, read where it does not hand over
    their text (as on some topologies).
    """
    known, mesh = known_of(program, work, machine), program.spec.mesh
    begun = time.monotonic()
    try:
        compiled = compile_step()
    except jax.errors.JaxRuntimeError as error:
        known["compile_seconds"] = time.monotonic() - begun
        return failed_estimate(known, str(error))
    known["compile_seconds"] = time.monotonic() - begun
    memory = memory_of(compiled)
    needed = sum(memory.values())
    known |= {"memory": memory, "needed": needed}
    known["fits"] = not machine.chip.hbm or needed <= machine.chip.hbm
    if not machine.chip.peak:  # known by its memory alone
        return Estimate(**known)
    module, links = parse(_text(compiled, dumped)), network(mesh, machine)
    fast, slow = (step_costs(module, each, links) for each in rates(machine))
    return Estimate(**known, **_times(fast, slow, work, machine, mesh.size))


def known_of(program: Program, work: Work, machine: Machine) -> dict[str, Any]:
    """The fields of an Estimate that need no compiler."""
    mesh = program.spec.mesh
    return {
        "machine": machine.name,
        "devices": mesh.size,
        "mesh": dict(mesh.shape),
        "rows": work.rows,
        "tokens": work.tokens,
        "model_flops": work.flops,
        "checkpoint": checkpoint_bytes(program),
        "reduced_ideal": gradient_bytes(program),
        "limit": machine.chip.hbm,
        "notes": notes(machine, dict(mesh.shape)),
    }


def memory_of(compiled: Any) -> dict[str, int]:
    """Bytes on one device by the compiler's count; their sum is its peak."""
    found = compiled.memory_analysis()
    return {
        "arguments": int(found.argument_size_in_bytes),
        "temporaries": int(found.temp_size_in_bytes),
        "output": int(found.output_size_in_bytes - found.alias_size_in_bytes),
        "program": int(found.generated_code_size_in_bytes),
    }


def checkpoint_bytes(program: Program) -> int:
    """Bytes of what a checkpoint holds: what trains, and the optimizer's memory of it."""
    state = abstract_state(program)
    return sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(state.replace(frozen={})))


def gradient_bytes(program: Program) -> float:
    """Bytes that a device sends in a reduce-scatter of all gradients over the batch's axes."""
    layout, mesh = program.layout, program.spec.mesh
    ways, size = batch_shards(mesh), jnp.dtype(program.spec.model.dtype).itemsize
    values = 0.0
    for name in layout.trainable:
        spec = layout.shardings[name].spec
        axes = {a for part in spec for a in ((part,) if isinstance(part, str) else part or ())}
        values += math.prod(layout.leaves[name].shape) / math.prod(
            mesh.shape[a] for a in axes - set(BATCH_AXES)
        )
    return values * size * (ways - 1) / ways


def out_of_memory(message: str) -> tuple[int, int] | None:
    """(bytes needed, bytes there are) of a compiler's message; None if it is not about memory."""
    if "RESOURCE_EXHAUSTED" not in message and "Ran out of memory" not in message:
        return None
    found = _LIMIT.search(message)
    if not found:
        return (0, 0)
    numbers = [g for g in found.groups() if g is not None]
    first, second = (float(n) * _UNITS[u] for n, u in (numbers[:2], numbers[2:]))
    return int(first), int(second)


def failed_estimate(known: dict[str, Any], message: str) -> Estimate:
    """Of a step that did not compile: too large, or something else, which is then told."""
    found = out_of_memory(message)
    if found is None:
        return Estimate(**known, failure=message.strip())
    needed, limit = found
    known["limit"] = limit or known["limit"]
    return Estimate(**known, needed=needed)


def _text(compiled: Any, dumped: str) -> str:
    try:
        return compiled.as_text()
    except Exception:
        files = glob.glob(f"{glob.escape(dumped)}/*train_step*after_codegen.txt") if dumped else []
        if not files:
            raise
        with open(max(files), encoding="utf-8") as file:
            return file.read()


def rates(machine: Machine) -> tuple[Rates, Rates]:
    """How fast one device is, at best and at worst: those at hand may find all in their caches."""
    chip = machine.chip
    if machine.topology:
        kernel = chip.peak * KERNELS[chip.name]
        one = Rates(chip.hbm_bandwidth, clock=chip.clock, kernel=kernel)
        return one, one
    fast = max(machine.cached, chip.hbm_bandwidth)
    return Rates(fast, peak=chip.peak), Rates(chip.hbm_bandwidth, peak=chip.peak)


def network(mesh: Any, machine: Machine) -> collectives.Network:
    """What connects the devices."""
    if machine.topology:
        return collectives.torus(mesh, machine.topology)
    return collectives.shared_memory(mesh.size, machine.chip.link)


def _times(fast: Costs, costs: Costs, work: Work, machine: Machine, devices: int) -> dict[str, Any]:
    """The fields of an Estimate that follow from the program's costs, at best and at worst."""
    best = max(fast.compute, fast.communication)
    step = (best, max(best, costs.elapsed))
    return {
        "program_flops": costs.flops * devices,
        "compute": costs.compute,
        "matrix": costs.matrix,
        "vector": costs.other,
        "vector_at_bandwidth": costs.other_bytes / machine.chip.hbm_bandwidth,
        "communication": costs.communication,
        "exposed": costs.exposed,
        "traffic": {k: dataclasses.asdict(t) for k, t in sorted(costs.traffic.items())},
        "reduced": sum(costs.traffic[k].nbytes for k in REDUCTIONS if k in costs.traffic),
        "costliest": tuple(sorted(costs.by_source.items(), key=lambda item: -item[1])[:COSTLIEST]),
        "step": step,
        "tokens_per_second": tuple(work.tokens / s for s in step),
        "mfu": tuple(work.flops / (s * devices * machine.chip.peak) for s in step),
        "days": tuple(s * work.steps / 86400 for s in step),
        "chip_hours": tuple(s * work.steps * devices / 3600 for s in step),
    }


def notes(machine: Machine, mesh: Mapping[str, int]) -> tuple[str, ...]:
    """What a reader has to know of the figures."""
    topology = machine.topology
    if not machine.chip.peak:
        return (
            "memory: compiled for CPU devices, which hold in float32 some of what a GPU holds in "
            "half precision, and have no kernels of a GPU's own: as a rule more than a GPU takes. "
            f"{machine.name} counts as {machine.chip.hbm / GIB:.1f} GiB that a program may have, "
            f"for which JAX needs XLA_PYTHON_CLIENT_MEM_FRACTION={GPU_SHARE} (its default is 0.75)",
        )
    if topology is None:
        return (
            "time: matrix products, and memory at best as caches and at worst as main memory give "
            "it, at the rates that a short measurement found just now on this machine, as busy as "
            "it is",
        )
    out = [
        "time: the compiler's cycle counts and a ring model, no measurement; for comparing "
        f"configurations. It puts a large matrix product on {topology.chip.name} at "
        f"{100 * topology.chip.matmul:.0f}% of peak, and plain element-by-element work at 3 to 4 "
        "times what the memory's bandwidth takes. Of attention's own kernels the compiler has no "
        f"count: they are put at {100 * KERNELS[topology.chip.name]:.0f}% of peak, by their "
        "instructions at a length of 512",
    ]
    if topology.slices > 1 and mesh["replica"] != topology.slices:
        out.append(
            f"{topology.slices} slices, and MeshConfig.replica = {mesh['replica']}: set it to "
            f"{topology.slices}, so that gradients alone cross the slow network"
        )
    return tuple(out)


def present_machine(dtype: str = "float32") -> Machine:
    """The devices that are there, as a short measurement finds them."""
    devices = jax.devices()
    device = devices[0]
    sharing = jax.local_device_count() if device.platform == "cpu" else 1
    peak, memory = _matmul_rate(dtype) / sharing, _memory_rate(2**27) / sharing
    limit = int((device.memory_stats() or {}).get("bytes_limit", 0))
    chip = Chip(device.device_kind, peak, limit, memory, link=memory, network=memory)
    return Machine(chip, cached=_memory_rate(CACHE) / sharing)


def _seconds(function: Any, *args: Any) -> float:
    """Of one call, the quickest of several."""
    run = lambda: jax.block_until_ready(function(*args))  # noqa: E731
    run()
    return min(timeit.repeat(run, number=1, repeat=5))


def _matmul_rate(dtype: str) -> float:
    """FLOP a second of a matrix product."""
    size = 1024 if jax.devices()[0].platform == "cpu" else 8192
    x = jnp.ones((size, size), dtype)
    return 2 * size**3 / _seconds(jax.jit(jnp.matmul), x, x)


def _memory_rate(nbytes: int) -> float:
    """Bytes a second of reading and writing an array of nbytes."""
    x = jnp.ones((nbytes // 4,), jnp.float32)
    times = max(2, 2**27 // nbytes)

    def over(a: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, times, lambda i, b: b * 0.5 + 1, a)

    return 2 * times * nbytes / _seconds(jax.jit(over), x)
