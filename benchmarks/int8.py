"""What a frozen backbone in int8 costs and saves, beside bfloat16 and float32.

    python benchmarks/int8.py [--part quality sides] [--seeds 0 1 2] [--quick] [--json FILE]

quality: a very small ByT5 (models/demo.gin) is pretrained on three made languages; then bottleneck
modules are trained on a fourth three times, with the same seed and data: on the backbone frozen in
float32, bfloat16 and int8. Bits per byte of held-out text, of that language and on average over all
four; `alone` is the backbone as it is held, before any module has learnt.

sides: one step of bottleneck modules on a frozen backbone of mT5-small's shape (32,128 rows, batch
8 x 128/64, float32 arithmetic, scanned layers), the three in turns on one pinned core: seconds of
process time, bytes of the frozen part, and the compiler's count of temporaries. A CPU has no
arithmetic in int8 or bfloat16 to speak of: what is held small is made float32 where it is used.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxlt.config import RunConfig

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.sides import flags, keep, serve, take_turns, texts, trainer

DTYPES = {"float32": None, "bfloat16": "bfloat16", "int8": "int8"}
ROWS, INPUTS, TARGETS, VOCAB = 8, 128, 64, 32_128


def pretrained(folder: Path, seed: int, quick: bool) -> tuple[tuple[str, ...], str]:
    """Pretrains all parameters on three languages; returns them, and one that is unseen."""
    from jaxlt.data.synth.languages import FAMILY, UNSEEN, write_languages
    from jaxlt.inference.training import train

    seen = tuple(spec.code for spec in FAMILY)
    if not (folder / "text").exists():
        write_languages(folder / "text", FAMILY, sentences=20_000, seed=seed)
        write_languages(folder / "text", (UNSEEN,), sentences=8_000, seed=seed)
    own = ["LEARNING_RATE=0.002", "OptimizerConfig.name=adamw", "OptimizerConfig.b2=0.98"]
    own.append("OptimizerConfig.clip_norm=1.0")
    files, languages = ["models/demo.gin", "runs/pretrain.gin"], (*seen, UNSEEN.code)
    steps = 60 if quick else 360
    train(configured(files, folder / "pretrained", languages, seen, steps, seed, own))
    return seen, UNSEEN.code


def adaptation(
    folder: Path, seen: tuple[str, ...], unseen: str, steps: int, seed: int
) -> "RunConfig":
    """One module on the frozen backbone, one language."""
    own = ["LEARNING_RATE=0.005", "lang/plug.reduction_factor=2", "T5Config.dropout=0.0"]
    own.append(f"INIT_FROM={folder / 'pretrained'}")
    files = ["models/demo.gin", "modules/bottleneck.gin", "runs/adapt.gin"]
    return configured(files, folder / "adapted", (*seen, unseen), (unseen,), steps, seed, own)


def configured(
    files: list[str],
    workdir: Path,
    languages: tuple[str, ...],
    read: tuple[str, ...],
    steps: int,
    seed: int,
    own: list[str],
) -> "RunConfig":
    """A run on the text: all languages keep their ids and are evaluated, `read` are trained on."""
    from jaxlt.config import load

    return load(
        files,
        [
            *("BATCH_SIZE=32", "INPUTS_LENGTH=128", "DTYPE=float32", "DataConfig.held_out=0.02"),
            f"TEXT={workdir.parent / 'text'}",
            f"WORKDIR={workdir}",
            f"SEED={seed}",
            f"DataConfig.languages={languages!r}",
            f"DataConfig.rates={tuple((name, 1.0) for name in read)!r}",
            "eval/DataConfig.rates=()",
            f"TRAIN_STEPS={steps}",
            "ScheduleConfig.name=cosine",
            f"ScheduleConfig.total_steps={steps}",
            f"ScheduleConfig.warmup_steps={min(20, steps // 2)}",
            f"TrainConfig.eval_every={steps}",
            f"CheckpointConfig.every={max(1, steps // 4)}",
            *own,
        ],
    )


def quality_side(folder: Path, seed: int, quick: bool) -> list[dict[str, Any]]:
    """All that one seed gives: a row a dtype."""
    import dataclasses

    from jaxlt.engine import compilation
    from jaxlt.engine.loop import program_of
    from jaxlt.inference import opening
    from jaxlt.inference.predictor import open_predictor
    from jaxlt.inference.training import evaluators, train

    compilation.prepare()
    seen, unseen = pretrained(folder, seed, quick)
    languages = (*seen, unseen)
    rows = []
    for name, dtype in DTYPES.items():
        run = adaptation(folder, seen, unseen, 40 if quick else 200, seed)
        run = dataclasses.replace(
            run,
            workdir=f"{folder / name}",
            train=dataclasses.replace(run.train, frozen_dtype=dtype),
        )
        base, _, inventory, data = opening.open_all(run, True)
        start = open_predictor(run, program_of(run), run.workdir, 0, base)
        before: dict[str, float] = {}
        for evaluator in evaluators(run, data.languages, inventory):
            found = evaluator(start.program, start.params)
            before |= {f"{evaluator.name}/{key}": value for key, value in found.items()}
        after = train(run).position.evaluation

        def mean(found: dict[str, float]) -> float:
            return statistics.fmean(found[f"eval/bpb/{code}"] for code in languages)

        rows.append(
            {
                "frozen": name,
                "seed": seed,
                "unseen alone": before[f"eval/bpb/{unseen}"],
                "all alone": mean(before),
                "unseen": after[f"eval/bpb/{unseen}"],
                "all": mean(after),
            }
        )
    return rows


def quality(seeds: list[int], quick: bool) -> list[dict[str, Any]]:
    """Trains seed by seed, each in a process of its own; prints bits per byte."""
    rows: list[dict[str, Any]] = []
    for seed in seeds[:1] if quick else seeds:
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch) / "rows.json"
            command = [sys.executable, __file__, "--side", f"quality {seed}", "--folder", scratch]
            command += ["--json", str(out), *(["--quick"] if quick else [])]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(done.stdout[-2000:] + done.stderr[-4000:])
            rows += json.loads(out.read_text())
        for row in rows[-len(DTYPES) :]:
            values = "  ".join(
                f"{key} {value:.4f}" for key, value in row.items() if isinstance(value, float)
            )
            print(f"seed {seed}  {row['frozen']:9} bits per byte: {values}", flush=True)
    for key in ("unseen alone", "all alone", "unseen", "all"):
        of = {n: [row[key] for row in rows if row["frozen"] == n] for n in DTYPES}
        for name in ("bfloat16", "int8"):
            more = [b - a for a, b in zip(of["float32"], of[name], strict=True)]
            plain = statistics.fmean(of["float32"])
            print(
                f"{name:9} - float32, {key:13} mean {statistics.fmean(more):+.5f}, from "
                f"{min(more):+.5f} to {max(more):+.5f} (float32 {plain:.4f})"
            )
    return rows


def step_side(name: str) -> None:
    """One side of the steps: the trainer's own compiled step."""
    import jax

    from jaxlt.models.config import T5Config
    from jaxlt.modules.bottleneck import Bottleneck
    from jaxlt.modules.site import plug
    from jaxlt.plan.aot import compile_train

    plugs = (plug(Bottleneck, "lang", reduction_factor=16),)
    model = T5Config(VOCAB, 512, 1024, 6, 8, 8, dropout=0.1, plugs=plugs)
    fields = texts(ROWS, INPUTS, TARGETS, VOCAB)
    made = trainer(model, fields, trainable=("modules/.*",), frozen_dtype=DTYPES[name])
    shapes = {
        n: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding)
        for n, a in made.batch.items()
    }
    analysis = compile_train(made.program, shapes).memory_analysis()
    serve(made.step, made.facts | {"temporary_bytes": int(analysis.temp_size_in_bytes)})


