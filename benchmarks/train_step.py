"""Training steps on a CPU beside Hugging Face's (torch, transformers, adapters), and ratios.

    pip install torch 'adapters>=1.3'       # without them that side is left out
    python benchmarks/train_step.py [--rows full,own] [--turns 5] [--threads 1] [--json FILE]
        [--beside FOLDER]               # another checkout of jaxlt, to take turns with this one

mT5-small's shape, batch 8 x 128/64, float32, dropout 0.1, AdamW: forward, backward, update. Rows:

    full        all parameters, 32,128 rows of vocabulary
    frozen      a bottleneck (reduction factor 16) after both sublayers on a frozen backbone
    lora        LoRA (rank 8) on query and value
    own         all parameters, mT5-small's own 250,112 rows, batch 4
    mixed       frozen, the 8 rows of 8 languages: a bottleneck each, beside adapters' BatchSplit
    scanned     `full` with the layers scanned; ours alone, and only where --rows names it
    masked      the encoder alone, masked LM of 15%, with logits at the masked places; ours alone
    masked_all  the same with logits at every place, which are as many losses

One thread: process time on one pinned core. More: wall time, the quickest turn of each side, since
a shared machine only ever adds to it. Goals: HF / ours at least 1.5 (full; 1.3 on two threads), 1.8
(frozen, lora, mixed), 2.5 (own), at no more memory; frozen / full at most 0.65.
"""

import argparse
import importlib.util
import statistics
import sys
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.sides import flags, hf_mt5, keep, serve, take_turns, texts, trainer

INPUTS, TARGETS = 128, 64


class Row(NamedTuple):
    """One comparison: vocabulary, rows of a batch, what trains, and HF / ours as aimed at."""

    vocab: int = 32_128
    rows: int = 8
    method: str | None = None  # 'bottleneck', 'lora', or None: everything trains
    languages: int = 1
    scanned: bool = False
    asked: str = ""  # masked LM with logits at 'places', or at 'all'
    goal: float = 1.8


ROWS = {
    "full": Row(goal=1.5),
    "frozen": Row(method="bottleneck"),
    "lora": Row(method="lora"),
    "own": Row(vocab=250_112, rows=4, goal=2.5),
    "mixed": Row(method="bottleneck", languages=8),
    "scanned": Row(scanned=True, goal=0.0),
    "masked": Row(asked="places", goal=0.0),
    "masked_all": Row(asked="all", goal=0.0),
}
USUAL = ("full", "frozen", "lora", "own", "mixed")


def fields_of(row: Row) -> dict[str, Any]:
    """The same batch for both sides: inputs [rows, 128] and targets [rows, 64], in numpy.

    Of masked LM targets are [rows, 128], of which 15% weigh.
    """
    if not row.asked:
        return texts(row.rows, INPUTS, TARGETS, row.vocab)
    import numpy as np

    fields = texts(row.rows, INPUTS, INPUTS, row.vocab)
    rng, many = np.random.default_rng(1), round(0.15 * INPUTS)
    places = np.sort([rng.permutation(INPUTS)[:many] for _ in range(row.rows)]).astype(np.int32)
    weights = np.zeros((row.rows, INPUTS), np.float32)
    np.put_along_axis(weights, places, 1.0, axis=1)
    targets = fields.pop("decoder_target_tokens")
    fields = {name: values for name, values in fields.items() if not name.startswith("decoder")}
    fields |= {"encoder_target_tokens": targets, "encoder_loss_weights": weights}
    return fields | ({"encoder_target_places": places} if row.asked == "places" else {})


def hf_side(row: Row) -> None:
    """MT5ForConditionalGeneration, torch.optim.AdamW, as its users write the step."""
    import torch

    torch.manual_seed(0)
    model = hf_mt5(row.vocab, 512, 1024, 6, 8, 64)
    if row.method:
        plug_in(model, row)
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    fields, names = fields_of(row), ("encoder_input_tokens", "decoder_target_tokens")
    inputs, targets = (torch.from_numpy(fields[name]).long() for name in names)

    def step() -> None:
        optimizer.zero_grad()
        model(input_ids=inputs, labels=targets).loss.backward()
        optimizer.step()

    serve(step, {"trained": sum(p.numel() for p in trained), "torch": torch.__version__})


