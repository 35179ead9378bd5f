"""How long collectives take: a ring model over the links of a torus, and over a host's network.

    network = torus(mesh, topology)            # or shared_memory(devices, rate) on one machine
    cost = network.cost("all-gather", nbytes, group)

nbytes is the whole array (gathered, or not yet reduced) as one device sees it; a group holds the
positions of its devices in the mesh. Links are taken to be free for it and fully used, which no
network is: times are lower bounds.
"""

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxlt.plan.topologies import Topology

KINDS = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)
HOP = 1e-6  # seconds from a chip to its neighbour, the start of the transfer included
NETWORK_HOP = 50e-6  # seconds between hosts
Place = tuple[int, ...]  # (slice, coordinates...)


class Cost(NamedTuple):
    """One collective on one device: bytes that it sends, seconds, and which way it goes.

    Transfers on different lanes do not wait for each other; '' is all lanes of the torus at once.
    """

    moved: float
    seconds: float
    lane: str = ""


@dataclasses.dataclass(frozen=True)
class Network:
    """Where the devices of a mesh sit, by their position in it, and what connects them."""

    places: tuple[Place, ...]
    topology: Topology | None  # None: one machine's memory
    rate: float = 0.0  # bytes a second of one machine's memory, a device's share

    def cost(self, kind: str, nbytes: float, group: Sequence[int]) -> Cost:
        """Of any collective but a permute."""
        size = len(group)
        if size <= 1:
            return Cost(0.0, 0.0)
        rounds = 2 if kind == "all-reduce" else 1
        moved = nbytes * (size - 1) / size * rounds
        if self.topology is None:
            return Cost(moved, moved / self.rate)
        places = [self.places[i] for i in group]
        slices = len({p[0] for p in places})
        within, link = size // slices, self.topology.chip.link
        axes = self._axes(places)
        if "all-to-all" in kind:
            # Each value travels a share of an axis: links are loaded by the distance, and most in
            # the middle, which everything of the other half has to cross.
            share = nbytes / within * (within - 1) / slices if within > 1 else 0.0
            loads = (share * extent / (8 if ring else 4) for extent, ring in axes)
            seconds = max(loads, default=0.0) / link
        else:
            # A device receives over two links of a ring, one at a line's end. All axes work at
            # once, each on its part of the array.
            rate = link * max(1, sum(2 if ring else 1 for _, ring in axes))
            seconds = rounds * nbytes * (within - 1) / within / rate if within > 1 else 0.0
        hops = sum(extent // 2 if ring else extent - 1 for extent, ring in axes)
        seconds = max(seconds, rounds * hops * HOP)
        if slices > 1:  # what a slice has reduced, or gathered, goes over the network once
            part = nbytes if "all-to-all" in kind else nbytes / within
            return self.across(kind, part, slices, seconds, moved)
        return Cost(moved, seconds)

    def across(
        self, kind: str, nbytes: float, slices: int, before: float = 0.0, moved: float | None = None
    ) -> Cost:
        """Between slices: nbytes of a device's own, over its share of its host's network."""
        assert self.topology is not None
        sent = nbytes * (slices - 1) / slices * (2 if kind == "all-reduce" else 1)
        seconds = before + max(sent / self.topology.chip.network, NETWORK_HOP)
        return Cost(sent if moved is None else moved, seconds, "network")

    def permute(self, nbytes: float, pairs: Sequence[tuple[int, int]]) -> Cost:
        """Everybody sends to one other: as far as the farthest of them has to."""
        pairs = [(a, b) for a, b in pairs if a != b]
        if not pairs:
            return Cost(0.0, 0.0)
        if self.topology is None:
            return Cost(nbytes, nbytes / self.rate)
        if any(self.places[a][0] != self.places[b][0] for a, b in pairs):
            sent = nbytes / self.topology.chip.network
            return Cost(nbytes, max(sent, NETWORK_HOP), "network")
        hops = max(self._distance(self.places[a], self.places[b]) for a, b in pairs)
        # Links carry both ways at once: a ring's two directions do not meet.
        forward = sum(b > a for a, b in pairs) * 2 > len(pairs)
        seconds = max(hops * nbytes / self.topology.chip.link, hops * HOP)
        return Cost(nbytes, seconds, "up" if forward else "down")

    def _axes(self, places: Sequence[Place]) -> list[tuple[int, bool]]:
        """Of places within one slice: (devices along an axis, whether they close to a ring)."""
        assert self.topology is not None
        out = []
        for axis, side in enumerate(self.topology.shape):
            extent = len({place[axis + 1] for place in places})
            if extent > 1:
                out.append((extent, extent == side and self.topology.is_ring(axis)))
        return out

    def _distance(self, a: Place, b: Place) -> int:
        assert self.topology is not None
        total = 0
        for axis, (x, y) in enumerate(zip(a[1:], b[1:], strict=True)):
            straight = abs(x - y)
            side = self.topology.shape[axis]
            total += min(straight, side - straight) if self.topology.is_ring(axis) else straight
        return total


def torus(mesh: Any, topology: Topology) -> Network:
    """The network of a mesh over a topology's devices."""
    flat = [d for d in mesh.devices.flat]
    places = [(getattr(d, "slice_index", 0) or 0, *d.coords[: len(topology.shape)]) for d in flat]
    return Network(tuple(places), topology)


def shared_memory(devices: int, rate: float) -> Network:
    """Devices of one machine that hand each other what they share, at `rate` bytes a second."""
    return Network(tuple((0, i) for i in range(devices)), None, rate)


# --- groups, as programs write them --------------------------------------------------------------
def first_group(text: str, devices: int) -> tuple[int, ...]:
    """The first of the replica groups in a program: they are all alike.

    Forms: '{{0,1},{2,3}}', '[2,4]<=[4,2]T(1,0)', "mesh['a'=4,'b'=2] {'a'}", '{}' (everybody).
    """
    text = text.strip()
    if text.startswith("mesh["):
        return _mesh_group(text, devices)
    found = re.match(r"\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", text)
    if found:
        shape, dims, order = (
            [int(n) for n in part.split(",")] if part else None for part in found.groups()
        )
        ids = np.arange(math.prod(dims or ())).reshape(dims or ())
        ids = ids.transpose(order) if order else ids
        return tuple(int(i) for i in ids.reshape(shape or ())[0].ravel())
    group = re.match(r"\{\{([\d, ]+)\}", text)
    if group:
        return tuple(int(n) for n in group.group(1).split(","))
    return tuple(range(devices))


def _mesh_group(text: str, devices: int) -> tuple[int, ...]:
    """A named mesh and the axes that a group spans; an axis may be split: 'a':(2)4."""
    found = re.match(r"mesh\[([^\]]*)\](.*?)\{([^}]*)\}", text)
    if not found:
        return tuple(range(devices))
    axes, given, span = found.groups()
    sizes = {name: int(n) for name, n in re.findall(r"['\"]([^'\"]+)['\"]=(\d+)", axes)}
    spanned: dict[str, tuple[int, int]] = {}
    for name, before, part in re.findall(r"['\"]([^'\"]+)['\"](?::\((\d+)\)(\d+))?", span):
        spanned[name] = (int(before or 1), int(part or sizes.get(name, 1)))
    ids = np.arange(math.prod(sizes.values()))
    order = re.search(r"\[([\d,]+)\]\)?T\(([\d,]+)\)", given)
    if order:
        dims, axes_order = ([int(n) for n in part.split(",")] for part in order.groups())
        ids = ids.reshape(dims).transpose(axes_order)
    ids = ids.reshape(tuple(sizes.values()))
    for axis, (name, size) in enumerate(sizes.items()):
        before, part = spanned.get(name, (1, 1))
        stride = size // (before * part)
        ids = np.take(ids, [k * stride for k in range(part)], axis=axis)
    return tuple(int(i) for i in ids.ravel())


def pairs_of(text: str) -> list[tuple[int, int]]:
    """'{{0,1},{1,2}}' -> [(0, 1), (1, 2)]: who sends to whom."""
    return [(int(a), int(b)) for a, b in re.findall(r"\{(\d+),(\d+)\}", text)]
