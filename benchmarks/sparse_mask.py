"""LT-SFT's mask for a model of 300M parameters: seconds, and memory beside the parameters.

    python -m benchmarks.sparse_mask [--scale 1] [--count 7667712] [--json FILE]

The changes of all maskable parameters of an mT5-small-shaped model (stacked leaves, float32) are
drawn, and a mask of exactly `count` entries is cut from them, with their values, in this process.
Memory is the highest resident size while the mask is made, less that from before the parameters
were drawn, as a multiple of theirs: 1 is the parameters alone. (It reads Linux's /proc.)
"""

import math
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.sides import flags, keep
from jaxlt.modules.delta_files import INDICES, VALUES
from jaxlt.modules.magnitude import sparsify

LIMIT_SECONDS, LIMIT_MEMORY = 60.0, 1.5
VOCAB, WIDTH, MLP, HEADS, LAYERS = 250112, 512, 1024, 384, 8


def shapes() -> dict[str, tuple[int, ...]]:
    """Stacked leaves of mT5-small, norms and position biases aside: 300M values."""
    attention = dict.fromkeys(("query", "key", "value"), (WIDTH, HEADS)) | {"out": (HEADS, WIDTH)}
    mlp = {"wi_0": (WIDTH, MLP), "wi_1": (WIDTH, MLP), "wo": (MLP, WIDTH)}
    blocks = {
        "encoder": (("attention", attention), ("mlp", mlp)),
        "decoder": (
            ("self_attention", attention),
            ("encoder_decoder_attention", attention),
            ("mlp", mlp),
        ),
    }
    found = {
        f"params/{stack}/layers/{part}/{name}/kernel": (LAYERS, *shape)
        for stack, parts in blocks.items()
        for part, leaves in parts
        for name, shape in leaves.items()
    }
    tables = ("params/token_embedder/embedding", "params/decoder/logits_dense/kernel")
    return found | {tables[0]: (VOCAB, WIDTH), tables[1]: (WIDTH, VOCAB)}


def memory(field: str) -> int:
    """Bytes that the process holds now ('VmRSS'), or held at most since `forget` ('VmHWM')."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def forget() -> None:
    """Lets the highest memory start again from what is held now."""
    Path("/proc/self/clear_refs").write_text("5")


def _fill(whole: jax.Array, key: jax.Array, first: jax.Array, rows: int) -> jax.Array:
    part = jax.random.normal(key, (rows, *whole.shape[1:]))
    return jax.lax.dynamic_update_slice(whole, part, (first, *(0,) * (whole.ndim - 1)))


def draw(scale: float) -> dict[str, jax.Array]:
    """Changes of every parameter, drawn in parts, so that memory holds little but them.

    `scale` is of the rows of the two tables.
    """
    fill = jax.jit(_fill, donate_argnums=0, static_argnums=3)
    out = {}
    for i, (name, shape) in enumerate(sorted(shapes().items())):
        rows = max(1, round(shape[0] * scale)) if len(shape) == 2 else shape[0]
        shape = (rows, *shape[1:])
        made, step = jnp.zeros(shape), max(1, 2**20 // math.prod(shape[1:]))
        for first in range(0, rows - rows % step, step):
            made = jax.block_until_ready(fill(made, jax.random.key(i * rows + first), first, step))
        out[name + VALUES] = made
    return out


def main() -> int:
    """Measures once, prints, and returns 1 where a limit is missed."""
    parser = flags(__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="of the two tables' rows (1)")
    parser.add_argument("--count", type=int, default=7_667_712, help="entries of the mask")
    args = parser.parse_args()
    jax.block_until_ready(jnp.zeros(8))  # the backend's own memory is no parameter's
    before = memory("VmRSS")
    changes = draw(args.scale)
    values = sum(v.size for v in changes.values())
    params = 4 * values
    held = memory("VmRSS") - before
    forget()  # drawing numbers takes more memory than they do
    began = time.perf_counter()
    mask = sparsify(changes, args.count, keep_values=True)
    seconds = time.perf_counter() - began
    peak = (memory("VmHWM") - before) / params
    found = sum(len(v) for n, v in mask.items() if n.endswith(INDICES))
    least = min(float(np.abs(v).min()) for n, v in mask.items() if n.endswith(VALUES))
    figures = {
        "parameters": values,
        "count": found,
        "seconds": seconds,
        "parameters_bytes": params,
        "held_before_over_parameters": held / params,
        "peak_over_parameters": peak,
        "threshold": least,
    }
    for name, value in figures.items():
        print(f"{name:36} {value:,.4g}" if isinstance(value, float) else f"{name:36} {value:,}")
    keep(args.json, figures)
    ok = found == args.count and seconds < LIMIT_SECONDS and peak < LIMIT_MEMORY
    print(f"limits: {LIMIT_SECONDS:g} s, {LIMIT_MEMORY:g} times: {'met' if ok else 'MISSED'}")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