def plug_in(model: Any, row: Row) -> None:
    """The library `adapters`: modules on a frozen model; of several languages by BatchSplit."""
    import adapters
    from adapters.composition import BatchSplit

    adapters.init(model)
    if row.method == "lora":
        config = adapters.LoRAConfig(r=8, alpha=8)
    else:
        config = adapters.DoubleSeqBnConfig(original_ln_after=False)
    names = [f"module{i}" for i in range(row.languages)]
    for name in names:
        model.add_adapter(name, config=config)
    each = [row.rows // row.languages] * row.languages
    model.train_adapter(BatchSplit(*names, batch_sizes=each) if row.languages > 1 else names[0])


def jaxlt_side(row: Row) -> None:
    """The trainer's own compiled step."""
    import numpy as np

    from jaxlt.models.config import T5Config

    layers = {"decoder_layers": 0 if row.asked else 8, "scan_layers": row.scanned}
    model = T5Config(row.vocab, 512, 1024, 6, 8, **layers, dropout=0.1, plugs=plugs_of(row))
    fields = fields_of(row)
    fields["language"] = np.arange(row.rows, dtype=np.int32) % row.languages
    made = trainer(model, fields, trainable=("modules/.*",) if row.method else (".*",))
    serve(made.step, made.facts)


def plugs_of(row: Row) -> tuple[Any, ...]:
    """What a row plugs into the backbone."""
    from jaxlt.modules.bottleneck import Bottleneck
    from jaxlt.modules.lora import LoRA
    from jaxlt.modules.site import plug

    if row.method is None:
        return ()
    if row.method == "lora":
        return (plug(LoRA, "task", rank=8),)
    routing: dict[str, Any] = (
        {"key": "source", "routes": row.languages} if row.languages > 1 else {}
    )
    sites = ("attn_out", "mlp_out")
    return (plug(Bottleneck, "task", sites=sites, reduction_factor=16, **routing),)


def compare(name: str, turns: int, threads: int, beside: Path | None) -> dict[str, Any]:
    """Runs the sides of a row in turns; prints and returns what they took."""
    row, kinds = ROWS[name], ["ours"]
    needed = ("torch", "adapters" if row.method else "transformers")
    if beside:
        kinds.insert(0, "before")
    elif row.goal and all(importlib.util.find_spec(package) for package in needed):
        kinds.insert(0, "hf")
    script = {"before": str((beside or Path()) / "benchmarks" / "train_step.py")}
    asked = {"before": "ours"}
    commands = {k: [script.get(k, __file__), "--side", asked.get(k, k), name] for k in kinds}
    sides = take_turns(commands, turns, threads)
    result: dict[str, Any] = {}
    for kind, side in sides.items():
        each = [t["cpu_s" if threads == 1 else "wall_s"] for t in side.turns]
        seconds = sorted(each)[len(each) // 2] if threads == 1 else min(each)
        peak = side.median("peak_bytes")
        result[kind] = {"seconds": seconds, "turns": each, "peak_bytes": peak} | side.ready
        print(
            f"{name:8} {kind:6} {seconds:7.3f} s a step   peak {peak / 2**30:5.2f} GiB   ", end=""
        )
        print(", ".join(f"{k} {v}" for k, v in side.ready.items()), flush=True)
    if "before" in sides:
        ratio = statistics.median(
            after["cpu_s"] / before["cpu_s"]
            for before, after in zip(sides["before"].turns, sides["ours"].turns, strict=True)
        )
        result["ours / before"] = ratio
        print(f"{name:8} ours / before {ratio:.3f}", flush=True)
    if "hf" in sides:
        hf, ours = result["hf"], result["ours"]
        result["hf / ours"] = hf["seconds"] / ours["seconds"]
        result["ours / hf, peak"] = ours["peak_bytes"] / hf["peak_bytes"]
        goal = (
            "" if threads > 1 and name != "full" else f" (goal {1.3 if threads > 1 else row.goal})"
        )
        print(
            f"{name:8} HF / ours {result['hf / ours']:.2f}{goal}, "
            f"memory ours / HF {result['ours / hf, peak']:.2f}",
            flush=True,
        )
    return result


def main() -> None:
    """Compares the rows asked for and prints their ratios."""
    parser = flags(__doc__, turns=5, threads=1)
    parser.add_argument("--rows", default=",".join(USUAL), help=f"of {', '.join(ROWS)}")
    parser.add_argument("--beside", type=Path, metavar="FOLDER")
    parser.add_argument("--side", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        kind, name = args.side
        (hf_side if kind == "hf" else jaxlt_side)(ROWS[name])
        return
    clock = "process time" if args.threads == 1 else "wall time"
    result: dict[str, Any] = {"turns": args.turns, "threads": args.threads, "clock": clock}
    for name in args.rows.split(","):
        if name not in ROWS:
            parser.error(f"--rows has '{name}'; it names some of {', '.join(ROWS)}")
        result[name] = compare(name, args.turns, args.threads, args.beside)
    seconds = {n: r["ours"]["seconds"] for n, r in result.items() if isinstance(r, dict)}
    for name in ("frozen", "lora", "mixed", "scanned"):
        if "full" in seconds and name in seconds:
            print(f"{name:8} / full {seconds[name] / seconds['full']:.2f}")
    if {"masked", "masked_all"} <= seconds.keys():
        print(f"masked_all / masked {seconds['masked_all'] / seconds['masked']:.2f}")
    keep(args.json, result)


if __name__ == "__main__":
    main()
