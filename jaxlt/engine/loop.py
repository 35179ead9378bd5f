"""The whole training loop, in reading order.

    result = train(job, data, workdir, evaluators=[...], base=...)

`job` holds the frozen configs (a `RunConfig`, or anything with the same fields); `data` and the
evaluators are made by the caller, so the loop runs on plain arrays as well as on mixtures.
"""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxlt.data.near import nearest_language
from jaxlt.data.rows.batches import BatchSource
from jaxlt.engine.batch_checks import slots_of
from jaxlt.engine.checkpoint.checkpoints import Checkpoints
from jaxlt.engine.checkpoint.workdir import Workdir
from jaxlt.engine.compilation import options_of
from jaxlt.engine.config import (
    CheckpointConfig,
    LossConfig,
    MeshConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
)
from jaxlt.engine.evaluator import Evaluator, results_of
from jaxlt.engine.feed import Feed
from jaxlt.engine.hosts import distributed
from jaxlt.engine.hosts.signals import Preemption
from jaxlt.engine.log.clocks import pace, spare
from jaxlt.engine.log.counters import TokenCounter
from jaxlt.engine.log.flops import step_flops, tokens_of
from jaxlt.engine.log.profiling import UNTRACED, Recorder
from jaxlt.engine.log.reporter import Reporter
from jaxlt.engine.optim.schedules import learning_rate
from jaxlt.engine.partitioning import check_batch, make_mesh
from jaxlt.engine.resume import Position, restore, rows_at_once, save, start
from jaxlt.engine.state import BaseSource, ModuleValues, TrainState
from jaxlt.engine.step import Hyper, Program, StepSpec, build
from jaxlt.errors import UserError, nearest
from jaxlt.models.config import ModelConfig
from jaxlt.modules.routing import cycled

GIVE_UP = 100  # steps skipped in a row after which skipping is no help


class Job(Protocol):
    """The configs that a run needs."""

    @property
    def model(self) -> ModelConfig: ...
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


@dataclasses.dataclass
class Outcome:
    """How a run ended: 'done', 'patience', or 'preempted' (saved, to be resumed)."""

    state: TrainState
    program: Program
    ended: str
    metrics: dict[str, float]
    position: Position
    checkpoints: Checkpoints


def program_of(
    job: Job,
    devices: Sequence[jax.Device] | None = None,
    languages: int | None = None,
    rows_per_device: int | None = None,
) -> Program:
    """Compiles what a job asks for; jobs of equal shapes share it.

    languages: a batch has no more of them than these. rows_per_device: where the job has none.
    """
    mesh = make_mesh(job.mesh, devices)
    return build(
        StepSpec(
            model=job.model,
            loss=job.loss,
            optimizer=job.optimizer,
            mesh=mesh,
            rules=job.mesh.rules,
            collectives=job.mesh.collectives,
            trainable=job.train.trainable,
            frozen=job.train.frozen,
            frozen_dtype=job.train.frozen_dtype,
            accumulate=job.train.accumulate,
            rows_per_device=job.train.rows_per_device or rows_per_device,
            skip_nonfinite=job.train.on_nan == "skip",
            max_loss=job.train.max_loss if job.train.on_nan == "skip" else None,
            languages=languages,
            child_tuning=job.train.child_tuning,
            compiler_options=options_of(job.train.compiler, mesh.devices),
        )
    )


def train(
    job: Job,
    data: BatchSource,
    workdir: Workdir,
    *,
    evaluators: Sequence[Evaluator] = (),
    base: BaseSource | None = None,
    reporter: Reporter | None = None,
    vocabulary: str = "",
    devices: Sequence[jax.Device] | None = None,
    modules: ModuleValues | None = None,
    recorder: Recorder = UNTRACED,
) -> Outcome:
    """Trains from the newest complete checkpoint of `workdir`, or from the start.

    vocabulary: a fingerprint that checkpoints carry, so that a later run cannot take another.
    devices: those that the mesh is laid over; all of them unless given. recorder: traces steps.
    modules: what a library fills the model's plugs with at the start.
    """
    # --- shapes, shardings, compiled step ---------------------------------------------------------
    checkpoints = Checkpoints(workdir.path, job.checkpoint)
    program = program_of(job, devices, spare(job.model, data.languages), rows_at_once(checkpoints))
    check_job(job, data, checkpoints, program.spec.mesh)
    say = reporter or Reporter(workdir.path, job.train.steps)

    # What is opened from here on is closed, last first, however the run ends.
    with contextlib.ExitStack() as opened:
        opened.callback(say.close)

        # --- where we are -------------------------------------------------------------------------
        preemption = opened.enter_context(Preemption())  # SIGTERM: save after the step in hand
        state, position = _begin(job, program, data, checkpoints, base, say, vocabulary, modules)

        # --- the loop -----------------------------------------------------------------------------
        ended = _over(position, job)  # a run that ended may be started again: it ends again
        stop = job.train.steps if ended is None else 0
        feed = opened.enter_context(_feed(job, program, data, position.step, stop))
        seen = TokenCounter(data.languages, position.language_tokens)
        bank_pace = pace(job, program, data.languages)
        watch = Watch(job, checkpoints, say, position.skipped_steps)
        opened.enter_context(_last_save(checkpoints))
        opened.enter_context(recorder.over(feed))
        for step, batch, languages in feed:
            rate = learning_rate(job.schedule, step)
            hyper = Hyper(jnp.float32(rate), jnp.uint32(job.train.seed), **bank_pace)
            seen.add(batch)
            state, metrics = recorder.step(program.train, step, state, batch, hyper)
            say.tick(step + 1)
            watch.later(step, metrics, languages, [data.languages, rate])
            position = dataclasses.replace(position, step=step + 1)
            if (last := position.step == job.train.steps) or _due(step + 1, job.train.log_every):
                say.log(position.step, watch.settle() | seen.metrics())
            if evaluators and (last or _due(position.step, job.train.eval_every)):
                watch.settle()
                position = evaluate(program, state, evaluators, position, job, say)
            ended = _over(position, job) or ("preempted" if preemption.asked(step + 1) else None)
            if ended or _best(position, job) or _due(position.step, job.checkpoint.every):
                position = save(checkpoints, state, position, watch.skips(), seen.totals())
            if ended:
                break

    # --- the end ----------------------------------------------------------------------------------
    distributed.barrier("jaxlt-end")
    return Outcome(state, program, ended or "done", watch.metrics, position, checkpoints)


