"""All that is seen of the steps of a run, on the host: traced, counted, checked, logged.

    with Journal(config, pace.rate, data.languages, position, reporter) as journal:
        for step, batch, languages in journal.over(feed):
            state, metrics = program.train(state, batch, pace.at(step))
            journal.after(step, batch, languages, metrics)

The numbers of a step are looked at one step late, so that the devices never wait for the host.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxlt.engine.config import TrainConfig
from jaxlt.engine.feed import Batch, Feed
from jaxlt.engine.log.counters import TokenCounter
from jaxlt.engine.log.history import Listener
from jaxlt.engine.log.profiling import UNTRACED, Recorder
from jaxlt.engine.resume import Position
from jaxlt.errors import UserError

GIVE_UP = 100  # steps skipped in a row after which skipping is no help


class Journal:
    """Watches a run's steps; a context manager, which ends a trace that is left open."""

    def __init__(
        self,
        config: TrainConfig,
        rate: Callable[[int], float],
        languages: Sequence[str],
        position: Position,
        say: Listener,
        recorder: Recorder = UNTRACED,
        last_good: Callable[[], str] = str,
    ):
        """rate: the learning rate of a step; languages: those of the data, by id.

        last_good: says what is left of a run that stops at a bad step.
        """
        self._config, self._rate, self._languages = config, rate, languages
        self._last_good, self.say, self._recorder = last_good, say, recorder
        self._counter = TokenCounter(languages, position.language_tokens)
        self._pending: tuple[int, Any, np.ndarray] | None = None
        self._seen: tuple[int, dict[str, float]] | None = None  # of the last step looked at
        self._skipped, self._in_a_row = position.skipped_steps, 0

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._recorder.close()

    def over(self, feed: Feed) -> Iterator[tuple[int, Batch, np.ndarray]]:
        """The steps of a feed, each announced to the recorder before it is made."""
        self._recorder.start(feed)
        for step, batch, languages in feed:
            self._recorder.before(step, self._pending)
            yield step, batch, languages

    def after(
        self, step: int, batch: Mapping[str, Any], languages: np.ndarray, metrics: Any
    ) -> None:
        """Takes a step's metrics (still being computed), and settles those of the step before.

        languages: the ids in this host's part of the batch.
        """
        self._recorder.after(step, metrics)
        self._counter.add(batch)
        self.say.tick(step + 1)
        self.settle()
        self._pending = (step, metrics, languages)
        if step + 1 == self._config.steps or (step + 1) % self._config.log_every == 0:
            self.settle()
            self.say.log(step + 1, self.metrics | self._counter.metrics())

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers of the last step that was looked at; {} before the first."""
        if self._seen is None:
            return {}
        step, values = self._seen
        rate = self._rate(step)
        return {"learning_rate": rate, **values, "skipped_steps": float(self._skipped)}

    def counts(self) -> dict[str, Any]:
        """What a Position counts; settles the step in hand first, and a bad one stops the run."""
        self.settle()
        return {"skipped_steps": self._skipped, "language_tokens": self._counter.totals()}

    def settle(self) -> None:
        """Waits for the step in hand, and checks it: a bad one is skipped, or stops the run."""
        if self._pending is None:
            return
        (step, pending, languages), self._pending = self._pending, None
        values = {k: float(v) for k, v in jax.device_get(pending).items()}
        ok = bool(values.pop("ok"))
        limit = self._config.max_loss
        scaled = "loss_scale" in values  # float16 skips overflows by itself, and recovers
        why = "" if ok else "is not finite"
        if limit is not None and values["loss"] > limit:
            why = f"is above TrainConfig.max_loss = {limit:g}"
        self._in_a_row = self._in_a_row + 1 if why else 0
        if why and self._config.on_nan == "skip" and self._in_a_row < GIVE_UP:
            self._skipped += 1
            self.say.note(f"Skipped step {step + 1}: {self._story(values, languages, why)}")
        elif why and scaled and not ok and values["loss_scale"] > 1.0:
            self._skipped += 1
        elif why:
            if scaled and not ok:
                why = "cannot be scaled into float16's range"
            self._stop(step, self._story(values, languages, why))
        self._seen = (step, values)
        self.say.seen(step + 1, self.metrics)

    def _stop(self, step: int, story: str) -> None:
        raise UserError(
            f"Stopped at step {step + 1}: {story} {self._last_good()}Lower "
            "ScheduleConfig.learning_rate, set OptimizerConfig.clip_norm, or TrainConfig.on_nan = "
            "'skip'."
        )

    def _story(self, values: Mapping[str, float], languages: np.ndarray, why: str) -> str:
        """What was wrong with a step, and the languages of its batch."""
        names = self._languages
        present = sorted({names[i] for i in languages if i < len(names)})
        return (
            f"the loss ({values['loss']:.4g}, gradient norm {values['grad_norm']:.4g}) {why}. "
            f"Languages in the batch: {', '.join(present)}."
        )
