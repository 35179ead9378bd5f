"""What people see while it runs: a progress bar or plain lines, `metrics.jsonl`, TensorBoard.

    with Reporter(workdir, total_steps=100) as report:
        report.start(step=0, model_flops=2e12, tokens_per_step=8192)
        for step in range(1, 101):
            ...                                   # dispatch the step
            report.tick(step)                     # every step; waits for no device
            if step % 10 == 0:
                report.log(step, {"loss": loss})  # floats that were fetched already

Only the primary process speaks and writes.
"""

import contextlib
import dataclasses
import importlib.util
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

import jax
from etils import epath
from rich.console import Console
from rich.progress import Progress

from jaxlt import progress
from jaxlt.engine.checkpoint.store import is_local
from jaxlt.engine.hosts import distributed
from jaxlt.engine.log.metrics_file import MetricsFile
from jaxlt.metrics import result_file
from jaxlt.metrics.result import Result
from jaxlt.progress import duration

# Dense bf16 FLOP/s of one device, as its maker gives them; by a part of jax's `device_kind`,
# the more special names first.
_PEAKS: tuple[tuple[str, float], ...] = (
    ("TPU v4", 275e12),
    ("TPU v5 lite", 197e12),
    ("TPU v5e", 197e12),
    ("TPU v5", 459e12),
    ("TPU v6", 918e12),
    ("A100", 312e12),
    ("H100 PCIe", 756e12),
    ("H100 NVL", 835e12),
    ("H100", 989e12),
    ("H200", 989e12),
)


_SHOWN = (("loss", ".4g"), ("accuracy", ".3g"))  # of what a step reports; metrics.jsonl has all
_COUNTS = ("bytes", "target_tokens")  # sizes of the data: no news
_LANGUAGES = 12  # shown of an evaluation


def peak_flops(device_kind: str) -> float | None:
    """Dense bf16 peak of one device by jax's `device_kind`; None where it is not known (CPUs)."""
    for part, peak in _PEAKS:
        if part.lower() in device_kind.lower():
            return peak
    return None


