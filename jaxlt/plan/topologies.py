"""Machines that a step can be compiled for without being there: TPU topologies, GPUs by memory.

    topology = parse_target("2*v5p:8x8x8")   # two slices of 512 chips each
    devices = topology.devices()             # JAX devices to lay a mesh over; needs libtpu
    parse_target("8*gpu:80GB")               # eight GPUs of 80 GB: CPU devices, that memory

Nothing here touches a device: libtpu describes a topology and compiles for it on any CPU. No
compiler for GPUs works without one; how much memory a step takes is asked of the CPU's.
"""

import dataclasses
import importlib.util
import math
import re
from typing import Any

from jaxlt.errors import UserError, nearest

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """One chip, both of its cores where it has two.

    hbm is what the compiler lets a program have. Bandwidths are bytes a second: `link` of one link
    to a neighbour in one direction, `network` a chip's share of its host's network. What is not
    known is 0.
    """

    name: str
    peak: float = 0.0  # bf16 FLOP a second
    hbm: int = 0
    hbm_bandwidth: float = 0.0
    link: float = 0.0
    ring: int = 1  # an axis whose length is a multiple of this many chips closes to a ring
    network: float = 0.0
    clock: float = 0.0  # cycles a second
    axes: int = 1  # of the torus
    host: tuple[int, ...] = (1,)  # chips of a host along the axes
    matmul: float = 1.0  # share of the peak that the compiler's cycles give a large matrix product


# Peak, memory and ICI: docs.cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e}, "System architecture". ICI
# is stated there a chip; here it is divided by its ports (4 or 6) and directions. Network: the NICs
# of a host over its chips (v5e: 2 x 100 Gbps over 8; v6e: 4 x 200 over 8; v4, v5p: 200 over 4).
# Clock: the rate at which the matrix units listed there reach the peak (v6e: v5p's). hbm: the limit
# that libtpu 0.0.51 names when a program is too large. matmul: its cycles for a product of two bf16
# arrays of 8192 x 8192, by that clock.
CHIPS = {
    c.name: c
    for c in (
        Chip("v4", 275e12, int(30.75 * GIB), 1228e9, 50e9, 4, 6.25e9, 1.05e9, 3, (2, 2, 1), 0.93),
        Chip("v5e", 197e12, int(15.75 * GIB), 819e9, 50e9, 16, 3.125e9, 1.5e9, 2, (2, 2, 1), 0.88),
        Chip("v5p", 459e12, int(95.73 * GIB), 2765e9, 100e9, 4, 6.25e9, 1.75e9, 3, (2, 2, 1), 0.90),
        Chip(
            "v6e", 918e12, int(31.24 * GIB), 1638e9, 100e9, 16, 12.5e9, 1.75e9, 2, (2, 2, 1), 0.70
        ),
    )
}
_FORM = re.compile(r"(?:(\d+)\*)?([a-z0-9]+):(\d+(?:x\d+)*)")


@dataclasses.dataclass(frozen=True)
class Topology:
    """Slices of one kind of chip."""

    chip: Chip
    shape: tuple[int, ...]  # chips along each axis of a slice
    slices: int = 1

    flags = ""  # of XLA on the machine that compiles

    @property
    def chips(self) -> int:
        """Of all slices."""
        return self.slices * math.prod(self.shape)

    @property
    def name(self) -> str:
        """As `parse_topology` reads it."""
        slices = f"{self.slices}*" if self.slices > 1 else ""
        return f"{slices}{self.chip.name}:{'x'.join(map(str, self.shape))}"

    def check(self) -> None:
        """Raises UserError where the TPU compiler is not installed."""
        if importlib.util.find_spec("libtpu") is None:
            raise UserError(
                f"Compiling for {self.name} needs libtpu, which is not installed here (no TPU is "
                "needed): pip install 'jaxlt[plan]'"
            )

    def is_ring(self, axis: int) -> bool:
        """True where the last chip of an axis has a link to the first."""
        return self.shape[axis] % self.chip.ring == 0

    def devices(self) -> list[Any]:
        """Its devices in JAX's order, to compile for. Set `ENVIRONMENT` before JAX starts."""
        self.check()
        from jax.experimental import topologies

        host = tuple(min(a, b) for a, b in zip(self.chip.host, (*self.shape, 1, 1), strict=False))
        options: dict[str, Any] = {"chips_per_host_bounds": host}
        if self.chip.name == "v4":  # without it each of a chip's two cores is a device
            options["chip_config_name"] = "megacore"
        if self.slices > 1:
            options["num_slices"] = self.slices
        one_slice = dataclasses.replace(self, slices=1).name
        try:
            return list(topologies.get_topology_desc(one_slice, platform="tpu", **options).devices)
        except Exception as error:
            raise UserError(
                f"libtpu knows no topology {self.name}: {str(error).splitlines()[0]} Sides are "
                f"as a pod has them: {_EXAMPLES[self.chip.name]}."
            ) from error


