"""Starting a run, and going on exactly where it was.

A checkpoint holds what changes (trainable, optimizer, step, loss scale) and a Position: data
position, seed, best value, patience, and where the frozen base came from with its content hash.
The frozen part is not saved at every step: it is read again from where it came from, or, where it
was drawn, from `workdir/base`, written once.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jaxlt.data.rows.batches import BatchSource
from jaxlt.engine.checkpoint.checkpoints import Checkpoints
from jaxlt.engine.checkpoint.fingerprint import fingerprint
from jaxlt.engine.config import Job
from jaxlt.engine.log.reporter import Reporter
from jaxlt.engine.partitioning import batch_parts, batch_shards
from jaxlt.engine.state import (
    BaseSource,
    Layout,
    LossScale,
    ModuleValues,
    TrainState,
    base_fingerprint,
    draw_params,
    load_base,
    make_state,
)
from jaxlt.engine.step import Program, abstract_state
from jaxlt.errors import UserError
from jaxlt.modules.delta_files import INDICES, VALUES, Stored
from jaxlt.modules.deltas import check_start
from jaxlt.modules.fingerprints import Fingerprint


@dataclasses.dataclass(frozen=True)
class Position:
    """Where a run is: all of a checkpoint that is not an array."""

    step: int
    seed: int
    data_fingerprint: str
    languages: tuple[str, ...]
    base_origin: dict[str, str]
    base_fingerprint: str  # of the backbone as the run found it
    frozen_fingerprint: str  # of the frozen part of the backbone
    vocabulary: str = ""  # fingerprint of the vocabulary, where the data has one
    best: float | None = None
    best_step: int | None = None
    best_tie: float | None = None  # what decides between it and an equal one
    bad_evaluations: int = 0
    evaluation: dict[str, float] = dataclasses.field(default_factory=dict)
    evaluated_step: int | None = None  # of `evaluation`
    skipped_steps: int = 0
    language_tokens: dict[str, int] = dataclasses.field(default_factory=dict)  # targets so far
    deltas_fingerprint: str = ""  # of the deltas that are read from files and stay as they are
    devices: int = 0  # that it was on
    rows_per_device: int = 0  # that a device had at once when the run began
    base_parts: dict[str, str] = dataclasses.field(default_factory=dict)  # fingerprints by stack
    warmup_steps: int | None = None  # of the schedule, however long the run is made later on

    @property
    def backbone(self) -> Fingerprint:
        """The backbone as the run found it."""
        return Fingerprint(self.base_fingerprint, self.base_parts)

    def after_evaluation(
        self, metrics: dict[str, float], value: float | None, mode: str, tie: float | None = None
    ) -> "Position":
        """Takes the metrics of an evaluation at this step; `value` is the one that decides on best.

        Brings best and patience up to date: NaN is never better. An equal value is, where its `tie`
        is less: a score that is flat while the loss still falls stops nothing.
        """
        now = dataclasses.replace(self, evaluation=metrics, evaluated_step=self.step)
        if value is None:
            return now
        sign = -1 if mode == "min" else 1
        better = self.best is None or sign * value > sign * self.best
        if value == self.best and tie is not None and self.best_tie is not None:
            better = tie < self.best_tie
        if not math.isnan(value) and better:
            now = dataclasses.replace(now, best=value, best_step=self.step, best_tie=tie)
            return dataclasses.replace(now, bad_evaluations=0)
        return dataclasses.replace(now, bad_evaluations=self.bad_evaluations + 1)


def _backbone_fingerprint(flat: Mapping[str, Any]) -> str:
    return fingerprint({n: v for n, v in flat.items() if n.startswith("params/")})


def rows_at_once(checkpoints: Checkpoints) -> int | None:
    """The rows that a device had at once when the run began; None for one that is to begin."""
    position = saved_position(checkpoints)
    return None if position is None else position.rows_per_device or None


def saved_position(checkpoints: Checkpoints) -> Position | None:
    """Where the newest checkpoint is; None for a run that is to begin."""
    latest = checkpoints.latest()
    return None if latest is None else position_of(checkpoints.meta(latest))


def _parts(program: Program, data: BatchSource) -> int:
    """In how many parts a batch of the data is taken."""
    spec = program.spec
    return batch_parts(data.batch_size, spec.mesh, spec.accumulate, spec.rows_per_device)


def start(
    job: Job,
    program: Program,
    data: BatchSource,
    checkpoints: Checkpoints,
    base: BaseSource | None,
    say: Reporter,
    vocabulary: str = "",
    modules: ModuleValues | None = None,
) -> tuple[TrainState, Position]:
    """Makes the state at step 0, and writes down what a resumption could not find again."""
    state, position, drawn = fresh(job, program, data, base, say.note, vocabulary, modules)
    files = set(deltas_on_file(program.layout))
    kept = {n: state.frozen[n] for n in drawn if n in state.frozen and n not in files}
    checkpoints.forget_base()  # of a start that came to no checkpoint, perhaps with another config
    if kept:
        checkpoints.save_base(kept, {"seed": job.train.seed})
    return state, dataclasses.replace(
        position,
        frozen_fingerprint=_backbone_fingerprint(state.frozen),
        deltas_fingerprint=fingerprint({n: state.frozen[n] for n in files}) if files else "",
    )


def fresh(
    job: Job,
    program: Program,
    data: BatchSource,
    base: BaseSource | None,
    note: Callable[[str], object],
    vocabulary: str = "",
    modules: ModuleValues | None = None,
) -> tuple[TrainState, Position, list[str]]:
    """Makes the state at step 0; returns it, its Position, and which leaves no file holds.

    note hears what there is to say of it. The Position has no hash of what is frozen: a run in
    memory is not resumed.
    """
    layout = program.layout
    drawn: list[str] = []
    state = make_state(
        layout,
        program.optimizer,
        job.train.seed,
        base,
        encoder=job.model.is_encoder,
        loss_scaling=program.loss_scaling,
        on_drawn=drawn.extend,
    )
    backbone, given = base_fingerprint(state), set[str]()
    check_start(job.model.deltas, backbone)
    if modules is not None:
        values = modules.values(backbone)
        state, given = _with_modules(state, layout, values), set(values)
        for line in modules.told(backbone):
            note(line)
    stored = deltas_on_file(layout)
    anew = [name for name in drawn if name not in given and name not in stored]
    if base is not None and anew:
        where = base.origin.get("path", "the base")
        note(f"Not in {where}, drawn from the seed: {_brief(anew)}.")
    if base is None or "path" not in base.origin:  # in memory, where nobody finds it again
        drawn = list(layout.leaves)
    position = Position(
        step=0,
        seed=job.train.seed,
        data_fingerprint=data.fingerprint,
        languages=tuple(data.languages),
        base_origin=dict(base.origin) if base is not None else {"format": "drawn from the seed"},
        base_fingerprint=backbone.whole,
        base_parts=dict(backbone.parts),
        frozen_fingerprint="",
        vocabulary=vocabulary,
        devices=program.spec.mesh.size,
        rows_per_device=data.batch_size // batch_shards(program.spec.mesh) // _parts(program, data),
        warmup_steps=job.schedule.warmup_steps,
    )
    return state, position, drawn


def deltas_on_file(layout: Layout) -> list[str]:
    """Leaves that do not train at all and are read from a file each time, as a base is.

    They are of deltas, and of the teacher of a loss.

    So a run's frozen delta can be exchanged for another where it is only evaluated.
    """
    stored = [n for n in layout.frozen if isinstance(layout.leaves[n].init, Stored)]
    return [n for n in stored if n.replace(INDICES, VALUES) not in layout.trainable]


def _with_modules(
    state: TrainState, layout: Layout, values: Mapping[str, np.ndarray]
) -> TrainState:
    """Puts given values in the place of drawn ones."""

    def given(flat: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        return {
            n: jax.device_put(values[n].astype(layout.dtypes[n]), layout.shardings[n])
            if n in values
            else old
            for n, old in flat.items()
        }

    return state.replace(trainable=given(state.trainable), frozen=given(state.frozen))


def _brief(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def save(
    checkpoints: Checkpoints, state: TrainState, position: Position, counts: Mapping[str, Any]
) -> Position:
    """Hands a checkpoint to the background writer, with the metrics found at this step.

    counts: fields of the position to bring up to date. Returns the position as it was saved.
    """
    position = dataclasses.replace(position, **counts)
    metrics = position.evaluation if position.evaluated_step == position.step else None
    checkpoints.save(position.step, arrays_of(state), dataclasses.asdict(position), metrics=metrics)
    return position


def position_of(meta: Mapping[str, Any]) -> Position:
    """The Position that a checkpoint's record holds."""
    known = {f.name for f in dataclasses.fields(Position)}
    kept = {name: value for name, value in meta.items() if name in known}
    return Position(**kept | {"languages": tuple(meta["languages"])})


