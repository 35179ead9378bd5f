"""One training step and one evaluation step, compiled once for all runs of equal shapes.

A `Program` is what a StepSpec (hashable: sizes, mesh, patterns) compiles to. Learning rate, seed
and the numbers that `sweepable` names are arrays: programs of runs that differ in nothing else
share their compiled functions.
"""

import dataclasses
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxlt.engine.batch_checks import check_routes, slots_of
from jaxlt.engine.compilation import Option, remembered
from jaxlt.engine.config import LossConfig, OptimizerConfig
from jaxlt.engine.loss.losses import smoothing
from jaxlt.engine.objective import Batch, Metrics, Objective, means
from jaxlt.engine.open import LOSSES, Transform
from jaxlt.engine.optim.optimizers import Rate, global_norm
from jaxlt.engine.optim.routes import RoutedOptimizer, banks_of
from jaxlt.engine.optim.transforms import checked, transformed
from jaxlt.engine.partitioning import Rules, manual_layers
from jaxlt.engine.state import (
    Flat,
    Layout,
    LossScale,
    TrainState,
    make_layout,
    optimizer_abstract,
    replicated,
)
from jaxlt.models.config import BiLSTMConfig, ModelConfig
from jaxlt.models.manual import Manual
from jaxlt.models.traced import Traced, given, mark, mark_each, with_marks
from jaxlt.modules.deltas import has_penalty, with_penalty


@dataclasses.dataclass(frozen=True)
class StepSpec:
    """All that decides what is compiled."""

    model: ModelConfig
    loss: LossConfig
    optimizer: OptimizerConfig
    mesh: Mesh
    rules: Rules
    trainable: tuple[str, ...] = (".*",)
    frozen: tuple[str, ...] = ()
    frozen_dtype: str | None = None
    accumulate: int = 1
    rows_per_device: int | None = None  # accumulate as often as it takes to have no more at once
    skip_nonfinite: bool = False
    max_loss: float | None = None  # a loss above it is skipped like one that is not finite
    languages: int | None = None  # a batch goes through no more slots of a bank than these
    transforms: tuple[Transform, ...] = ()  # of gradients
    compiler_options: tuple[Option, ...] = ()  # of this mesh's platform
    collectives: str = "compiler"  # see MeshConfig


class Hyper(flax.struct.PyTreeNode):
    """What varies between runs and steps without a new compilation."""

    learning_rate: Any  # float32 []
    seed: Any  # uint32 []
    # Where slots of banks follow clocks of their own: schedules.Numbers; else None.
    schedule: Any = None
    route_rates: Any = None  # {bank: float32 [R]}: factors of its slots' learning rates; or None
    values: Any = None  # as `sweepable` gives them; None: the program's own


@dataclasses.dataclass(frozen=True)
class Program:
    """The compiled functions of a spec, and the layout of the state they work on.

    Programs of specs that differ in `values` alone share all else.
    """

    spec: StepSpec
    values: dict[str, Any]  # of the settings that a step takes as arrays, by name
    layout: Layout
    optimizer: RoutedOptimizer
    objective: Objective
    jitted: Any  # (state without frozen, frozen, batch, hyper) -> (state, metrics)
    evaluated: Any  # (params, batch) -> sums a row

    def train(self, state: TrainState, batch: Batch, hyper: Hyper) -> tuple[TrainState, Metrics]:
        """One step. The state given is donated, except its `frozen` part, which is only read."""
        hyper = self.complete(hyper)
        with mesh_context(self.spec.mesh, self.spec.rules):
            new, metrics = self.jitted(state.replace(frozen={}), state.frozen, batch, hyper)
        return new.replace(frozen=state.frozen), metrics

    def evaluate(self, params: Flat, batch: Batch) -> Metrics:
        """Sums a row, without dropout: row_nll, row_correct, row_weight, language, ...; [B].

        A language or task that has no slot is a UserError.
        """
        check_routes(batch, slots_of(self.spec.model))
        with mesh_context(self.spec.mesh, self.spec.rules):
            return self.evaluated(params, batch)

    def complete(self, hyper: Hyper) -> Hyper:
        """A Hyper with this program's own values, unless it has others."""
        return hyper if hyper.values is not None else hyper.replace(values=self.values)

    @property
    def step(self) -> Any:
        """The training step, not compiled: (state without frozen, frozen, batch, hyper) -> ..."""
        return functools.partial(_train_step, self.spec, self.optimizer, self.objective)

    @property
    def loss_scaling(self) -> bool:
        """float16 needs its gradients scaled into range."""
        return self.spec.model.dtype == "float16"


