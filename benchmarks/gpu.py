"""A training step on one NVIDIA GPU: MFU against its measured matmul peak, beside HF transformers.

    python benchmarks/gpu.py [--shape base large xl] [--method full bottleneck lora]
        [--batch packed whole] [--attention plain fused] [--flags default gpu.gin graphs] [--rows N]

bf16, rows of 512/128, AdamW: forward, backward, update. jaxlt's rows are packed with several texts,
or filled by a long one; HF's are of the latter kind, since it has no packing: on texts of many
lengths its rows hold padding instead. cuDNN's attention (fused) takes no packed rows. Modules on
HF's side are plain torch. What does not fit is tried again with half the rows. Needs jax with CUDA,
flax and optax; torch and transformers for the other side. Results go to
benchmarks/results/gpu_<device>.json. Without a GPU it says so and ends with status 2.
"""

import argparse
import ast
import dataclasses
import glob
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.gpu_sides import METHODS, SHAPES, Case

ROWS = {"tiny": 4, "base": 64, "large": 32, "xl": 16}  # to begin with
REMAT = {"xl": "full"}  # of the full step, on both sides
GRAPHS = (("xla_gpu_graph_min_graph_size", 1),)  # CUDA graphs of any size
NO_GRAPHS = (("xla_gpu_enable_command_buffer", ""),)
FLAGS = ("default", "gpu.gin", "graphs", "no_graphs")


def has_gpu() -> bool:
    """Says whether an NVIDIA GPU seems to be here, without starting anything."""
    return bool(shutil.which("nvidia-smi") or glob.glob("/dev/nvidia[0-9]*"))


def options_of(flags: str) -> tuple[tuple[str, Any], ...]:
    """The compiler's options behind a name of FLAGS."""
    if flags == "gpu.gin":  # read without gin, which GPU machines need not have
        text = (ROOT / "gin_configs" / "platforms" / "gpu.gin").read_text(encoding="utf-8")
        return tuple(ast.literal_eval(text.partition("CompilerConfig.gpu = ")[2]))
    return {"default": (), "graphs": GRAPHS, "no_graphs": NO_GRAPHS}[flags]