def _begin(
    job: Job,
    program: Program,
    data: BatchSource,
    checkpoints: Checkpoints,
    base: BaseSource | None,
    say: Reporter,
    vocabulary: str,
    modules: ModuleValues | None,
) -> tuple[TrainState, Position]:
    """The state and position of the newest checkpoint, or of the start where there is none."""
    begin = functools.partial(start, modules=modules) if checkpoints.latest() is None else restore
    with say.busy("preparing the parameters"):
        state, position = begin(job, program, data, checkpoints, base, say, vocabulary)
    flops, used = flops_of(job, program, data), list(program.spec.mesh.devices.flat)
    say.start(position.step, flops, tokens_a_step(data), used)
    return state, position


def _feed(job: Job, program: Program, data: BatchSource, step: int, stop: int) -> Feed:
    """The batches of steps [step, stop), checked for slots that no bank has."""
    slots, cycle, config = slots_of(job.model, program.spec.languages), None, job.train
    for name in config.cycle:
        if name not in data.languages:
            raise UserError(
                f"TrainConfig.cycle names '{name}', which is no language of the data."
                f"{nearest_language(name, data.languages)} It has {', '.join(data.languages)}."
            )
    if config.cycle:
        turns = [data.languages.index(name) for name in config.cycle]
        cycle = functools.partial(cycled, config.seed, slots=turns, by=config.cycle_by)
    return Feed(data, program.spec.mesh, step, stop, slots=slots, cycle=cycle)


@contextlib.contextmanager
def _last_save(checkpoints: Checkpoints) -> Iterator[None]:
    """Ends well or badly: the last save is complete, or given up, before all else is closed."""
    try:
        yield
        checkpoints.close()
    except BaseException:
        checkpoints.abandon()
        raise


def _over(position: Position, job: Job) -> str | None:
    """Why a run at this position has nothing left to do, or None."""
    if position.step >= job.train.steps:
        return "done"
    return "patience" if 0 < job.train.patience <= position.bad_evaluations else None


def _best(position: Position, job: Job) -> bool:
    """Whether the state of this position is the best so far, and is to be kept for it."""
    return job.checkpoint.keep_best > 0 and position.best_step == position.step


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


class Watch:
    """Looks at the numbers of each step one step late, so that the devices never wait for it."""

    def __init__(self, job: Job, checkpoints: Checkpoints, say: Reporter, skipped: int = 0):
        self._job, self._checkpoints, self._say = job, checkpoints, say
        self._pending: tuple[int, Any, np.ndarray, list[Any]] | None = None
        self.metrics: dict[str, float] = {}
        self.skipped = skipped
        self._in_a_row = 0

    def later(self, step: int, metrics: Any, languages: np.ndarray, extra: list[Any]) -> None:
        """Takes a step's metrics (still being computed) and settles those of the step before."""
        self.settle()
        self._pending = (step, metrics, languages, extra)

    def settle(self) -> dict[str, float]:
        """Waits for the step in hand, checks it, and returns its numbers."""
        if self._pending is None:
            return self.metrics
        step, pending, languages, (names, rate) = self._pending
        self._pending = None
        values = {k: float(v) for k, v in jax.device_get(pending).items()}
        ok = bool(values.pop("ok"))
        limit = self._job.train.max_loss
        scaled = "loss_scale" in values  # float16 skips overflows by itself, and recovers
        why = "" if ok else "is not finite"
        if limit is not None and values["loss"] > limit:
            why = f"is above TrainConfig.max_loss = {limit:g}"
        self._in_a_row = self._in_a_row + 1 if why else 0
        if not why:
            pass
        elif self._job.train.on_nan == "skip" and self._in_a_row < GIVE_UP:
            self.skipped += 1
            self._say.note(f"Skipped step {step + 1}: {_story(values, languages, names, why)}")
        elif scaled and not ok and values["loss_scale"] > 1.0:
            self.skipped += 1
        else:
            if scaled and not ok:
                why = "cannot be scaled into float16's range"
            self._stop(step, _story(values, languages, names, why))
        self.metrics = {"learning_rate": rate, **values, "skipped_steps": float(self.skipped)}
        return self.metrics

    def skips(self) -> int:
        """Settles the step in hand (a bad one stops the run), and returns the steps skipped."""
        self.settle()
        return self.skipped

    def _stop(self, step: int, story: str) -> None:
        self._checkpoints.abandon()  # the one that is being written is good
        good = self._checkpoints.latest()
        saved = "there is none yet" if good is None else f"'{self._checkpoints.path(good)}'"
        raise UserError(
            f"Stopped at step {step + 1}: {story} The last good checkpoint is kept: {saved}. Lower "
            "ScheduleConfig.learning_rate, set OptimizerConfig.clip_norm, or TrainConfig.on_nan = "
            "'skip'."
        )


