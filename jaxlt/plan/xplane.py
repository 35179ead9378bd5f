"""Reads a trace of `jax.profiler`: what the devices did, and where in the model it comes from.

    costs = read_trace("out/profile/plugins/profile/2026_01_31_12_00_00/host.xplane.pb")
    costs.ops[0].source, costs.ops[0].seconds, costs.idle

Times come from the events of the devices (planes '/device:GPU:0', '/device:TPU:0'; of a CPU, what
the host's threads computed). Where an operation comes from stands in the compiled programs, which
lie in the same file: of those protocol buffers the few fields that are needed are read here.
"""

import dataclasses
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from jaxlt.plan.hlo_costs import source_named

_DEVICE = re.compile(r"/device:(GPU|TPU):\d+")
_LIBRARY = re.compile(r"(site|dist)-packages/(jax|flax|optax)/")
_OP = re.compile(r"%?([^\s=]+)")
CALLS = ("while", "call", "conditional")  # what they call has events of its own
# Fields of protocol buffers, by number.
_PLANES, _PLANE_NAME, _PLANE_METADATA = 1, 2, 4  # XSpace, XPlane
_NAME, _STATS, _BYTES = 2, 5, 6  # XEventMetadata, XStat
_MODULE, _COMPUTATIONS, _FRAMES = 1, 3, 17  # HloProto, HloModuleProto
_INSTRUCTIONS, _INS_NAME, _OPCODE, _METADATA = 2, 1, 2, 7  # HloComputation-, InstructionProto
_OP_NAME, _FRAME_ID = 2, 15  # OpMetadata


@dataclasses.dataclass(frozen=True)
class Op:
    """One operation of a compiled program, all its executions in a trace together."""

    name: str  # 'fusion.12'
    program: str  # 'jit__train_step'
    opcode: str  # '' where the trace does not hold the program
    source: str  # 'backward encoder/mlp/wi_0/dot_general'
    place: str  # 'attention.py:180', or ''
    seconds: float  # summed over devices; without what runs inside of it
    count: int


@dataclasses.dataclass(frozen=True)
class TraceCosts:
    """What the devices of this host did between their first operation and their last."""

    devices: int
    window: float  # seconds, of one device (the mean)
    busy: float  # seconds in which any operation ran, of one device (the mean)
    ops: tuple[Op, ...]  # the costliest first

    @property
    def seconds(self) -> float:
        """Of all operations."""
        return sum(op.seconds for op in self.ops)

    @property
    def idle(self) -> float:
        """Share of the window in which nothing ran."""
        return 1.0 - self.busy / self.window if self.window else 0.0


class Event(NamedTuple):
    """One execution of an operation; nanoseconds."""

    start: float
    stop: float
    program: str  # the program's id, or its name, or ''
    name: str


def read_trace(path: str) -> TraceCosts:
    """path: of an '.xplane.pb' file."""
    from jax.profiler import ProfileData  # a fifth of a second to import, and nearly no run traces

    with open(path, "rb") as file:
        content = file.read()
    lines = device_lines(ProfileData.from_serialized_xspace(content))
    return costs_of(lines, Programs(content))


def device_lines(data: Any) -> dict[str, list[list[Event]]]:
    """Events of the operations, by device and line; of a CPU where no other device has any."""
    found: dict[str, list[list[Event]]] = {}
    host: list[list[Event]] = []
    for plane in data.planes:
        if _DEVICE.fullmatch(plane.name):
            lines = {line.name: line for line in plane.lines}
            # Of a GPU those on which its work stands, rather than what was derived from it.
            streams = [line for name, line in lines.items() if name.startswith("Stream")]
            own = [lines["XLA Ops"]] if "XLA Ops" in lines else streams
            events = [[_event(e) for e in line.events] for line in own]
            found[plane.name] = [line for line in events if line]
        elif plane.name == "/host:CPU":
            events = [[_event(e, host=True) for e in line.events] for line in plane.lines]
            host = [kept for line in events if (kept := [e for e in line if e.name])]
    found = {name: lines for name, lines in found.items() if lines}
    return found or ({"/host:CPU": host} if host else {})


def _event(event: Any, host: bool = False) -> Event:
    """Of a host's own work, such as starting a program, the name is ''."""
    stats = dict(event.stats)
    program = str(stats.get("program_id", stats.get("hlo_module", "")))
    named = stats.get("hlo_op")
    if named is None and not host:  # a TPU's events are named by the whole instruction
        found = _OP.match(event.name)
        named = found[1] if found else event.name
    return Event(event.start_ns, event.start_ns + event.duration_ns, program, str(named or ""))


def costs_of(lines: Mapping[str, list[list[Event]]], programs: "Programs") -> TraceCosts:
    """Sums the events of operations over all devices."""
    sums: dict[tuple[str, str], list[float]] = {}
    window = busy = 0.0
    for own in lines.values():
        every = [event for line in own for event in line]
        window += max(e.stop for e in every) - min(e.start for e in every)
        busy += covered(every)
        for line in own:
            for event, seconds in alone(line):
                cell = sums.setdefault((event.program, event.name), [0.0, 0.0])
                cell[0] += seconds
                cell[1] += 1
    found = programs.describe(sums)
    ops = []
    for key, (spent, count) in sums.items():
        program, opcode, source, place = found[key]
        if opcode not in CALLS:
            ops.append(Op(key[1], program, opcode, source, place, spent / 1e9, int(count)))
    ops.sort(key=lambda op: -op.seconds)
    devices = max(1, len(lines))
    return TraceCosts(len(lines), window / devices / 1e9, busy / devices / 1e9, tuple(ops))


