"""Runs with folders, trained side by side: a group is begun or resumed, and saved as one unit.

    entries = [Entry(f"seed {n}", job, data, workdir) for n, (job, workdir) in enumerate(...)]
    outcomes = train_many(entries, folder)       # folder: the group's own Workdir
    [(one.name, one.ended, one.why) for one in outcomes]   # ('seed 1', 'failed', 'Stopped...')

On the way the group's folder holds the states of all members, and the best of each beside the last.
At the end each member's workdir becomes that of an ordinary run, which `jaxlt eval`, `infer` and
`train` open.
"""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from etils import epath

from jaxlt.data.rows.batches import BatchSource
from jaxlt.engine.checkpoint.checkpoints import Checkpoints
from jaxlt.engine.checkpoint.workdir import Workdir
from jaxlt.engine.config import CheckpointConfig, Job
from jaxlt.engine.evaluator import Evaluator
from jaxlt.engine.fit_members import FAILED, Member, check_batches, fit_members
from jaxlt.engine.hosts.signals import Preemption
from jaxlt.engine.log.history import History
from jaxlt.engine.log.reporter import Reporter
from jaxlt.engine.loop import Outcome, begin_telling, check_job, program_of
from jaxlt.engine.members import Members, members_of, side_by_side
from jaxlt.engine.optim.pace import Pace, spare
from jaxlt.engine.resume import (
    Position,
    arrays_of,
    check_position,
    own_frozen_part,
    position_of,
    restore,
    save,
    start,
    state_of,
)
from jaxlt.engine.state import BaseSource, ModuleValues, TrainState
from jaxlt.engine.step import Program, sweepable
from jaxlt.errors import UserError


@dataclasses.dataclass(frozen=True)
class Entry:
    """A run that is to be a member: its name, and what `jaxlt.engine.loop.train` takes of it.

    about: fields of its Results; without them none are kept.
    """

    name: str
    job: Job
    data: BatchSource
    workdir: Workdir
    evaluators: Sequence[Evaluator] = ()
    base: BaseSource | None = None
    vocabulary: str = ""
    modules: ModuleValues | None = None
    about: Mapping[str, Any] | None = None

    @property
    def checkpoints(self) -> Checkpoints:
        """Those of its own workdir."""
        return Checkpoints(self.workdir.path, self.job.checkpoint)


@dataclasses.dataclass
class MemberOutcome(Outcome):
    """How a member ended: as a run does, or 'failed', and why."""

    name: str
    why: str = ""


class Files(Reporter):
    """Writes the files of a member's workdir; the screen is its group's."""

    @contextlib.contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """Says nothing."""
        yield