@contextmanager
def mesh_context(mesh: Mesh, rules: Rules) -> Iterator[None]:
    """Within it, logical axis names in the model mean mesh axes."""
    with jax.set_mesh(mesh), nn.logical_axis_rules(list(rules)):
        yield


def objective_of(spec: StepSpec) -> Objective:
    """What a spec's step descends."""
    count = (spec.accumulate, spec.rows_per_device)
    between = next((one.parts for one in spec.transforms if one.parts), None)
    where = (spec.mesh, spec.rules, manual_of(spec))
    return Objective(spec.model, spec.loss, *where, *count, between)


def manual_of(spec: StepSpec) -> Manual | None:
    """How the layers of a training step are run by hand, or None."""
    model = spec.model
    why_not = None
    if isinstance(model, BiLSTMConfig):
        why_not = "the model has no scanned layers"
    elif spec.frozen_dtype == "int8":
        why_not = "TrainConfig.frozen_dtype is 'int8'"
    elif not model.scan_layers or model.remat == "none":
        why_not = "it takes T5Config.scan_layers and a T5Config.remat other than 'none'"
    elif any("fsdp" in (axes or ()) for name, axes in spec.rules if name in ("layers", "routes")):
        why_not = "MeshConfig.rules shares layers or routes out over fsdp"
    layout = layout_of(spec)
    specs = {n: s.spec for n, s in layout.shardings.items() if not n.startswith(LOSSES)}
    banks = [n for n, leaf in layout.leaves.items() if "routes" in leaf.axes]
    return manual_layers(spec.collectives, spec.mesh, specs, banks, why_not)


def _next_scale(scale: LossScale, ok: jax.Array) -> LossScale:
    """Halves on overflow; doubles after 2,000 good steps in a row."""
    good = jnp.where(ok, scale.good_steps + 1, 0)
    grown = jnp.where(good >= 2000, scale.scale * 2, scale.scale)
    value = jnp.where(ok, grown, jnp.maximum(scale.scale / 2, 1.0))
    return LossScale(value, jnp.where(good >= 2000, 0, good))


def _train_step(*parts: Any) -> tuple[TrainState, Metrics]:
    """`_step`, in which the numbers that the last of its arguments brings stand for their marks."""
    with given(parts[-1].values):
        return _step(*parts)


