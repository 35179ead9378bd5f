"""A trace of some steps of a run: `jaxlt train --profile=20:25`.

    recorder = Recorder(parse_steps("20:25"), workdir / "profile", profile_table.lines_of, reporter)
    recorder.start(feed)
    for step, batch in feed:
        recorder.before(step, state)
        state, metrics = program.train(state, batch, hyper)
        recorder.after(step, metrics)
    recorder.close()

The trace is for XProf (`xprof --logdir=WORKDIR/profile`) and Perfetto (its *.trace.json.gz). Before
the first of those steps and after the last the run waits for the devices; otherwise it goes on as
it would without.
"""

import contextlib
import dataclasses
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from etils import epath

from jaxlt.engine import compilation
from jaxlt.engine.checkpoint.store import is_local
from jaxlt.engine.feed import Feed
from jaxlt.engine.log.reporter import Reporter
from jaxlt.errors import UserError

WARM = 2  # steps of each start that a count leaves out: one compiles, one settles


@dataclasses.dataclass(frozen=True)
class Steps:
    """Which steps to look at: `count` from `first` on, the first of a run being 1.

    first None: as soon as a start of the run is warm.
    """

    first: int | None
    count: int

    def check(self, total: int) -> None:
        """Raises UserError where a run of `total` steps does not have these."""
        last = (WARM + 1 if self.first is None else self.first) + self.count - 1
        if last > total:
            asked = self.count if self.first is None else f"{self.first}:{last}"
            after = f", after {WARM} to warm up" if self.first is None else ""
            raise UserError(
                f"--profile={asked} asks for {self.count} steps{after}, up to step {last}, and the "
                f"run has {total} (TrainConfig.steps, TrainConfig.epochs): name earlier ones, or "
                "let it run longer."
            )

    def among(self, steps: range) -> range:
        """Those of the steps of one start, counted from 0; never its first."""
        first = steps.start + WARM if self.first is None else self.first - 1
        return range(max(first, steps.start + 1), min(first + self.count, steps.stop))


def parse_steps(text: str) -> Steps:
    """Reads '5' (so many) or '20:25' (from step 20 to step 25)."""
    found = re.fullmatch(r"\s*(?:(\d+)\s*:\s*)?(\d+)\s*", text)
    how = "a number of steps, such as 5, or the first and the last step, such as 20:25"
    if not found:
        raise UserError(f"--profile={text} has to be {how}.")
    last = int(found[2])
    if found[1] is None:
        if last < 1:
            raise UserError(f"--profile={text} asks for no step; it has to be {how}.")
        return Steps(None, last)
    first = int(found[1])
    if first < 2:
        raise UserError(
            f"--profile={text} begins with step {first}, and the first step of a run is 1, which "
            f"compiles the others: begin with step 2 or later (--profile=2:{max(2, last)})."
        )
    if last < first:
        raise UserError(
            f"--profile={text} ends before it begins; it has to be {how} "
            f"(--profile={last}:{first}?)."
        )
    return Steps(first, last - first + 1)


@dataclasses.dataclass(frozen=True)
class Profile:
    """What was seen of steps `first` to `last` (counted from 1), on this host."""

    first: int
    last: int
    seconds: float  # from the first one's start to the last one's end
    waited: float  # of these, how long the run waited for its data
    folder: str  # that the trace lies in
    trace: str | None  # the file to read, on this machine; None where none was written

    @property
    def steps(self) -> int:
        """How many there are."""
        return self.last - self.first + 1


class Recorder:
    """Traces some of a run's steps; none where none are asked for."""

    def __init__(
        self,
        steps: Steps | None = None,
        folder: epath.PathLike = "",
        lines_of: Callable[[Profile], Sequence[str]] = lambda _: (),
        say: Reporter | None = None,
    ) -> None:
        """folder: of the run's traces, local or not.

        lines_of: words what was found, for `say`; a UserError where the trace cannot be read.
        """
        self._asked, self._folder, self._lines_of = steps, epath.Path(folder), lines_of
        self._note = say.note if say else lambda _: None
        self._paused = say.paused if say else contextlib.nullcontext
        self._steps = range(0)
        self._feed: Feed | None = None
        self._step: Any = None
        self._open: tuple[str, float, float] | None = None  # folder, time, waited until then
        self._anew = contextlib.ExitStack()

    def start(self, feed: Feed) -> None:
        """To be called before the steps of a feed."""
        if self._asked is not None:
            self._steps, self._feed = self._asked.among(feed.steps), feed
            if not self._steps:
                self._note("--profile: of the steps that are left, none is to be traced.")
            else:
                self._anew.enter_context(compilation.with_names())

    def before(self, step: int, made: Any) -> None:
        """Before a step, counted from 0. made: what comes of the one before, to be waited for."""
        if step in self._steps:
            if self._open is None:
                self._begin(made)
            self._step = jax.profiler.StepTraceAnnotation("train", step_num=step + 1)
            self._step.__enter__()

    def after(self, step: int, made: Any) -> None:
        """After a step was dispatched, which is to make `made`."""
        if step in self._steps:
            self._step.__exit__(None, None, None)
            if step == self._steps[-1]:
                jax.block_until_ready(made)
                with self._paused():
                    self._end()

    def close(self) -> None:
        """Ends a trace that is open still: of a run that ended early, well or badly."""
        self._anew.close()
        if self._open is not None:
            (local, *_), self._open = self._open, None
            jax.profiler.stop_trace()
            self._keep(local)

    def _begin(self, made: Any) -> None:
        assert self._feed is not None
        jax.block_until_ready(made)  # what comes before is not to be in the trace
        local = str(self._folder) if is_local(self._folder) else tempfile.mkdtemp(prefix="jaxlt_")
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0  # every call of every function: slow, and seldom wanted
        jax.profiler.start_trace(local, profiler_options=options)
        self._open = (local, time.perf_counter(), self._feed.waited_s)

    def _end(self) -> None:
        assert self._open is not None and self._feed is not None
        self._anew.close()
        (local, began, waited), self._open = self._open, None
        seconds, waited = time.perf_counter() - began, self._feed.waited_s - waited
        jax.profiler.stop_trace()
        written = sorted(Path(local).glob("plugins/profile/*/*.xplane.pb"))
        first, last = self._steps[0] + 1, self._steps[-1] + 1
        trace = str(written[-1]) if written else None
        found = Profile(first, last, seconds, waited, str(self._folder), trace)
        try:  # a run is not to end of a trace that is damaged, or cannot be moved
            lines = self._lines_of(found)
        except UserError as error:
            self._note(f"The trace in {local} cannot be read: {error}")
            return
        try:
            self._keep(local)
        except (OSError, ValueError, LookupError) as error:
            self._note(f"The trace in {local} cannot be moved: {error}")
            return
        for line in lines:
            self._note(line)

    def _keep(self, local: str) -> None:
        """Moves a trace to a folder that is not local."""
        if local == str(self._folder):
            return
        for path in sorted(p for p in Path(local).rglob("*") if p.is_file()):
            target = self._folder / path.relative_to(local)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
        shutil.rmtree(local)


UNTRACED = Recorder()
