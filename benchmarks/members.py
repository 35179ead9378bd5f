"""Runs a minute: one by one, by two processes that share the cores, and as members of one group.

    python benchmarks/members.py [--count 4] [--steps 40] [--turns 3] [--json FILE]

An encoder of laboratory size (2 layers of width 64, texts of 32, batches of 32, AdamW, float32).
Each way trains `count` runs that differ in seed and rate, compiled before the clock starts; sides
take turns. Prints runs a minute and the peak memory of the process(es) by way, and their ratios to
one by one. Where a GPU is at hand it is measured (memory on the device), else the CPU's cores.

On two idle cores of a CPU with AVX-512 (`--count 5 --steps 40 --turns 2`): members 1.09 times as
many runs a minute as one by one, with 1.57 times the memory; two processes 1.64 times as many, with
1.59 times. So on CPUs the default is processes, where cores and memory allow, else one by one, and
not members. No GPU was at hand: measure there before members are a default.
"""

import json
import os
import resource
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.sides import Side, flags, keep

WIDTH, LAYERS, LENGTH, ROWS, VOCAB = 64, 2, 32, 32, 512


def worker(way: str, runs: list[int], steps: int) -> None:
    """Trains these runs at each line `go` on the standard input, one by one or as members."""
    from jaxlt.engine import compilation

    compilation.prepare()
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jaxlt.data.rows.batches import ArrayBatches
    from jaxlt.engine.fit import fit
    from jaxlt.engine.fit_members import fit_members
    from jaxlt.engine.loss.losses import LossConfig
    from jaxlt.engine.members import members_of
    from jaxlt.engine.optim.optimizers import OptimizerConfig
    from jaxlt.engine.partitioning import MeshConfig, make_mesh
    from jaxlt.engine.state import make_state
    from jaxlt.engine.step import Hyper, StepSpec, build
    from jaxlt.models.config import T5Config

    sizes = {"emb_dim": WIDTH, "mlp_dim": 2 * WIDTH, "num_heads": 4, "head_dim": WIDTH // 4}
    model = T5Config(vocab_rows=VOCAB, encoder_layers=LAYERS, decoder_layers=0, **sizes)
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    adamw = OptimizerConfig("adamw", clip_norm=1.0, weight_decay=0.01)
    program = build(StepSpec(model, LossConfig(), adamw, mesh, MeshConfig().rules))
    tokens = np.random.default_rng(0).integers(3, VOCAB, (512, LENGTH)).astype(np.int32)
    masked = np.broadcast_to(np.arange(LENGTH) % 6 == 1, tokens.shape)
    fields = {
        "encoder_input_tokens": np.where(masked, 2, tokens),
        "encoder_target_tokens": tokens,
        "encoder_loss_weights": masked.astype(np.float32),
        "target_bytes": np.full(len(tokens), LENGTH, np.int32),
        "language": np.zeros(len(tokens), np.int32),
    }
    source = ArrayBatches(fields, ROWS, languages=("aa",))
    hypers = [
        Hyper(jnp.float32(1e-3 * (n + 1)), jnp.uint32(n), values=program.values) for n in runs
    ]
    paces = [lambda _, hyper=hyper: hyper for hyper in hypers]
    group = members_of(program, len(runs))

    def work() -> None:
        states = [make_state(program.layout, program.optimizer, n) for n in runs]
        if way == "members":
            last, _ = fit_members(group, states, source, paces, steps)
        else:
            last = [
                fit(program, s, source, p, steps)[0] for s, p in zip(states, paces, strict=True)
            ]
        jax.block_until_ready(last)

    work()
    print("ready " + json.dumps({"device": jax.devices()[0].device_kind}), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        work()
        seconds = time.perf_counter() - began
        on_device = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
        host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print("done " + json.dumps({"s": seconds, "peak": on_device or host}), flush=True)


def main() -> None:
    """Measures and prints."""
    arguments = flags(__doc__ or "", count=4, steps=40, turns=3)
    arguments.add_argument("--worker", nargs="+", help="WAY RUN ...: one of the sides")
    asked = arguments.parse_args()
    if asked.worker:
        way, *runs = asked.worker
        worker(way, [int(n) for n in runs], asked.steps)
        return
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # two processes share a GPU
    cores, runs = sorted(os.sched_getaffinity(0)), [str(n) for n in range(asked.count)]
    ways = {"one by one": [runs], "two processes": [runs[::2], runs[1::2]], "members": [runs]}
    figures = {}
    sides: dict[str, list[Side]] = {}
    for way, shares in ways.items():
        command = [__file__, f"--steps={asked.steps}", "--worker", way]
        sides[way] = [Side(way, [*command, *share], cores) for share in shares]
    with ThreadPoolExecutor(2) as pool:
        walls: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(asked.turns):
            for way, those in sides.items():
                began = time.perf_counter()
                list(pool.map(Side.turn, those))
                walls[way].append(time.perf_counter() - began)
    for way, those in sides.items():
        rate = 60 * asked.count / statistics.median(walls[way])
        figures[way] = {"runs_a_minute": rate, "peak": sum(side.median("peak") for side in those)}
    alone = figures["one by one"]
    print(f"{asked.count} runs of {asked.steps} steps on {sides['members'][0].ready['device']}")
    for way, found in figures.items():
        ratios = [found[key] / alone[key] for key in ("runs_a_minute", "peak")]
        print(
            f"{way:>14}: {found['runs_a_minute']:7.1f} runs a minute ({ratios[0]:.2f}), "
            f"{found['peak'] / 1e6:,.0f} MB ({ratios[1]:.2f})"
        )
    for those in sides.values():
        for side in those:
            side.close()
    keep(asked.json, figures)


if __name__ == "__main__":
    main()
