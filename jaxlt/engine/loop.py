"""A run with a folder: begun or resumed, trained by `jaxlt.engine.fit`, saved on the way.

    result = train(job, data, workdir, evaluators=[...], base=...)

`job` holds the frozen configs (a `RunConfig`, or anything with the same fields); `data` and the
evaluators are made by the caller, so the loop runs on plain arrays as well as on mixtures.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from jaxlt.data.rows.batches import BatchSource
from jaxlt.engine.checkpoint.checkpoints import Checkpoints
from jaxlt.engine.checkpoint.workdir import Workdir
from jaxlt.engine.compilation import options_of
from jaxlt.engine.config import CheckpointConfig, Job, TrainConfig
from jaxlt.engine.evaluator import Evaluator
from jaxlt.engine.fit import feed_of, fit, over
from jaxlt.engine.hosts import distributed
from jaxlt.engine.hosts.signals import Preemption
from jaxlt.engine.log.flops import model_flops, tokens_of
from jaxlt.engine.log.history import History, Listener
from jaxlt.engine.log.journal import Journal
from jaxlt.engine.log.profiling import UNTRACED, Recorder
from jaxlt.engine.log.reporter import Reporter
from jaxlt.engine.open import Transform
from jaxlt.engine.optim.pace import Pace, spare
from jaxlt.engine.optim.transforms import ChildTuning
from jaxlt.engine.partitioning import check_batch, make_mesh
from jaxlt.engine.resume import Position, restore, rows_at_once, save, start
from jaxlt.engine.state import BaseSource, ModuleValues, TrainState
from jaxlt.engine.step import Program, StepSpec, build
from jaxlt.errors import UserError
from jaxlt.models.config import ModelConfig


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
            transforms=transforms_of(job.train),
            compiler_options=options_of(job.train.compiler, mesh.devices),
        )
    )


def transforms_of(config: TrainConfig) -> tuple[Transform, ...]:
    """Those of a run, `child_tuning` among them."""
    child = () if config.child_tuning is None else (ChildTuning(config.child_tuning),)
    lead = int(bool(config.transforms) and config.transforms[0].parts is not None)
    return (*config.transforms[:lead], *child, *config.transforms[lead:])


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
    history: History | None = None,
) -> Outcome:
    """Trains from the newest complete checkpoint of `workdir`, or from the start.

    vocabulary: a fingerprint that checkpoints carry, so that a later run cannot take another.
    devices: those that the mesh is laid over; all of them unless given. recorder: traces steps.
    modules: what fills the model's plugs at the start. history: keeps all that is seen, on the way.
    """
    # --- shapes, shardings, compiled step ---------------------------------------------------------
    checkpoints = Checkpoints(workdir.path, job.checkpoint)
    program = program_of(job, devices, spare(job.model, data.languages), rows_at_once(checkpoints))
    check_job(job, data, checkpoints, program.spec.mesh)
    say = reporter or Reporter(workdir.path, job.train.steps)

    with contextlib.ExitStack() as opened:  # closed, last first, however the run ends
        opened.callback(say.close)
        # --- where we are -------------------------------------------------------------------------
        preemption = opened.enter_context(Preemption())  # SIGTERM: save after the step in hand
        state, position = _begin(job, program, data, checkpoints, base, say, vocabulary, modules)

        # --- the steps ----------------------------------------------------------------------------
        ended = over(position, job.train)
        feed = opened.enter_context(feed_of(job.train, program, data, position.step, ended))
        pace = Pace(job, program, data.languages)
        saves = opened.enter_context(Saves(checkpoints, job.checkpoint, preemption))
        heard: Listener = say
        if history is not None:
            history.also, heard = say, history
        journal = Journal(
            job.train, pace.rate, data.languages, position, heard, recorder, saves.last_good
        )
        state, seen = fit(
            program,
            state,
            feed,
            pace.at,
            job.train.steps,
            evaluators=evaluators,
            settings=job.train,
            best=job.checkpoint,
            position=position,
            journal=journal,
            keeper=saves,
            donate=True,
        )

    # --- the end ----------------------------------------------------------------------------------
    distributed.barrier("jaxlt-end")
    position = seen.position or position
    return Outcome(state, program, seen.ended, journal.metrics, position, checkpoints)


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
    begin_telling(say, job, program, data, position.step)
    return state, position


def begin_telling(
    say: Reporter, job: Job, program: Program, data: BatchSource, step: int, members: int = 1
) -> None:
    """Starts a reporter after `step`; it is told what a step of so many runs costs."""
    inputs, targets, logits = tokens_of(data.spec())
    filled = members * getattr(data, "filled", 1.0)  # less where batches are cut to their width
    flops = filled * model_flops(job.model, program.layout, data.batch_size, inputs, logits)
    tokens = round(filled * data.batch_size * (inputs + targets))
    say.start(step, flops, tokens, list(program.spec.mesh.devices.flat))


class Saves:
    """Keeps a run's states as checkpoints: each so many steps, the best, and the last.

    A context manager. Ends well or badly: the last save is complete, or given up, before all that
    was opened earlier is closed.
    """

    def __init__(self, checkpoints: Checkpoints, config: CheckpointConfig, preemption: Preemption):
        self._checkpoints, self._config = checkpoints, config
        self._preemption = preemption

    def __enter__(self) -> "Saves":
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        if failed is None:
            try:
                self._checkpoints.wait()
                return
            except BaseException:
                self._checkpoints.abandon()
                raise
        self._checkpoints.abandon()

    def keep(
        self,
        state: TrainState,
        position: Position,
        ended: str | None,
        counts: Callable[[], Mapping[str, Any]],
    ) -> tuple[Position, str | None]:
        """Hands a state that is to be kept to the background writer; ends where a signal asks."""
        if ended is None and self._preemption.asked(position.step):
            ended = "preempted"
        best = self._config.keep_best > 0 and position.best_step == position.step
        if ended or best or position.step % self._config.every == 0:
            position = save(self._checkpoints, state, position, counts())
        return position, ended

    def last_good(self) -> str:
        """Says which checkpoint is left of a run that stops; the one being written is good."""
        self._checkpoints.abandon()
        good = self._checkpoints.latest()
        saved = "there is none yet" if good is None else f"'{self._checkpoints.path(good)}'"
        return f"The last good checkpoint is kept: {saved}. "


def check_job(job: Job, data: BatchSource, checkpoints: Checkpoints | None, mesh: Mesh) -> None:
    """Raises UserError for settings that would be without effect or do harm, before any step.

    checkpoints: of the run's folder, where it has one.
    """
    check_batch(data.batch_size, job.train.accumulate, mesh)
    if checkpoints is not None:
        distributed.check_same("the newest checkpoint that it sees", checkpoints.latest())
    distributed.check_same("its data (DataConfig and the files' content)", data.fingerprint)
    check_languages(job.model, data)
    for one in job.loss.auxiliary:
        one.check_languages(data.languages)
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
