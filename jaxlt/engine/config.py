"""What decides how a run trains, as frozen values: steps, optimizer, loss, mesh, compiler, saving.

Reading a configuration needs these and nothing that they steer: nothing heavy is imported here, so
that what is wrong in a gin file is said at once.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from jaxlt.engine.open import Auxiliary, Transform
from jaxlt.errors import UserError, check_least, nearest
from jaxlt.identity import DRAWN, HARMLESS

if TYPE_CHECKING:
    from jaxlt.models.config import ModelConfig

SCHEDULES = ("constant", "rsqrt", "linear", "cosine", "wsd")
NORMALIZERS = ("tokens", "languages", "sequences", "none")
OPTIMIZERS = (
    *("adafactor", "adamw", "adam", "nadam", "radam", "amsgrad"),
    *("adamax", "lion", "sgd", "adagrad", "rmsprop"),
    *("muon", "chain"),
)
# Transforms of optax that are each parameter's own, and whose settings are numbers and words alone.
LINKS = (
    *("scale_by_adam", "scale_by_lion", "scale_by_rms", "scale_by_stddev", "scale_by_rss"),
    *("scale_by_radam", "scale_by_amsgrad", "scale_by_adamax", "scale_by_adan", "scale_by_yogi"),
    *("scale_by_belief", "scale_by_adadelta", "scale_by_novograd", "scale_by_sign"),
    *("scale_by_trust_ratio", "adaptive_grad_clip", "centralize", "clip", "clip_by_block_rms"),
    *("ema", "trace"),
)
STATE_DTYPES = ("float32", "bfloat16")
CLOCKS = ("auto", "own", "run")
AXES = ("replica", "data", "fsdp", "tensor")
BATCH_AXES = ("replica", "data", "fsdp")
COLLECTIVES = ("auto", "compiler", "hand")

Rules = tuple[tuple[str, str | tuple[str, ...] | None], ...]

DEFAULT_RULES: Rules = (
    ("batch", BATCH_AXES),
    ("lookup", ("replica", "data")),  # rows of embeddings as they come out of a table over fsdp
    ("vocab", "tensor"),
    ("mlp", "tensor"),
    ("heads", "tensor"),
    ("embed", "fsdp"),  # parameters' model axis; activations' is 'embed_act'
    ("embed_act", None),
    ("length", None),
    ("layers", None),
    ("routes", None),
    ("members", None),
    ("bottleneck", None),
    ("norm", None),
    ("relpos_heads", None),
)

Setting = bool | int | float | str | None
Option = tuple[str, bool | int | float | str]  # XLA's name of it, and its value
# Names to compare a misspelt one with: the compiler itself names none.
KNOWN = (
    "xla_enable_async_all_gather",
    "xla_gpu_all_gather_combine_threshold_bytes",
    "xla_gpu_all_reduce_combine_threshold_bytes",
    "xla_gpu_autotune_level",
    "xla_gpu_deterministic_ops",
    "xla_gpu_enable_command_buffer",
    "xla_gpu_enable_highest_priority_async_stream",
    "xla_gpu_enable_latency_hiding_scheduler",
    "xla_gpu_enable_triton_gemm",
    "xla_gpu_enable_while_loop_unrolling",
    "xla_gpu_memory_limit_slop_factor",
    "xla_gpu_reduce_scatter_combine_threshold_bytes",
    "xla_latency_hiding_scheduler_rerun",
    "xla_tpu_data_parallel_opt_different_sized_ops",
    "xla_tpu_decompose_all_gather_einsum",
    "xla_tpu_decompose_einsum_reduce_scatter",
    "xla_tpu_enable_async_collective_fusion",
    "xla_tpu_enable_async_collective_fusion_fuse_all_gather",
    "xla_tpu_enable_async_collective_fusion_multiple_steps",
    "xla_tpu_enable_data_parallel_all_reduce_opt",
    "xla_tpu_enable_latency_hiding_scheduler",
    "xla_tpu_overlap_compute_collective_tc",
    "xla_tpu_scoped_vmem_limit_kib",
)


def _check(config: Any, field: str, holds: bool, what: str) -> None:
    """Raises UserError, which says what a field has to be, unless it holds."""
    if not holds:
        value = getattr(config, field)
        raise UserError(f"{type(config).__name__}.{field} is {value}; {what}.")


def _one_of(config: Any, field: str, known: Sequence[str], more: str = "") -> None:
    value = str(getattr(config, field))
    if value not in known:
        raise UserError(
            f"{type(config).__name__}.{field} is '{value}'; it must be one of {', '.join(known)}"
            f"{more}.{nearest(value, known)}"
        )


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Which optimizer, and its settings; each optimizer reads those that it has.

    b1, b2, eps: Adam's family; lion takes b1 and b2 (its authors use 0.9 and 0.99), rmsprop b2 and
        eps, adagrad eps, muon all three (for what goes by Adam).
    momentum: sgd's and muon's (its authors use 0.95).
    chain: of the optimizer 'chain': transforms of optax, in this order, each with its settings, of
        what each parameter is its own (LINKS; see jaxlt.engine.optim.composed).
        {'clip_by_block_rms': {'threshold': 1.0}, 'scale_by_adam': {'b2': 0.95}}
    decay_rate, clip_threshold, eps1, eps2, parameter_scale, min_factored, step_offset: adafactor's,
        with T5X's defaults (see jaxlt.engine.optim.adafactor).
    weight_decay: learning rate x weight_decay x parameter is subtracted each step, apart from the
        gradient. Norm scales and biases (one dimension, stacked axes aside) are left out, and so
        are the names that a regular expression of weight_decay_exclude matches in full.
    clip_norm: gradients are scaled down to this global norm before anything else. In a bank each
        slot has a norm of its own, and what no route picks among has one (engine/optim/routes.py).
    rates: (pattern, factor) pairs: the learning rate of the trainable parameters that a regular
        expression matches in full is multiplied, and so is what weight decay takes from them; where
        several match, by each. [('params/.*/relpos_bias/.*', 30.0)]
    state_dtype: dtype of the first moments (Adam's mu, momentum). Second moments stay float32: in
        bfloat16 a decay of 0.999 would be rounded away.
    """

    name: str = "adafactor"
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    decay_rate: float = 0.8
    clip_threshold: float | None = 1.0
    eps1: float = 1e-30
    eps2: float = 1e-3
    parameter_scale: bool = True
    min_factored: int = 128
    clip_norm: float | None = None
    momentum: float = 0.9
    step_offset: int = 0
    weight_decay_exclude: tuple[str, ...] = ()
    rates: tuple[tuple[str, float], ...] = ()
    state_dtype: str = "float32"
    chain: tuple[tuple[str, tuple[tuple[str, Setting], ...]], ...] = ()

    def __post_init__(self) -> None:
        _one_of(self, "name", OPTIMIZERS)
        self._check_chain()
        for field in ("b1", "b2", "momentum"):
            inside = 0.0 <= getattr(self, field) < 1.0
            _check(self, field, inside, "it must be at least 0 and below 1")
        for field in ("clip_norm", "clip_threshold"):
            value = getattr(self, field)
            _check(self, field, value is None or value > 0, "it must be positive, or None")
        decay = self.weight_decay
        _check(self, "weight_decay", math.isfinite(decay) and decay >= 0, "it must be 0 or more")
        plain = "but OptimizerConfig.name is 'adam', which has none. Use 'adamw'"
        if self.name == "adam" and decay:
            raise UserError(f"OptimizerConfig.weight_decay is {decay}, {plain}.")
        _one_of(self, "state_dtype", STATE_DTYPES)
        _check_rates("OptimizerConfig.rates", self.rates)

    def _check_chain(self) -> None:
        if (self.name == "chain") != bool(self.chain):
            raise UserError(
                f"OptimizerConfig.name is '{self.name}' and OptimizerConfig.chain has "
                f"{len(self.chain)} transforms: the optimizer 'chain', and no other, is made of "
                "one or more, such as {'trace': {'decay': 0.9}}."
            )
        in_order = tuple((name, tuple(sorted(settings))) for name, settings in self.chain)
        object.__setattr__(self, "chain", in_order)  # equal chains are one, to a hash too
        for name, _ in in_order:
            if name not in LINKS:
                raise UserError(
                    f"OptimizerConfig.chain has '{name}', which is none of optax's transforms that "
                    f"are each parameter's own: {', '.join(LINKS)}. What is beside a chain has "
                    "settings of its own: ScheduleConfig.learning_rate, "
                    "OptimizerConfig.weight_decay, and OptimizerConfig.clip_norm for the norm of "
                    f"all gradients together.{nearest(name, LINKS)}"
                )


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """How the learning rate moves.

    total_steps: the step at which linear, cosine and wsd have come down; there they stay. 'run' is
        the last step of the run, however that is said, and the warm-up takes half of it at most
        (`jaxlt.config.derived.in_steps`).
    warmup_share: the warm-up takes this share of the run's steps at most, so that a shortened run
        (TRAIN_STEPS=60) is warm early; None: warmup_steps, whatever the run's. rsqrt's flat
        beginning stays as it is: it is no rise, and a shorter one would raise the rate. A run that
        is made longer later on keeps the warm-up that it began with.
    decay_steps: how long the way down takes. Needed by wsd (which ends it at total_steps); for
        linear and cosine it counts from the end of the warm-up, in place of total_steps.
    final_scale: the last learning rate as a part of learning_rate.
    """

    name: str = "constant"
    learning_rate: float = 1e-3
    warmup_steps: int = 0
    total_steps: int | Literal["run"] | None = None
    decay_steps: int | None = None
    final_scale: float = 0.0
    warmup_share: float | None = None

    def __post_init__(self) -> None:
        _one_of(self, "name", SCHEDULES)
        rate, final = self.learning_rate, self.final_scale
        finite = math.isfinite(rate) and rate >= 0
        _check(self, "learning_rate", finite, "it must be finite and 0 or more")
        _check(self, "warmup_steps", self.warmup_steps >= 0, "it must be 0 or more")
        share = self.warmup_share
        shared = share is None or 0 <= share <= 1
        what = "it is a share of the run's steps, from 0 to 1, or None"
        _check(self, "warmup_share", shared, what)
        part = "it is a part of learning_rate and must lie between 0 and 1"
        _check(self, "final_scale", 0 <= final <= 1, part)
        for field in ("total_steps", "decay_steps"):
            value = getattr(self, field)
            known = value is None or value == "run" or value > 0
            _check(self, field, known, "it must be positive, or None")
        if self.name in ("linear", "cosine", "wsd"):
            self._check_decay()

    def _check_decay(self) -> None:
        """Raises if the warm-up and the way down do not fit into the steps."""
        if self.name == "wsd":
            missing = [f for f in ("total_steps", "decay_steps") if getattr(self, f) is None]
            if missing:
                raise UserError(
                    f"ScheduleConfig.{missing[0]} is not set, and the schedule 'wsd' needs it: the "
                    "learning rate comes down over the last decay_steps before total_steps."
                )
        elif self.total_steps is None and self.decay_steps is None:
            raise UserError(
                f"ScheduleConfig.total_steps is not set, and the schedule '{self.name}' needs it "
                "(or ScheduleConfig.decay_steps) to know where the learning rate has come down."
            )
        if self.total_steps in (None, "run"):
            return
        assert isinstance(self.total_steps, int)
        needed = self.warmup_steps + (self.decay_steps or 1)
        if needed > self.total_steps:
            raise UserError(
                f"ScheduleConfig.total_steps is {self.total_steps}, too few for "
                f"ScheduleConfig.warmup_steps={self.warmup_steps} and a way down of "
                f"{self.decay_steps or 1} steps (ScheduleConfig.decay_steps); at least {needed} "
                "are needed."
            )


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """How the loss is computed and normalised.

    z_loss: weight of log(Z)^2, which keeps the logits near zero.
    label_smoothing: probability taken from the target and spread over the other V - 1 entries.
    normalize: the summed loss is divided by the sum of weights ('tokens'), by the rows of the batch
        ('sequences'), by nothing ('none'), or by a constant, as T5 did (mT5: 1024 * 229). With
        'languages' each language's loss is divided by its own sum of weights, and those are added
        up: modules of many languages in one run then get the gradients of a run of their own. The
        loss that is reported is then the mean over languages.
    chunk_bytes: float32 logits of a device larger than this are computed in chunks of at most this
        size (one position of each row at the least).
    auxiliary: losses beside the main one: @Alignment(), @Contrastive(), @Distillation(),
        @Adversary(), or a user's own
        `jaxlt.engine.open.Auxiliary`. Each is logged as its name (`alignment`), a mean.
    """

    z_loss: float = 1e-4
    label_smoothing: float = 0.0
    normalize: str | float = "tokens"
    chunk_bytes: int = dataclasses.field(default=2**28, metadata=HARMLESS)
    auxiliary: tuple[Auxiliary, ...] = ()

    def __post_init__(self) -> None:
        names = [one.name for one in self.auxiliary]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise UserError(f"LossConfig.auxiliary has '{twice[0]}' more than once.")
        inside = 0.0 <= self.label_smoothing < 1.0
        _check(self, "label_smoothing", inside, "it must be at least 0 and below 1")
        _check(self, "z_loss", self.z_loss >= 0.0, "it must be 0 or more")
        _check(self, "chunk_bytes", self.chunk_bytes > 0, "it must be a positive number")
        if isinstance(self.normalize, str):
            _one_of(self, "normalize", NORMALIZERS, ", or a number")
        else:
            positive = math.isfinite(self.normalize) and self.normalize > 0
            _check(self, "normalize", positive, "a constant must be positive")


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Devices along each axis; one of them may be -1: all that are left.

    collectives: who gathers the weights that `fsdp` shares out, and scatters their gradients. The
        'compiler' from shardings alone, or each layer by 'hand' (jaxlt.models.manual), which takes
        scanned and recomputed layers and a `tensor` axis of 1; 'auto' is by hand where that can be,
        on TPUs: there compilers send gradients as all-reduces, at twice the bytes.
    """

    replica: int = 1
    data: int = -1
    fsdp: int = 1
    tensor: int = 1
    rules: Rules = DEFAULT_RULES
    collectives: str = "auto"

    def __post_init__(self) -> None:
        _one_of(self, "collectives", COLLECTIVES)
        sizes = self.sizes()
        if sum(s == -1 for s in sizes) > 1 or any(s < 1 and s != -1 for s in sizes):
            raise UserError(
                f"MeshConfig axes are positive, and one at most is -1 (the rest): got "
                f"{', '.join(f'{a} = {s}' for a, s in zip(AXES, sizes, strict=True))}."
            )
        for logical, target in self.rules:
            for axis in (target,) if isinstance(target, str) else target or ():
                if axis not in AXES:
                    raise UserError(
                        f"MeshConfig.rules maps '{logical}' to '{axis}', which is no mesh axis "
                        f"({', '.join(AXES)}).{nearest(axis, AXES)}"
                    )

    def sizes(self) -> tuple[int, int, int, int]:
        """The four sizes, in the order of AXES."""
        return (self.replica, self.data, self.fsdp, self.tensor)


@dataclasses.dataclass(frozen=True)
class CompilerConfig:
    """Options of the compiler for training and evaluation steps, by platform.

    Pairs of XLA's name of an option, without dashes, and its value:
    tpu = [('xla_tpu_enable_latency_hiding_scheduler', True)]. Those of other platforms are not
    looked at, so that one configuration serves several.
    """

    cpu: tuple[Option, ...] = ()
    gpu: tuple[Option, ...] = ()
    tpu: tuple[Option, ...] = ()

    def __post_init__(self) -> None:
        for field in ("cpu", "gpu", "tpu"):
            names = [name for name, _ in getattr(self, field)]
            for name in names:
                if not name.startswith("xla_"):
                    raise UserError(
                        f"CompilerConfig.{field} names the option '{name}': XLA's begin with "
                        f"'xla_' (no dashes).{nearest(name.lstrip('-'), KNOWN)}"
                    )
                if names.count(name) > 1:
                    raise UserError(f"CompilerConfig.{field} gives '{name}' more than once.")


USUAL = CompilerConfig()


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """When to save, and which checkpoints stay."""

    every: int = dataclasses.field(default=1000, metadata=HARMLESS)  # steps
    keep: int = dataclasses.field(default=3, metadata=HARMLESS)  # the newest ones
    # and the best ones by `best_metric`
    keep_best: int = dataclasses.field(default=1, metadata=HARMLESS)
    best_metric: str | None = None  # a name among the metrics of an evaluation
    best_mode: str = "min"
    ties: str | None = None  # of equal values of it: a metric of which less is better

    def __post_init__(self) -> None:
        check_least(self, 1, "every", "keep")
        check_least(self, 0, "keep_best")
        if self.best_mode not in ("min", "max"):
            raise UserError(
                f"CheckpointConfig.best_mode is 'min' or 'max', not '{self.best_mode}'."
            )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """What a run does, beside its model and its data.

    trainable, frozen: regexes over whole parameter names ('modules/.*', 'params/encoder/.*').
    frozen_dtype: store the frozen part in this dtype, whose gradients then flow in it too. 'int8'
        is for the backbone's matrices (see jaxlt.modules.int8); all else then stays float32.
    accumulate: split a batch in so many parts, one after the other.
    rows_per_device: split it in as many parts as it takes for a device to have no more rows of one,
        on however many devices. A run that goes on with fewer devices does so by itself, with the
        rows that a device had when it began; the batch, and what is learnt, stay the same.
    patience: stop after so many evaluations without a better `CheckpointConfig.best_metric`.
    epochs: stop after so many passes over the data, and at `steps` at the latest; eval_epochs:
    evaluate and save after every so many. `in_steps` turns both into steps.
    route_clock: what the learning rate of a bank's slot follows: 'run' (the run's steps), or 'own'
        (the steps that the slot itself has taken, so that many languages' modules in one run move
        as each would in a run of its own; ScheduleConfig's steps are then those of one language).
        'auto' is 'own' where banks alone train, and 'run' where anything else trains with them.
        Step counts, moments and clipping are each slot's own in any case.
    route_rates: (language, factor) pairs: the learning rate of a language's slots is multiplied.
    cycle: languages whose modules take turns under what trains (a task module), whatever the rows'
        own language; by 'step', or by 'row' within each (TLR). Evaluation goes by the rows' own.
    on_nan: 'stop', or 'skip' the step. max_loss: a loss above it counts as exploded, and is met
    likewise.
    compiler: options of XLA's compiler, by platform.
    transforms: of gradients, in this order (`jaxlt.engine.optim.transforms`): @ChildTuning(),
    @VocabularyRows(), @PCGrad(), or a user's own `jaxlt.engine.open.Transform`.
    child_tuning: `keep` of a @ChildTuning() (F) that goes before other masks.
    """

    steps: int
    seed: int = dataclasses.field(default=0, metadata=DRAWN)
    accumulate: int = 1
    rows_per_device: int | None = dataclasses.field(default=None, metadata=HARMLESS)
    trainable: tuple[str, ...] = (".*",)
    frozen: tuple[str, ...] = ()
    frozen_dtype: str | None = None
    log_every: int = dataclasses.field(default=10, metadata=HARMLESS)
    eval_every: int = 0
    patience: int = 0
    on_nan: str = "stop"
    max_loss: float | None = None
    epochs: float | None = None
    eval_epochs: float | None = None
    child_tuning: float | None = None
    transforms: tuple[Transform, ...] = ()
    route_clock: str = "auto"
    route_rates: tuple[tuple[str, float], ...] = ()
    cycle: tuple[str, ...] = ()
    cycle_by: str = "step"
    compiler: CompilerConfig = dataclasses.field(default=USUAL, metadata=HARMLESS)

    def __post_init__(self) -> None:
        if self.on_nan not in ("stop", "skip"):
            raise UserError(f"TrainConfig.on_nan is 'stop' or 'skip', not '{self.on_nan}'.")
        _one_of(self, "route_clock", CLOCKS)
        _check_rates("TrainConfig.route_rates", self.route_rates)
        check_least(self, 1, "steps", "accumulate", "log_every", "rows_per_device")
        for field in ("epochs", "eval_epochs"):
            value = getattr(self, field)
            if value is not None and not value > 0:
                raise UserError(f"TrainConfig.{field} is above 0, not {value}.")
        keep, inside = self.child_tuning, "it must be above 0 and at most 1, or None"
        _check(self, "child_tuning", keep is None or 0.0 < keep <= 1.0, inside)


def _check_rates(field: str, rates: Sequence[tuple[str, float]]) -> None:
    """Raises UserError for factors of learning rates, a name each, that mean nothing."""
    for name, factor in rates:
        if not (math.isfinite(factor) and factor >= 0):
            raise UserError(
                f"{field} gives '{name}' the factor {factor}; it must be finite and 0 or more."
            )


class Job(Protocol):
    """The configs that a run needs."""

    @property
    def model(self) -> "ModelConfig": ...
    @property
    def train(self) -> TrainConfig: ...
    @property
    def optimizer(self) -> OptimizerConfig: ...
    @property
    def schedule(self) -> ScheduleConfig: ...
    @property
    def loss(self) -> LossConfig: ...
    @property
    def mesh(self) -> MeshConfig: ...
    @property
    def checkpoint(self) -> CheckpointConfig: ...