_EXAMPLES = {
    "v4": "v4:2x2x1, v4:4x4x4, v4:8x8x8",
    "v5e": "v5e:2x2, v5e:4x4, v5e:16x16",
    "v5p": "v5p:2x2x1, v5p:4x4x4, v5p:16x16x16",
    "v6e": "v6e:2x2, v6e:4x4, v6e:16x16",
}
# What libtpu and JAX read when they start: no TPU is looked for, neither here nor on the network.
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "true",  # several compilations at a time on one machine
}


# By memory in GB, as it is advertised: some of the cards that have it.
GPUS = {
    16: "T4, V100",
    24: "L4, A10G, RTX 3090 and 4090",
    32: "V100 32GB, RTX 5090",
    40: "A100",
    48: "L40S, A40, RTX A6000",
    80: "A100 80GB, H100",
    96: "GH200, H20",
    141: "H200",
    192: "B200",
}
GPU_SHARE = 0.95  # of N x 10^9 bytes: what is left beside CUDA's own, and error correction
_GPU_FORM = re.compile(r"(?:(\d+)\*)?gpu:(\w+)")


@dataclasses.dataclass(frozen=True)
class Gpus:
    """GPUs of one machine, known by their memory alone."""

    gigabytes: int
    chips: int = 1

    @property
    def flags(self) -> str:
        """Of XLA on the machine that compiles: as many devices, and no copies that a GPU has not.

        CPUs compute in float32 what GPUs do in half precision; left alone, the compiler converts
        whole stacks of layers' weights before a scan rather than a layer's within it.
        """
        return (
            f"--xla_force_host_platform_device_count={self.chips} "
            "--xla_disable_hlo_passes=while-loop-invariant-code-motion"
        )

    @property
    def name(self) -> str:
        """As `parse_target` reads it."""
        return f"{f'{self.chips}*' if self.chips > 1 else ''}gpu:{self.gigabytes}GB"

    @property
    def chip(self) -> Chip:
        """Its memory; of its speed nothing is said."""
        return Chip(self.name, hbm=int(GPU_SHARE * self.gigabytes * 10**9))

    def check(self) -> None:
        """Nothing has to be installed."""

    def devices(self) -> list[Any]:
        """As many devices of the CPU; XLA_FLAGS has asked for them before JAX started."""
        import jax

        return jax.devices("cpu")[: self.chips]


Target = Topology | Gpus


def parse_target(text: str) -> Target:
    """Reads 'gpu:80GB', '8*gpu:80GB', or a topology of TPUs."""
    if "gpu" not in text.lower():
        return parse_topology(text)
    match = _GPU_FORM.fullmatch(text.strip().lower())
    size = match.group(2).removesuffix("gb") if match else ""
    if not match or match.group(1) == "0" or not size.isdigit() or int(size) not in GPUS:
        names = [f"gpu:{n}GB" for n in GPUS]
        near = min(names, key=lambda n: abs(int(n[4:-2]) - int(size))) if size.isdigit() else ""
        known = ", ".join(f"{n} ({cards})" for n, cards in zip(names, GPUS.values(), strict=True))
        raise UserError(
            f"--topology={text} is none of the GPUs that jaxlt knows by their memory: {known}; "
            f"several of them in a machine: 8*gpu:80GB."
            + (f" The nearest is {near}." if near else nearest(text, names))
        )
    return Gpus(int(size), int(match.group(1) or 1))


def parse_topology(text: str) -> Topology:
    """Reads 'v5e:16x16' or, for several slices, '2*v5p:8x8x8'."""
    match = _FORM.fullmatch(text.strip().lower())
    if not match:
        raise UserError(
            f"--topology={text} is not a topology. It is a chip and the sides of a slice, such as "
            f"{', '.join(e.split(',')[0] for e in _EXAMPLES.values())}, or several slices: "
            "2*v5p:8x8x8; or GPUs by their memory: gpu:80GB."
        )
    slices, name, sides = match.groups()
    if name not in CHIPS:
        raise UserError(
            f"--topology={text} names no chip that jaxlt knows ({', '.join(CHIPS)})."
            + nearest(name, CHIPS)
        )
    chip, shape = CHIPS[name], tuple(int(s) for s in sides.split("x"))
    if len(shape) != chip.axes or 0 in shape or slices == "0":
        raise UserError(
            f"--topology={text}: a slice of {name} has {chip.axes} sides: {_EXAMPLES[name]}."
        )
    return Topology(chip, shape, int(slices or 1))
