"""What takes long says so: a bar with the time on a terminal, sparse lines elsewhere, on stderr.

    with progress.doing("Decoding answers", total=len(rows)):
        for batch in ...:
            ...
            progress.advance(len(batch))      # wherever the work is done

Nothing is shown before `speak(True)`, which the command line says in the process that speaks for
all; libraries and notebooks stay silent. One thing is shown at a time: what is done inside of
another counts as a part of it.
"""

import contextlib
import math
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

_LINES = (10.0, 30.0, 60.0, 120.0)  # seconds after which a line is written where there is no bar,
_EVERY = 300.0  # and how often after these
_WORTH = 5.0  # what took so many seconds leaves a line on a terminal

_speaking = False
_shown: "_Doing | None" = None
_heard: list[str] | None = None


def speak(on: bool) -> None:
    """From now on says what is going on, or is silent."""
    global _speaking
    _speaking = on


@contextlib.contextmanager
def doing(what: str, total: int | None = None, stream: IO[str] | None = None) -> Iterator[None]:
    """Says, while it lasts, that `what` is being done; `total` is what `advance` counts up to."""
    global _shown
    if not _speaking or _shown is not None:
        yield
        return
    with _stderr(stream) as to:
        _shown = _Doing(what, total, to)
        try:
            with _shown.on_screen():
                yield
        finally:
            _shown = None


@contextlib.contextmanager
def _stderr(given: IO[str] | None) -> Iterator[IO[str]]:
    """Standard error by a descriptor of its own: others may turn its usual one elsewhere."""
    try:
        own = None if given else os.fdopen(os.dup(sys.stderr.fileno()), "w", errors="replace")
    except (OSError, ValueError):  # it is no file
        own = None
    try:
        yield given or own or sys.stderr
    finally:
        if own is not None:
            with contextlib.suppress(OSError, ValueError):
                own.close()


def advance(count: int) -> None:
    """Counts so many more as done, if anything is shown."""
    if _shown is not None:
        _shown.done = min(_shown.done + count * _shown.worth, _shown.end)
        _shown.detail = ""


def reach(done: int) -> None:
    """Says that so many are done by now, if anything is shown."""
    if _shown is not None:
        _shown.done = done


@contextlib.contextmanager
def towards(end: int, parts: int) -> Iterator[None]:
    """While it lasts, `advance` counts parts of another size: all `parts` of them are up to `end`.

    with towards(9, 4): advance(1)    # of 9 lines that hold 4 texts one text is answered: 2 of 9
    """
    shown = _shown
    if shown is not None:
        shown.worth, shown.end = (end - shown.done) / max(1, parts), end
    yield
    if shown is not None:
        shown.worth, shown.end, shown.done = 1.0, math.inf, end


def say(text: str) -> None:
    """Prints a line for people, beside the output proper; of several processes one does."""
    if _heard is not None:
        _heard.append(text)
        return
    jax = sys.modules.get("jax")
    if jax is None or jax.process_index() == 0:
        print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def heard() -> Iterator[list[str]]:
    """While it lasts, the lines that are said come into a list, and none is printed."""
    global _heard
    before, _heard = _heard, []
    try:
        yield _heard
    finally:
        _heard = before


def detail(text: str) -> None:
    """Says which part is in hand ('swh_Latn'), if anything is shown."""
    if _shown is not None:
        _shown.detail = text


def duration(seconds: float) -> str:
    """'2d 03h', '1h 05m', '4m 10s' or '9s'."""
    total = round(seconds)
    days, hours = divmod(total // 3600, 24)
    minutes, rest = divmod(total % 3600, 60)
    if days:
        return f"{days}d {hours:02d}h"
    if hours:
        return f"{hours}h {minutes:02d}m"
    return f"{minutes}m {rest:02d}s" if minutes else f"{rest}s"


def bar(
    console: "Console", text: str, total: int | None, done: int = 0, stays: bool = False
) -> "Progress":
    """A started bar of one task, `task_ids[0]`, with the time and a text; it pulses uncounted.

    stays: when it is stopped, instead of being taken away.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    times, texts = TimeElapsedColumn(), TextColumn("{task.description}", markup=False)
    shown = Progress(
        BarColumn(24), times, texts, console=console, transient=not stays, refresh_per_second=4
    )
    shown.add_task(text, total=total, completed=done)
    shown.start()
    return shown


class _Doing:
    """One thing that takes its time."""

    def __init__(self, what: str, total: int | None, stream: IO[str]) -> None:
        self.what, self.total, self.detail = what, total, ""
        self.done, self.worth, self.end = 0.0, 1.0, math.inf
        self._stream, self._began, self._said = stream, time.monotonic(), False

    @contextlib.contextmanager
    def on_screen(self) -> Iterator[None]:
        """Shows it while it lasts."""
        ended = threading.Event()
        shown = None
        if self._stream.isatty():
            from rich.console import Console

            console = Console(file=self._stream, highlight=False)
            shown = bar(console, self.text(timed=True), self.total)
        worker = threading.Thread(target=self._watch, args=(ended, shown), daemon=True)
        worker.start()
        try:
            yield
            self._said |= shown is not None and self.seconds > _WORTH
        except BaseException:
            self._said = False  # the error is what there is to say
            raise
        finally:
            ended.set()
            worker.join()
            if shown is not None:
                shown.stop()
            if self._said:
                self._write(f"{self.what}: {duration(self.seconds)}")

    @property
    def seconds(self) -> float:
        """For how long it has gone on."""
        return time.monotonic() - self._began

    def text(self, timed: bool = False) -> str:
        """How far it is, in a line; on a bar the time stands beside it."""
        parts = [self.what + (f" ({self.detail})" if self.detail else "")]
        if self.total:
            parts.append(f"{min(int(self.done), self.total):,} of {self.total:,}")
        if not timed:
            parts.append(duration(self.seconds))
        if self.total and 0 < self.done < self.total:
            parts.append(f"{duration(self.seconds * (self.total / self.done - 1))} left")
        return "  ".join(parts)

    def _watch(self, ended: threading.Event, shown: "Progress | None") -> None:
        """Keeps the bar up to date, or writes a line when one is due."""
        due = iter(_LINES)
        at = next(due) if shown is None else 0.0
        while not ended.wait(0.25 if shown is not None else max(0.0, at - self.seconds)):
            if shown is not None:
                text = self.text(timed=True)
                shown.update(shown.task_ids[0], completed=self.done, description=text)
                continue
            self._write(self.text())
            self._said = True
            at = next(due, at + _EVERY)

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            print(text, file=self._stream, flush=True)
