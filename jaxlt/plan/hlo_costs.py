"""What a compiled step costs, from its optimised and scheduled text: a timeline of one device.

    costs = step_costs(parse(text), Rates(clock=1.5e9, memory=819e9), network)

The program's instructions run one after the other, loops as often as they go round. A fusion takes
the compiler's own estimate of its cycles; where there is none (not a TPU), its matrix products at
the peak and its bytes at the memory's rate. A collective that blocks stops the line. One that is
started and awaited later runs beside it: what the line has to wait is *exposed*.
"""

import dataclasses
import re
from collections.abc import Iterator

from jaxlt.plan.collectives import KINDS, Cost, Network, first_group, pairs_of
from jaxlt.plan.hlo_flops import is_product, product_flops
from jaxlt.plan.hlo_text import Computation, Instruction, Module

# These name values and move none.
FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"),
    *("add-dependency", "partition-id", "replica-id", "opt-barrier"),
    *("optimization-barrier", "domain", "token", "iota"),
}
SLICES = ("dynamic-slice", "slice", "gather")
UPDATES = ("dynamic-update-slice", "scatter")
# What hands values on as they are.
_PASSING = {
    *("parameter", "constant", "bitcast", "convert", "copy", "dynamic-slice"),
    *("reduce-precision", "reshape", "slice", "transpose", "tuple", "get-tuple-element"),
    *("copy-done", "slice-done", "all-gather", "fusion"),
}
COPIES = ("copy", "slice", "dynamic-slice", "dynamic-update-slice")


@dataclasses.dataclass(frozen=True)
class Rates:
    """Of one device. Without a clock, cycles in the text are not looked at."""

    memory: float  # bytes a second
    clock: float = 0.0  # cycles a second
    peak: float = 0.0  # FLOP a second, where the text has no cycles
    kernel: float = 0.0  # FLOP a second of kernels written by hand, of which it has none either


@dataclasses.dataclass
class Traffic:
    """Collectives of one kind, summed over a step, on one device."""

    count: float = 0
    nbytes: float = 0.0  # that the device sends
    seconds: float = 0.0
    blocking: float = 0.0  # seconds of those that stop the line
    exposed: float = 0.0  # seconds that the line waits, blocking ones included

    def add(self, other: "Traffic", times: float = 1.0) -> None:
        """Adds another's sums, `times` over."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name) + times * getattr(other, field.name)
            setattr(self, field.name, value)


@dataclasses.dataclass
class Costs:
    """Sums over a step on one device, in seconds unless said otherwise."""

    elapsed: float = 0.0  # from the first instruction to the last
    matrix: float = 0.0  # of what holds matrix products
    other: float = 0.0  # of what holds none: memory and vector work
    other_bytes: float = 0.0  # that the latter move from and to memory
    flops: float = 0.0  # of matrix products
    copies: float = 0.0  # bytes of copies that run beside the rest
    traffic: dict[str, Traffic] = dataclasses.field(default_factory=dict)
    unknown_loops: int = 0  # counted as going round once
    by_source: dict[str, float] = dataclasses.field(default_factory=dict)  # of `compute`

    def add(self, other: "Costs", times: float = 1.0) -> None:
        """Adds another's sums, `times` over."""
        for name in ("elapsed", "matrix", "other", "other_bytes", "flops", "copies"):
            setattr(self, name, getattr(self, name) + times * getattr(other, name))
        self.unknown_loops += other.unknown_loops
        for source, seconds in other.by_source.items():
            self.by_source[source] = self.by_source.get(source, 0.0) + times * seconds
        for kind, traffic in other.traffic.items():
            self.traffic.setdefault(kind, Traffic()).add(traffic, times)

    @property
    def compute(self) -> float:
        """All that is not communication."""
        return self.matrix + self.other

    @property
    def communication(self) -> float:
        """Of all collectives, hidden or not."""
        return sum(t.seconds for t in self.traffic.values())

    @property
    def exposed(self) -> float:
        """What of it the rest waits for."""
        return sum(t.exposed for t in self.traffic.values())


def step_costs(module: Module, rates: Rates, network: Network) -> Costs:
    """Returns the costs of running a program once."""
    return _Walk(module, rates, network).run(module.entry)


@dataclasses.dataclass
class _Flight:
    """A collective under way."""

    kind: str
    cost: Cost
    ends: float


