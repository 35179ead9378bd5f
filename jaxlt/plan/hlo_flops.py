"""Floating-point work of matrix products in a compiled program's text, one instruction at a time.

A TPU's program has convolutions where a CPU's has dots; both are counted as XLA counts them: two
FLOPs a product that takes part, positions in the padding left out.
"""

import math
import re

from jaxlt.plan.hlo_text import Array, Computation, Instruction


def product_flops(within: Computation, instruction: Instruction) -> float:
    """FLOPs of a `dot`, a `convolution` or a library's product in `within`; 0 of anything else."""
    if not is_product(instruction):
        return 0.0
    operands = list(within.operands(instruction))
    if len(operands) < 2 or not (operands[0].arrays and operands[1].arrays):
        return 0.0
    left, right, out = operands[0].arrays[0], operands[1].arrays[0], instruction.arrays[0]
    if instruction.opcode == "dot":
        return _dot(instruction.attribute("lhs_contracting_dims"), left, out)
    if instruction.opcode == "custom-call":
        axes = re.search(r'"lhs_contracting_dimensions":\[([^\]]*)\]', instruction.rest)
        return _dot(axes.group(1) if axes else None, left, out)
    return _convolution(instruction, left, right, out)


def is_product(instruction: Instruction) -> bool:
    """True of matrix products; GPUs and CPUs hand some of them to a library."""
    if instruction.opcode == "custom-call":
        target = instruction.attribute("custom_call_target") or ""
        return "gemm" in target or "matmul" in target
    return instruction.opcode in ("dot", "convolution")


def _dot(axes: str | None, left: Array, out: Array) -> float:
    """axes: a text with the contracted axes of the left side."""
    contracted = [int(a) for a in re.findall(r"\d+", axes or "")]
    return 2.0 * out.size * math.prod(left.dims[a] for a in contracted)


def _convolution(instruction: Instruction, left: Array, right: Array, out: Array) -> float:
    """dim_labels=0bf_1io->0bf: batch, features and spatial axes (digits) of lhs, rhs and output."""
    labels = re.match(r"(\w+)_(\w+)->(\w+)", instruction.attribute("dim_labels") or "")
    if not labels:
        return 0.0
    lhs, rhs, result = labels.groups()
    of = lambda names, array, label: array.dims[names.index(label)]  # noqa: E731
    window = _window(instruction.attribute("window") or "", len(lhs) - 2)
    groups = int(instruction.attribute("batch_group_count") or 1)
    positions = 1
    for axis in range(len(lhs) - 2):
        label = str(axis)
        positions *= _positions(
            of(lhs, left, label), of(rhs, right, label), of(result, out, label), *window[axis]
        )
    # The kernel's input features are already those of one feature group.
    work = of(rhs, right, "i") * of(result, out, "f") * of(lhs, left, "b") / groups
    return 2.0 * work * positions


Dimension = tuple[int, int, int, int]  # stride, padding before, dilation of lhs, of rhs


def _window(text: str, axes: int) -> list[Dimension]:
    """'{size=3x1 pad=1_1x0_0 ...}' -> a Dimension an axis."""

    def numbers(name: str, default: str) -> list[str]:
        match = re.search(rf"\b{name}=(\S+?)[}}\s]", text)
        return match.group(1).split("x") if match else [default] * axes

    rows = zip(
        numbers("stride", "1"),
        numbers("pad", "0_0"),
        numbers("lhs_dilate", "1"),
        numbers("rhs_dilate", "1"),
        strict=True,
    )
    return [(int(s), int(p.split("_")[0]), int(a), int(b)) for s, p, a, b in rows]


def _positions(
    size: int, kernel: int, outputs: int, stride: int, padding: int, base: int, dilation: int
) -> int:
    """Pairs of output and kernel positions that meet a value rather than padding, on one axis."""
    count, reach = 0, (size - 1) * base
    for k in range(kernel):
        # Output o reads position o * stride + offset of the dilated input.
        offset = k * dilation - padding
        if base == 1:
            first = max(0, -(offset // stride))
            last = min(outputs - 1, (reach - offset) // stride)
            count += max(0, last - first + 1)
        else:
            places = (o * stride + offset for o in range(outputs))
            count += sum(0 <= p <= reach and p % base == 0 for p in places)
    return count
