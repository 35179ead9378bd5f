"""From the command to the first step of `tiny`, without and with the compilation cache; `--help`.

    python benchmarks/startup.py [--json FILE]

Goals: under 25 s to the first step; at least twice as fast with the cache; `--help` under 1 s.
"To the first step" is the whole process for one step, evaluation and final checkpoint left out.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

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


def help_seconds() -> float:
    """The best of three `jaxlt --help`."""
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "jaxlt", "--help"], check=True, capture_output=True)
        best = min(best, time.perf_counter() - began)
    return best


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_languages(folder / "text", FAMILY, sentences=2_000)
        cold = first_step(folder, "cold")
        warm = min(first_step(folder, f"warm{i}") for i in range(2))
    result = {"cold_s": cold, "warm_s": warm, "cold / warm": cold / warm, "help_s": help_seconds()}
    print(
        f"to the first step of tiny: {cold:.1f} s without, {warm:.1f} s with the cache: "
        f"{cold / warm:.2f} times as fast"
    )
    print(f"jaxlt --help: {result['help_s']:.2f} s")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