class _Line:
    """Time on one device while a computation runs, and what is under way beside it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.costs = Costs()
        self.flights: dict[str, _Flight] = {}
        self.busy: dict[str, float] = {}  # lane -> when it is free

    def start(self, key: str, kind: str, cost: Cost) -> None:
        lanes = ["up", "down"] if cost.lane == "" else [cost.lane]
        begins = max([self.now, *(self.busy.get(lane, 0.0) for lane in lanes)])
        for lane in lanes:
            self.busy[lane] = begins + cost.seconds
        self.flights[key] = _Flight(kind, cost, begins + cost.seconds)

    def wait(self, key: str, blocking: bool = False) -> None:
        flight = self.flights.pop(key, None)
        if flight is None:
            return
        exposed = max(0.0, flight.ends - self.now)
        self.now += exposed
        seconds = flight.cost.seconds
        self.costs.traffic.setdefault(flight.kind, Traffic()).add(
            Traffic(1, flight.cost.moved, seconds, seconds if blocking else 0.0, exposed)
        )


class _Walk:
    def __init__(self, module: Module, rates: Rates, network: Network) -> None:
        self.module, self.rates, self.network = module, rates, network
        self.done: dict[str, Costs] = {}
        self.found: dict[str, list[tuple[Computation, Instruction]]] = {}
        self.started = self._started()

    def _started(self) -> set[str]:
        """Channels of collectives that a fusion starts, others carry on, and one more ends."""
        out = set()
        for computation in self.module.computations.values():
            targets = (i.attribute("custom_call_target") or "" for i in computation.instructions)
            if any("AsyncCollectiveStart" in target for target in targets):
                out |= {_channel(i) for i in computation.instructions if i.opcode in KINDS}
        return out

    def run(self, computation: Computation) -> Costs:
        """Costs of running a computation once."""
        if computation.name in self.done:
            return self.done[computation.name]
        line = _Line()
        for instruction in computation.instructions:
            self._step(line, computation, instruction)
        for key in list(line.flights):  # whoever awaits it, does so later
            line.wait(key)
        line.costs.elapsed = line.now
        self.done[computation.name] = line.costs
        return line.costs

    def _step(self, line: _Line, within: Computation, ins: Instruction) -> None:
        opcode = ins.opcode
        base = opcode.removesuffix("-start").removesuffix("-done")
        if opcode in FREE or opcode in ("async-update", "send-done", "recv"):
            return
        if opcode == "while":
            trips = self.module.trips(within, ins)
            line.costs.unknown_loops += trips is None
            self._inline(line, self._of(ins.called("body")[0]), 1 if trips is None else trips)
        elif opcode == "conditional":
            branches = [self._of(name) for name in ins.called()]
            self._inline(line, max(branches, key=lambda c: c.elapsed))
        elif opcode == "call":
            self._inline(line, self._of(ins.called("to_apply", "calls")[0]))
        elif opcode == "send":
            line.start(_rendezvous(ins), "across slices", self._sent(within, ins))
        elif opcode == "recv-done":
            line.wait(_rendezvous(within.by_name.get(ins.operands[0], ins)))
        elif base in KINDS or base == "async":
            self._collective(line, within, ins, base)
        elif base in COPIES and opcode != base:
            if opcode.endswith("-start"):
                line.costs.copies += ins.nbytes / 2
        else:
            self._compute(line, within, ins)

    def _of(self, name: str) -> Costs:
        return self.run(self.module.computations[name])

    def _inline(self, line: _Line, costs: Costs, times: float = 1.0) -> None:
        line.now += costs.elapsed * times
        line.costs.add(costs, times)

    # --- collectives ------------------------------------------------------------------------------
    def _collective(self, line: _Line, within: Computation, ins: Instruction, base: str) -> None:
        if ins.opcode.endswith("-done"):
            line.wait(_origin(within, ins))
            return
        inner, place = ins, within
        if base == "async":
            inside = self._collectives_in(ins)
            if not inside:  # work handed to another core: counted as if it were done here
                self._inline(line, self._of(ins.called("calls")[0]))
                return
            place, inner = inside[0]
        kind, cost = self._cost(place, inner)
        line.start(ins.name, kind, cost)
        if not ins.opcode.endswith("-start"):
            line.wait(ins.name, blocking=True)

    def _collectives_in(self, ins: Instruction) -> list[tuple[Computation, Instruction]]:
        """Collectives inside what an instruction calls."""
        out = []
        for name in ins.called("calls"):
            if name not in self.found:
                computation = self.module.computations[name]
                inside: list[tuple[Computation, Instruction]] = []
                for each in computation.instructions:
                    if each.opcode in KINDS:
                        inside.append((computation, each))
                    elif each.opcode == "fusion":
                        inside += self._collectives_in(each)
                self.found[name] = inside
            out += self.found[name]
        return out

    def _cost(self, within: Computation, ins: Instruction) -> tuple[str, Cost]:
        """(kind, cost) of a collective, blocking or only its start."""
        kind = ins.opcode.removesuffix("-start")
        nbytes = sum(o.nbytes for o in within.operands(ins))
        if kind == "collective-permute":
            pairs = pairs_of(ins.attribute("source_target_pairs") or "")
            return self._permute(within, ins), self.network.permute(nbytes, pairs)
        at = ins.rest.find("replica_groups=")
        text = ins.rest[at + len("replica_groups=") :] if at >= 0 else ""
        group = first_group(text, len(self.network.places))
        if kind == "all-gather":
            nbytes *= len(group)
        if kind == "all-reduce" and "all-reduce-scatter" in within.name:
            kind = "reduce-scatter"  # its device's part alone is kept
        return kind, self.network.cost(kind, nbytes, group)

    def _permute(self, within: Computation, ins: Instruction) -> str:
        """Which collective a permute is a step of: products go round with what they multiply.

        What goes round is a part of a weight, read or passed on as it came, or a sum that grows.
        """
        if "dot_general" not in ins.rest:
            return "collective-permute"
        source = within.behind(ins.operands[0])
        passing = ("get-tuple-element", "reshape", "collective-permute-done")
        while source and source.opcode in passing:
            if source.opcode == "collective-permute-done":
                return "all-gather in steps"
            source = within.behind(source.operands[0])
        if source is None or source.opcode == "parameter":
            summed = "body_rs" in within.name
        elif source.opcode == "while":
            summed = "body_rs" in source.rest
        elif source.opcode == "fusion":
            summed = any(
                each.opcode not in _PASSING and any(a.dims for a in each.arrays)
                for name in source.called("calls")
                for each in self.module.computations[name].instructions
            )
        else:
            summed = source.opcode not in _PASSING
        return "reduce-scatter in steps" if summed else "all-gather in steps"

    def _sent(self, within: Computation, ins: Instruction) -> Cost:
        """A transfer between slices, through their hosts."""
        source = within.by_name.get(ins.operands[0])
        nbytes = source.nbytes if source else 0.0
        topology = self.network.topology
        slices = topology.slices if topology else 1
        if slices < 2:
            return Cost(0.0, 0.0)
        kind = "all-reduce" if "ALL_REDUCE" in ins.rest else "other"
        return self.network.across(kind, nbytes, slices)

    # --- work -------------------------------------------------------------------------------------
    def _compute(self, line: _Line, within: Computation, ins: Instruction) -> None:
        inside = self._collectives_in(ins) if ins.opcode == "fusion" else []
        targets = self._targets(ins) if inside else ""
        for place, each in inside:
            key = _channel(each)
            if "AsyncCollectiveStart" in targets:
                line.start(key, *self._cost(place, each))
            elif "AsyncCollectiveDone" in targets:
                line.wait(key)
            elif key not in self.started:  # fused, and done when the fusion is
                line.start(key, *self._cost(place, each))
                line.wait(key, blocking=True)
        flops = sum(product_flops(c, i) for c, i in self._products(within, ins))
        nbytes = moved(self.module, within, ins)
        cycles = ins.cycles if self.rates.clock else None
        kernel = stated_work(ins) if self.rates.kernel else None
        if kernel is not None:
            flops += kernel[0]
            seconds = max(kernel[0] / self.rates.kernel, kernel[1] / self.rates.memory)
        elif cycles is not None:
            seconds = cycles / self.rates.clock
        elif self.rates.clock and (inside or ins.opcode in ("custom-call", "fusion")):
            seconds = 0.0 if inside or ins.opcode == "custom-call" else nbytes / self.rates.memory
        else:
            seconds = nbytes / self.rates.memory
            if self.rates.peak:
                seconds = max(seconds, flops / self.rates.peak)
        line.now += seconds
        line.costs.flops += flops
        source = source_of(ins)
        line.costs.by_source[source] = line.costs.by_source.get(source, 0.0) + seconds
        if flops:
            line.costs.matrix += seconds
        else:
            line.costs.other += seconds
            line.costs.other_bytes += nbytes

    def _products(
        self, within: Computation, ins: Instruction
    ) -> Iterator[tuple[Computation, Instruction]]:
        """Matrix products in an instruction, and in the fusions in it."""
        if is_product(ins):
            yield within, ins
        for name in ins.called("calls"):
            computation = self.module.computations[name]
            for each in computation.instructions:
                yield from self._products(computation, each)

    def _targets(self, ins: Instruction) -> str:
        """Names of the custom calls in a fusion."""
        return " ".join(
            each.attribute("custom_call_target") or ""
            for name in ins.called("calls")
            for each in self.module.computations[name].instructions
            if each.opcode == "custom-call"
        )


def stated_work(ins: Instruction) -> tuple[float, float] | None:
    """(FLOPs, bytes) of a kernel written by hand, as whoever wrote it states them; else None."""
    if ins.opcode != "custom-call":
        return None
    found = re.search(r'"cost_estimate":\{([^}]*)\}', ins.rest)
    if not found:
        return None
    stated = dict(re.findall(r'"(\w+)":"(\d+)"', found.group(1)))  # dumped texts sort the names
    return float(stated.get("flops", 0)), float(stated.get("bytes_accessed", 0))


def source_of(ins: Instruction) -> str:
    """Where in the model an instruction comes from: 'backward encoder attention/query/dot_general'.

    Loops, and what JAX's transformations add to a name, are left out.
    """
    found = re.search(r'op_name="([^"]*)"', ins.rest)
    return source_named(found.group(1) if found else "", ins.opcode)


def source_named(op_name: str, opcode: str) -> str:
    """The same of an instruction's metadata."""
    parts = op_name.split("/")
    kept = [p for p in parts if not re.search(r"[().]|^while$|^body$|^closed_call$|^layers$", p)]
    backward = any(p.startswith("transpose(") for p in parts)
    again = any(p.startswith("rematted") for p in parts)
    way = "recomputed " if again else "backward " if backward else ""
    kept = [p for p in kept if p not in ("checkpoint", "rematted_computation")]
    return way + ("/".join(kept[-4:]) or opcode)