def measure(case: Case) -> dict[str, Any]:
    """Runs a case in a process of its own; what fails is an answer too."""
    with tempfile.TemporaryDirectory(prefix="jaxlt_gpu_") as folder:
        path = Path(folder) / "case.json"
        path.write_text(json.dumps(dataclasses.asdict(case)), encoding="utf-8")
        command = [sys.executable, str(Path(__file__).with_name("gpu_sides.py")), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        if line.startswith("done "):
            return json.loads(line.removeprefix("done "))
    if done.returncode in (-9, 137):
        return {"out_of_memory": True, "where": "host"}
    said = [line for line in done.stderr.splitlines() if line.strip()]
    return {"failed": " ".join(said[-1:])[:300] or f"status {done.returncode}"}


def fitted(case: Case) -> list[dict[str, Any]]:
    """Rows of the table: the case, and with half its rows where memory is too small for it."""
    out = []
    while True:
        found = measure(case)
        out.append(dataclasses.asdict(case) | found)
        if not found.get("out_of_memory") or case.rows == 1:
            return out
        case = dataclasses.replace(case, rows=max(1, case.rows // 2))


def cases(args: argparse.Namespace) -> list[tuple[str, Case]]:
    """(name of the flags, case) in the order in which they run: HF's beside jaxlt's."""
    other = importlib.util.find_spec("torch") and importlib.util.find_spec("transformers")
    small = args.device == "cpu"
    ways = [(b, a) for b in args.batch for a in args.attention if (b, a) != ("packed", "fused")]
    out = []
    for shape in args.shape:
        for method in args.method:
            case = Case(
                "jaxlt",
                shape,
                method,
                rows=args.rows or ROWS[shape],
                inputs=32 if small else 512,
                targets=16 if small else 128,
                remat=REMAT.get(shape, "none") if method == "full" else "none",
                device=args.device,
                turns=args.turns,
                steps=args.steps,
            )
            for batch, attention in ways:
                for flags in args.flags:
                    own = {"batch": batch, "attention": attention, "options": options_of(flags)}
                    out.append((flags, dataclasses.replace(case, **own)))
            if other:
                out.append(("", dataclasses.replace(case, side="hf", batch="whole", attention="")))
    return out


def with_rates(row: dict[str, Any], peak: float, work: dict[str, float]) -> dict[str, Any]:
    """A row with what follows from its time. work: FLOPs a row of text, by shape and method."""
    key = f"{row['shape']}/{row['method']}"
    if "flops" in row:
        work[key] = row["flops"] / row["rows"]
    if "seconds" not in row:
        return row
    rate = row["rows"] / row["seconds"]
    row |= {"sequences_per_second": rate, "tokens_per_second": rate * positions(row)}
    if key in work:
        row["mfu"] = rate * work[key] / peak
    return row


def positions(row: dict[str, Any]) -> int:
    """Of a row of text."""
    return row["inputs"] + row["targets"]


def line_of(row: dict[str, Any]) -> str:
    """A row as it is printed."""
    way = f"{row['side']} {row['attention']}"
    head = (
        f"{row['shape']:6} {row['method']:11} {way:12} {row['batch']:7} {row['flags']:10} "
        f"{row['rows']:5}"
    )
    if row.get("out_of_memory"):
        return f"{head}  out of memory"
    if "failed" in row:
        return f"{head}  failed: {row['failed']}"
    mfu = f"{100 * row['mfu']:6.1f}%" if "mfu" in row else f"{'-':>7}"
    return (
        f"{head} {1000 * row['seconds']:9.1f} {row['sequences_per_second']:9.1f} "
        f"{row['tokens_per_second']:11,.0f} {mfu} {row['peak_bytes'] / 2**30:8.1f}"
    )


def ratios(rows: list[dict[str, Any]]) -> dict[str, float]:
    """jaxlt's best sequences a second over HF's, by shape and method, each at its own best."""
    out = {}
    for key in dict.fromkeys((r["shape"], r["method"]) for r in rows):
        best = {}
        for side in ("jaxlt", "hf"):
            own = [r for r in rows if (r["shape"], r["method"], r["side"]) == (*key, side)]
            best[side] = max((r.get("sequences_per_second", 0.0) for r in own), default=0.0)
        if best["jaxlt"] and best["hf"]:
            out["/".join(key)] = best["jaxlt"] / best["hf"]
    return out


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=["base", "large", "xl"])
    parser.add_argument("--method", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument(
        "--batch", nargs="+", choices=("packed", "whole"), default=["packed", "whole"]
    )
    parser.add_argument(
        "--attention", nargs="+", choices=("plain", "fused"), default=["plain", "fused"]
    )
    parser.add_argument("--flags", nargs="+", choices=FLAGS, default=["default"])
    parser.add_argument("--rows", type=int, help="of text a step; otherwise by the shape")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5, help="a turn")
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu", help="cpu: to try it")
    parser.add_argument("--json", type=Path, help="where the results go")
    return parser.parse_args()


def main() -> int:
    """Measures all cases and prints a row each."""
    args = parsed()
    if args.device == "gpu" and not has_gpu():
        print(
            "benchmarks/gpu.py measures on an NVIDIA GPU, and there is none here (no nvidia-smi, "
            "no /dev/nvidia*). --shape=tiny --device=cpu tries its parts without one.",
            file=sys.stderr,
        )
        return 2
    peak = measure(Case("peak", device=args.device, turns=args.turns, steps=args.steps))
    if "peak" not in peak or (args.device == "gpu" and peak["platform"] != "gpu"):
        why = peak.get("failed") or f"jax sees a {peak.get('platform')}: is its CUDA plugin there?"
        print(f"benchmarks/gpu.py cannot use the GPU: {why}", file=sys.stderr)
        return 2
    measured = ", ".join(f"{n} {v / 1e12:,.3g}" for n, v in peak["peaks"].items())
    print(f"{peak['device']}: bf16 matrix product, TFLOP/s: {measured}")
    print(
        f"{'shape':6} {'trains':11} {'side':12} {'batch':7} {'flags':10} {'rows':>5} "
        f"{'ms a step':>9} {'rows/s':>9} {'positions/s':>11} {'MFU':>7} {'peak GiB':>8}"
    )
    rows: list[dict[str, Any]] = []
    work: dict[str, float] = {}
    for flags, case in cases(args):
        for found in fitted(case):
            rows.append(with_rates(found | {"flags": flags}, peak["peak"], work))
            print(line_of(rows[-1]), flush=True)
    result = {**peak, "rows": rows, "ratios": ratios(rows)}
    for name, value in result["ratios"].items():
        print(f"{name:18} rows/s of jaxlt over HF's, each at its best: {value:.2f}")
    path = args.json
    if path is None and args.device == "gpu":
        name = re.sub(r"\W+", "_", peak["device"].lower()).strip("_")
        path = Path(__file__).parent / "results" / f"gpu_{name}.json"
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
