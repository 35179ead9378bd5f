"""The plans that `benchmarks/plans.py` makes: which gin files, which overrides, which machine."""

import dataclasses

SIZES = [
    f"{family}_{size}"
    for family in ("mt5", "byt5")
    for size in ("small", "base", "large", "xl", "xxl")
]
TOPOLOGIES = {
    "v5e_16x16": "v5e:16x16",
    "v4_8x8x8": "v4:8x8x8",
    "v5p_4x4x4": "v5p:4x4x4",
    "v5p_8x8x8": "v5p:8x8x8",
    "v6e_16x16": "v6e:16x16",
}
HARDWARE = {
    "v4_8": "v4:2x2x1",
    "v5e_1": "v5e:1x1",
    "v5e_4": "v5e:2x2",
    "v5e_8": "v5e:2x4",
    "gpu_16gb": "gpu:16GB",
    "gpu_24gb": "gpu:24GB",
    "gpu_40gb": "gpu:40GB",
    "gpu_80gb": "gpu:80GB",
    "gpu_141gb": "gpu:141GB",
}
LADDER = ("mt5_base", "mt5_large", "mt5_xl", "mt5_xxl")
XXL = "models/mt5_xxl.gin"
# Chips of v5p: the sides of a slice, and those chips of it that share parameters (whole planes).
WEAK = {256: ("4x8x8", 64), 512: ("8x8x8", 64), 1024: ("8x8x16", 64), 2048: ("8x16x16", 128),
        4096: ("16x16x16", 256)}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Plan:
    """One call of `jaxlt plan`."""

    name: str  # 'presets/mt5_xxl/v5e_16x16'
    topology: str
    files: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    quick: bool = False  # times are of no interest

    @property
    def flags(self) -> tuple[str, ...]:
        """As the command line has them."""
        files = [f"--gin_file={f}" for f in self.files]
        return (*files, *(f"--gin.{o}" for o in self.overrides), f"--topology={self.topology}")


def presets() -> list[Plan]:
    """T5's pretraining, every size on every topology."""
    return [
        Plan(
            f"presets/{size}/{name}",
            topology,
            (f"models/{size}.gin", "runs/pretrain.gin", f"topologies/{name}.gin"),
        )
        for name, topology in TOPOLOGIES.items()
        for size in SIZES
    ]


def hardware_bases() -> list[Plan]:
    """MAD-X with mT5-base, its 16 languages in one run, on each hardware."""
    return [_adapted(name, "mt5_base", 16) for name in HARDWARE]


def hardware_ladders() -> list[list[Plan]]:
    """MAD-X of one language, sizes upwards; a list for each hardware."""
    return [[_adapted(name, size, 1) for size in LADDER] for name in HARDWARE]


def _adapted(hardware: str, size: str, languages: int) -> Plan:
    files = (f"models/{size}.gin", "runs/adapt.gin", "modules/mad_x.gin")
    return Plan(
        f"hardware/{size}/{languages}/{hardware}",
        HARDWARE[hardware],
        (*files, f"hardware/{hardware}.gin"),
        (f"LANGUAGES={languages}",),
        quick=True,
    )


def xxl_full(inputs: int, targets: int, topology: str, *more: str) -> Plan:
    """A full step of mT5-XXL with Adafactor on the topology's preset."""
    return Plan(
        f"targets/full/{inputs}_{targets}/{topology}",
        TOPOLOGIES[topology],
        (XXL, "runs/pretrain.gin", f"topologies/{topology}.gin"),
        (f"INPUTS_LENGTH={inputs}", f"TARGETS_LENGTH={targets}", *more),
    )


def xxl_modules(name: str, languages: int, *more: str) -> Plan:
    """Bottleneck modules on frozen mT5-XXL, 512/128, the same rows as the full step."""
    return Plan(
        f"targets/{name}/512_128/v5e_16x16",
        "v5e:16x16",
        (XXL, "runs/adapt.gin", "modules/bottleneck.gin", "topologies/v5e_16x16.gin"),
        (
            "INPUTS_LENGTH=512",
            "TARGETS_LENGTH=128",
            "T5Config.dropout=0.0",
            "OptimizerConfig.name='adafactor'",
            "TrainConfig.frozen_dtype='bfloat16'",
            "lang/plug.key='source'",
            f"lang/plug.routes={languages}",
            DOTS,
            *more,
        ),
    )


DOTS = "T5Config.remat='dots'"  # mT5 has room for it; the preset serves ByT5 too
FULL_512 = xxl_full(512, 128, "v5e_16x16", DOTS)
FULL_1024 = xxl_full(1024, 256, "v5e_16x16", DOTS)
FULL_V5P = xxl_full(1024, 256, "v5p_8x8x8")
MODULES = xxl_modules("modules", 64)
ONE = xxl_modules("one_language", 1)
HALF = xxl_modules(
    "half_encoder",
    64,
    "T5Config.plugs=[@lang/plug(), @upper/plug()]",
    "lang/plug.stacks=['decoder']",
    "upper/plug.method='bottleneck'",
    "upper/plug.reduction_factor=16",
    "upper/plug.activation='swish'",
    "upper/plug.key='source'",
    "upper/plug.routes=64",
    "upper/plug.stacks=['encoder']",
    f"upper/plug.leave_out={list(range(12))}",
)


def targets() -> list[Plan]:
    """mT5-XXL: full, modules alone, and its preset wherever it has to fit."""
    fitting = [p for p in presets() if "/mt5_xxl/" in p.name]
    return [FULL_512, FULL_1024, FULL_V5P, MODULES, HALF, ONE, *fitting]


def weak() -> list[Plan]:
    """mT5-XXL's pretraining on more and more chips of v5p, 8 rows each."""
    files = (XXL, "runs/pretrain.gin", "topologies/v5p_8x8x8.gin")
    return [
        Plan(
            f"weak/{chips}",
            f"v5p:{sides}",
            files,
            (f"BATCH_SIZE={8 * chips}", f"MeshConfig.fsdp={shared}"),
        )
        for chips, (sides, shared) in WEAK.items()
    ]


SETS = {"presets": presets, "targets": targets, "weak": weak}
