"""The training loop, in reading order; in memory, without a folder and without a word.

    state, history = fit(program, state, batches, pace.at, steps=400)
    history.steps[-1]["loss"]           # a record a step; history.evaluations, .found, .position

`jaxlt.engine.loop.train` is this loop with a folder: checkpoints, resumption, signals, a screen.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jaxlt.data.near import nearest_language
from jaxlt.data.rows.batches import BatchSource
from jaxlt.engine import compilation
from jaxlt.engine.batch_checks import slots_of
from jaxlt.engine.config import CheckpointConfig, TrainConfig
from jaxlt.engine.evaluator import Evaluator, evaluate
from jaxlt.engine.feed import Feed
from jaxlt.engine.log.history import History
from jaxlt.engine.log.journal import Journal
from jaxlt.engine.resume import Position
from jaxlt.engine.state import TrainState
from jaxlt.engine.step import Hyper, Program
from jaxlt.errors import UserError
from jaxlt.modules.routing import cycled

Pacing = Callable[[int], Hyper]  # of the step that leads from `step` to `step` + 1


class Keeper(Protocol):
    """What keeps states on the way."""

    def keep(
        self,
        state: TrainState,
        position: Position,
        ended: str | None,
        counts: Callable[[], Mapping[str, Any]],
    ) -> tuple[Position, str | None]:
        """Keeps a state, if this is one to keep; counts() brings fields of the position up to date.

        ended: why the run ends here, if it does. Returns the position as it was kept, and why the
        run is to end, if it is.
        """
        ...


class InMemory:
    """Keeps the best state of a run, by the metric that decides."""

    def __init__(self) -> None:
        self.best: TrainState | None = None
        self.best_position: Position | None = None

    def keep(
        self,
        state: TrainState,
        position: Position,
        ended: str | None,
        counts: Callable[[], Mapping[str, Any]],
    ) -> tuple[Position, str | None]:
        """Copies the state that is the best so far."""
        if position.best_step == position.step:
            self.best, self.best_position = copied(state), dataclasses.replace(position, **counts())
        return (dataclasses.replace(position, **counts()) if ended else position), ended


def fit(
    program: Program,
    state: TrainState,
    batches: BatchSource | Feed,
    hyper: Pacing | Hyper,
    steps: int,
    *,
    evaluators: Sequence[Evaluator] = (),
    settings: TrainConfig | None = None,
    best: CheckpointConfig | None = None,
    position: Position | None = None,
    journal: Journal | None = None,
    keeper: Keeper | None = None,
    donate: bool = False,
) -> tuple[TrainState, History]:
    """Trains from the step of `state` to `steps`; returns the last state and what was seen.

    state: stays as it is, unless it is given away (`donate`), so that a second call gives the same.
    hyper: of each step (`jaxlt.engine.optim.pace.Pace.at`), or one for all.
    settings: eval_every, patience, on_nan, max_loss, cycle as `TrainConfig` has them; evaluators
    run at the end in any case. best: the metric that patience and `history.best` go by.
    position: where the run is, for one that goes on (`history.position`).
    """
    # --- what stands around the steps -------------------------------------------------------------
    compilation.room()  # of the runs before
    config = dataclasses.replace(settings or TrainConfig(steps), steps=steps)
    best = best or CheckpointConfig()
    position = position or begun(int(state.step), batches)
    # A step is asked for twice, when it is made and when its numbers are looked at, one step later.
    at: Pacing = functools.lru_cache(2)(hyper) if callable(hyper) else lambda _: hyper
    keeper, heard = keeper or InMemory(), getattr(journal, "say", None)
    history = heard if isinstance(heard, History) else History()
    state = state if donate else copied(state)
    ended = over(position, config)  # a run that ended may be started again: it ends again

    with contextlib.ExitStack() as opened:
        feed = batches
        if not isinstance(feed, Feed):
            feed = opened.enter_context(feed_of(config, program, feed, position.step, ended))
        journal = journal or Journal(config, rate_of(at), position.languages, position, history)
        opened.enter_context(journal)

        for step, batch, languages in journal.over(feed):
            # --- a step ---------------------------------------------------------------------------
            state, metrics = program.train(state, batch, at(step))
            journal.after(step, batch, languages, metrics)
            position = dataclasses.replace(position, step=step + 1)

            # --- evaluation -----------------------------------------------------------------------
            every = config.eval_every or steps
            if evaluators and (position.step == steps or position.step % every == 0):
                journal.settle()
                position = evaluate(evaluators, program, state, position, best, journal.say)

            # --- what is kept, and the end --------------------------------------------------------
            ended = over(position, config)
            position, ended = keeper.keep(state, position, ended, journal.counts)
            if ended:
                break

    # --- the end ----------------------------------------------------------------------------------
    history.position, history.ended = position, ended or "done"
    if isinstance(keeper, InMemory):
        history.best, history.best_position = keeper.best, keeper.best_position
    return state, history


def copied(state: TrainState) -> TrainState:
    """The state with copies of all that a step gives away; what is frozen is only read."""
    copies = jax.tree.map(jnp.copy, state.replace(frozen={}))
    return copies.replace(frozen=state.frozen)


def over(position: Position, config: TrainConfig) -> str | None:
    """Why a run at this position has nothing left to do, or None."""
    if position.step >= config.steps:
        return "done"
    return "patience" if 0 < config.patience <= position.bad_evaluations else None


def feed_of(
    config: TrainConfig, program: Program, data: BatchSource, step: int, ended: str | None = None
) -> Feed:
    """The batches from `step` on, none of a run that has ended; checked for slots no bank has."""
    slots, cycle = slots_of(program.spec.model, program.spec.languages), None
    for name in config.cycle:
        if name not in data.languages:
            raise UserError(
                f"TrainConfig.cycle names '{name}', which is no language of the data."
                f"{nearest_language(name, data.languages)} It has {', '.join(data.languages)}."
            )
    if config.cycle:
        turns = [data.languages.index(name) for name in config.cycle]
        cycle = functools.partial(cycled, config.seed, slots=turns, by=config.cycle_by)
    stop = config.steps if ended is None else 0
    return Feed(data, program.spec.mesh, step, stop, slots=slots, cycle=cycle)


def begun(step: int, batches: BatchSource | Feed) -> Position:
    """Where a run in memory begins: nothing is known of where its state came from."""
    return Position(
        step=step,
        seed=0,
        data_fingerprint=getattr(batches, "fingerprint", ""),
        languages=tuple(getattr(batches, "languages", ())),
        base_origin={},
        base_fingerprint="",
        frozen_fingerprint="",
    )


def rate_of(at: Pacing) -> Callable[[int], float]:
    """The learning rate by step."""
    return lambda step: float(at(step).learning_rate)
