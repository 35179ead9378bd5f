"""What a run in memory leaves behind: a record a step, evaluations, Results; and who else listens.

history.steps[-1]          # {'step': 400, 'loss': 2.31, 'learning_rate': 0.001, ...}
history.evaluations[-1]    # {'step': 400, 'eval/bpb': 1.9, ...}
"""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from jaxlt.metrics.result import Result

if TYPE_CHECKING:
    from jaxlt.engine.resume import Position
    from jaxlt.engine.state import TrainState


class Listener(Protocol):
    """What hears of the steps of a run: a History, or a Reporter, which shows them."""

    def note(self, text: str) -> None:
        """A line for people."""

    def tick(self, step: int) -> None:
        """A step was dispatched."""

    def seen(self, step: int, values: Mapping[str, float]) -> None:
        """The numbers of a step, as soon as they are there."""

    def log(self, step: int, values: Mapping[str, float]) -> Any:
        """The numbers of every so many steps, with what was counted."""

    def evaluation(self, step: int, values: Mapping[str, float]) -> None:
        """The metrics of an evaluation."""

    def results(self, found: Sequence[Result]) -> None:
        """The Results of an evaluation."""

    def busy(self, what: str) -> contextlib.AbstractContextManager[None]:
        """Something that is no step goes on inside."""
        ...


@dataclasses.dataclass
class History:
    """All that was seen of a run; it says nothing itself.

    best: the state at `best_position`, where a metric decides on it. ended: 'done', 'patience',
    'preempted', or of a member of a group 'failed'. also: who hears of it all besides.
    """

    steps: list[dict[str, float]] = dataclasses.field(default_factory=list)
    evaluations: list[dict[str, float]] = dataclasses.field(default_factory=list)
    found: list[Result] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    position: "Position | None" = None
    ended: str = ""
    best: "TrainState | None" = None
    best_position: "Position | None" = None
    also: "Listener | None" = None

    def note(self, text: str) -> None:
        """Keeps a line for people."""
        self.notes.append(text)
        if self.also is not None:
            self.also.note(text)

    def tick(self, step: int) -> None:
        """Nothing is kept."""
        if self.also is not None:
            self.also.tick(step)

    def seen(self, step: int, values: Mapping[str, float]) -> None:
        """Keeps the numbers of a step."""
        self.steps.append({"step": step, **values})
        if self.also is not None:
            self.also.seen(step, values)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """They are kept already."""
        if self.also is not None:
            self.also.log(step, values)

    def evaluation(self, step: int, values: Mapping[str, float]) -> None:
        """Keeps the metrics of an evaluation."""
        self.evaluations.append({"step": step, **values})
        if self.also is not None:
            self.also.evaluation(step, values)

    def results(self, found: Sequence[Result]) -> None:
        """Keeps the Results of an evaluation."""
        self.found += found
        if self.also is not None:
            self.also.results(found)

    def busy(self, what: str) -> contextlib.AbstractContextManager[None]:
        """Nothing is kept."""
        return contextlib.nullcontext() if self.also is None else self.also.busy(what)
