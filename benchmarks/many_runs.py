"""Runs of one shape in one process: how soon the second starts, and many against as many commands.

    python benchmarks/many_runs.py [--runs 20] [--steps 100] [--commands 3] [--json FILE]

The laboratory's encoder (models/lab_mlm.gin, on bytes), runs that differ in seed; each ends with an
evaluation. Some of the commands are run, with the caches of tokens and programs that one before
them has filled, and scaled to all. The process is a new one, too, and its clock holds its imports.
Goals: all runs at least 5 times as fast in one process as by commands; a second run of one step,
from its call to its end, under 1 s.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.matmul_rate import processor, rate
from benchmarks.sides import flags, keep

FILES = ("models/lab_mlm.gin", "runs/lab_mlm.gin")


def command(folder: Path, steps: int, seed: int) -> float:
    """Seconds of one run as a command."""
    words = [sys.executable, "-m", "jaxlt", "train", *(f"--gin_file={name}" for name in FILES)]
    words += [f"--gin.TEXT={folder / 'texts'}", f"--gin.WORKDIR={folder / f'run{seed}'}"]
    words += ["--gin.VOCABULARY=bytes", f"--gin.TRAIN_STEPS={steps}", f"--gin.SEED={seed}"]
    began = time.perf_counter()
    subprocess.run(words, check=True, capture_output=True)
    return time.perf_counter() - began


def worker(folder: Path, runs: int, steps: int) -> None:
    """Trains the runs one after the other, in memory; prints the seconds of each."""
    import jaxlt

    def run(steps: int, seed: int) -> float:
        began = time.perf_counter()
        given = {"TEXT": folder / "texts", "VOCABULARY": "bytes", "TRAIN_STEPS": steps}
        jaxlt.run(FILES, SEED=seed, **given).train()
        return time.perf_counter() - began

    each = [run(steps, seed) for seed in range(runs)]
    print("done " + json.dumps({"each_s": each, "one_step_s": [run(1, seed) for seed in (1, 2)]}))


def main() -> None:
    """Measures and prints."""
    parser = flags(__doc__ or "", runs=20, steps=100, commands=3)
    parser.add_argument("--worker", type=Path, help="the folder: one of the sides")
    args = parser.parse_args()
    if args.worker:
        worker(args.worker, args.runs, args.steps)
        return
    from jaxlt.data.synth.languages import FAMILY, write_languages

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["JAXLT_CACHE"] = str(folder / "cache")
        os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)  # it would win
        write_languages(folder / "texts", FAMILY, sentences=5000)
        command(folder, args.steps, args.commands)
        commands = [command(folder, args.steps, seed) for seed in range(args.commands)]
        words = [__file__, f"--worker={folder}", f"--runs={args.runs}", f"--steps={args.steps}"]
        began = time.perf_counter()
        done = subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True)
        process = time.perf_counter() - began
    found = json.loads(done.stdout.rpartition("done ")[2])
    second, later = min(found["one_step_s"]), statistics.median(found["each_s"][1:])
    process -= sum(found["one_step_s"])
    alone = args.runs * statistics.median(commands)
    print(f"{processor()}, {len(os.sched_getaffinity(0))} cores, {rate():.0f} GFLOP/s of products")
    print(
        f"a command: {', '.join(f'{s:.1f}' for s in commands)} s; {args.runs} of them {alone:.0f}"
    )
    print(
        f"one process: {process:.1f} s, the first run {found['each_s'][0]:.1f}, later {later:.2f}"
    )
    print(f"{args.runs} runs of {args.steps} steps: {alone / process:.1f} times as fast (goal: 5)")
    print(f"a second run, from its call to the end of its one step: {second:.2f} s (goal: 1)")
    keep(
        args.json,
        found | {"command_s": commands, "process_s": process, "times": alone / process},
    )


if __name__ == "__main__":
    main()
