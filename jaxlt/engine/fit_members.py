"""The training loop of several runs at once: `fit`, with the members of a group side by side.

    group = members_of(program, 3)
    states, histories = fit_members(group, states, batches, [pace.at for pace in paces], steps=400)

Each member is evaluated, stops and fails by itself; one that is over keeps its state while the
others go on. What it ends with is what `fit` gives it alone.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxlt.data.rows.batches import BatchSource
from jaxlt.engine.batch_checks import slots_of
from jaxlt.engine.config import CheckpointConfig, TrainConfig
from jaxlt.engine.evaluator import Evaluator, evaluate
from jaxlt.engine.feed import Batch, Feed, host_rows
from jaxlt.engine.fit import Pacing, begun, over, rate_of
from jaxlt.engine.log.history import History
from jaxlt.engine.log.journal import Journal
from jaxlt.engine.members import Members, side_by_side
from jaxlt.engine.resume import Position
from jaxlt.engine.state import TrainState
from jaxlt.engine.step import Hyper
from jaxlt.errors import UserError

FAILED = "failed"  # how a member ended whose loss was not finite; its notes say why
Fields = dict[str, np.ndarray]


class Numbers:
    """What a step tells of all members, each [K]; fetched when it is first looked at."""

    def __init__(self, metrics: Mapping[str, jax.Array]):
        self._metrics = metrics

    @functools.cached_property
    def _fetched(self) -> dict[str, np.ndarray]:
        return jax.device_get(dict(self._metrics))

    def of(self, index: int) -> dict[str, np.ndarray]:
        """One member's."""
        return {name: values[index] for name, values in self._fetched.items()}


class Paces:
    """The members' Hypers by step, each leaf [K]; of most only the learning rate changes."""

    def __init__(self, group: Members, hypers: Sequence[Pacing]):
        self._group, self._hypers = group, hypers
        self._of: list[Any] = []  # what `_joined` was made of
        self._joined: Hyper | None = None

    def at(self, step: int) -> Hyper:
        """Those of the step that leads from `step` to `step` + 1."""
        each = [hyper(step) for hyper in self._hypers]
        rates = [hyper.learning_rate for hyper in each]
        each = [self._group.program.complete(hyper.replace(learning_rate=0)) for hyper in each]
        leaves = jax.tree.leaves(each)
        if self._joined is None or any(a is not b for a, b in zip(leaves, self._of, strict=True)):
            self._of = leaves
            self._joined = jax.device_put(side_by_side(each), self._group.each)
        return self._joined.replace(learning_rate=_stack(rates))


@jax.jit
def _stack(numbers: Sequence[Any]) -> jax.Array:
    return jnp.stack(numbers)


class Member:
    """One of the runs: where it is, what was seen of it, and why it ended, if it did."""

    def __init__(
        self,
        index: int,
        config: TrainConfig,
        position: Position,
        hyper: Pacing,
        evaluators: Sequence[Evaluator],
        history: History,
    ):
        self.index, self.config, self.hyper = index, config, hyper
        self.position, self.evaluators, self.history = position, evaluators, history
        self.journal = Journal(config, rate_of(hyper), position.languages, position, history)
        # A run that ended may be started again: it ends again.
        self.ended = FAILED if history.ended == FAILED else over(position, config)
        self._waiting: tuple[int, Fields, Numbers] | None = None

    def take(self, step: int, fields: Fields, numbers: Numbers) -> None:
        """Has a step behind it, whose numbers are still being computed."""
        self._waiting = step, fields, numbers
        self.position = dataclasses.replace(self.position, step=step + 1)

    def settle(self) -> None:
        """Looks at the step in hand; a loss that is not finite ends the member."""
        if self._waiting is None:
            return
        (step, fields, numbers), self._waiting = self._waiting, None
        languages = fields.get("language", np.zeros(0, np.int32))
        try:
            self.journal.after(step, fields, languages, numbers.of(self.index))
            self.journal.settle()
        except UserError as error:
            self.history.note(str(error))
            self.ended = FAILED

    def evaluate(self, group: Members, states: TrainState, best: CheckpointConfig) -> None:
        """Runs its evaluators on its own state, which is kept where it is the best."""
        state = group.member(states, self.index)
        parts = (self.evaluators, group.program, state, self.position, best, self.history)
        self.position = evaluate(*parts)
        if self.position.best_step == self.position.step:
            self.history.best, self.history.best_position = state, self.counted()

    def counted(self) -> Position:
        """Its position with all that is counted brought up to date."""
        self.settle()
        if self.ended != FAILED:
            self.position = dataclasses.replace(self.position, **self.journal.counts())
        return self.position


class GroupKeeper(Protocol):
    """What keeps the states of a group on the way."""

    def keep(self, states: TrainState, runs: Sequence[Member], ended: bool) -> bool:
        """Keeps them, if they are to be kept; returns whether the group is asked to end.

        ended: whether all members have.
        """
        ...


