"""A step through a bank of modules beside a step of one module: what does routing cost?

    python benchmarks/bank.py [--turns 5] [--threads 1] [--layers 4] [--json FILE]

A frozen backbone of mT5-small's width (D 512, MLP 1024, 6 heads), one bottleneck a layer, AdamW,
float32, 32 rows of 128 inputs and 64 targets. `one`: all rows through one module that is no bank.
`mixed`: each row another language, through a bank of 128 slots, or of 32. Goals: mixed at most 1.15
times one at reduction factor 16, and 1.3 times at 2; the cost follows the batch, not the bank.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.sides import flags, keep, serve, take_turns, texts, trainer

ROWS, INPUTS, TARGETS, VOCAB = 32, 128, 64, 8_000
SIDES = {"one": 0, "mixed 128": 128, "mixed 32": 32}
GOALS = {16: 1.15, 2: 1.3}


def side(routes: int, factor: int, layers: int) -> None:
    """The trainer's own compiled step, with a bank of so many slots (0: one module)."""
    import numpy as np

    from jaxlt.models.config import T5Config
    from jaxlt.modules.bottleneck import Bottleneck
    from jaxlt.modules.site import plug

    routing = {"key": "source", "routes": routes} if routes else {}
    plugs = (plug(Bottleneck, "lang", sites="mlp_out", reduction_factor=factor, **routing),)
    model = T5Config(VOCAB, 512, 1024, 6, layers, layers, scan_layers=False, plugs=plugs)
    fields = texts(ROWS, INPUTS, TARGETS, VOCAB)
    if routes:
        fields["language"] = np.arange(ROWS, dtype=np.int32)  # each row another language
    normalize = "languages" if routes else "tokens"
    made = trainer(model, fields, normalize, trainable=("modules/.*",))
    serve(made.step, made.facts)


def compare(factor: int, turns: int, threads: int, layers: int) -> dict[str, object]:
    """Runs the sides of one reduction factor in turns, and prints their ratios."""
    clock = "cpu_s" if threads == 1 else "wall_s"
    command = [__file__, "--factor", str(factor), "--layers", str(layers), "--side"]
    sides = take_turns({name: [*command, name] for name in SIDES}, turns, threads)
    base = sides["one"].median(clock)
    result: dict[str, object] = {}
    for name, one in sides.items():
        result[name] = one.ready | {k: one.median(k) for k in one.turns[0]}
        seconds, peak = one.median(clock), one.median("peak_bytes") / 2**20
        print(
            f"rf {factor:2}  {name:10} {seconds:7.3f} s a step   {seconds / base:5.2f} of one   "
            f"peak {peak:.0f} MB"
        )
    ratio = sides["mixed 128"].median(clock) / base
    print(f"rf {factor:2}  mixed batch through 128 / one: {ratio:.3f} (goal {GOALS[factor]})")
    return result | {"ratio": ratio}


def main() -> None:
    """Runs both reduction factors."""
    parser = flags(__doc__, turns=5, threads=1, layers=4)
    parser.add_argument("--factor", type=int, choices=sorted(GOALS))
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        side(SIDES[args.side], args.factor, args.layers)
        return
    factors = [args.factor] if args.factor else sorted(GOALS, reverse=True)
    keep(args.json, {f: compare(f, args.turns, args.threads, args.layers) for f in factors})


if __name__ == "__main__":
    main()