def _channel(ins: Instruction) -> str:
    return ins.attribute("channel_id") or ins.name


def _rendezvous(ins: Instruction) -> str:
    """What a send and its recv have in common."""
    at = ins.rest.find("rendezvous=")
    return ins.rest[at:].split(",")[0] if at >= 0 else ins.name


def _origin(within: Computation, done: Instruction) -> str:
    """Name of the start that a done belongs to."""
    name = done.operands[0]
    while (found := within.by_name.get(name)) and found.opcode == "async-update":
        name = found.operands[0]
    return name


def moved(module: Module, within: Computation, ins: Instruction) -> float:
    """Bytes that an instruction reads from and writes to main memory, each operand once.

    Of what is sliced, or updated in place, the slice counts.
    """
    called = ins.called("calls") if ins.opcode == "fusion" else []
    if called:
        return _fused(module.computations[called[0]])
    operands = list(within.operands(ins))
    if ins.opcode in UPDATES:
        return 2 * sum(o.main_nbytes for o in operands[1:])
    if ins.opcode in SLICES:
        return 2 * ins.main_nbytes
    return ins.main_nbytes + sum(o.main_nbytes for o in operands)


def _fused(inside: Computation) -> float:
    """`moved` of a fusion: what is between its instructions stays in the cores."""
    readers: dict[str, list[tuple[Instruction, int]]] = {}
    for each in inside.instructions:
        for place, name in enumerate(each.operands):
            readers.setdefault(name, []).append((each, place))
    total = sum(_read(i, readers) for i in inside.instructions if i.opcode == "parameter")
    root = inside.root
    outputs = list(inside.operands(root)) if root.opcode == "tuple" else [root]
    for out in outputs:
        source = inside.behind(out.name) or out
        if source.opcode in UPDATES:
            total += sum(inside.by_name[o].main_nbytes for o in source.operands[1:2])
        else:
            total += out.main_nbytes
    return total


def _read(source: Instruction, readers: dict[str, list[tuple[Instruction, int]]]) -> float:
    """Bytes read of a fusion's parameter: all of it, unless only slices of it are looked at."""
    total = 0.0
    for user, place in readers.get(source.name, []):
        if user.opcode in SLICES and place == 0:
            total += user.nbytes
        elif user.opcode in UPDATES and place == 0:
            continue
        elif user.opcode in ("bitcast", "copy", "convert"):
            total += _read(dataclasses.replace(source, name=user.name), readers)
        else:
            return source.main_nbytes
    return min(source.main_nbytes, total)
