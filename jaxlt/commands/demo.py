"""See jaxlt at work in minutes on a CPU: learn a few small languages, then adapt to an unseen one.

Makes four related languages, pretrains a very small ByT5 on three of them, freezes it, and trains a
bottleneck module of it on the fourth. Everything is written to one folder, and goes on from there
if it is interrupted.
"""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jax

    from jaxlt.config import RunConfig
    from jaxlt.engine.loop import Outcome

PRETRAIN = ["models/demo.gin", "runs/pretrain.gin"]
ADAPT = ["models/demo.gin", "modules/bottleneck.gin", "runs/adapt.gin"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    parser.add_argument("--workdir", default="jaxlt-demo", help="where to write (jaxlt-demo)")
    parser.add_argument("--steps", type=int, default=360, help="pretraining steps (360)")
    parser.add_argument("--adapt_steps", type=int, default=200, help="adaptation steps (200)")
    parser.add_argument("--seed", type=int, default=0)


def main(args: argparse.Namespace) -> int:
    """Runs the demo and prints its table."""
    from rich.console import Console

    from jaxlt import progress
    from jaxlt.data.synth.languages import FAMILY, UNSEEN, write_languages
    from jaxlt.engine import compilation
    from jaxlt.inference.training import train

    began = time.monotonic()
    compilation.prepare()
    progress.speak(True)
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        "Two to five minutes on two processors (about 200 s of their time), with what is left at "
        "every 20 steps; stopped, the same command goes on.\n"
    )
    folder = Path(args.workdir)
    seen = tuple(spec.code for spec in FAMILY)
    if not (folder / "text" / f"{UNSEEN.code}.txt").exists():
        write_languages(folder / "text", FAMILY, sentences=20_000, seed=args.seed)
        write_languages(folder / "text", (UNSEEN,), sentences=8_000, seed=args.seed)
    console.print(
        f"Four small languages are in {folder / 'text'}: {', '.join(seen)} to learn from, and "
        f"their relative {UNSEEN.code} to meet later. The same sentence in each:"
    )
    show_languages(console, (*FAMILY, UNSEEN))
    console.print(f"\n1. Pretraining a ByT5 of 1.2M parameters on {', '.join(seen)}")
    before = train(pretraining(folder, seen, UNSEEN.code, args.steps, args.seed))
    console.print(
        f"\n2. Adapting to {UNSEEN.code}: the backbone frozen, a bottleneck module learns"
    )
    after = train(adaptation(folder, seen, UNSEEN.code, args.adapt_steps, args.seed))
    report(console, before, after, seen, UNSEEN.code)
    whats_next(console, folder, time.monotonic() - began)
    return 0


def pretraining(
    folder: Path, seen: tuple[str, ...], unseen: str, steps: int, seed: int
) -> "RunConfig":
    """The first run: all parameters, three languages."""
    optimizer = ("name=adamw", "b2=0.98", "clip_norm=1.0")
    own = ["LEARNING_RATE=0.002", *(f"OptimizerConfig.{setting}" for setting in optimizer)]
    return _run(PRETRAIN, folder / "pretrained", (*seen, unseen), seen, steps, seed, own)


def adaptation(
    folder: Path, seen: tuple[str, ...], unseen: str, steps: int, seed: int
) -> "RunConfig":
    """The second run: one module on the frozen backbone, one language."""
    own = ["LEARNING_RATE=0.005", "lang/plug.reduction_factor=2", "T5Config.dropout=0.0"]
    own.append(f"INIT_FROM={folder / 'pretrained'}")
    return _run(ADAPT, folder / "adapted", (*seen, unseen), (unseen,), steps, seed, own)


def _run(
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
            "TrainConfig.log_every=20",
            f"TRAIN_STEPS={steps}",
            "ScheduleConfig.name=cosine",
            f"ScheduleConfig.total_steps={steps}",
            f"ScheduleConfig.warmup_steps={min(20, steps // 2)}",
            f"TrainConfig.eval_every={steps}",
            f"CheckpointConfig.every={max(1, steps // 4)}",
            *own,
        ],
    )


def show_languages(console, specs) -> None:
    """Prints one sentence of the world in every language."""
    from jaxlt.data.synth.languages import generate

    for spec in specs:
        sentence = next(generate(spec, 1, seed=1))
        console.print(f"   {spec.code:12}{sentence}", markup=False)


def report(
    console, before: "Outcome", after: "Outcome", seen: tuple[str, ...], unseen: str
) -> None:
    """Prints bits per byte by language before and after, and whether the base stayed as it was."""
    from rich.table import Table

    table = Table(title="bits per byte on held-out text (lower is better)", title_justify="left")
    for column in ("language", "", "pretrained", "with the module", "change"):
        table.add_column(column, justify="left" if column in ("language", "") else "right")
    for name in (*seen, unseen):
        old = before.position.evaluation[f"eval/bpb/{name}"]
        new = after.position.evaluation[f"eval/bpb/{name}"]
        kind = "unseen" if name == unseen else "pretrained on"
        style = "bold" if name == unseen else None
        table.add_row(name, kind, f"{old:.3f}", f"{new:.3f}", f"{new - old:+.3f}", style=style)
    console.print()
    console.print(table)
    module = sum(a.size for a in after.state.trainable.values())
    whole = sum(a.size for a in before.state.trainable.values())
    same = same_bits(before.state.trainable, after.state.frozen)
    console.print(
        f"The module has {module:,} parameters beside the backbone's {whole:,}. The backbone is "
        f"{'bit for bit what it was' if same else 'NOT what it was'}: without the module it scores "
        "as in the first column."
    )


def same_bits(before: "Mapping[str, jax.Array]", after: "Mapping[str, jax.Array]") -> bool:
    """Says whether two flat trees hold the same names and, bit for bit, the same values."""
    import numpy as np

    return before.keys() == after.keys() and all(
        np.asarray(before[name]).tobytes() == np.asarray(after[name]).tobytes() for name in before
    )


def whats_next(console, folder: Path, seconds: float) -> None:
    """Says where things are and what to try."""
    console.print(
        f"\nDone in {seconds:.0f} s. Checkpoints: {folder / 'pretrained'}, {folder / 'adapted'} "
        "(config.gin, metrics.jsonl and TensorBoard files lie beside them).\n\nTry next:\n"
        f"  jaxlt eval --workdir {folder / 'adapted'}\n"
        "  jaxlt plan --gin_file=models/mt5_xl.gin --gin_file=runs/pretrain.gin "
        "--gin.VOCABULARY=spiece.model\n"
        "  jaxlt train --gin_file=models/tiny.gin --gin_file=runs/pretrain.gin "
        "--gin.BATCH_SIZE=16 --gin.INPUTS_LENGTH=256 \\\n"
        "    --gin.DTYPE=float32 --gin.TEXT=FOLDER_WITH_A_TEXT_FILE_A_LANGUAGE "
        "--gin.WORKDIR=runs/mine",
        markup=False,
    )
