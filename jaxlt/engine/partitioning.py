"""The mesh, and which part of every array lives where.

A mesh has four named axes: `replica` (copies across slices, over the slow network), `data` (rows),
`fsdp` (rows, and the parameters' embed axis) and `tensor` (heads, MLP, vocabulary). Any may be 1.
Parameters name their axes logically ('embed', 'mlp', ...); rules map those names to mesh axes.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxlt.engine.config import AXES, BATCH_AXES, MeshConfig, Rules
from jaxlt.errors import UserError, nearest
from jaxlt.models.manual import Groups, Manual, halves


class MeshError(UserError):
    """The mesh of a run does not fit the devices at hand."""


def make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Lays the devices out. More shards than devices, or devices left over, is an error."""
    devices = list(jax.devices() if devices is None else devices)
    sizes = list(config.sizes())
    fixed = math.prod(s for s in sizes if s != -1)
    asked = ", ".join(f"MeshConfig.{a} = {s}" for a, s in zip(AXES, sizes, strict=True))
    if -1 in sizes and len(devices) % fixed == 0:
        sizes[sizes.index(-1)] = len(devices) // fixed
    if -1 in sizes or math.prod(sizes) != len(devices):
        more = "more shards than devices" if fixed > len(devices) else "devices not divided evenly"
        raise MeshError(
            f"The mesh does not fit {len(devices)} {devices[0].platform} device(s): {more} "
            f"({asked}). The product of the four axes has to be {len(devices)}; set one to -1 to "
            "take what is left."
        )
    types = (AxisType.Auto,) * len(AXES)
    slices = {getattr(d, "slice_index", 0) for d in devices}
    if sizes[0] > 1 and len(slices) == sizes[0]:  # replicas across slices: the slow axis outermost
        grid = mesh_utils.create_hybrid_device_mesh(
            (1, *sizes[1:]), (sizes[0], 1, 1, 1), devices=devices, allow_split_physical_axes=True
        )
        return Mesh(_in_halves(grid), AXES, axis_types=types)
    if len(slices) > 1:
        raise UserError(
            f"The devices are in {len(slices)} slices, and MeshConfig.replica is {sizes[0]}: set "
            f"it to {len(slices)}, so that gradients alone cross the slow network between them."
        )
    try:
        grid = jax.make_mesh(tuple(sizes), AXES, axis_types=types, devices=devices).devices
    except NotImplementedError:  # no whole sides of the torus come to these sizes
        grid = mesh_utils.create_device_mesh(tuple(sizes), devices, allow_split_physical_axes=True)
    return Mesh(_in_halves(grid), AXES, axis_types=types)


def _in_halves(grid: np.ndarray) -> np.ndarray:
    """The same devices; where `fsdp` spans a whole torus, its halves are the even and odd places.

    See `jaxlt.models.manual.halves`. Each half is a box, so that exchanges within it have all the
    links of their own.
    """
    if grid.shape[1] != 1 or grid.shape[3] != 1 or not _in_stages(grid):
        return grid
    out = grid.copy()
    for place in range(grid.shape[0]):
        line = list(grid[place, 0, :, 0])
        if any(getattr(d, "coords", None) is None for d in line):
            return grid
        extents = [len(set(along)) for along in zip(*(d.coords for d in line), strict=True)]
        order = sorted(range(len(extents)), key=lambda axis: -extents[axis])
        line.sort(key=lambda d: [d.coords[axis] for axis in order])
        half = len(line) // 2
        out[place, 0, 0::2, 0], out[place, 0, 1::2, 0] = line[:half], line[half:]
    return out


def _in_stages(grid: np.ndarray) -> bool:
    """Says whether devices along `fsdp` exchange in two stages: where they are all of a slice.

    TPU compilers make an all-reduce of a reduce-scatter over a whole slice, not over a half.
    """
    size = grid.shape[2]
    slices = {getattr(d, "slice_index", 0) for d in grid.flat}
    return size > 2 and size % 2 == 0 and size * len(slices) == grid.size


def manual_layers(
    collectives: str,
    mesh: Mesh,
    specs: Mapping[str, PartitionSpec],
    banks: Iterable[str],
    why_not: str | None,
) -> Manual | None:
    """How a step's layers are run by hand, or None where the compiler is to do it.

    specs: by flat name, of every parameter. banks: the names of those that have slots. why_not:
    what about the model rules it out.
    """
    if collectives == "compiler":
        return None
    inside = {n: s for n, s in specs.items() if "/layers/" in n}
    if mesh.shape["tensor"] > 1:
        why_not = "MeshConfig.tensor is more than 1"
    elif mesh.shape["fsdp"] == 1:
        why_not = "MeshConfig.fsdp is 1"
    elif any(axis not in (None, "fsdp") for spec in inside.values() for axis in spec):
        why_not = "MeshConfig.rules shares weights of layers over axes other than fsdp"
    if collectives == "hand" and why_not:
        raise UserError(
            f"MeshConfig.collectives = 'hand' does not go here: {why_not}. Leave it to 'auto', or "
            "set it to 'compiler'."
        )
    if why_not or (collectives == "auto" and mesh.devices.flat[0].platform != "tpu"):
        return None
    whole: tuple[Groups, ...] = (None,)
    staged = halves(mesh.shape["fsdp"]) if _in_stages(mesh.devices) else whole
    # A gather over a whole slice is one exchange on a flat torus; on others it, too, would become
    # an all-reduce.
    coords = [getattr(d, "coords", None) or (0,) for d in mesh.devices.flat]
    flat = sum(len(set(along)) > 1 for along in zip(*coords, strict=True)) == 2
    gathers = whole if flat else staged
    return Manual("fsdp", BATCH_AXES, inside, gathers, staged, frozenset(banks))


