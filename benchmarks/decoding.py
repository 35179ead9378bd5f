"""Decoding 64 tokens beside HF transformers' `generate` (torch): greedy, and beam search.

    pip install -e '.[parity]'        # torch and transformers; without them that side is left out
    python benchmarks/decoding.py [--beams 4] [--turns 5] [--threads 1] [--json FILE]
        [--beside FOLDER]             # another checkout of jaxlt, to take turns with this one

mT5-small's shape with 32,128 rows, batch 8 x 128, float32, no end of sequence, so that both write
64 tokens. Goals: at least 1.6 times as many tokens a second as HF on one core, 2.5 times on two
threads; with 4 beams likewise.
"""

import argparse
import importlib.util
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.sides import flags, hf_mt5, keep, serve, take_turns

ROWS, INPUTS, TOKENS, VOCAB = 8, 128, 64, 32_128


def inputs():
    """The same batch for both sides: numpy int32 [8, 128]."""
    import numpy as np

    return np.random.default_rng(0).integers(3, VOCAB, (ROWS, INPUTS)).astype(np.int32)


def hf_side(beams: int) -> None:
    """MT5ForConditionalGeneration.generate, with its cache, as its users call it."""
    import torch

    torch.manual_seed(0)
    model = hf_mt5(VOCAB, 512, 1024, 6, 8, 64).eval()
    model.generation_config.eos_token_id = None
    given = torch.from_numpy(inputs()).long()

    def step() -> None:
        out = model.generate(given, max_new_tokens=TOKENS, do_sample=False, num_beams=beams)
        assert out.shape == (ROWS, TOKENS + 1), out.shape

    serve(step, {"torch": torch.__version__})


def jaxlt_side(beams: int, scanned: bool) -> None:
    """`decode`, as the predictor calls it."""
    import jax

    from jaxlt.engine import compilation
    from jaxlt.engine.decode.decoding import DecodingConfig, decode, greedy
    from jaxlt.models.config import T5Config
    from jaxlt.models.init import describe, draw

    compilation.prepare()
    model = T5Config(VOCAB, 512, 1024, 6, 8, 8, scan_layers=scanned)
    key = jax.random.key(0)
    params = {n: draw(leaf, n, key) for n, leaf in describe(model).items()}
    params = {n: jax.device_put(v) for n, v in params.items()}
    given = {"encoder_input_tokens": inputs()}
    decoding = DecodingConfig(TOKENS, method="beam", beams=beams, end=-1)

    def step() -> None:
        if beams > 1:
            found = decode(model, params, given, decoding).tokens[:, 0]
        else:
            found = greedy(model, params, given, TOKENS)
        assert found.shape == (ROWS, TOKENS)

    serve(step, {"jax": jax.__version__})


def command(name: str, args: argparse.Namespace) -> list[str]:
    """What a side runs: of 'unrolled before', the other checkout's script."""
    side, _, before = name.partition(" ")
    script = args.beside / "benchmarks" / "decoding.py" if before else __file__
    return [str(script), "--side", side, "--beams", str(args.beams)]


def main() -> None:
    """Runs the sides in turns and prints the ratio."""
    parser = flags(__doc__, beams=1, turns=5, threads=1)
    parser.add_argument("--beside", type=Path, metavar="FOLDER")
    parser.add_argument("--side", choices=("hf", "unrolled", "scanned"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side == "hf":
        return hf_side(args.beams)
    if args.side:
        return jaxlt_side(args.beams, args.side == "scanned")
    names = ["unrolled", "scanned"]
    if args.beside:
        names = [f"{n}{tree}" for n in names for tree in (" before", "")]
    elif importlib.util.find_spec("torch") and importlib.util.find_spec("transformers"):
        names.insert(0, "hf")
    sides = take_turns({n: command(n, args) for n in names}, args.turns, args.threads)
    clock = "cpu_s" if args.threads == 1 else "wall_s"
    result: dict[str, object] = {"beams": args.beams, "threads": args.threads, "clock": clock}
    for name, side in sides.items():
        result[name] = side.ready | {k: side.median(k) for k in side.turns[0]}
        took = side.median(clock)
        print(f"{name:16} {took:7.3f} s   {ROWS * TOKENS / took:7.0f} tokens/s   {side.ready}")
    ratios = {}
    for name in ("unrolled", "scanned"):
        for other in {"hf", f"{name} before"} & sides.keys():
            pairs = zip(sides[other].turns, sides[name].turns, strict=True)
            ratio = statistics.median(a[clock] / b[clock] for a, b in pairs)
            ratios[f"{other} / {name}, time"] = ratio
    for name, value in ratios.items():
        print(f"{name:32} {value:.3f}")
    return keep(args.json, result | {"ratios": ratios})


if __name__ == "__main__":
    main()
