"""Reads a compiled program's text: computations, instructions, shapes, how often loops go round.

    module = parse(compiled.as_text())
    module.entry.instructions[0].opcode, module.trips(loop)

Texts of CPU, GPU and TPU programs, and the files that --xla_dump_to writes, have one form.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

BYTES = {"pred": 1, "bf16": 2, "f16": 2, "f32": 4, "f64": 8, "c64": 8, "c128": 16, "token": 0}
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,<= ]*)\](?:\{([^{}]*)\})?")
_HEAD = re.compile(r"^(ENTRY )?%?([^\s(]+) (?:\(.*\) -> .*)?\{\s*$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([^\s=]+) = ")
_CALLED = re.compile(
    r"\b(calls|to_apply|body|condition|branch_computations|true_computation|false_computation)="
    r"(\{[^}]*\}|%?[^\s,]+)"
)


class Array(NamedTuple):
    """One array of a shape; `space` is 0 in the device's main memory, 1 in the cores' own."""

    dtype: str
    dims: tuple[int, ...]
    space: int

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.dims)

    @property
    def nbytes(self) -> float:
        """Without padding."""
        if self.dtype in BYTES:
            return self.size * BYTES[self.dtype]
        bits = re.search(r"\d+", self.dtype)  # s8, u32, f8e4m3fn, s4
        return self.size * int(bits.group()) / 8 if bits else 0


@functools.lru_cache(maxsize=65536)
def arrays_of(shape: str) -> tuple[Array, ...]:
    """The arrays of a shape's text, in order: one, or those of a tuple."""
    out = []
    for dtype, dims, layout in _ARRAY.findall(shape):
        sizes = tuple(int(d.strip().removeprefix("<=")) for d in dims.split(",") if d.strip())
        space = re.search(r"S\((\d+)\)", layout)
        out.append(Array(dtype, sizes, int(space.group(1)) if space else 0))
    return tuple(out)


@dataclasses.dataclass(frozen=True)
class Instruction:
    """`name = shape opcode(operands), rest`."""

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    inside: str  # what stands between the parentheses
    rest: str
    root: bool

    @property
    def arrays(self) -> tuple[Array, ...]:
        """What it returns."""
        return arrays_of(self.shape)

    @property
    def nbytes(self) -> float:
        """Bytes of what it returns."""
        return sum(a.nbytes for a in self.arrays)

    @property
    def main_nbytes(self) -> float:
        """Of these, the bytes in the device's main memory."""
        return sum(a.nbytes for a in self.arrays if a.space == 0)

    @property
    def cycles(self) -> int | None:
        """The compiler's own estimate of its cycles, where it makes one (TPU)."""
        match = re.search(r'"estimated_cycles":"(\d+)"', self.rest)
        return int(match.group(1)) if match else None

    def called(self, *kinds: str) -> list[str]:
        """Names of the computations that it calls (as 'body', 'calls', ...; all without kinds)."""
        out = []
        for kind, names in _CALLED.findall(self.rest):
            if not kinds or kind in kinds:
                out += [n.strip().removeprefix("%") for n in names.strip("{}").split(",")]
        return out

    def attribute(self, name: str) -> str | None:
        """The text of `name=...` up to the next comma outside brackets."""
        match = re.search(rf"\b{name}=", self.rest)
        if not match:
            return None
        start, depth = match.end(), 0
        for i in range(start, len(self.rest)):
            char = self.rest[i]
            depth += (char in "{[(") - (char in "}])")
            if char == "," and depth == 0:
                return self.rest[start:i]
        return self.rest[start:]


@dataclasses.dataclass(frozen=True)
class Computation:
    """A sequence of instructions, in the order in which they run where the text is scheduled."""

    name: str
    instructions: tuple[Instruction, ...]
    by_name: dict[str, Instruction]

    @property
    def root(self) -> Instruction:
        """What it returns."""
        return next((i for i in self.instructions if i.root), self.instructions[-1])

    def operands(self, instruction: Instruction) -> Iterator[Instruction]:
        """The instructions that make the operands."""
        return (self.by_name[o] for o in instruction.operands if o in self.by_name)

    def behind(self, name: str) -> Instruction | None:
        """What makes a value, seen through copies."""
        source = self.by_name.get(name)
        while source and source.opcode in ("copy", "bitcast", "convert", "copy-done", "copy-start"):
            source = self.by_name.get(source.operands[0]) if source.operands else None
        return source