def fit_members(
    group: Members,
    states: Sequence[TrainState] | TrainState,
    batches: BatchSource | Sequence[BatchSource],
    hypers: Sequence[Pacing],
    steps: int,
    *,
    evaluators: Sequence[Sequence[Evaluator]] = (),
    settings: TrainConfig | None = None,
    best: CheckpointConfig | None = None,
    histories: Sequence[History] = (),
    keeper: GroupKeeper | None = None,
) -> tuple[list[TrainState], list[History]]:
    """Trains all members to `steps`; returns each one's last state and what was seen of it.

    states: one a member, which stay as they are, or as `Members.join` gives them, to be given
    away. batches: one source for all, or one for each. hypers: of each member, by step.
    evaluators: those of each member, if there are any. histories: what is seen is added to them;
    one with a position goes on from there, and one that 'failed' stays as it is. All else is as
    `fit` has it.
    """
    config = dataclasses.replace(settings or TrainConfig(steps), steps=steps)
    best, every = best or CheckpointConfig(), config.eval_every or steps
    sources = [batches] if isinstance(batches, BatchSource) else list(batches)
    _check(group, sources, hypers, config)
    hypers = [functools.lru_cache(2)(hyper) for hyper in hypers]  # as in `fit`
    joined = states if isinstance(states, TrainState) else group.join(states)
    told = histories or [History() for _ in range(group.count)]
    steps_of = joined.step.tolist()
    starts = [
        history.position or begun(steps_of[k], sources[k % len(sources)])
        for k, history in enumerate(told)
    ]
    each, paces = evaluators or [()] * group.count, Paces(group, hypers)
    runs = [
        Member(k, config, *own)
        for k, own in enumerate(zip(starts, hypers, each, told, strict=True))
    ]
    first = _first(runs)

    with _feed(group, sources, config, first, runs) as feed:
        for step, batch, fields in feed:
            # --- a step of each -------------------------------------------------------------------
            now = [run for run in runs if run.ended is None]
            alive = np.array([run.ended is None for run in runs])
            joined, metrics = group.train(joined, batch, paces.at(step), alive, len(sources) > 1)
            numbers = Numbers(metrics)
            for run in now:
                run.settle()  # the step before, while this one is computed
                if run.ended is None:
                    run.take(step, fields[run.index % len(sources)], numbers)

            # --- evaluation, of each --------------------------------------------------------------
            if (step + 1) % every == 0 or step + 1 == steps:
                for run in now:
                    run.settle()
                    if run.evaluators and run.ended is None:
                        run.evaluate(group, joined, best)

            # --- who is over, and the end ---------------------------------------------------------
            for run in now:
                run.ended = run.ended or over(run.position, config)
            done = all(run.ended for run in runs)
            if (keeper is not None and keeper.keep(joined, runs, done)) or done:
                break

    for run in runs:
        run.history.position, run.history.ended = run.counted(), run.ended or "preempted"
    return [group.member(joined, k) for k in range(group.count)], [run.history for run in runs]


def _first(runs: Sequence[Member]) -> int:
    """The step that those stand at which go on; one that is over stays where it ended."""
    stands = {run.position.step for run in runs if run.ended is None}
    if len(stands) > 1:
        raise UserError(
            "Members of a group go on from one step, and these stand at "
            f"{', '.join(str(run.position.step) for run in runs)}: train them one by one."
        )
    return stands.pop() if stands else 0


def check_batches(sources: Sequence[BatchSource], names: Sequence[str]) -> None:
    """Raises UserError where members' batches are not of one shape; names: of the members."""
    shapes = [{name: (s.batch_size, *of) for name, of in s.spec().items()} for s in sources]
    for who, shape in zip(names, shapes, strict=True):
        for name in sorted(shapes[0].keys() | shape.keys()):
            if shape.get(name) != shapes[0].get(name):
                raise UserError(
                    f"Members of a group have batches of one shape, and field '{name}' is "
                    f"{shapes[0].get(name)} in that of {names[0]} and {shape.get(name)} in that of "
                    f"{who}: give them equal lengths and batch sizes, or train them one by one."
                )


def _check(
    group: Members, sources: Sequence[BatchSource], hypers: Sequence[Any], config: TrainConfig
) -> None:
    """Raises UserError for a group that cannot be trained as one."""
    if len(sources) not in (1, group.count) or len(hypers) != group.count:
        raise UserError(
            f"A group of {group.count} members takes one source of batches or {group.count}, and "
            f"{group.count} hypers; it is given {len(sources)} and {len(hypers)}."
        )
    check_batches(sources, [f"member {k} (counted from 0)" for k in range(len(sources))])
    if config.cycle:
        raise UserError(
            "TrainConfig.cycle draws turns by the seed of a run, and members share their batches: "
            "train them one by one, or leave it out."
        )


def _feed(
    group: Members, sources: Sequence[BatchSource], config: TrainConfig, first: int, runs: Any
) -> Feed:
    """Yields (step, batch, the fields that each source gave, on the host)."""
    program = group.program
    slots = slots_of(program.spec.model, program.spec.languages)

    def read(step: int) -> tuple[Batch, list[Fields]]:
        each = [host_rows(s, step, 0, s.batch_size, slots) for s in sources]
        if len(each) == 1:
            return jax.device_put(each[0], group.whole), each
        together = {name: np.stack([fields[name] for fields in each]) for name in each[0]}
        return jax.device_put(together, group.each), each

    stop = config.steps if any(run.ended is None for run in runs) else first
    return Feed(sources[0], program.spec.mesh, first, stop, read=read)