def sides(turns: int) -> dict[str, Any]:
    """Runs the steps in turns; prints and returns what each took."""
    running = take_turns({n: [__file__, "--side", n] for n in DTYPES}, turns, 1)
    found: dict[str, Any] = {"turns": turns}
    for name, side in running.items():
        seconds = side.median("cpu_s")
        found[name] = side.ready | {"cpu_s": seconds}
        print(
            f"{name:9} frozen {side.ready['frozen_bytes'] / 2**20:7.1f} MiB   temporaries "
            f"{side.ready['temporary_bytes'] / 2**20:7.1f} MiB   {seconds:.3f} s a step "
            f"({seconds / running['float32'].median('cpu_s'):.2f} of float32's)"
        )
    return found


def main() -> None:
    """Prints what was asked for."""
    parser = flags(__doc__, turns=5)
    parser.add_argument("--part", choices=("quality", "sides"), nargs="+")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--quick", action="store_true", help="the first seed, and fewer steps")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if args.side and args.side.startswith("quality"):
        rows = quality_side(args.folder, int(args.side.split()[1]), args.quick)
        args.json.write_text(json.dumps(rows))
        return
    if args.side:
        step_side(args.side)
        return
    result: dict[str, Any] = {}
    for part in args.part or ("sides", "quality"):
        if part == "quality":
            result[part] = quality(args.seeds, args.quick)
        else:
            result[part] = sides(args.turns)
        keep(args.json, result)


if __name__ == "__main__":
    main()
