"""A step through a bank of modules beside a step of one module: what does routing cost?

    python benchmarks/bank.py [--turns 5] [--threads 1] [--layers 4] [--json FILE]

A frozen backbone of mT5-small's width (D 512, MLP 1024, 6 heads), one bottleneck a layer, AdamW,
float32, 32 rows of 128 inputs and 64 targets. `one`: all rows through one module that is no bank.
`mixed`: each row another language, through a bank of 128 slots, or of 32. Goals: mixed at most 1.15
times one at reduction factor 16, and 1.3 times at 2; the cost follows the batch, not the bank.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.sides import Side, serve

ROWS, INPUTS, TARGETS, VOCAB = 32, 128, 64, 8_000
SIDES = {"one": 0, "mixed 128": 128, "mixed 32": 32}
GOALS = {16: 1.15, 2: 1.3}


def batch_of(languages: int):
    """Random texts as numpy arrays, row r in language r modulo `languages`."""
    import numpy as np

    rng = np.random.default_rng(0)
    inputs = rng.integers(3, VOCAB, (ROWS, INPUTS)).astype(np.int32)
    targets = rng.integers(3, VOCAB, (ROWS, TARGETS)).astype(np.int32)
    return {
        "encoder_input_tokens": inputs,
        "decoder_input_tokens": np.pad(targets[:, :-1], ((0, 0), (1, 0))),
        "decoder_target_tokens": targets,
        "decoder_loss_weights": np.ones((ROWS, TARGETS), np.float32),
        "language": np.arange(ROWS, dtype=np.int32) % languages,
        "row": np.arange(ROWS, dtype=np.int32),
    }


def side(routes: int, factor: int, layers: int) -> None:
    """The trainer's own compiled step, with a bank of so many slots (0: one module)."""
    import jax
    import jax.numpy as jnp

    from jaxlt.engine import compilation
    from jaxlt.engine.loss.losses import LossConfig
    from jaxlt.engine.optim.optimizers import OptimizerConfig
    from jaxlt.engine.partitioning import MeshConfig, make_mesh, place_rows
    from jaxlt.engine.state import make_state
    from jaxlt.engine.step import Hyper, StepSpec, build
    from jaxlt.models.config import T5Config
    from jaxlt.modules.bottleneck import Bottleneck
    from jaxlt.modules.site import plug

    compilation.prepare()
    routing = {"key": "source", "routes": routes} if routes else {}
    plugs = (plug(Bottleneck, "lang", sites="mlp_out", reduction_factor=factor, **routing),)
    model = T5Config(VOCAB, 512, 1024, 6, layers, layers, scan_layers=False, plugs=plugs)
    mesh = make_mesh(MeshConfig())
    loss = LossConfig(normalize="languages" if routes else "tokens")
    spec = StepSpec(
        model,
        loss,
        OptimizerConfig(name="adamw"),
        mesh,
        MeshConfig().rules,
        trainable=("modules/.*",),
    )
    program = build(spec)
    state = make_state(program.layout, program.optimizer, 0)
    batch = place_rows([(0, batch_of(ROWS if routes else 1))], ROWS, mesh)
    hyper = Hyper(jnp.float32(1e-3), jnp.uint32(0))

    def step() -> None:
        nonlocal state
        state, _ = program.train(state, batch, hyper)
        jax.block_until_ready(state.trainable)

    size = lambda tree: sum(a.nbytes for a in jax.tree.leaves(tree))  # noqa: E731
    serve(step, {"trainable_bytes": size(state.trainable), "jax": jax.__version__})


def compare(factor: int, turns: int, threads: int, layers: int) -> dict[str, object]:
    """Runs the sides of one reduction factor in turns, and prints their ratios."""
    clock = "cpu_s" if threads == 1 else "wall_s"
    shape = ["--factor", str(factor), "--layers", str(layers)]
    sides = {n: Side(n, [__file__, "--side", n, *shape], range(threads)) for n in SIDES}
    for _ in range(turns):
        for one in sides.values():
            one.turn()
    base = sides["one"].median(clock)
    result: dict[str, object] = {}
    for name, one in sides.items():
        result[name] = one.ready | {k: one.median(k) for k in one.turns[0]}
        one.close()
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--factor", type=int, choices=sorted(GOALS))
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        side(SIDES[args.side], args.factor, args.layers)
        return
    factors = [args.factor] if args.factor else sorted(GOALS, reverse=True)
    result = {f: compare(f, args.turns, args.threads, args.layers) for f in factors}
    if args.json:
        args.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