def train_many(
    entries: Sequence[Entry],
    folder: Workdir,
    *,
    reporter: Reporter | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> list[MemberOutcome]:
    """Trains all entries as one group, from its newest checkpoint or from their starts.

    devices: those that the members are laid over, as many as divide their number.
    """
    config = entries[0].job.train
    saved = Saved.newest(folder.path, [entry.name for entry in entries])
    group, programs = group_of(entries, devices, saved)
    say = reporter or Reporter(folder.path, config.steps, tensorboard=False)

    with contextlib.ExitStack() as opened:  # closed, last first, however the group ends
        opened.callback(say.close)
        preemption = opened.enter_context(Preemption())
        silent = opened.enter_context(open(os.devnull, "w", encoding="utf-8"))

        # --- where we are -------------------------------------------------------------------------
        files = [
            opened.enter_context(Files(entry.workdir.path, config.steps, silent, about=entry.about))
            for entry in entries
        ]
        histories = [History(also=own) for own in files]
        with say.busy("preparing the parameters"):
            if saved is None:
                states = _begin(entries, group, histories, say)
            else:
                states = _restore(entries, group, histories, saved)
                say.note(f"Resumed from step {saved.step} of {folder.path}.")
        stands = [history.position.step for history in histories if history.position]
        telling = (entries[0].job, group.program, entries[0].data)
        begin_telling(say, *telling, max(stands), group.count)
        for own, step in zip(files, stands, strict=True):
            begin_telling(own, *telling, step)

        # --- the steps, and the end ---------------------------------------------------------------
        alike = len({entry.data.fingerprint for entry in entries}) == 1
        last, told = fit_members(
            group,
            states,
            entries[0].data if alike else [entry.data for entry in entries],
            [
                Pace(entry.job, program, entry.data.languages).at
                for entry, program in zip(entries, programs, strict=True)
            ],
            config.steps,
            evaluators=[entry.evaluators for entry in entries],
            settings=config,
            best=entries[0].job.checkpoint,
            histories=histories,
            keeper=opened.enter_context(GroupSaves(folder, entries, group, preemption, say)),
        )

    ended = zip(entries, programs, last, told, strict=True)
    return [_written(*parts) for parts in ended]


# --- members of one shape -------------------------------------------------------------------------


def group_of(
    entries: Sequence[Entry], devices: Sequence[jax.Device] | None, saved: "Saved | None" = None
) -> tuple[Members, list[Program]]:
    """The group of these runs, and of each its own program, on one device.

    Raises UserError, naming a setting, where they are not of one shape.
    """
    if jax.process_count() > 1:
        raise UserError("Members are trained by one process, and this run has several hosts.")
    check_batches([entry.data for entry in entries], [entry.name for entry in entries])
    rows = saved.positions[0].rows_per_device or None if saved else None
    programs = []
    for entry in entries:
        _check_alike(entries[0], entry)
        languages = spare(entry.job.model, entry.data.languages)
        alone = members_of(program_of(entry.job, devices, languages, rows), 1).program
        check_job(entry.job, entry.data, entry.checkpoints, alone.spec.mesh)
        programs.append(alone)
    for entry, program in zip(entries, programs, strict=True):
        specs = programs[0].spec, program.spec
        _refuse(entries[0], entry, *specs, *(sweepable(spec)[0] for spec in specs))
    whole = program_of(entries[0].job, devices, programs[0].spec.languages, rows)
    return members_of(whole, len(entries)), programs


def _check_alike(first: Entry, other: Entry) -> None:
    """Raises UserError where two runs do not go alike, whatever is compiled for them."""
    train, others = (  # but for what may differ
        dataclasses.replace(entry.job.train, seed=0, route_rates=()) for entry in (first, other)
    )
    for old, new in (
        (train, others),
        (first.job.mesh, other.job.mesh),
        (first.job.checkpoint, other.job.checkpoint),
    ):
        _refuse(first, other, old, new)


def _refuse(first: Entry, other: Entry, old: Any, new: Any, *shapes: Any) -> None:
    """Raises UserError that names the field in which two configs differ, if they do.

    shapes: what is compared in their place, where they may differ in numbers.
    """
    path = _unlike(*(shapes or (old, new)))
    if not path:
        return
    owner = functools.reduce(getattr, path[:-1], old)
    mine, theirs = (functools.reduce(getattr, path, config) for config in (old, new))
    name = f"{type(owner).__name__}.{path[-1]}"
    raise UserError(
        f"Members of a group are of one shape, and {name} is {mine!r} in {first.name} and "
        f"{theirs!r} in {other.name}: give them one value (what may differ are seeds, rates, data "
        "of equal shape, starts, and numbers such as weight decay that are on in all or in none), "
        "or train them one by one."
    )


def _unlike(old: Any, new: Any) -> tuple[str, ...]:
    """The innermost field in which two configs differ, with those that lead to it; () if none."""
    if type(old) is type(new) and dataclasses.is_dataclass(old):
        for field in dataclasses.fields(old):
            mine, theirs = getattr(old, field.name), getattr(new, field.name)
            if mine != theirs:
                return field.name, *_unlike(mine, theirs)
    return ()


# --- the start ------------------------------------------------------------------------------------


def _begin(
    entries: Sequence[Entry], group: Members, histories: Sequence[History], say: Reporter
) -> TrainState:
    """The joined states of runs that start, or go on from checkpoints of their own."""
    states: list[TrainState] = []
    for entry, history in zip(entries, histories, strict=True):
        own = entry.checkpoints
        begin = functools.partial(start, modules=entry.modules) if own.latest() is None else restore
        parts = (entry.job, group.program, entry.data, own, entry.base, say, entry.vocabulary)
        state, history.position = begin(*parts)
        if states and _same(states[0].frozen, state.frozen):
            state = state.replace(frozen=states[0].frozen)
        states.append(state)
    return group.join(states)


@jax.jit
def _equal(one: Any, other: Any) -> jax.Array:
    bits = jax.tree.leaves(jax.tree.map(lambda a, b: jnp.all(a == b), one, other))
    return jnp.all(jnp.stack(bits))


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two frozen parts are equal to the bit, so that one of them is enough."""
    return not one or bool(_equal(dict(one), dict(other)))


@dataclasses.dataclass(frozen=True)
class Saved:
    """The newest checkpoint of a group."""

    checkpoints: Checkpoints
    step: int
    positions: list[Position]
    best: list[Position | None]
    failed: list[str | None]  # why, of members that did

    @classmethod
    def newest(cls, folder: epath.PathLike, names: Sequence[str]) -> "Saved | None":
        """Reads its record; None where the group is to begin."""
        checkpoints = Checkpoints(folder)
        step = checkpoints.latest()
        if step is None:
            return None
        meta = checkpoints.meta(step)
        if meta["members"] != list(names):
            raise UserError(
                f"The group in {folder} has the members {', '.join(meta['members'])}, and not "
                f"{', '.join(names)}: give the former, or another folder."
            )
        best = [position_of(one) if one else None for one in meta["best"]]
        positions = [position_of(one) for one in meta["positions"]]
        return cls(checkpoints, step, positions, best, meta["failed"])


def _restore(
    entries: Sequence[Entry], group: Members, histories: Sequence[History], saved: Saved
) -> TrainState:
    """The joined states of a group's checkpoint; brings the histories to where they were."""
    wanted = {"last": arrays_of(group.abstract())}
    if any(saved.best):
        wanted["best"] = wanted["last"]
    frozen: list[dict[str, Any]] = []
    for k, (entry, history) in enumerate(zip(entries, histories, strict=True)):
        own, position = entry.checkpoints, saved.positions[k]
        check_position(entry.job, entry.data, own, position, entry.vocabulary)
        part = own_frozen_part(entry.job, group.program, own, entry.base, position)
        frozen.append(frozen[0] if frozen and _same(frozen[0], part) else part)
        history.position, history.best_position = position, saved.best[k]
        if (why := saved.failed[k]) is not None:
            history.ended = FAILED
            history.note(why)
    arrays, _ = saved.checkpoints.restore(saved.step, wanted)
    together = group.join_frozen(frozen)
    for k, history in enumerate(histories):
        if history.best_position is not None:
            history.best = group.member(state_of(arrays["best"], together), k)
    return state_of(arrays["last"], together)


# --- what is kept ---------------------------------------------------------------------------------


class GroupSaves:
    """Keeps a group's states in its folder: each so many steps, and the last.

    A context manager: the last save is complete, or given up, when it ends.
    """

    def __init__(
        self,
        folder: Workdir,
        entries: Sequence[Entry],
        group: Members,
        preemption: Preemption,
        say: Reporter,
    ):
        self._checkpoints = Checkpoints(folder.path, CheckpointConfig(keep=1))
        self._names, self._job = [entry.name for entry in entries], entries[0].job
        self._group, self._preemption, self._say = group, preemption, say

    def __enter__(self) -> "GroupSaves":
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        if failed is not None:
            self._checkpoints.abandon()
            return
        with self._say.busy("saving the group"):
            self._checkpoints.wait()

    def keep(self, states: TrainState, runs: Sequence[Member], ended: bool) -> bool:
        """Hands states that are to be kept to the background writer; ends where a signal asks."""
        step = max(run.position.step for run in runs)
        self._say.tick(step)
        asked = not ended and self._preemption.asked(step)
        if ended or asked or step % self._job.checkpoint.every == 0:
            self._save(step, states, runs)
        losses = [run.history.steps[-1]["loss"] for run in runs if run.history.steps]
        if losses and step % self._job.train.log_every == 0:
            self._say.log(step, {"loss": sum(losses) / len(losses)})
        return asked

    def _save(self, step: int, states: TrainState, runs: Sequence[Member]) -> None:
        positions = [dataclasses.asdict(run.counted()) for run in runs]
        best = [run.history.best for run in runs]
        arrays = {"last": arrays_of(states)}
        if any(state is not None for state in best):
            each = [  # a member that has none yet holds its place by the state it has
                arrays_of(self._group.member(states, k) if state is None else state)
                for k, state in enumerate(best)
            ]
            arrays["best"] = jax.device_put(side_by_side(each), self._group.each)
        where = [run.history.best_position for run in runs]
        meta = {
            "members": self._names,
            "positions": positions,
            "best": [None if one is None else dataclasses.asdict(one) for one in where],
            "failed": [run.history.notes[-1] if run.ended == FAILED else None for run in runs],
        }
        self._checkpoints.save(step, arrays, meta)


def _written(entry: Entry, program: Program, state: TrainState, history: History) -> MemberOutcome:
    """Makes a member's workdir that of an ordinary run, unless it goes on with its group."""
    checkpoints, position = entry.checkpoints, history.position
    assert position is not None
    failed, best = history.ended == FAILED, history.best_position
    if history.ended != "preempted":
        if best is not None and history.best is not None and entry.job.checkpoint.keep_best > 0:
            save(checkpoints, history.best, best, {})
        if not failed:
            save(checkpoints, state, position, {})
        checkpoints.wait()
    return MemberOutcome(
        state,
        program,
        history.ended,
        dict(history.steps[-1]) if history.steps else {},
        position,
        checkpoints,
        entry.name,
        history.notes[-1] if failed else "",
    )
