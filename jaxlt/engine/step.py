"""One training step and one evaluation step, compiled once for all runs of equal shapes.

A `Program` is what a StepSpec (hashable: sizes, mesh, patterns) compiles to. Learning rate and seed
are arrays, so runs that differ in nothing else share it.
"""

import dataclasses
import functools
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxlt.engine.batch_checks import check_routes, slots_of
from jaxlt.engine.compilation import Option
from jaxlt.engine.loss.losses import (
    LossConfig,
    by_language,
    cross_entropy,
    language_sums,
    normalizer,
)
from jaxlt.engine.loss.shared import cross_entropy_shared
from jaxlt.engine.optim.optimizers import OptimizerConfig, global_norm
from jaxlt.engine.optim.routes import (
    Cut,
    RoutedOptimizer,
    Slots,
    banks_of,
    cut_down,
    slots_of_batch,
)
from jaxlt.engine.optim.schedules import learning_rate
from jaxlt.engine.partitioning import Rules, batch_parts, batch_shards, manual_layers, spec_for
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
from jaxlt.models.encoder import loss_weights, model_of, target_fields
from jaxlt.models.head_parts import read_field
from jaxlt.models.heads import heads_loss, heads_predictions
from jaxlt.models.init import unflatten
from jaxlt.models.layers import constrain, make_context
from jaxlt.models.manual import Manual, by_hand, manual_now
from jaxlt.modules import child_tuning
from jaxlt.modules.deltas import applied, has_penalty, with_penalty
from jaxlt.modules.routing import routes_of

# Batch field [B, T]: the loss's weights where they are not the data's; under heads a row's, [B].
LOSS_WEIGHTS = "loss_weights"
Batch = Mapping[str, jax.Array]
Metrics = dict[str, jax.Array]
CHILD = 0x6368696C  # folded into a step's key for child tuning's masks


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
    child_tuning: float | None = None  # share of every gradient's entries that a step keeps
    compiler_options: tuple[Option, ...] = ()  # of this mesh's platform
    collectives: str = "compiler"  # see MeshConfig


class Hyper(flax.struct.PyTreeNode):
    """What varies between runs and steps without a new compilation."""

    learning_rate: Any  # float32 []
    seed: Any  # uint32 []
    # Where slots of banks follow clocks of their own: schedules.Numbers; else None.
    schedule: Any = None
    route_rates: Any = None  # {bank: float32 [R]}: factors of its slots' learning rates; or None


@dataclasses.dataclass(frozen=True)
class Program:
    """The compiled functions of a spec, and the layout of the state they work on."""

    spec: StepSpec
    layout: Layout
    optimizer: RoutedOptimizer
    jitted: Any  # (state without frozen, frozen, batch, hyper) -> (state, metrics)
    evaluated: Any  # (params, batch) -> sums a row

    def train(self, state: TrainState, batch: Batch, hyper: Hyper) -> tuple[TrainState, Metrics]:
        """One step. The state given is donated, except its `frozen` part, which is only read."""
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

    @property
    def loss_scaling(self) -> bool:
        """float16 needs its gradients scaled into range."""
        return self.spec.model.dtype == "float16"


@contextmanager
def mesh_context(mesh: Mesh, rules: Rules) -> Iterator[None]:
    """Within it, logical axis names in the model mean mesh axes."""
    with jax.set_mesh(mesh), nn.logical_axis_rules(list(rules)):
        yield


