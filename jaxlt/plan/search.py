"""`jaxlt plan --topology=... --search`: meshes, remat policies and batch sizes, the best marked.

Each is compiled in a process of its own, several at a time. What a smaller batch has shown not to
fit is not tried with a larger one.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxlt.errors import UserError

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.plan.estimate import Estimate
    from jaxlt.plan.topologies import Topology

AXES = ("data", "fsdp", "tensor")
REMAT = ("none", "dots", "full")


class Candidate(NamedTuple):
    """One configuration to try."""

    mesh: tuple[int, int, int, int]  # replica, data, fsdp, tensor
    remat: str
    rows: int

    def applied(self, run: "RunConfig") -> "RunConfig":
        """The run with this configuration; whatever its gin files and flags say."""
        model: Any = run.model
        return dataclasses.replace(
            run,
            mesh=dataclasses.replace(run.mesh, **self.sizes),
            model=dataclasses.replace(model, remat=self.remat) if self.remat else model,
            data=dataclasses.replace(run.data, batch_size=self.rows),
        )

    @property
    def sizes(self) -> dict[str, Any]:
        """Of the mesh, by axis."""
        return dict(zip(("replica", *AXES), self.mesh, strict=True))

    @property
    def overrides(self) -> list[str]:
        """As gin bindings."""
        sizes = [f"MeshConfig.{axis}={size}" for axis, size in self.sizes.items()]
        remat = [f"T5Config.remat='{self.remat}'"] if self.remat else []
        return [*sizes, *remat, f"DataConfig.batch_size={self.rows}"]


@dataclasses.dataclass(frozen=True)
class Found:
    """What a candidate came to."""

    candidate: Candidate
    estimate: "Estimate"
    best: bool = False  # nothing else is both faster and smaller


def parse_mesh(text: str, topology: "Topology") -> tuple[int, int, int, int]:
    """'fsdp=64,tensor=4' -> (replica, data, fsdp, tensor); data is what is left."""
    sizes = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        if name not in AXES or not value.isdigit() or int(value) < 1:
            raise UserError(f"--meshes: '{part}' is not an axis ({', '.join(AXES)}) and its size.")
        sizes[name] = int(value)
    chips = topology.chips // topology.slices
    fixed = sizes.get("fsdp", 1) * sizes.get("tensor", 1)
    data = sizes.get("data", chips // fixed)
    if data * fixed != chips:
        raise UserError(
            f"--meshes: '{text}' does not come to the {chips} chips of a slice of {topology.name}."
        )
    return (topology.slices, data, sizes.get("fsdp", 1), sizes.get("tensor", 1))


def default_meshes(topology: "Topology") -> list[tuple[int, int, int, int]]:
    """All chips of a slice in fsdp, in data, halves and quarters of fsdp with tensor or data."""
    chips, replica = topology.chips // topology.slices, topology.slices
    out = [(replica, 1, chips, 1), (replica, chips, 1, 1)]
    for ways in (2, 4, 8):
        if chips % ways == 0 and chips > ways:
            out += [(replica, 1, chips // ways, ways), (replica, ways, chips // ways, 1)]
    return out


def candidates(
    run: "RunConfig",
    topology: "Topology",
    meshes: Sequence[str],
    remats: Sequence[str],
    rows: Sequence[int],
) -> list[Candidate]:
    """What to try, small batches first; without meshes, remats or rows the usual ones."""
    layouts = [parse_mesh(m, topology) for m in meshes] or default_meshes(topology)
    known = hasattr(run.model, "remat")
    policies = list(remats) if remats else list(REMAT)
    given = sorted(rows) or sorted({run.data.batch_size * f // 2 for f in (1, 2, 4)})
    out = []
    for mesh, remat in itertools.product(layouts, policies if known else [""]):
        unit = mesh[0] * mesh[1] * mesh[2] * run.train.accumulate
        out += [Candidate(mesh, remat, n) for n in given if n and n % unit == 0]
    if not out:
        raise UserError(
            f"--search: no batch of {', '.join(map(str, given))} rows can be divided over any of "
            f"the meshes of {topology.name}; give --batch_sizes."
        )
    return out


def search(
    tries: Iterable[Candidate],
    compile_one: Callable[[Candidate], "Estimate"],
    jobs: int,
    report: Callable[[Found], None] = lambda found: None,
) -> list[Found]:
    """Tries all, `jobs` at a time; returns them, the fastest first, the frontier marked."""
    groups: dict[tuple[tuple[int, ...], str], list[Candidate]] = {}
    for one in tries:
        groups.setdefault((one.mesh, one.remat), []).append(one)

    def climb(group: list[Candidate]) -> list[Found]:
        out = []
        for one in sorted(group, key=lambda c: c.rows):
            out.append(Found(one, compile_one(one)))
            report(out[-1])
            if not out[-1].estimate.fits:
                break
        return out

    with ThreadPoolExecutor(max(1, jobs)) as pool:
        found = [f for group in pool.map(climb, groups.values()) for f in group]
    return frontier(found)


def frontier(found: Sequence[Found]) -> list[Found]:
    """Sorts by speed (the worse end of the bracket); marks what no other beats in both."""

    def rate(one: Found) -> float:
        return min(one.estimate.tokens_per_second) if one.estimate.fits else 0.0

    out, least = [], float("inf")
    for one in sorted(found, key=lambda f: (-rate(f), f.estimate.needed)):
        best = one.estimate.fits and one.estimate.needed < least
        least = min(least, one.estimate.needed) if best else least
        out.append(dataclasses.replace(one, best=best))
    return out
