"""What a training step of `tiny` takes: one row of 256 bytes on one core, beside its arithmetic.

    python benchmarks/tiny_step.py

Prints the time of a step, its model FLOPs, and the same FLOPs as plain matrix products on the same
core: the floor below which no step of that size can come.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.sides import TINY, one_core, texts

one_core()

import jax
import jax.numpy as jnp

from jaxlt.config import load
from jaxlt.data.rows.batches import ArrayBatches
from jaxlt.engine.feed import read_batch
from jaxlt.engine.log.flops import step_flops, tokens_of
from jaxlt.engine.loop import program_of
from jaxlt.engine.state import make_state
from jaxlt.engine.step import Hyper


def median(work, rounds: int = 30) -> float:
    """Median process time of a call."""
    times = []
    for _ in range(rounds):
        began = time.process_time()
        jax.block_until_ready(work())
        times.append(time.process_time() - began)
    return sorted(times)[rounds // 2]


def main() -> None:
    """Measures and prints."""
    run = load(["models/tiny.gin", "runs/pretrain.gin"], [*TINY, "BATCH_SIZE=1"])
    fields = texts(4, 256, 48, 259)
    del fields["row"], fields["target_bytes"], fields["language"]
    data = ArrayBatches(fields, batch_size=1)
    program = program_of(run)
    state = make_state(program.layout, program.optimizer, 0)
    batch, _ = read_batch(data, 0, program.spec.mesh)
    hyper = Hyper(jnp.float32(1e-3), jnp.uint32(0))

    def step():
        nonlocal state
        state, metrics = program.train(state, batch, hyper)
        return state.trainable, metrics

    jax.block_until_ready(step())
    seconds = median(step)
    inputs, _, logits = tokens_of(data.spec())
    flops = step_flops(run.model, 1, inputs, logits)
    a, b = jnp.ones((256, 1024)), jnp.ones((1024, 1024))
    product = jax.jit(lambda: a @ b)
    jax.block_until_ready(product())
    rate = 2 * 256 * 1024 * 1024 / median(product)
    print(f"a step of tiny, one row of 256 bytes and 48 targets: {1e3 * seconds:.1f} ms")
    print(
        f"its matrix products, {flops / 1e9:.2f} GFLOP at this core's own {rate / 1e9:.0f} "
        f"GFLOP/s: {1e3 * flops / rate:.1f} ms"
    )


if __name__ == "__main__":
    main()
