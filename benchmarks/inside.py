"""One pass over a corpus that adds up states' moments, beside its plain forward pass.

    python benchmarks/inside.py [--turns 5] [--threads 1] [--layers 6] [--json FILE]

An encoder of mT5-base's width (D 768, MLP 2048, 12 heads), float32, over 16 batches of 8 texts of
128 tokens, in one compiled loop. `plain`: the encoder alone, whose last states are summed. `one`:
sum and Gram matrix of the last layer's states. `all`: those of every layer, embeddings included.
`long`: `all` over four times the corpus. Goal: one and all at most 1.1 times plain. Peaks are
of the whole process; that of `long` is beside what keeping its states would take.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.sides import flags, keep, serve, take_turns, texts

BATCHES, ROWS, LENGTH, VOCAB, WIDTH = 16, 8, 128, 8_000, 768
SIDES = ("plain", "one", "all", "long")
TIMES = 4  # the corpus of `long`
GOAL = 1.1


def run(side: str, layers: int, dtype: str) -> None:
    """Goes through the corpus once a step."""
    from jaxlt.engine import compilation

    compilation.prepare()
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jaxlt.inference.states.capture import look, spelt_out
    from jaxlt.inference.states.moments import AT_ONCE, moments
    from jaxlt.models.config import T5Config
    from jaxlt.models.encoder import model_of
    from jaxlt.models.init import describe, draw, unflatten
    from jaxlt.models.layers import make_context

    assert AT_ONCE == BATCHES  # one call of the loop
    model = T5Config(VOCAB, WIDTH, 2048, 12, layers, dtype=dtype, attention="plain")
    key = jax.random.key(0)
    params = {n: draw(leaf, n, key) for n, leaf in describe(model).items()}
    tokens = texts(BATCHES * ROWS, LENGTH, 1, VOCAB)["encoder_input_tokens"]
    rows = tokens.reshape(BATCHES, ROWS, LENGTH)

    @jax.jit
    def plain(params: dict[str, jax.Array], rows: jax.Array, count: jax.Array) -> jax.Array:
        config, flat = spelt_out(model, params, ())
        network = model_of(config)

        def one(i: jax.Array, total: jax.Array) -> jax.Array:
            batch = {"encoder_input_tokens": rows[i]}
            states = network.apply(unflatten(flat), batch, make_context(batch), method="encode")
            return total + jnp.sum(states, axis=(0, 1), dtype=jnp.float32)

        return jax.lax.fori_loop(0, count, one, jnp.zeros(model.emb_dim))

    batches = [{"encoder_input_tokens": batch} for batch in rows]
    where = look(model, batches[0], -1 if side == "one" else None)
    times = TIMES if side == "long" else 1

    def step() -> None:
        if side == "plain":
            jax.block_until_ready(plain(params, jnp.asarray(rows), BATCHES))
            return
        found = moments(model, params, (one for _ in range(times) for one in batches), where)
        assert int(found[layers].count) == times * tokens.size
        assert np.isfinite(found[layers].mean).all()

    serve(step, {"tokens": times * int(tokens.size), "layers": layers})


def main() -> None:
    """Runs the sides in turns, and prints their ratios."""
    parser = flags(__doc__, turns=5, threads=1, layers=6)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        run(args.side, args.layers, args.dtype)
        return
    clock = "cpu_s" if args.threads == 1 else "wall_s"
    command = [__file__, "--layers", str(args.layers), "--dtype", args.dtype, "--side"]
    sides = take_turns({name: [*command, name] for name in SIDES}, args.turns, args.threads)
    result: dict[str, object] = {"clock": clock}
    base = sides["plain"].median(clock) / sides["plain"].ready["tokens"]
    for name, side in sides.items():
        seconds = side.median(clock)
        result[name] = side.ready | {key: side.median(key) for key in side.turns[0]}
        tokens, peak = side.ready["tokens"], side.median("peak_bytes") / 2**20
        print(
            f"{name:6}  {seconds:7.3f} s   {tokens / seconds:8.0f} tokens/s   "
            f"{seconds / tokens / base:.3f} of plain   peak {peak:6,.0f} MiB"
        )
    kept = sides["long"].ready["tokens"] * (args.layers + 1) * WIDTH * 4 / 2**20
    print(f"goal: at most {GOAL}; keeping the states of `long` would take {kept:,.0f} MiB more")
    keep(args.json, result)


if __name__ == "__main__":
    main()