def batch_loss(
    spec: StepSpec,
    params: Flat,
    batch: Batch,
    dropout_key: jax.Array | None,
    cuts: tuple[Cut, ...] = (),
) -> tuple[jax.Array, Metrics]:
    """Summed, not yet normalised loss of a batch, and its sums for reporting.

    cuts: the banks among `params` that have been cut down to some of their slots.
    """
    if spec.model.heads:
        outputs = _forward(spec, params, batch, dropout_key, cuts, "outputs")
        return heads_loss(spec.model.heads, outputs, batch, batch.get(LOSS_WEIGHTS))
    hidden = _forward(spec, params, batch, dropout_key, cuts, "hidden")
    targets, weights = target_fields(spec.model)
    given = (batch[targets], batch.get(LOSS_WEIGHTS, batch[weights]), batch[weights])
    manual = manual_now()
    if (
        manual
        and not hidden.transposed
        and hidden.kernel.shape[0] % spec.mesh.shape[manual.axis] == 0
    ):
        return cross_entropy_shared(
            spec.loss, manual, spec.mesh, hidden.states, hidden.kernel, *given
        )
    return cross_entropy(
        spec.loss,
        hidden.states,
        hidden.kernel,
        *given[:2],
        counted=given[2],
        transposed=hidden.transposed,
        batch_shards=batch_shards(spec.mesh),
        vocab_shards=_vocab_shards(spec),
    )


def _forward(
    spec: StepSpec,
    params: Flat,
    batch: Batch,
    dropout_key: jax.Array | None,
    cuts: tuple[Cut, ...],
    method: str,
) -> Any:
    """What a method of the model makes of a batch."""
    model: Any = model_of(spec.model)
    drops = spec.model.dropout or any(head.dropout for head in spec.model.heads)
    ctx = make_context(batch, dropout_key if drops else None)
    params, ids = cut_down(applied(params, spec.model.deltas, dropout_key), ctx.ids, cuts)
    ctx, variables = ctx.replace(ids=ids), unflatten(params)
    return model.apply(variables, batch, ctx, method=method)


def _vocab_shards(spec: StepSpec) -> int:
    """How many ways the logits are split over the vocabulary."""
    assert not isinstance(spec.model, BiLSTMConfig)  # it has no logits over a vocabulary
    sharding = spec_for((spec.model.vocab_rows,), ("vocab",), spec.rules, spec.mesh)
    axes = sharding[0] or ()
    return math.prod(spec.mesh.shape[a] for a in ((axes,) if isinstance(axes, str) else axes))


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
    specs = {n: s.spec for n, s in layout.shardings.items()}
    banks = [n for n, leaf in layout.leaves.items() if "routes" in leaf.axes]
    return manual_layers(spec.collectives, spec.mesh, specs, banks, why_not)