def batch_shards(mesh: Mesh) -> int:
    """How many ways the rows of a batch are split."""
    return math.prod(mesh.shape[a] for a in BATCH_AXES)


def check_batch(rows: int, accumulate: int, mesh: Mesh) -> None:
    """Raises UserError unless `rows` divide over the mesh and the accumulation steps."""
    shards = batch_shards(mesh)
    if rows % (shards * accumulate):
        unit = shards * accumulate
        near = max(unit, round(rows / unit) * unit)
        parts = " x ".join(f"{a} {mesh.shape[a]}" for a in BATCH_AXES)
        ways = [str(n) for n in range(1, shards) if rows % (n * accumulate) == 0][-3:]
        others = f"; a run under way keeps its batch, and can split it {' or '.join(ways)} ways"
        raise UserError(
            f"A batch of {rows} rows (DataConfig.batch_size) is not divisible by {unit}: the mesh "
            f"splits rows {shards} ways ({parts}) and TrainConfig.accumulate is {accumulate}. "
            f"The nearest size that works is {near}{others if ways else ''}."
        )


def batch_parts(
    rows: int, mesh: Mesh, accumulate: int = 1, rows_per_device: int | None = None
) -> int:
    """In how many parts, one after the other, a batch that passed `check_batch` is to be taken.

    The fewest, in multiples of `accumulate`, that leave a device `rows_per_device` rows at most.
    """
    if rows_per_device is None:
        return accumulate
    own = rows // batch_shards(mesh)
    counts = range(accumulate, own + 1, accumulate)
    return next((n for n in counts if own % n == 0 and own // n <= rows_per_device), accumulate)


def spec_for(
    shape: Sequence[int], axes: Sequence[str | None], rules: Rules, mesh: Mesh
) -> PartitionSpec:
    """Logical axes of an array -> its PartitionSpec on the mesh.

    A mesh axis is used once an array, the first time it is asked for. A dimension that it does not
    divide stays whole (six heads on four devices), rather than being padded.
    """
    table = dict(rules)
    used: set[str] = set()
    out: list[str | tuple[str, ...] | None] = []
    for size, name in zip(shape, axes, strict=True):
        if name is not None and name not in table:
            raise UserError(
                f"MeshConfig.rules has no entry for the logical axis '{name}'."
                + nearest(name, table)
            )
        target = table.get(name) if name is not None else None
        wanted = (target,) if isinstance(target, str) else tuple(target or ())
        taken: list[str] = []
        for axis in wanted:
            ways = math.prod(mesh.shape[a] for a in [*taken, axis])
            if axis not in used and mesh.shape[axis] > 1 and size % ways == 0:
                taken.append(axis)
        used.update(taken)
        out.append(tuple(taken) if len(taken) > 1 else taken[0] if taken else None)
    return PartitionSpec(*out)


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of batch fields [B, ...]: rows over replica, data and fsdp."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def local_rows(rows: int, mesh: Mesh) -> list[tuple[int, int]]:
    """The ranges [start, stop) of a global batch that this host's devices need, in order."""
    index = batch_sharding(mesh).addressable_devices_indices_map((rows,))
    ranges = sorted({i[0].indices(rows)[:2] for i in index.values() if i is not None})
    merged: list[tuple[int, int]] = []
    for start, stop in ranges:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged


def place_rows(
    parts: Sequence[tuple[int, Mapping[str, np.ndarray]]], rows: int, mesh: Mesh
) -> dict[str, jax.Array]:
    """Host rows -> global arrays. parts: (first row, fields) for each range of `local_rows`."""
    sharding = batch_sharding(mesh)

    def field(name: str) -> jax.Array:
        def read(index: Any) -> np.ndarray:
            start, stop, _ = index[0].indices(rows)
            for first, fields in parts:
                if first <= start and stop <= first + len(fields[name]):
                    return fields[name][start - first : stop - first]
            raise IndexError(f"rows {start} to {stop} of '{name}' were not read on this host")

        shape = (rows, *parts[0][1][name].shape[1:])
        return jax.make_array_from_callback(shape, sharding, read)

    return {name: field(name) for name in parts[0][1]}
