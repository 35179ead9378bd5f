"""A training step beside HF transformers (torch), and a frozen-backbone step beside the full one.

    pip install -e '.[parity]'        # torch and transformers; without them that side is left out
    python benchmarks/train_step.py [--turns 5] [--threads 1] [--json FILE]

mT5-small's shape with 32,128 rows, batch 8 x 128/64, float32, dropout 0.1, AdamW: forward,
backward, update. Goals: at least 1.3 times as fast as HF, at no more memory; the bottleneck's step
at most 0.65 of the full one.
"""

import argparse
import importlib.util
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.sides import Side, serve

ROWS, INPUTS, TARGETS, VOCAB = 8, 128, 64, 32_128


def tokens():
    """The same batch for all sides: numpy int32 inputs [8, 128] and targets [8, 64]."""
    import numpy as np

    rng = np.random.default_rng(0)
    draw = lambda n: rng.integers(3, VOCAB, (ROWS, n)).astype(np.int32)  # noqa: E731
    return draw(INPUTS), draw(TARGETS)


def hf_side() -> None:
    """MT5ForConditionalGeneration, torch.optim.AdamW, as its users write the step."""
    import torch
    from transformers import MT5Config, MT5ForConditionalGeneration

    config = MT5Config(
        vocab_size=VOCAB,
        d_model=512,
        d_kv=64,
        d_ff=1024,
        num_layers=8,
        num_heads=6,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    model = MT5ForConditionalGeneration(config).train()
    # mT5's logits layer is its own; newer transformers tie it whatever the config says.
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    inputs, targets = (torch.from_numpy(t).long() for t in tokens())

    def step() -> None:
        optimizer.zero_grad()
        model(input_ids=inputs, labels=targets).loss.backward()
        optimizer.step()

    size = sum(p.numel() for p in model.parameters())
    serve(step, {"parameters": size, "torch": torch.__version__})


def jaxlt_side(frozen: bool) -> None:
    """The trainer's own compiled step."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jaxlt.engine import compilation
    from jaxlt.engine.losses import LossConfig
    from jaxlt.engine.optimizers import OptimizerConfig
    from jaxlt.engine.partitioning import MeshConfig, make_mesh, place_rows
    from jaxlt.engine.state import make_state
    from jaxlt.engine.step import Hyper, StepSpec, build
    from jaxlt.models.config import T5Config
    from jaxlt.modules.bottleneck import Bottleneck
    from jaxlt.modules.site import plug

    compilation.prepare()
    plugs = (plug(Bottleneck, "task", reduction_factor=16),) if frozen else ()
    model = T5Config(VOCAB, 512, 1024, 6, 8, 8, dropout=0.1, scan_layers=False, plugs=plugs)
    mesh = make_mesh(MeshConfig())
    spec = StepSpec(
        model,
        LossConfig(),
        OptimizerConfig(name="adamw"),
        mesh,
        MeshConfig().rules,
        trainable=("modules/.*",) if frozen else (".*",),
    )
    program = build(spec)
    state = make_state(program.layout, program.optimizer, 0)
    inputs, targets = tokens()
    batch = place_rows(
        [
            (
                0,
                {
                    "encoder_input_tokens": inputs,
                    "decoder_input_tokens": np.pad(targets[:, :-1], ((0, 0), (1, 0))),
                    "decoder_target_tokens": targets,
                    "decoder_loss_weights": np.ones((ROWS, TARGETS), np.float32),
                    "language": np.zeros(ROWS, np.int32),
                    "row": np.arange(ROWS, dtype=np.int32),
                },
            )
        ],
        ROWS,
        mesh,
    )
    hyper = Hyper(jnp.float32(1e-3), jnp.uint32(0))

    def step() -> None:
        nonlocal state
        state, _ = program.train(state, batch, hyper)
        jax.block_until_ready(state.trainable)

    size = lambda tree: sum(a.nbytes for a in jax.tree.leaves(tree))  # noqa: E731
    facts = {"trainable_bytes": size(state.trainable), "optimizer_bytes": size(state.optimizer)}
    serve(step, facts | {"jax": jax.__version__})


def main() -> None:
    """Runs the sides in turns and prints ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--side", choices=("hf", "full", "frozen"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        hf_side() if args.side == "hf" else jaxlt_side(args.side == "frozen")
        return
    names = ["full", "frozen"]
    if importlib.util.find_spec("torch") and importlib.util.find_spec("transformers"):
        names.insert(0, "hf")
    sides = {n: Side(n, [__file__, "--side", n], range(args.threads)) for n in names}
    for _ in range(args.turns):
        for side in sides.values():
            side.turn()
    clock = "cpu_s" if args.threads == 1 else "wall_s"
    result: dict[str, object] = {"turns": args.turns, "threads": args.threads, "clock": clock}
    for name, side in sides.items():
        result[name] = side.ready | {k: side.median(k) for k in side.turns[0]}
        side.close()
        print(
            f"{name:7} {side.median(clock):7.3f} s a step   "
            f"peak {side.median('peak_bytes') / 2**30:5.2f} GiB   {side.ready}"
        )
    full = sides["full"].median(clock)
    ratios = {"frozen / full, time": sides["frozen"].median(clock) / full}
    if "hf" in sides:
        peak = sides["full"].median("peak_bytes") / sides["hf"].median("peak_bytes")
        ratios |= {"hf / full, time": sides["hf"].median(clock) / full, "full / hf, peak": peak}
    for name, value in ratios.items():
        print(f"{name:22} {value:.2f}")
    if args.json:
        args.json.write_text(json.dumps(result | {"ratios": ratios}, indent=2) + "\n")


if __name__ == "__main__":
    main()