def covered(events: Iterable[Event]) -> float:
    """Nanoseconds in which at least one of the events was under way."""
    total, end = 0.0, float("-inf")
    for event in sorted(events):
        total += max(0.0, event.stop - max(event.start, end))
        end = max(end, event.stop)
    return total


def alone(line: Iterable[Event]) -> Iterator[tuple[Event, float]]:
    """Each event of a line with its nanoseconds, less those of the events inside of it."""
    open_: list[tuple[Event, list[float]]] = []
    for event in sorted(line, key=lambda e: (e.start, -e.stop)):
        while open_ and open_[-1][0].stop <= event.start:
            done, inside = open_.pop()
            yield done, done.stop - done.start - inside[0]
        if open_:
            open_[-1][1][0] += min(event.stop, open_[-1][0].stop) - event.start
        open_.append((event, [0.0]))
    for done, inside in reversed(open_):
        yield done, done.stop - done.start - inside[0]


class Programs:
    """The compiled programs in a trace; only those that are asked for are read."""

    def __init__(self, content: bytes) -> None:
        self._modules: dict[str, tuple[str, memoryview]] = {}  # id -> name, HloModuleProto
        for plane in each(memoryview(content), _PLANES):
            if _text(plane, _PLANE_NAME) == "/host:metadata":
                for entry in each(plane, _PLANE_METADATA):
                    self._take(_child(entry, 2))

    def _take(self, metadata: memoryview) -> None:
        """metadata: XEventMetadata of a program, named 'jit__train_step(38)'."""
        name, _, id_ = _text(metadata, _NAME).rstrip(")").rpartition("(")
        for stat in each(metadata, _STATS):
            if proto := _child(stat, _BYTES):
                self._modules[id_] = (name, _child(proto, _MODULE))

    def describe(
        self, wanted: Iterable[tuple[str, str]]
    ) -> dict[tuple[str, str], tuple[str, str, str, str]]:
        """(program, operation) -> (program's name, opcode, source, place)."""
        by_program: dict[str, set[str]] = {}
        for program, name in wanted:
            by_program.setdefault(program, set()).add(name)
        out = {}
        for program, names in by_program.items():
            id_ = self._known(program)
            title, module = self._modules.get(id_, (program, memoryview(b"")))
            found = _instructions(module, names)
            for name in names:
                opcode, source, place = found.get(name, ("", name, ""))
                out[program, name] = (title, opcode, source, place)
        return out

    def _known(self, program: str) -> str:
        """The id of a program that an event names by id, by name, or (on some devices) not at all.

        Without a name it is the largest: that is the step.
        """
        if program in self._modules:
            return program
        named = {i: m for i, (name, m) in self._modules.items() if not program or name == program}
        return max(named, key=lambda i: len(named[i]), default="")


def _instructions(module: memoryview, names: set[str]) -> dict[str, tuple[str, str, str]]:
    """Opcode, source and place of the instructions of those names (or a GPU's kernels of them)."""
    kernels = {re.sub(r"\W", "_", name): name for name in names}
    found, frames = {}, Frames(_child(module, _FRAMES))
    for computation in each(module, _COMPUTATIONS):
        for instruction in each(computation, _INSTRUCTIONS):
            name = _text(instruction, _INS_NAME)
            name = name if name in names else kernels.get(re.sub(r"\W", "_", name), "")
            if name:
                opcode = _text(instruction, _OPCODE)
                metadata = _child(instruction, _METADATA)
                source = source_named(_text(metadata, _OP_NAME), opcode)
                found[name] = (opcode, source, frames.place(_number(metadata, _FRAME_ID)))
    return found


class Frames:
    """A program's own list of where in the Python code its instructions come from."""

    def __init__(self, index: memoryview | bytes) -> None:
        """index: StackFrameIndexProto; numbers in it count from 1."""
        index = memoryview(index)
        self._files = [bytes(name).decode("utf-8", "replace") for name in each(index, 1)]
        self._locations, self._frames = list(each(index, 3)), list(each(index, 4))

    def place(self, frame: int) -> str:
        """'file.py:12' of the innermost frame that is not a library's; '' where none is known."""
        innermost = ""
        while 0 < frame <= len(self._frames):
            entry = self._frames[frame - 1]
            location = _number(entry, 1)
            if 0 < location <= len(self._locations):
                at = self._locations[location - 1]
                path = self._files[_number(at, 1) - 1]
                here = f"{os.path.basename(path)}:{_number(at, 3)}"
                if not _LIBRARY.search(path):
                    return here
                innermost = innermost or here
            frame = _number(entry, 2)
        return innermost


def fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """The fields of a protocol buffer as they come: (number, int or bytes)."""
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        size, at = _varint(message, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """(a number of seven bits a byte, where it ends)."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def each(message: memoryview, number: int) -> Iterator[Any]:
    """All fields of that number."""
    return (value for n, value in fields(message) if n == number)


def _child(message: memoryview, number: int) -> memoryview:
    """A field that is a message; empty where it is not there."""
    return next(each(message, number), memoryview(b""))


def _text(message: memoryview, number: int) -> str:
    return bytes(_child(message, number)).decode("utf-8", "replace")


def _number(message: memoryview, number: int) -> int:
    return int(next(each(message, number), 0))