def _microbatches(batch: Batch, count: int) -> Batch:
    """[B, ...] -> [count, B / count, ...]; microbatch a takes rows a, a + count, ...

    Strided, so that each device's rows stay on it; which rows meet does not matter to the sum.
    """

    def split(x: jax.Array) -> jax.Array:
        x = jnp.swapaxes(x.reshape(x.shape[0] // count, count, *x.shape[1:]), 0, 1)
        return constrain(x, None, "batch", *(None,) * (x.ndim - 2))

    return {name: split(x) for name, x in batch.items()}


def _by_language(spec: StepSpec, batch: Batch, weights: jax.Array) -> tuple[Batch, jax.Array]:
    """The batch with LOSS_WEIGHTS by which each language's loss is its mean; how many languages."""
    if not spec.model.heads:
        weights, count = by_language(weights, batch["language"])
    else:  # all labels of a row are of one language, so rows are what is weighed
        of_rows = jnp.sum(weights, axis=-1, keepdims=True)
        own, count = language_sums(of_rows, batch["language"])
        weights = 1.0 / own
    return {**batch, LOSS_WEIGHTS: weights}, count


def gradients(
    spec: StepSpec,
    trainable: Flat,
    frozen: Flat,
    batch: Batch,
    cuts: tuple[Cut, ...],
    key: jax.Array | None,
    scale: jax.Array,
) -> tuple[Flat, Metrics]:
    """Gradients of scale * summed loss / normaliser, and the sums; accumulated where asked.

    cuts: as in `batch_loss`. key: of dropout, where there is to be any.
    """
    weights = loss_weights(spec.model, batch)
    divisor = reported = normalizer(spec.loss, weights, len(weights))
    if spec.loss.normalize == "languages":
        batch, languages = _by_language(spec, batch, weights)
        reported = jnp.maximum(languages, 1).astype(jnp.float32)

    manual = manual_of(spec)

    def loss(params: Flat, part: Batch) -> tuple[jax.Array, Metrics]:
        with by_hand(manual):
            total, sums = batch_loss(spec, {**frozen, **params}, part, key, cuts)
        report = {"loss_sum": total}
        report |= {k: sums[k] for k in ("nll_sum", "z_sum", "correct_sum", "weight_sum")}
        return total * (scale / divisor), report

    grad = jax.grad(loss, has_aux=True)
    count = batch_parts(len(weights), spec.mesh, spec.accumulate, spec.rows_per_device)
    if count == 1:
        grads, sums = grad(trainable, batch)
        return grads, sums | {"divisor": reported}

    def add(total: Any, part: Batch) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, grad(trainable, part)), None

    parts = _microbatches(batch, count)
    zeros = jax.tree.map(
        lambda a: jnp.zeros(a.shape, a.dtype),
        jax.eval_shape(grad, trainable, {k: v[0] for k, v in parts.items()}),
    )
    (grads, sums), _ = jax.lax.scan(add, zeros, parts)
    return grads, sums | {"divisor": reported}


def _next_scale(scale: LossScale, ok: jax.Array) -> LossScale:
    """Halves on overflow; doubles after 2,000 good steps in a row."""
    good = jnp.where(ok, scale.good_steps + 1, 0)
    grown = jnp.where(good >= 2000, scale.scale * 2, scale.scale)
    value = jnp.where(ok, grown, jnp.maximum(scale.scale / 2, 1.0))
    return LossScale(value, jnp.where(good >= 2000, 0, good))


def _slot_rates(
    optimizer: RoutedOptimizer, memory: Any, slots: Mapping[str, Slots], hyper: Hyper
) -> dict[str, jax.Array]:
    """The learning rate of each slot that the batch goes through: {bank: float32 [A]}."""
    rates: dict[str, jax.Array] = {}
    for bank in optimizer.banks:
        steps = memory["routes"][bank.name]["steps"]
        rate = jnp.broadcast_to(jnp.asarray(hyper.learning_rate, jnp.float32), steps.shape)
        if hyper.schedule is not None:
            rate = learning_rate(hyper.schedule, steps)
        if hyper.route_rates is not None:
            factors, chosen = hyper.route_rates[bank.name], slots[bank.name].chosen
            rate *= factors if chosen is None else jnp.take(factors, chosen, mode="clip")
        rates[bank.name] = rate
    return rates


def _rates_used(
    optimizer: RoutedOptimizer, names: Iterable[str], slots: Mapping[str, Slots], rates: Flat
) -> Metrics:
    """The learning rates of banks, each the mean over the slots that the batch goes through.

    names: of what trains; where that is banks alone, their mean is the step's learning rate.
    """
    out: Metrics = {}
    for bank in optimizer.banks:
        chosen, present = slots[bank.name]
        there = present if chosen is None else chosen < bank.size
        total = jnp.sum(jnp.where(there, rates[bank.name], 0.0))
        out[f"learning_rate/{bank.name}"] = total / jnp.maximum(jnp.sum(there), 1)
    if {name for bank in optimizer.banks for name in bank.axes} == set(names):
        out["learning_rate"] = sum(out.values(), jnp.float32(0.0)) / len(out)
    return out


def _train_step(
    spec: StepSpec,
    optimizer: RoutedOptimizer,
    state: TrainState,
    frozen: Flat,
    batch: Batch,
    hyper: Hyper,
) -> tuple[TrainState, Metrics]:
    """The step itself; `state.frozen` is empty in here, the frozen part comes beside it."""
    key = jax.random.fold_in(jax.random.key(hyper.seed), state.step)
    scaled = state.loss_scale
    scale = jnp.float32(1.0) if scaled is None else scaled.scale
    slots, cuts = slots_of_batch(
        optimizer.banks, routes_of(batch), batch[read_field(batch)], spec.languages
    )
    old, before = optimizer.take(state.trainable, state.optimizer, slots)
    grads, sums = gradients(spec, old, frozen, batch, cuts, key, scale)
    if scaled is not None:
        grads = jax.tree.map(lambda g: g / scale, grads)
    penalty = None
    if has_penalty(spec.model.deltas):
        grads, penalty = with_penalty(spec.model.deltas, grads, old, frozen)
    norm = global_norm(grads)
    if spec.child_tuning is not None:
        grads = child_tuning.masked(grads, spec.child_tuning, jax.random.fold_in(key, CHILD))
    loss = sums["loss_sum"] / sums["divisor"]
    ok = jnp.isfinite(norm) & jnp.isfinite(loss)
    if spec.max_loss is not None:
        ok &= loss <= spec.max_loss
    rates = _slot_rates(optimizer, before, slots, hyper)
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
        metrics |= _rates_used(optimizer, state.trainable, slots, rates)
    if scaled is not None:
        metrics["loss_scale"] = scale
    if penalty is not None:
        metrics["penalty"] = penalty
    new = state.replace(
        step=state.step + 1,
        trainable=params,
        optimizer=memory,
        loss_scale=None if scaled is None else _next_scale(scaled, ok),
    )
    return new, metrics


def _eval_step(spec: StepSpec, params: Flat, batch: Batch) -> Metrics:
    """Per-row sums without dropout, the fields that tell whose they are, and heads' predictions."""
    predictions: Metrics = {}
    if spec.model.heads:
        outputs = _forward(spec, params, batch, None, (), "outputs")
        _, sums = heads_loss(spec.model.heads, outputs, batch)
        predictions = heads_predictions(spec.model.heads, outputs, batch)
    else:
        _, sums = batch_loss(spec, params, batch, None)
    weight = jnp.sum(loss_weights(spec.model, batch), axis=-1)
    out = {"row_nll": sums["row_nll"], "row_correct": sums["row_correct"], "row_weight": weight}
    out["language"] = batch.get("language", jnp.zeros(weight.shape, jnp.int32))
    if "target_bytes" in batch:
        out["target_bytes"] = batch["target_bytes"]
    return out | predictions


_layout = functools.lru_cache(maxsize=16)(make_layout)  # specs differ in much that it is not


def layout_of(spec: StepSpec) -> Layout:
    """The layout of a spec's state; specs that differ elsewhere share it."""
    return _layout(
        spec.model, spec.mesh, spec.rules, spec.trainable, spec.frozen, spec.frozen_dtype
    )


@functools.lru_cache(maxsize=16)
def build(spec: StepSpec) -> Program:
    """Makes the Program of a spec; equal specs share one, and so its compiled functions."""
    layout = layout_of(spec)
    manual_of(spec)  # what does not go is said before anything is read
    axes = {n: layout.leaves[n].axes for n in layout.trainable}
    shapes = {n: layout.leaves[n].shape for n in layout.trainable}
    optimizer = RoutedOptimizer(
        spec.optimizer, axes, banks_of(spec.model, axes, shapes, layout.shardings)
    )
    out = state_shardings(layout, optimizer, spec.model.dtype == "float16")
    step = functools.partial(_train_step, spec, optimizer)
    jit = functools.partial(jax.jit, compiler_options=dict(spec.compiler_options) or None)
    jitted = jit(step, donate_argnums=0, out_shardings=(out, replicated(spec.mesh)))
    evaluated = jit(functools.partial(_eval_step, spec), out_shardings=replicated(spec.mesh))

    return Program(spec, layout, optimizer, jitted, evaluated)


def state_shardings(layout: Layout, optimizer: RoutedOptimizer, loss_scaling: bool) -> TrainState:
    """Shardings of everything a step returns, as a TrainState without its frozen part."""
    whole = replicated(layout.mesh)
    return TrainState(
        step=whole,
        trainable={n: layout.shardings[n] for n in layout.trainable},
        frozen={},
        optimizer=jax.tree.map(lambda a: a.sharding, optimizer_abstract(layout, optimizer)),
        loss_scale=LossScale(whole, whole) if loss_scaling else None,
    )
