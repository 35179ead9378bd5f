"""From the command to the first step of `tiny`, without and with the compilation cache; `--help`;
an error in a configuration; `jaxlt.load`; each beside `import jax`, in seconds of the processor.

    python benchmarks/startup.py [--json FILE]

Goals: under 25 s to the first step; at least twice as fast with the cache; `--help` and a misspelt
macro under 1 s; `jaxlt.load` of a small model under 5 s. "To the first step" is the whole process
for one step, evaluation and final checkpoint left out.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.sides import flags, keep
from jaxlt.data.synth.languages import FAMILY, write_languages

RUN = ["--gin_file=models/tiny.gin", "--gin_file=runs/pretrain.gin", "--gin.BATCH_SIZE=8"]
RUN += ["--gin.INPUTS_LENGTH=256", "--gin.DTYPE=float32", "--gin.TRAIN_STEPS=1000"]
RUN += ["--gin.TrainConfig.log_every=1", "--gin.run.eval_data=None"]


def first_step(folder: Path, name: str) -> float:
    """Starts a run, and stops it at its first logged step; returns the seconds until then."""
    env = os.environ | {"JAXLT_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "jaxlt", "train", *RUN]
    command += [f"--gin.TEXT={folder / 'text'}", f"--gin.WORKDIR={folder / name}"]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step 1/"):
            seconds = time.perf_counter() - began
            process.kill()
            process.wait()
            return seconds
    raise SystemExit("The run ended before its first step.")


def processor_seconds(command: list[str], status: int = 0) -> float:
    """Seconds of the processor that a command takes, the best of three; it ends with `status`."""
    best = float("inf")
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode != status:
            raise SystemExit(f"{command} ended with {done.returncode}: {done.stderr}")
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return best


def small_starts(folder: Path) -> dict[str, float]:
    """Seconds of the processor for what a user does before and after a training, by name."""
    flags = ["--gin_file=models/tiny.gin", "--gin_file=runs/pretrain.gin"]
    wrong = ["train", *flags, "--gin.TEXTT=text", "--gin.WORKDIR=w"]
    sizes = [f"--gin.TEXT={folder / 'text'}", f"--gin.WORKDIR={folder / 'small'}"]
    run = ["train", *RUN, "--gin_file=tiny.gin", "--gin.TRAIN_STEPS=1", *sizes]
    subprocess.run([sys.executable, "-m", "jaxlt", *run], check=True, capture_output=True)
    return {
        "import jax": processor_seconds(["-c", "import jax"]),
        "jaxlt --help": processor_seconds(["-m", "jaxlt", "--help"]),
        "a misspelt macro": processor_seconds(["-m", "jaxlt", *wrong], status=2),
        "jaxlt.load": processor_seconds(["-c", f"import jaxlt; jaxlt.load('{folder / 'small'}')"]),
    }


def main() -> None:
    """Measures and prints."""
    args = flags(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_languages(folder / "text", FAMILY, sentences=2_000)
        cold = first_step(folder, "cold")
        warm = min(first_step(folder, f"warm{i}") for i in range(2))
        small = small_starts(folder)
    result = {"cold_s": cold, "warm_s": warm, "cold / warm": cold / warm} | small
    print(
        f"to the first step of tiny: {cold:.1f} s without, {warm:.1f} s with the cache: "
        f"{cold / warm:.2f} times as fast"
    )
    for name, seconds in small.items():
        print(f"{name}: {seconds:.2f} s of the processor, {seconds / small['import jax']:.2f}x jax")
    keep(args.json, result)


if __name__ == "__main__":
    main()