def _step(
    spec: StepSpec,
    optimizer: RoutedOptimizer,
    objective: Objective,
    state: TrainState,
    frozen: Flat,
    batch: Batch,
    hyper: Hyper,
) -> tuple[TrainState, Metrics]:
    """The step itself; `state.frozen` is empty in here, the frozen part comes beside it."""
    key = jax.random.fold_in(jax.random.key(hyper.seed), state.step)
    scaled = state.loss_scale
    scale = jnp.float32(1.0) if scaled is None else scaled.scale
    old, before, slots, cuts = optimizer.taken(
        state.trainable, state.optimizer, batch, spec.languages
    )
    grads, sums = objective.gradients(old, frozen, batch, cuts, key, scale)
    if scaled is not None:
        grads = jax.tree.map(lambda g: g / scale, grads)
    axes = optimizer.axes
    grads = transformed(spec.transforms, grads, key, axes, surgery=True)
    penalty = None
    if has_penalty(spec.model.deltas):
        grads, penalty = with_penalty(spec.model.deltas, grads, old, frozen)
    norm = global_norm(grads)
    grads = transformed(spec.transforms, grads, key, axes, surgery=False)
    loss = sums["loss_sum"] / sums["divisor"]
    ok = jnp.isfinite(norm) & jnp.isfinite(loss)
    if spec.max_loss is not None:
        ok &= loss <= spec.max_loss
    rates = optimizer.rates(before, slots, hyper)
    params, memory = optimizer.update(grads, before, old, hyper.learning_rate, rates)
    ok = ok & jnp.isfinite(global_norm(params))  # an update can overflow where its gradient did not
    if scaled is not None or spec.skip_nonfinite:
        keep = lambda new, old: jnp.where(ok, new, old)  # noqa: E731
        params = jax.tree.map(keep, params, old)
        memory = jax.tree.map(keep, memory, before)
    params, memory = optimizer.put(state.trainable, state.optimizer, slots, params, memory)
    metrics = {
        "loss": loss,
        "nll": sums["nll_sum"] / jnp.maximum(sums["weight_sum"], 1.0),
        "accuracy": sums["correct_sum"] / jnp.maximum(sums["weight_sum"], 1.0),
        "target_tokens": sums["weight_sum"],
        "grad_norm": norm,
        "ok": ok,
    }
    if hyper.route_rates is not None:
        metrics |= optimizer.rates_used(state.trainable, slots, rates)
    if scaled is not None:
        metrics["loss_scale"] = scale
    if penalty is not None:
        metrics["penalty"] = penalty
    for one in spec.loss.auxiliary:
        metrics |= means(one.name, sums)
    new = state.replace(
        step=state.step + 1,
        trainable=params,
        optimizer=memory,
        loss_scale=None if scaled is None else _next_scale(scaled, ok),
    )
    return new, metrics


def sweepable(spec: StepSpec) -> tuple[StepSpec, dict[str, Any]]:
    """What is compiled of a spec, with marks for the numbers that a step takes; and these numbers.

    Returns (spec, values): float32 by name, such as {'loss.z_loss': 1e-4}. 1 - b and 1 - rate are
    made in float64 and rounded once.
    """
    loss, losses = mark(spec.loss, "loss", ("z_loss", "label_smoothing"))
    auxiliary, weights = mark_each(spec.loss.auxiliary, "loss", ("weight",))
    optimizer, rates = mark(spec.optimizer, "optimizer", ("weight_decay", "clip_norm", "b1", "b2"))
    pairs = [(p, f"optimizer.rates.{i}", n) for i, (p, n) in enumerate(spec.optimizer.rates)]
    factors = {name: factor for _, name, factor in pairs}
    model, drops = mark(spec.model, "model", _off(spec.model))
    heads, of_heads = mark_each(spec.model.heads, "heads", ("dropout",))
    drops |= of_heads
    values: dict[str, Any] = {}
    for name, number in (losses | weights | rates | factors | drops).items():
        if name in ("optimizer.b1", "optimizer.b2"):
            values[name] = Rate(np.float32(number), np.float32(1.0 - number))
        elif name == "loss.label_smoothing":
            assert not isinstance(spec.model, BiLSTMConfig)  # it has no vocabulary to smooth over
            values[name] = smoothing(number, spec.model.vocab_rows)
        else:
            values[name] = np.float32(1.0 - number if name in drops else number)
    shape = dataclasses.replace(
        spec,
        loss=with_marks(loss, auxiliary=auxiliary),
        optimizer=with_marks(optimizer, rates=tuple((p, Traced(name)) for p, name, _ in pairs)),
        model=with_marks(model, heads=heads),
    )
    return shape, values


def _off(config: Any) -> dict[str, Any]:
    """No dropout, for the fields of a config that set one."""
    return {f.name: 0.0 for f in dataclasses.fields(config) if f.name.endswith("dropout")}


_layout = remembered(32, "layouts")(make_layout)  # specs differ in much that it is not


def layout_of(spec: StepSpec) -> Layout:
    """The layout of a spec's state; specs that differ elsewhere share it."""
    losses = tuple(
        dataclasses.replace(one, weight=1.0)
        for one in spec.loss.auxiliary
        if one.leaves(spec.model)
    )
    patterns = (spec.trainable, spec.frozen, spec.frozen_dtype)
    return _layout(spec.model, spec.mesh, spec.rules, *patterns, losses)