def _story(
    values: Mapping[str, float], languages: np.ndarray, names: Sequence[str], why: str
) -> str:
    """What was wrong with a step, and the languages of its batch."""
    present = sorted({names[i] for i in languages if i < len(names)})
    return (
        f"the loss ({values['loss']:.4g}, gradient norm {values['grad_norm']:.4g}) {why}. "
        f"Languages in the batch: {', '.join(present)}."
    )


def evaluate(
    program: Program,
    state: TrainState,
    evaluators: Sequence[Evaluator],
    position: Position,
    job: Job,
    say: Reporter,
) -> Position:
    """Runs the evaluators; returns the position with best and patience brought up to date."""
    params = {**state.frozen, **state.trainable}
    metrics: dict[str, float] = {}
    with say.busy("evaluating"):
        for evaluator in evaluators:
            metrics |= {f"{evaluator.name}/{k}": v for k, v in evaluator(program, params).items()}
    say.evaluation(position.step, metrics)
    say.results(results_of(evaluators, program, position))
    config = job.checkpoint
    if config.best_metric is None:
        return position.after_evaluation(metrics, None, config.best_mode)
    for field in ("best_metric", "ties"):
        name = getattr(config, field)
        if name is not None and name not in metrics:
            raise UserError(
                f"CheckpointConfig.{field} '{name}' is not among the metrics of this "
                f"run: {', '.join(sorted(metrics))}.{nearest(name, metrics)}"
            )
    tie = metrics[config.ties] if config.ties else None
    return position.after_evaluation(metrics, metrics[config.best_metric], config.best_mode, tie)


def check_job(job: Job, data: BatchSource, checkpoints: Checkpoints, mesh: Mesh) -> None:
    """Raises UserError for settings that would be without effect or do harm, before any step."""
    check_batch(data.batch_size, job.train.accumulate, mesh)
    distributed.check_same("the newest checkpoint that it sees", checkpoints.latest())
    distributed.check_same("its data (DataConfig and the files' content)", data.fingerprint)
    check_languages(job.model, data)
    if job.train.patience and job.checkpoint.best_metric is None:
        raise UserError(
            f"TrainConfig.patience = {job.train.patience} waits for a better "
            "CheckpointConfig.best_metric, which is not set: name a metric, such as 'eval/bpb'."
        )


def check_languages(model: ModelConfig, data: BatchSource) -> None:
    """Raises UserError where a plug's bank has fewer slots than the data has languages."""
    for plug in model.plugs:
        if plug.routes and plug.key in ("source", "target") and getattr(data, "mixed_rows", False):
            raise UserError(
                f"Plug '{plug.name}' has a module a language, and a row goes through one of them, "
                "but packed rows hold several languages: set DataConfig.packing = 'language'."
            )
        if plug.routes and plug.key in ("source", "target") and plug.routes < len(data.languages):
            raise UserError(
                f"Plug '{plug.name}' has {plug.routes} routes, and the data {len(data.languages)} "
                f"languages ({', '.join(data.languages)}): a row's language would have no slot. "
                f"Set its routes to {len(data.languages)} or more."
            )


def tokens_a_step(data: BatchSource) -> int:
    """Input and target positions of a global batch."""
    whole = data.batch_size * sum(tokens_of(data.spec()))
    return round(whole * getattr(data, "filled", 1.0))  # less where batches are cut to their width


def flops_of(job: Job, program: Program, data: BatchSource) -> float:
    """Model FLOPs of a step; the weight-gradient part counts for the trained share only."""
    leaves = program.layout.leaves
    size = lambda names: sum(math.prod(leaves[n].shape) for n in names)  # noqa: E731
    share = size(program.layout.trainable) / max(1, size(leaves))
    inputs, targets = tokens_of(data.spec())
    flops = step_flops(job.model, data.batch_size, inputs, targets, share)
    return flops * getattr(data, "filled", 1.0)