class Reporter:
    """Shows and records one run's progress; a context manager."""

    def __init__(
        self,
        workdir: epath.PathLike | None,
        total_steps: int,
        stream: IO[str] | None = None,
        tensorboard: bool = True,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        """Prepares to speak on `stream` (stdout); `start` opens the displays and files.

        about: fields of the run's Results; without them no Results are kept.
        """
        self._about = about
        self._workdir = None if workdir is None else epath.Path(workdir)
        self._total, self._tensorboard = total_steps, tensorboard
        self._tokens: float = 0
        self._flops: float | None = None
        self._peak: float | None = None
        self._mark: tuple[int, float] | None = None  # step and time that the rates count from
        self._primary = distributed.is_primary()
        self._console = Console(file=stream or sys.stdout, soft_wrap=True, highlight=False)
        self._bar: Progress | None = None
        self._step, self._text = 0, ""  # beside the bar
        self._metrics: MetricsFile | None = None
        self._board: Any = None
        self._compiling = contextlib.ExitStack()

    def start(
        self,
        step: int,
        model_flops: float | None = None,
        tokens_per_step: float = 0,
        devices: Sequence[jax.Device] | None = None,
    ) -> None:
        """Begins after `step` (the step restored): rows after it in `metrics.jsonl` are dropped.

        `model_flops` and `tokens_per_step` are those of one step on all `devices` together: those
        of the run's mesh, or all that there are.
        """
        self._flops, self._tokens = model_flops, tokens_per_step
        devices = jax.devices() if devices is None else devices
        peak = peak_flops(devices[0].device_kind)
        self._peak = None if peak is None else peak * len(devices)
        if not self._primary:
            return
        if self._workdir is not None:
            self._metrics = MetricsFile(self._workdir / "metrics.jsonl", step)
            if self._tensorboard:
                self._board = self._open_board(self._workdir, step)
        if self._console.is_terminal:
            self._bar = progress.bar(self._console, "", self._total, step, stays=True)
            self._show(step)
        self._compiling.enter_context(self.busy("compiling the first step"))

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def tick(self, step: int) -> None:
        """Notes that `step` was dispatched. The first one starts the clock, so that compiling it
        is in no rate."""
        if self._mark is None:
            self._compiling.close()
            self._mark = (step, time.monotonic())
        self._show(step)

    def seen(self, step: int, values: Mapping[str, float]) -> None:
        """Each step's numbers are no news; `log` has those of some."""

    def log(self, step: int, values: Mapping[str, float]) -> dict[str, float]:
        """Records training values at `step`, with the rates since the last time; shows the main.

        Call it after the values were fetched from the device: that is what makes the rates true.
        Returns values and rates.
        """
        rates = self._rates(step)
        everything = {**values, **rates}
        self._record(step, everything)
        parts = [f"{name} {values[name]:{form}}" for name, form in _SHOWN if name in values]
        if values.get("skipped_steps"):
            parts.append(f"{values['skipped_steps']:.0f} steps skipped")
        texts = self._rate_texts(rates)
        if self._bar is not None:
            self._show(step, "  ".join([*parts[:1], *texts]))
        else:
            self.note("  ".join([f"step {step}/{self._total}", *parts, *texts]))
        return everything

    def evaluation(self, step: int, values: Mapping[str, float]) -> None:
        """Shows and records what an evaluation at `step` found; its time is in no rate."""
        self._record(step, values)
        parts = evaluation_texts(values)
        self.note("  ".join([f"step {step}/{self._total} evaluated", *parts]))
        if self._mark is not None:
            self._mark = (step, time.monotonic())

    def results(self, found: Sequence[Result]) -> None:
        """Adds an evaluation's Results to the run's file of them."""
        if self._primary and self._workdir is not None and self._about is not None:
            about = self._about
            own = ({**about, "task": one.task or about.get("task", "")} for one in found)
            kept = [dataclasses.replace(one, **of) for one, of in zip(found, own, strict=True)]
            result_file.append(self._workdir / "results.jsonl", kept)

    def _record(self, step: int, values: Mapping[str, float]) -> None:
        if self._metrics is not None:
            self._metrics.write(step, values)
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def note(self, text: str) -> None:
        """Prints a line (above the bar, where there is one)."""
        if self._primary:
            self._console.print(text, markup=False)

    @contextlib.contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """Says what goes on inside, where it is no step: on the bar, or on lines with the time."""
        if self._bar is None:
            with progress.doing(what[0].upper() + what[1:]):
                yield
            return
        before = self._text
        self._show(text=what)
        yield
        self._show(text=before)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Keeps what happens inside (an evaluation, waiting for a checkpoint) out of the rates."""
        began = time.monotonic()
        try:
            yield
        finally:
            if self._mark is not None:
                self._mark = (self._mark[0], self._mark[1] + time.monotonic() - began)

    def close(self) -> None:
        """Takes the bar away and closes the files."""
        self._compiling.close()
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None
        if self._board is not None:
            self._board.close()
            self._board = None

    def _rates(self, step: int) -> dict[str, float]:
        """Steps, tokens and FLOPs a second since the last call (since the first step at first)."""
        now, mark = time.monotonic(), self._mark
        self._mark = (step, now)
        if mark is None or step <= mark[0] or now <= mark[1]:
            return {}
        per_second = (step - mark[0]) / (now - mark[1])
        rates = {"steps_per_second": per_second}
        if self._tokens:
            rates["tokens_per_second"] = per_second * self._tokens
        if self._flops and self._peak:
            rates["mfu"] = per_second * self._flops / self._peak
        rates["seconds_left"] = max(self._total - step, 0) / per_second
        return rates

    def _rate_texts(self, rates: Mapping[str, float]) -> list[str]:
        texts = []
        if "tokens_per_second" in rates:
            texts.append(f"{rates['tokens_per_second']:,.0f} tokens/s")
        elif "steps_per_second" in rates:
            texts.append(f"{rates['steps_per_second']:.2f} steps/s")
        if "mfu" in rates:
            texts.append(f"MFU {rates['mfu']:.1%}")
        if "seconds_left" in rates:
            texts.append(f"{duration(rates['seconds_left'])} left")
        return texts

    def _show(self, step: int | None = None, text: str | None = None) -> None:
        """Moves the bar, where there is one, and says something else beside it."""
        if self._bar is not None:
            self._step = self._step if step is None else step
            self._text = self._text if text is None else text
            shown = f"step {self._step}/{self._total}  {self._text}"
            task = self._bar.task_ids[0]
            self._bar.update(task, completed=self._step, description=shown)

    def _open_board(self, workdir: epath.Path, start_step: int) -> Any:
        """A TensorBoard writer, or None with a note where it cannot be."""
        if importlib.util.find_spec("tensorboardX") is None:
            self.note(
                "No TensorBoard files (metrics.jsonl has all): tensorboardX is not installed."
            )
            return None
        if not is_local(workdir):
            self.note("No TensorBoard files (metrics.jsonl has all): they need a local workdir.")
            return None
        from tensorboardX import SummaryWriter

        return SummaryWriter(
            str(workdir / "tensorboard"),
            purge_step=start_step + 1 if start_step else None,  # hides what will be run again
            write_to_disk=True,
            flush_secs=30,
        )


def evaluation_texts(values: Mapping[str, float]) -> list[str]:
    """What an evaluation found, in the parts of a line.

    'eval/bpb 2.1', ..., and for values by language ('eval/bpb/eng_Latn') one part for all of them:
    'eval/bpb by language: eng_Latn 1.9, swh_Latn 2.3', the best and the worst where they are many.
    """
    texts: list[str] = []
    groups: dict[str, list[tuple[float, str]]] = {}
    for name, value in values.items():
        group, _, language = name.rpartition("/")
        if "/" in group:
            groups.setdefault(group, []).append((value, language))
        elif language not in _COUNTS:
            texts.append(f"{name} {value:.4g}")
    for group, found in groups.items():
        if group.rpartition("/")[2] in _COUNTS:
            continue
        found.sort(key=lambda pair: (math.isnan(pair[0]), pair[0]))
        each = [f"{language} {value:.3g}" for value, language in found]
        if len(each) > _LANGUAGES:
            half = _LANGUAGES // 2
            each[half:-half] = [f"... ({len(each) - 2 * half} more) ..."]
        texts.append(f"{group} by language: {', '.join(each)}")
    return texts