@dataclasses.dataclass(frozen=True)
class Module:
    """A program."""

    computations: dict[str, Computation]
    entry: Computation

    def trips(self, within: Computation, loop: Instruction) -> int | None:
        """How often a loop (a `while` in the computation `within`) goes round, if the text tells.

        It tells where the loop counts up from a constant by a constant to a constant.
        """
        known = re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.rest)
        if known:
            return int(known.group(1))
        condition = self.computations[loop.called("condition")[0]]
        root = condition.root
        if root.opcode != "compare":  # a fusion on some platforms: its one constant is the bound
            bounds = [i for i in condition.instructions if i.opcode == "constant"]
            stop = constant(bounds[0]) if len(bounds) == 1 else None
            return None if stop is None else max(0, stop)
        counter, bound = (condition.behind(o) for o in root.operands)
        stop = constant(bound)
        if stop is None or counter is None or counter.opcode != "get-tuple-element":
            return None
        index = int(counter.attribute("index") or 0)
        start = _initial(within, loop, index)
        step = _step(self.computations[loop.called("body")[0]], index)
        closed = root.attribute("direction") == "LE"
        return max(0, -(-(stop + closed - start) // step))


def constant(instruction: Instruction | None) -> int | None:
    """The value of an integer constant."""
    if instruction is None or instruction.opcode != "constant":
        return None
    match = re.fullmatch(r"-?\d+", instruction.inside.strip())
    return int(match.group()) if match else None


def _initial(within: Computation, loop: Instruction, index: int) -> int:
    carried = within.by_name.get(loop.operands[0])
    if carried is None or carried.opcode != "tuple" or index >= len(carried.operands):
        return 0
    return constant(within.behind(carried.operands[index])) or 0


def _step(body: Computation, index: int) -> int:
    if body.root.opcode != "tuple" or index >= len(body.root.operands):
        return 1
    new = body.behind(body.root.operands[index])
    if new is None or new.opcode != "add":
        return 1
    steps = [constant(body.behind(o)) for o in new.operands]
    return next((s for s in steps if s), 1)


def _closing(text: str, start: int) -> int:
    """Index of the bracket that closes the one at `start`."""
    depth = 0
    for match in re.finditer(r"[()]", text[start:]):
        depth += 1 if match.group() == "(" else -1
        if depth == 0:
            return start + match.start()
    return len(text) - 1


def _instruction(line: str) -> Instruction | None:
    match = _INSTRUCTION.match(line)
    if not match:
        return None
    at = match.end()
    stop = _closing(line, at) + 1 if line[at] == "(" else line.find(" ", at)
    shape, at = line[at:stop], stop + 1
    opened = line.find("(", at)
    closed = _closing(line, opened)
    inside = line[opened + 1 : closed]
    return Instruction(
        name=match.group(2),
        shape=shape,
        opcode=line[at:opened].strip(),
        operands=tuple(re.findall(r"%([^\s,()]+)", inside)),
        inside=inside,
        rest=line[closed + 1 :],
        root=bool(match.group(1)),
    )


def parse(text: str) -> Module:
    """Reads a program's text."""
    computations: dict[str, Computation] = {}
    entry, name = "", ""
    lines: list[str] = []
    for line in text.splitlines():
        head = _HEAD.match(line)
        if head:
            name, lines = head.group(2), []
            entry = name if head.group(1) else entry
        elif line.startswith("}") and name:
            instructions = [i for i in map(_instruction, lines) if i]
            computations[name] = Computation(
                name, tuple(instructions), {i.name: i for i in instructions}
            )
            name = ""
        elif name:
            lines.append(line)
    if entry not in computations:
        raise ValueError("the text holds no ENTRY computation")
    return Module(computations, computations[entry])