def arrays_of(state: TrainState) -> dict[str, Any]:
    """The arrays of a checkpoint; of an abstract state their shapes and shardings."""
    extra: dict[str, Any] = {"step": state.step}
    if state.loss_scale is not None:
        extra |= {"loss_scale": state.loss_scale.scale, "good_steps": state.loss_scale.good_steps}
    return {"trainable": state.trainable, "optimizer": state.optimizer, "extra": extra}


def restore(
    job: Job,
    program: Program,
    data: BatchSource,
    checkpoints: Checkpoints,
    base: BaseSource | None,
    say: Reporter,
    vocabulary: str = "",
) -> tuple[TrainState, Position]:
    """Reads the newest complete checkpoint onto this mesh, and the frozen part beside it."""
    step = checkpoints.latest()
    assert step is not None
    arrays, meta = checkpoints.restore(step, arrays_of(abstract_state(program)))
    position = position_of(meta)
    check_position(job, data, checkpoints, position, vocabulary)
    frozen = own_frozen_part(job, program, checkpoints, base, position)
    state = state_of(arrays, frozen)
    say.note(f"Resumed from step {position.step} of {checkpoints.workdir}.")
    devices = program.spec.mesh.size
    if position.devices not in (0, devices):
        parts = _parts(program, data)
        say.note(
            f"It was saved on {position.devices} device(s); {devices} now take its batches of "
            f"{data.batch_size} rows{f' in {parts} parts' if parts > 1 else ''}."
        )
    warm = job.schedule.warmup_steps
    return state, dataclasses.replace(position, devices=devices, warmup_steps=warm)


