"""How far a study is: all workers in one live view on a terminal, sparse lines elsewhere.

with View(survey, workers=2) as view:
    view.update()            # after each `survey.refresh()`
"""

import sys
import time
from typing import IO, TYPE_CHECKING

from jaxlt.errors import some_of
from jaxlt.experiments.estimate import durations
from jaxlt.experiments.states import State, Survey
from jaxlt.progress import duration

if TYPE_CHECKING:
    from rich.live import Live

_LINES = (10.0, 30.0, 60.0, 120.0)  # seconds after which a line is written where there is no view,
_EVERY = 300.0  # and how often after these
_SHOWN = 16  # stages in hand that have a line of their own


def seconds_left(survey: Survey, workers: int) -> float | None:
    """About how long the rest takes, by what stages like them took; None if nothing is known."""
    of, blocked = durations(survey), survey.blocked
    known = [
        seconds * (0.5 if state.name == "running" else 1.0)
        for state in survey.named("absent", "running")
        if state.stage.path not in blocked and (seconds := of(state.stage)) is not None
    ]
    return sum(known) / max(1, workers) if known else None


class View:
    """Shows a survey as it changes, while it is open."""

    def __init__(self, survey: Survey, workers: int, stream: IO[str] | None = None) -> None:
        self.survey, self.workers = survey, workers
        self._stream = stream or sys.stderr
        self._live: Live | None = None
        self._began, self._said = time.monotonic(), 0
        self._since: dict[tuple[str, int], float] = {}
        self._failed = {state.stage.path for state in survey.named("failed")}

    def __enter__(self) -> "View":
        if self._stream.isatty():
            from rich.console import Console
            from rich.live import Live

            console = Console(file=self._stream, highlight=False)
            self._live = Live(console=console, refresh_per_second=2, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self) -> None:
        """Shows how it is now; a stage that has failed is told of at once."""
        for state in self.survey.named("failed"):
            if state.stage.path not in self._failed:
                self._failed.add(state.stage.path)
                self._write(f"failed: {state.stage.path}: {'; '.join(state.why)}")
        running = self.survey.named("running")
        now = time.monotonic()
        for state in running:
            self._since.setdefault(_claim(state), now)
        if self._live is not None:
            from rich.text import Text

            self._live.update(Text("\n".join([self.line(), *map(self._row, running[:_SHOWN])])))
            return
        due = _LINES[self._said] if self._said < len(_LINES) else None
        if due is None:
            due = _LINES[-1] + _EVERY * (self._said - len(_LINES) + 1)
        if now - self._began >= due:
            self._said += 1
            paths = [state.stage.path for state in running]
            self._write(self.line() + (f"  ({some_of(paths, 4)})" if paths else ""))

    def line(self) -> str:
        """'12 of 40 stages done, 2 running, 1 failed  1m 10s  4m 00s left'."""
        done = len(self.survey.named("done"))
        parts = [f"{done} of {len(self.survey.states)} stages done"]
        counts = {name: len(self.survey.named(name)) for name in ("running", "failed", "stale")}
        counts["blocked"] = len(self.survey.blocked)
        parts += [f"{count} {name}" for name, count in counts.items() if count]
        line = f"{', '.join(parts)}  {duration(time.monotonic() - self._began)}"
        left = seconds_left(self.survey, self.workers)
        return line if left is None else f"{line}  about {duration(left)} left"

    def _row(self, state: State) -> str:
        who = state.lease.record.get("worker", "?") if state.lease is not None else "?"
        seconds = time.monotonic() - self._since[_claim(state)]
        return f"  {who:<12} {state.stage.path}  {duration(seconds)}"

    def _write(self, line: str) -> None:
        if self._live is not None:
            self._live.console.print(line, markup=False)
        else:
            print(line, file=self._stream, flush=True)


def _claim(state: State) -> tuple[str, int]:
    return state.stage.path, state.lease.generation if state.lease is not None else 0
