"""`train` and `fit` beside their own compiled step with nothing around it, and waits for data.

    python benchmarks/loop.py [--steps 30] [--rounds 3] [--json FILE]

`tiny` (5.2M parameters), batch 4 x 256/48 bytes, float32, one pinned core. The loop reads its
batches, sets the rate, looks at every step's numbers, counts tokens and logs every 10 steps; it
saves nothing in the steps that count. `fit` is the same without a folder. The sides take turns in
one process. Goals: processor time at most 3% above the bare step's, of `fit` 2%; waits for data
below 2% of the time on the wall.
"""

import dataclasses
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.sides import TINY, flags, keep, one_core, texts

one_core()

from jaxlt.engine import compilation

compilation.prepare()

import jax
import jax.numpy as jnp

from jaxlt.config import load
from jaxlt.data.rows.batches import ArrayBatches
from jaxlt.engine.checkpoint.workdir import Workdir
from jaxlt.engine.feed import Feed, read_batch
from jaxlt.engine.fit import InMemory, fit
from jaxlt.engine.log.profiling import Recorder
from jaxlt.engine.loop import program_of, train
from jaxlt.engine.optim.pace import Pace
from jaxlt.engine.state import make_state
from jaxlt.engine.step import Hyper

ROWS, INPUTS, TARGETS, WARM = 4, 256, 48, 3


class Stopwatch(Recorder):
    """Reads the clocks when the loop's warm steps begin, and again before its last step.

    (After the last one a run saves.)
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.feed: Feed | None = None
        self.times: list[tuple[float, float, float]] = []  # processor, wall, waited for data

    def start(self, feed: Feed) -> None:
        """Keeps the feed, to ask it how long the loop waited."""
        self.feed = feed
        super().start(feed)

    def before(self, step: int, made: Any) -> None:
        """Looks at the clocks when all that was dispatched is done."""
        if step in (WARM, self.steps - 1):
            jax.block_until_ready(made)
            assert self.feed is not None
            self.times.append((time.process_time(), time.perf_counter(), self.feed.waited_s))


def looped(run: Any, data: ArrayBatches) -> tuple[float, ...]:
    """A step in the trainer's loop: seconds of the processor, of the wall, and of waiting."""
    watch = Stopwatch(run.train.steps)
    with tempfile.TemporaryDirectory() as folder, Workdir.open(folder, "", "hash") as workdir:
        train(run, data, workdir, recorder=watch)
    first, last = watch.times
    count = run.train.steps - 1 - WARM
    return tuple((b - a) / count for a, b in zip(first, last, strict=True))


class Clock(InMemory):
    """Reads the processor's clock after the warm steps of a `fit`, and after its last one."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps, self.times = steps, list[float]()

    def keep(self, state: Any, position: Any, *parts: Any) -> Any:
        """Looks at the clock when all that was dispatched is done."""
        if position.step in (WARM, self.steps):
            jax.block_until_ready(state)
            self.times.append(time.process_time())
        return super().keep(state, position, *parts)


def fitted(run: Any, data: ArrayBatches) -> float:
    """A step of `fit`: seconds of the processor."""
    program, steps = program_of(run), run.train.steps
    state = make_state(program.layout, program.optimizer, 0)
    pace, clock = Pace(run, program, data.languages), Clock(steps)
    fit(program, state, data, pace.at, steps, settings=run.train, keeper=clock, donate=True)
    return (clock.times[1] - clock.times[0]) / (steps - WARM)


def bare(run: Any, data: ArrayBatches) -> float:
    """A step of the compiled program alone: seconds of the processor."""
    program = program_of(run)
    state = make_state(program.layout, program.optimizer, 0)
    batch, _ = read_batch(data, 0, program.spec.mesh)
    hyper = Hyper(jnp.float32(1e-3), jnp.uint32(0))
    for step in range(run.train.steps):
        if step == WARM:
            jax.block_until_ready(state)
            began = time.process_time()
        state, _ = program.train(state, batch, hyper)
    jax.block_until_ready(state)
    return (time.process_time() - began) / (run.train.steps - WARM)


def main() -> None:
    """Measures both and prints what the loop adds."""
    args = flags(__doc__, steps=30, rounds=3).parse_args()
    run = load(["models/tiny.gin", "runs/pretrain.gin"], [*TINY, f"BATCH_SIZE={ROWS}"])
    steps = dataclasses.replace(run.train, steps=args.steps + WARM + 1, log_every=10, eval_every=0)
    fields = texts(64, INPUTS, TARGETS, 259)
    del fields["row"]
    run, data = dataclasses.replace(run, train=steps), ArrayBatches(fields, ROWS)
    sides = (bare, fitted, looped)
    rounds = [[side(run, data) for side in sides] for _ in range(args.rounds + 1)][1:]
    alone, fits = (statistics.median(each[side] for each in rounds) for side in (0, 1))
    loop, wall, waited = (statistics.median(of) for of in zip(*(r[2] for r in rounds), strict=True))
    print(f"the step alone  {1e3 * alone:8.2f} ms of the processor")
    print(f"in `fit`        {1e3 * fits:8.2f} ms of the processor")
    print(f"in `train`      {1e3 * loop:8.2f} ms of the processor, {1e3 * wall:.2f} ms on the wall")
    print(f"`fit` adds      {100 * (fits / alone - 1):8.2f}% (goal: 2)")
    print(f"`train` adds    {100 * (loop / alone - 1):8.2f}% (goal: 3)")
    print(f"waits for data  {100 * waited / wall:8.2f}% of the time on the wall (goal: 2)")
    found = {"alone_s": alone, "fit_s": fits, "loop_s": loop, "wall_s": wall, "waited_s": waited}
    keep(args.json, found | {"rounds": rounds})


if __name__ == "__main__":
    main()