def state_of(arrays: Mapping[str, Any], frozen: dict[str, Any]) -> TrainState:
    """The state that `arrays_of` took apart, with its frozen part."""
    extra = arrays["extra"]
    scale = LossScale(extra["loss_scale"], extra["good_steps"]) if "loss_scale" in extra else None
    return TrainState(extra["step"], arrays["trainable"], frozen, arrays["optimizer"], scale)


def own_frozen_part(
    job: Job,
    program: Program,
    checkpoints: Checkpoints,
    base: BaseSource | None,
    position: Position,
) -> dict[str, jax.Array]:
    """The `frozen_part` of a run that goes on, whose frozen deltas have to be its own as well."""
    frozen = frozen_part(job, program, checkpoints, base, position)
    files = deltas_on_file(program.layout)
    found = fingerprint({n: frozen[n] for n in files}) if files else ""
    if found != position.deltas_fingerprint:
        raise UserError(
            "What is read from files and stays as it is (frozen deltas, the teacher of "
            f"Distillation) is not what {checkpoints.workdir} was trained on: its content hash is "
            f"{found}, the checkpoint's is {position.deltas_fingerprint}. Give the former files as "
            "delta.file, or as Distillation.teacher."
        )
    return frozen


def check_position(
    job: Job, data: BatchSource, checkpoints: Checkpoints, position: Position, vocabulary: str
) -> None:
    """Raises UserError where a saved position is of another seed, vocabulary or data."""
    if position.seed != job.train.seed:
        raise UserError(
            f"{checkpoints.workdir} was trained with TrainConfig.seed = {position.seed}, not "
            f"{job.train.seed}: give the former, or start in a new workdir."
        )
    if vocabulary and position.vocabulary not in ("", vocabulary):
        raise UserError(
            f"The vocabulary is not the one that {checkpoints.workdir} was trained with (by the "
            "fingerprint of its content): its embeddings would mean nothing. Give the former "
            "DataConfig.vocabulary, or start in a new workdir."
        )
    if position.data_fingerprint != data.fingerprint:
        raise UserError(
            f"The data of this run is not the data of {checkpoints.workdir} (step "
            f"{position.step}): mixture, files, lengths, vocabulary, batch size or DataConfig.seed "
            "differ, so the position in it means nothing. Give the former data, or start in a new "
            f"workdir with INIT_FROM = '{checkpoints.workdir}'."
        )


def frozen_part(
    job: Job,
    program: Program,
    checkpoints: Checkpoints,
    base: BaseSource | None,
    position: Position,
) -> dict[str, jax.Array]:
    """The frozen parameters, from where they came and from `workdir/base`; checked by hash."""
    layout = program.layout
    if not layout.frozen:
        return {}
    held = load_base(layout, base, job.model.is_encoder, layout.frozen) if base is not None else {}
    check_start(job.model.deltas, position.backbone)
    held |= draw_params(layout, deltas_on_file(layout), job.train.seed)
    missing = [n for n in layout.frozen if n not in held]
    if layout.frozen_model and base is None and "path" in position.base_origin:
        raise UserError(
            f"{checkpoints.workdir} holds what was trained on a frozen base, read from "
            f"'{position.base_origin['path']}', and not that base itself: give it again as "
            "INIT_FROM."
        )
    if missing:
        held |= checkpoints.restore_base(layout.abstract(missing))[0]
    found = _backbone_fingerprint(held)
    if found != position.frozen_fingerprint:
        raise UserError(
            f"The frozen base is not the one that {checkpoints.workdir} was trained on: its "
            f"content hash is {found}, the checkpoint's is {position.frozen_fingerprint} (it came "
            f"from {position.base_origin.get('path', 'the seed')}). Give that INIT_FROM again."
        )
    return {n: held[n] for n in layout.frozen}