def without_losses(program: Program) -> Program:
    """The program of its model alone, for one that is trained: without losses beside the main one.

    What they have of their own is in its state no more (a teacher is not looked for), nor are
    settings of training that may name it.
    """
    if not program.spec.loss.auxiliary:
        return program
    loss = dataclasses.replace(program.spec.loss, auxiliary=())
    optimizer = dataclasses.replace(program.spec.optimizer, rates=(), weight_decay_exclude=())
    return build(dataclasses.replace(program.spec, loss=loss, optimizer=optimizer, transforms=()))


@remembered(64, "training programs")
def build(spec: StepSpec) -> Program:
    """Makes the Program of a spec; equal specs share one.

    Those that differ in numbers that a step takes as arrays share its compiled functions.
    """
    shape, values = sweepable(spec)
    for one in spec.loss.auxiliary:
        one.check(spec.model)
    if spec.transforms:
        leaves, trained = layout_of(spec).leaves, layout_of(spec).trainable
        checked(spec.transforms, spec, {n: leaves[n].axes for n in trained})
    return dataclasses.replace(_built(shape), spec=spec, values=values)


@remembered(16, "compiled training steps")
def _built(spec: StepSpec) -> Program:
    layout = layout_of(spec)
    objective = objective_of(spec)  # what does not go is said before anything is read
    axes = {n: layout.leaves[n].axes for n in layout.trainable}
    shapes = {n: layout.leaves[n].shape for n in layout.trainable}
    optimizer = RoutedOptimizer(
        spec.optimizer, axes, banks_of(spec.model, axes, shapes, layout.shardings)
    )
    out = state_shardings(layout, optimizer, spec.model.dtype == "float16")
    step = functools.partial(_train_step, spec, optimizer, objective)
    options = dict(spec.compiler_options) or None
    places = (out, replicated(spec.mesh))
    jitted = jax.jit(step, donate_argnums=0, out_shardings=places, compiler_options=options)
    return Program(spec, {}, layout, optimizer, objective, jitted, evaluation_of(spec))


def evaluation_of(spec: StepSpec) -> Any:
    """The compiled (params, batch) -> sums a row; all that it depends on of a spec is read here."""
    model = dataclasses.replace(
        spec.model,
        heads=tuple(dataclasses.replace(h, **_off(h)) for h in spec.model.heads),
        **_off(spec.model),
    )
    loss = LossConfig(z_loss=0.0, chunk_bytes=spec.loss.chunk_bytes)
    return _evaluation(model, loss, spec.mesh, spec.rules, spec.compiler_options)


@remembered(32, "compiled evaluations")
def _evaluation(
    model: ModelConfig, loss: LossConfig, mesh: Mesh, rules: Rules, options: tuple[Option, ...]
) -> Any:
    objective = Objective(model, loss, mesh, rules)
    return jax.jit(
        objective.rows, out_shardings=replicated(mesh), compiler_options=dict(options) or None
    )


def abstract_state(program: Program) -> TrainState:
    """The state as shapes with shardings, its frozen part included."""
    return _abstract(program.layout, program.optimizer, program.loss_scaling)


def _abstract(layout: Layout, optimizer: RoutedOptimizer, loss_scaling: bool) -> TrainState:
    whole = replicated(layout.mesh)
    scalar = lambda dtype: jax.ShapeDtypeStruct((), dtype, sharding=whole)  # noqa: E731
    return TrainState(
        step=scalar(jnp.int32),
        trainable=layout.abstract(layout.trainable),
        frozen=layout.abstract(layout.frozen),
        optimizer=optimizer_abstract(layout, optimizer),
        loss_scale=LossScale(scalar(jnp.float32), scalar(jnp.int32)) if loss_scaling else None,
    )


def state_shardings(layout: Layout, optimizer: RoutedOptimizer, loss_scaling: bool) -> TrainState:
    """Shardings of everything a step returns, as a TrainState without its frozen part."""
    state = _abstract(layout, optimizer, loss_scaling)
    return jax.tree.map(lambda a: a.sharding, state.replace(frozen={}))
