"""What a run will need, before it runs: parameters, sharding, memory, work.

    plan = plan_run(job, rows=8, inputs=512, targets=128)

Nothing is allocated. With `compile_step=True` the step is compiled for the devices at hand, and the
compiler's own count of its temporary memory joins the estimate.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlt.data.rows.batches import Spec
from jaxlt.engine.config import Job
from jaxlt.engine.log.flops import model_flops, tokens_of
from jaxlt.engine.loop import program_of
from jaxlt.engine.partitioning import batch_sharding, check_batch, replicated
from jaxlt.engine.state import optimizer_abstract
from jaxlt.engine.step import Hyper, Program, abstract_state, mesh_context
from jaxlt.errors import UserError
from jaxlt.models.encoder import PLACES
from jaxlt.modules.routing import FIELDS
from jaxlt.plan.estimate import Estimate, Work, estimate, present_machine
from jaxlt.plan.measure import Measured, measure


@dataclasses.dataclass(frozen=True)
class Row:
    """One parameter in the plan."""

    name: str
    shape: tuple[int, ...]
    sharding: str  # such as (fsdp, tensor)
    trainable: bool
    count: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """What `jaxlt plan` and `--dry_run` print. Memory is bytes on one device."""

    rows: tuple[Row, ...]
    groups: Mapping[str, tuple[int, int]]  # group -> (all, trainable) counts
    mesh: Mapping[str, int]
    memory: Mapping[str, int]
    flops: float  # of a step, over all devices
    tokens: int  # of a step
    executable: Any = dataclasses.field(default=None, compare=False, repr=False)  # where compiled

    @property
    def compiled(self) -> bool:
        """True where the compiler was asked."""
        return self.executable is not None

    def as_json(self) -> dict[str, Any]:
        """All figures but the rows."""
        groups = {n: {"parameters": c, "trainable": t} for n, (c, t) in self.groups.items()}
        return {
            "mesh": dict(self.mesh),
            "groups": groups,
            "memory": dict(self.memory),
            "model_flops": self.flops,
            "tokens": self.tokens,
        }


def abstract_batch(
    program: Program, rows: int, inputs: int, targets: int, fields: Spec | None = None
) -> dict[str, jax.ShapeDtypeStruct]:
    """The batch of a training step as shapes.

    fields: the spec of what makes the rows, which a model with heads needs: they have fields of
    their own. Of masked language modelling they say at how many places logits are made.
    """
    config, sharding = program.spec.model, batch_sharding(program.spec.mesh)

    def field(*shape: int, dtype: Any = np.int32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((rows, *shape), dtype, sharding=sharding)

    keys = {plug.key for plug in config.plugs}
    routes = [FIELDS[key] for key in ("target", "task") if key in keys]
    batch = {name: field() for name in ("language", "row", *routes)}
    if config.heads:
        if fields is None:
            raise UserError("The batch of a model with heads is known by its source's spec alone.")
        return batch | {n: field(*shape, dtype=dtype) for n, (shape, dtype) in fields.items()}
    side, length = ("encoder", inputs) if config.is_encoder else ("decoder", targets)
    batch |= {"target_bytes": field(), "encoder_input_tokens": field(inputs)}
    if not config.is_encoder:
        batch["decoder_input_tokens"] = field(targets)
    batch[f"{side}_target_tokens"] = field(length)
    batch[f"{side}_loss_weights"] = field(length, dtype=np.float32)
    if fields is not None and PLACES in fields:
        shape, dtype = fields[PLACES]
        batch[PLACES] = field(*shape, dtype=dtype)
    return batch


def compile_train(program: Program, batch: Mapping[str, jax.ShapeDtypeStruct]) -> Any:
    """Compiles the training step for its mesh, without running it."""
    state, whole = abstract_state(program), replicated(program.spec.mesh)
    rate = jax.ShapeDtypeStruct((), jnp.float32, sharding=whole)
    seed = jax.ShapeDtypeStruct((), jnp.uint32, sharding=whole)
    hyper = program.complete(Hyper(rate, seed))
    with mesh_context(program.spec.mesh, program.spec.rules):
        lowered = program.jitted.lower(state.replace(frozen={}), state.frozen, dict(batch), hyper)
        return lowered.compile()


def group_of(name: str) -> str:
    """The group a parameter is counted in: 'encoder attention', 'modules lang', ..."""
    collection, *parts = name.split("/")
    if collection == "modules":
        return f"modules: {parts[-2]}"
    if collection == "heads":
        return f"heads: {parts[0]}"
    if parts[0] not in ("encoder", "decoder"):
        return parts[0].replace("_", " ")
    for kind in ("norm", "attention", "mlp", "logits_dense", "relpos_bias", "positions"):
        if any(kind in p for p in parts[1:]):
            return f"{parts[0]} {kind.replace('_', ' ')}"
    return parts[0]


def plan_run(
    job: Job,
    rows: int,
    inputs: int,
    targets: int,
    compile_step: bool = False,
    fields: Spec | None = None,
) -> Plan:
    """Plans a training run of [rows, inputs] -> [rows, targets] batches on the devices at hand.

    fields: see `abstract_batch`; where the step is not compiled they are not needed.
    """
    program = program_of(job)
    layout, mesh = program.layout, program.spec.mesh
    check_batch(rows, job.train.accumulate, mesh)
    trains = set(layout.trainable)
    table: list[Row] = []
    groups: dict[str, tuple[int, int]] = {}
    for name, leaf in layout.leaves.items():
        count, spec = math.prod(leaf.shape), layout.shardings[name].spec
        text = "(" + ", ".join("-" if s is None else str(s) for s in spec) + ")"
        table.append(Row(name, leaf.shape, text, name in trains, count))
        whole, trained = groups.get(group_of(name), (0, 0))
        groups[group_of(name)] = (whole + count, trained + count * (name in trains))
    executable, logits = None, tokens_of(fields)[2] if fields else targets
    if compile_step:
        batch = abstract_batch(program, rows, inputs, targets, fields)
        executable = compile_train(program, batch)
    return Plan(
        rows=tuple(table),
        groups=groups,
        mesh=dict(mesh.shape),
        memory=_memory(program, rows, executable),
        flops=model_flops(job.model, layout, rows, inputs, logits),
        tokens=rows * (inputs + targets),
        executable=executable,
    )


def _memory(program: Program, rows: int, executable: Any) -> dict[str, int]:
    """Bytes on one device, by what holds them; of a compiled step, by the compiler's count too."""
    layout = program.layout

    def held(arrays: Any) -> int:
        parts = jax.tree.leaves(arrays)
        return sum(math.prod(a.sharding.shard_shape(a.shape)) * a.dtype.itemsize for a in parts)

    trainable = layout.abstract(layout.trainable)
    memory = {
        "trainable parameters": held(trainable),
        "frozen parameters": held(layout.abstract(layout.frozen)),
        "optimizer state": held(optimizer_abstract(layout, program.optimizer)),
    }
    if executable is not None:
        analysis = executable.memory_analysis()
        memory["temporaries, gradients included (compiled)"] = int(analysis.temp_size_in_bytes)
    else:
        banks = [b for b in program.optimizer.banks if not b.spread]
        slots = {n: (min(rows, b.size), b.size) for b in banks for n in b.axes}  # rows use those
        parts = ((held(array), *slots.get(n, (1, 1))) for n, array in trainable.items())
        memory["gradients"] = sum(nbytes * used // size for nbytes, used, size in parts)
    return memory


def plan_here(
    job: Job, rows: int, fields: Spec, compile_step: bool = False, measured: bool = False
) -> tuple[Plan, Estimate | None, Measured | None]:
    """Returns the plan of a step of so many rows, and what else was asked for.

    fields: of a row of the run's data. compile_step: an estimate of its time by the compiler's
    program; measured: that program is run too, on a made-up batch.
    """
    inputs, targets, _ = tokens_of(fields)
    plan = plan_run(job, rows, inputs, targets, compile_step, fields)
    if not compile_step:
        return plan, None, None
    program = program_of(job)
    work = Work(rows, plan.tokens, plan.flops, job.train.steps)
    machine = present_machine(job.model.dtype)
    estimated = estimate(program, work, machine, lambda: plan.executable)
    if not measured:
        return plan, estimated, None
    batch = abstract_batch(program, rows, inputs, targets, fields)
    return plan, estimated, measure(program, plan.executable, batch)
