"""Scoring 20 languages in one routed pass beside as many examples of one: what does routing cost?

    python benchmarks/routed_scoring.py [--turns 5] [--threads 1] [--layers 4] [--json FILE]

LossEvaluator, what `jaxlt eval` scores with, over 160 examples of 128 inputs and 32 targets in
batches of 40, float32, a backbone of mT5-small's width (D 512, MLP 1024, 6 heads) with a Pfeiffer
bottleneck a layer, at reduction factor 16 (its own) and 2 (as language modules have it). `one`: all
examples in one language, whose module is no bank. `routed`: eight of each language, row by row
another one, through a bank of 32 slots. Goal: routed at most 1.2 times one.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.sides import flags, keep, serve, take_turns, texts

LANGUAGES, EXAMPLES, ROWS, SLOTS = 20, 160, 40, 32
INPUTS, TARGETS, VOCAB = 128, 32, 8_000
SIDES, FACTORS = ("one", "routed"), (16, 2)
GOAL = 1.2


def run(side: str, factor: int, layers: int) -> None:
    """Scores with the trainer's own compiled evaluation."""
    import numpy as np

    from jaxlt.data.rows.batches import ArrayBatches
    from jaxlt.engine import compilation
    from jaxlt.engine.evaluator import LossEvaluator
    from jaxlt.engine.loss.losses import LossConfig
    from jaxlt.engine.optim.optimizers import OptimizerConfig
    from jaxlt.engine.partitioning import MeshConfig, make_mesh
    from jaxlt.engine.state import draw_params
    from jaxlt.engine.step import StepSpec, build
    from jaxlt.models.config import T5Config
    from jaxlt.modules.bottleneck import Pfeiffer
    from jaxlt.modules.site import plug

    class Pass(ArrayBatches):
        """One pass over arrays."""

        num_batches = EXAMPLES // ROWS

    compilation.prepare()
    routing = {} if side == "one" else {"key": "source", "routes": SLOTS}
    plugs = (plug(Pfeiffer, "lang", reduction_factor=factor, **routing),)
    model = T5Config(VOCAB, 512, 1024, 6, layers, layers, scan_layers=False, plugs=plugs)
    mesh, rules = make_mesh(MeshConfig()), MeshConfig().rules
    program = build(StepSpec(model, LossConfig(), OptimizerConfig(), mesh, rules))
    params = draw_params(program.layout, list(program.layout.leaves), 0)
    names = tuple(f"l{i:02d}_Latn" for i in range(1 if side == "one" else LANGUAGES))
    fields = texts(EXAMPLES, INPUTS, TARGETS, VOCAB)
    del fields["row"], fields["target_bytes"]
    fields["language"] = np.arange(EXAMPLES, dtype=np.int32) % len(names)
    evaluate = LossEvaluator(Pass(fields, ROWS, shuffle=False, languages=names))

    def step() -> None:
        totals = evaluate.totals(program, params)
        assert np.all(totals["rows"] == EXAMPLES // len(names))

    serve(step, {"examples": EXAMPLES, "languages": len(names)})


def compare(factor: int, args: argparse.Namespace) -> dict[str, object]:
    """Runs the sides of one reduction factor in turns, and prints their ratio."""
    clock = "cpu_s" if args.threads == 1 else "wall_s"
    command = [__file__, "--layers", str(args.layers), "--factor", str(factor), "--side"]
    sides = take_turns({name: [*command, name] for name in SIDES}, args.turns, args.threads)
    result: dict[str, object] = {"clock": clock}
    for name, side in sides.items():
        seconds = side.median(clock)
        result[name] = side.ready | {key: side.median(key) for key in side.turns[0]}
        rate = EXAMPLES / seconds
        print(f"rf {factor:2}  {name:6}  {seconds:7.3f} s   {rate:6.1f} examples/s")
    ratio = sides["routed"].median(clock) / sides["one"].median(clock)
    print(f"rf {factor:2}  20 languages in one pass / one language: {ratio:.3f} (goal {GOAL})")
    return result | {"ratio": ratio}


def main() -> None:
    """Runs both reduction factors."""
    parser = flags(__doc__, turns=5, threads=1, layers=4)
    parser.add_argument("--factor", type=int, choices=FACTORS)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        run(args.side, args.factor, args.layers)
        return
    factors = [args.factor] if args.factor else FACTORS
    result = {factor: compare(factor, args) for factor in factors}
    keep(args.json, result | {"threads": args.threads})


if __name__ == "__main__":
    main()
