"""Memory and time of the chunked loss beside the plain one, at mT5's vocabulary.

    python benchmarks/loss_memory.py [--json PATH] [--vocab 250112] [--batch 8] [--length 256]

Prints, for value and gradients of one loss, the compiler's temporary memory and the processor time,
with and without the gradient of the logits' kernel. The goal is at most a third of plain's memory.
The plain form needs about 8 GB at the default sizes. Forms alternate; the best round counts.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import jax
import jax.numpy as jnp

from benchmarks.sides import flags, keep
from jaxlt.engine.loss.losses import (
    Extras,
    LossConfig,
    chunk_length,
    cross_entropy_chunked,
    cross_entropy_plain,
)

GOAL = 1 / 3


def compile_forms(args: argparse.Namespace, chunk: int) -> tuple[dict, tuple]:
    """Returns ({(form, kernel): compiled}, arguments); kernel is 'trained' or 'frozen'."""
    keys = jax.random.split(jax.random.key(0), 3)
    hidden = jax.random.normal(keys[0], (args.batch, args.length, args.emb))
    kernel = jax.random.normal(keys[1], (args.emb, args.vocab)) * 0.05
    targets = jax.random.randint(keys[2], (args.batch, args.length), 0, args.vocab)
    weights = jnp.ones((args.batch, args.length))

    def plain(h, k, t, w):
        return cross_entropy_plain(h, k, t, w, extras=Extras(1e-4))[0]

    def chunked(h, k, t, w):
        return cross_entropy_chunked(h, k, t, w, extras=Extras(1e-4), chunk=chunk)[0]

    inputs = (hidden, kernel, targets, weights)
    forms = {
        (name, kind): jax.jit(jax.value_and_grad(form, argnums)).lower(*inputs).compile()
        for kind, argnums in (("trained", (0, 1)), ("frozen", 0))
        for name, form in (("plain", plain), ("chunked", chunked))
    }
    return forms, inputs


def measure(args: argparse.Namespace) -> dict:
    """Returns {'trained'|'frozen': {memory and seconds of both forms, their ratios}, ...}."""
    chunk = (
        args.chunk or chunk_length(LossConfig(), args.batch, args.length, args.vocab) or args.length
    )
    forms, inputs = compile_forms(args, chunk)
    seconds = {key: float("inf") for key in forms}
    values = {}
    for _ in range(args.rounds + 1):  # the first round warms up, and is beaten by the others
        for key, form in forms.items():
            start = time.process_time()
            out = jax.block_until_ready(form(*inputs))
            seconds[key] = min(seconds[key], time.process_time() - start)
            values[key] = float(out[0])
            del out
    result: dict = {
        "chunk": chunk,
        "sizes": {k: getattr(args, k) for k in ("batch", "length", "emb", "vocab")},
    }
    for kind in ("trained", "frozen"):
        plain, chunked = ("plain", kind), ("chunked", kind)
        memory = {key: forms[key].memory_analysis().temp_size_in_bytes for key in (plain, chunked)}
        result[kind] = {
            "plain_bytes": memory[plain],
            "chunked_bytes": memory[chunked],
            "memory_ratio": memory[chunked] / memory[plain],
            "plain_seconds": seconds[plain],
            "chunked_seconds": seconds[chunked],
            "time_ratio": seconds[chunked] / seconds[plain],
            "loss_difference": abs(values[chunked] - values[plain]) / abs(values[plain]),
        }
    return result


def main() -> None:
    parser = flags(__doc__, batch=8, length=256, emb=512, vocab=250_112, rounds=2)
    parser.add_argument(
        "--chunk", type=int, default=0, help="positions a chunk (default: as in training)"
    )
    args = parser.parse_args()
    result = measure(args)
    print(
        f"{args.batch} x {args.length} targets, {args.vocab} rows, D {args.emb}, "
        f"chunks of {result['chunk']}"
    )
    print("kernel    plain MiB  chunked MiB   ratio   plain s  chunked s   ratio   loss differs by")
    for kind in ("trained", "frozen"):
        r = result[kind]
        print(
            f"{kind:8s}  {r['plain_bytes'] / 2**20:9.0f}  {r['chunked_bytes'] / 2**20:11.0f}  "
            f"{r['memory_ratio']:6.3f}  {r['plain_seconds']:8.2f}  {r['chunked_seconds']:9.2f}  "
            f"{r['time_ratio']:6.2f}   {r['loss_difference']:.1e}"
        )
    worst = max(result[kind]["memory_ratio"] for kind in ("trained", "frozen"))
    print(f"memory at most {GOAL:.2f} of the plain form's: {'met' if worst <= GOAL else 'MISSED'}")
    keep(args.json, result)


if __name__ == "__main__":
    main()
