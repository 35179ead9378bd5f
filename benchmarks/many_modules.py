"""Sixteen language modules in one run beside a run for each: what does sharing a run save?

    python benchmarks/many_modules.py [--steps 20] [--rows 2] [--layers 4] [--json FILE]

A frozen backbone of mT5-small's width (D 512, MLP 1024, 6 heads), one bottleneck a layer (reduction
factor 16), AdamW, float32, 128 inputs and 64 targets a row. `together`: every batch holds `rows`
rows of each language. `alone`: batches of one language. All train each module for as many steps on
as many texts. CPU seconds of one core, from the start of the process, with nothing compiled before:

    together    one process, one run
    fresh       a process for each run: three of them are measured, their median is taken 16 times
    shared      one process, the 16 runs one after the other, which share a compilation

The arithmetic is the same for all of them: what is saved is starting, compiling, and what a small
batch wastes. So the ratio rises with the steps, and it is printed up to how many the goal holds: at
most a quarter of the time of 16 fresh runs.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.sides import flags, keep, texts

LANGUAGES, INPUTS, TARGETS, VOCAB = 16, 128, 64, 8_000
GOAL, FRESH = 0.25, 3


def side(runs: int, languages: int, rows: int, steps: int, layers: int) -> None:
    """So many runs of so many languages each, one after the other; prints what they took."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jaxlt.engine import compilation
    from jaxlt.engine.loss.losses import LossConfig
    from jaxlt.engine.optim.optimizers import OptimizerConfig
    from jaxlt.engine.partitioning import MeshConfig, make_mesh, place_rows
    from jaxlt.engine.state import make_state
    from jaxlt.engine.step import Hyper, StepSpec, build
    from jaxlt.models.config import T5Config
    from jaxlt.modules.bottleneck import Bottleneck
    from jaxlt.modules.site import plug

    compilation.prepare()
    routing = {"key": "source", "routes": languages} if languages > 1 else {}
    plugs = (plug(Bottleneck, "lang", sites="mlp_out", reduction_factor=16, **routing),)
    mesh, stepping = make_mesh(MeshConfig()), 0.0
    for run in range(runs):
        spec = StepSpec(
            T5Config(VOCAB, 512, 1024, 6, layers, layers, plugs=plugs),
            LossConfig(normalize="languages" if languages > 1 else "tokens"),
            OptimizerConfig(name="adamw"),
            mesh,
            MeshConfig().rules,
            trainable=("modules/.*",),
        )
        program = build(spec)
        state = make_state(program.layout, program.optimizer, run)
        hyper = Hyper(jnp.float32(1e-3), jnp.uint32(run))
        for step in range(steps):
            fields = texts(languages * rows, INPUTS, TARGETS, VOCAB, steps * run + step)
            fields["language"] = np.repeat(np.arange(languages, dtype=np.int32), rows)
            batch = place_rows([(0, fields)], languages * rows, mesh)
            began = time.process_time()
            state, metrics = program.train(state, batch, hyper)
            jax.block_until_ready((state.trainable, metrics))
            if run == runs - 1 and step:  # the first step of all compiles
                stepping += time.process_time() - began
    done = {"total_s": time.process_time(), "step_s": stepping / max(1, steps - 1)}
    print("done " + json.dumps(done))


def measure(runs: int, languages: int, args: argparse.Namespace) -> dict[str, float]:
    """A process of its own on one core, with an empty compilation cache."""
    shape = ["--rows", args.rows, "--steps", args.steps, "--layers", args.layers]
    command = [__file__, "--side", runs, languages, *shape]
    with tempfile.TemporaryDirectory() as cache:
        out = subprocess.run(
            [sys.executable, *(str(word) for word in command)],
            env=os.environ | {"JAXLT_CACHE": cache, "OMP_NUM_THREADS": "1"},
            preexec_fn=lambda: os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
    last = out.strip().splitlines()[-1]
    return json.loads(last.removeprefix("done "))


def steps_within(goal: float, together: dict[str, float], alone: dict[str, float], steps: int):
    """Up to how many steps one run takes at most `goal` of 16; None: however many."""
    fixed = lambda side: side["total_s"] - steps * side["step_s"]  # noqa: E731
    saved = goal * LANGUAGES * fixed(alone) - fixed(together)
    rise = together["step_s"] - goal * LANGUAGES * alone["step_s"]
    return None if rise <= 0 else max(0, int(saved / rise))


def main() -> None:
    """Measures the three ways and prints their ratios."""
    parser = flags(__doc__, steps=20, rows=2, layers=4)
    parser.add_argument("--side", type=int, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        side(*args.side, args.rows, args.steps, args.layers)
        return
    fresh = [measure(1, 1, args)]
    together = measure(1, LANGUAGES, args)
    fresh += [measure(1, 1, args) for _ in range(FRESH - 1)]
    shared = measure(LANGUAGES, 1, args)
    alone = {key: statistics.median(f[key] for f in fresh) for key in fresh[0]}
    times = {
        "together": together["total_s"],
        "fresh": LANGUAGES * alone["total_s"],
        "shared": shared["total_s"],
    }
    for name, seconds in times.items():
        part = times["together"] / seconds
        print(f"{name:9} {seconds:8.1f} s of CPU   together / {name}: {part:.3f}")
    many = steps_within(GOAL, together, alone, args.steps)
    per_step = together["step_s"] / (LANGUAGES * alone["step_s"])
    print(
        f"a step: {together['step_s']:.3f} s for {LANGUAGES} languages, {alone['step_s']:.3f} s "
        f"for one: {per_step:.2f} of {LANGUAGES} of those\n"
        f"goal {GOAL} of fresh runs: holds for "
        + ("any number of steps" if many is None else f"up to {many} steps at this size")
    )
    shape = {"steps": args.steps, "rows": args.rows, "layers": args.layers}
    keep(args.json, shape | {"times": times, "together": together, "alone": alone})


if __name__ == "__main__":
    main()
