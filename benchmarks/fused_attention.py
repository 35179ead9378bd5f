"""Fused attention beside plain attention on TPUs that are not there: instructions and estimates.

    python benchmarks/fused_attention.py [--json PATH] [--topologies v5e:2x2 ...] [--length 512]

Needs libtpu, and no TPU. For each topology one layer's attention is compiled for one chip, forward
and backward with the gradient of the bias, in bf16 with heads of 64. Printed are:

- instructions of the kernels as the compiler schedules them, one a cycle (a lower bound: nothing
  waits for memory), and the share of the chip's peak that follows: `jaxlt plan` takes it for them;
- what `jaxlt plan` makes of the layer's attention with each, and the compiler's temporary memory.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.sides import flags, keep
from jaxlt.plan.topologies import CHIPS, ENVIRONMENT, parse_topology

LINE = re.compile(r"\s*0x[0-9a-f]+\s+(?:LB|LE|LH|PF|PB)?\s*:\s+(>*)")
CORES = {"v4": 2, "v5p": 2}
TOPOLOGIES = ["v4:2x2x1", "v5e:2x2", "v5p:2x2x1", "v6e:2x2"]


def instructions(file: Path) -> dict[int, int]:
    """By depth of loops, the scheduled instructions of a kernel; 1 is the loop over programs."""
    out: dict[int, int] = {}
    for line in file.read_text().splitlines():
        found = LINE.match(line)
        if found:
            depth = len(found.group(1))
            out[depth] = out.get(depth, 0) + 1
    return out


def kernel_shares(folder: Path, chip: str, shape: Any) -> dict[str, float]:
    """Cycles of the programs of one group of heads, and the share of a core's peak."""
    trips = {1: 1, 2: shape.together, 3: shape.together * (shape.queries // 128 // shape.some)}
    out = {}
    for name, products in (("attention", 2), ("attention_backward", 5)):
        files = sorted(folder.glob(f"*{name}_*-final_bundles.txt"))
        other = {"schedule"} if "backward" in name else {"schedule", "backward"}
        counts = instructions([f for f in files if not any(o in f.name for o in other)][-1])
        assert set(counts) <= {0, 1, 2, 3}, "the kernel's loops are not those expected"
        out[f"{name}_cycles"] = sum(trips[d] * n for d, n in counts.items() if d)
        scores = shape.rows * shape.group * shape.queries * shape.keys
        out[f"{name}_flops"] = 2 * products * scores * shape.head_dim
    a_cycle = CHIPS[chip].peak / CHIPS[chip].clock / CORES.get(chip, 1)
    flops = out["attention_flops"] + out["attention_backward_flops"]
    cycles = out["attention_cycles"] + out["attention_backward_cycles"]
    return out | {"share_of_peak": flops / a_cycle / cycles}


def worker(topology: str, length: int, rows: int, heads: int, folder: Path) -> dict:
    """Compiles both forms, and the kernels of two rows, whose programs are counted."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import SingleDeviceSharding

    from jaxlt.models.bias import Bias
    from jaxlt.models.fused_attention import fused
    from jaxlt.models.fused_attention_shape import Distances, Shape
    from jaxlt.plan.collectives import Network
    from jaxlt.plan.estimate import Machine, memory_of, rates
    from jaxlt.plan.hlo_costs import step_costs
    from jaxlt.plan.hlo_text import parse

    where = parse_topology(topology)
    device = SingleDeviceSharding(where.devices()[0])

    def plain(q, k, v, bias):
        logits = jnp.einsum("bqhd,bkhd->bhqk", q, k, preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(logits + bias.materialise(q.shape[1], k.shape[1]), axis=-1)
        return jnp.einsum("bhqk,bkhd->bqhd", weights.astype(q.dtype), v)

    def compiled(attention, rows, length, heads, spelt_out):
        wide = lambda dtype, *s: jax.ShapeDtypeStruct(s, dtype, sharding=device)  # noqa: E731
        tensor = wide(jnp.bfloat16, rows, length, heads * 64)
        table = wide(jnp.float32, heads, *((length,) * 2 if spelt_out else (2 * length - 1,)))

        def run(q, k, v, table, valid, out):
            bias = Bias(table if spelt_out else Distances(table), valid, valid)
            cut = lambda x: x.reshape(rows, length, heads, 64)  # noqa: E731

            def ahead(q, k, v, table):
                y = attention(
                    cut(q),
                    cut(k),
                    cut(v),
                    bias.replace(table=table if spelt_out else Distances(table)),
                )
                return y.reshape(q.shape)

            y, back = jax.vjp(ahead, q, k, v, table)
            return y, back(out)

        valid = wide(np.bool_, rows, length)
        return jax.jit(run).lower(tensor, tensor, tensor, table, valid, tensor).compile()

    heads_counted = 8  # several programs a core, or the compiler drops the loop over them
    counted = Shape(2, length, length, heads_counted, 64, "bfloat16", True, True)
    kernels = lambda *args: fused("tpu", *args)  # noqa: E731
    compiled(kernels, 2, length, heads_counted, False)
    out: dict = kernel_shares(folder, where.chip.name, counted)
    rate = rates(Machine(where.chip, where))[1]
    for name, attention in (("plain", plain), ("fused", kernels)):
        program = compiled(attention, rows, length, heads, name == "plain")
        costs = step_costs(parse(program.as_text()), rate, Network(((0, 0, 0),), where))
        out[f"{name}_ms"] = 1000 * costs.compute
        out[f"{name}_at_bandwidth_ms"] = 1000 * costs.other_bytes / where.chip.hbm_bandwidth
        out[f"{name}_temporaries"] = memory_of(program)["temporaries"]
    return out


def measure(topology: str, args: argparse.Namespace) -> dict:
    """Runs `worker` in a process whose compiler writes down what it schedules."""
    with tempfile.TemporaryDirectory() as folder:
        flags = f"--xla_jf_dump_to={folder} --xla_jf_dump_llo_text=true"
        sizes = [str(n) for n in (args.length, args.rows, args.heads)]
        done = subprocess.run(
            [sys.executable, __file__, "--worker", topology, *sizes, folder],
            env={**os.environ, **ENVIRONMENT, "LIBTPU_INIT_ARGS": flags},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Prints a line a topology."""
    if sys.argv[1:2] == ["--worker"]:
        topology, length, rows, heads, folder = sys.argv[2:]
        print(json.dumps(worker(topology, int(length), int(rows), int(heads), Path(folder))))
        return
    parser = flags(__doc__, rows=4, heads=32)
    parser.add_argument("--topologies", nargs="+", default=TOPOLOGIES)
    parser.add_argument("--length", type=int, default=512, help="a multiple of 256")
    args = parser.parse_args()
    found = {}
    for topology in args.topologies:
        one = found[topology] = measure(topology, args)
        print(
            f"{topology}: {one['attention_cycles']:,} + {one['attention_backward_cycles']:,} "
            f"cycles (forward, backward; two rows, two heads of 64, length {args.length}), "
            f"{one['share_of_peak']:.3f} of peak; {args.rows} rows, {args.heads} heads: plain "
            f"{one['plain_ms']:.2f} ms, fused {one['fused_ms']:.2f} ms (estimates, "
            f"{one['plain_ms'] / one['fused_ms']:.1f}x), temporaries "
            f"{one['plain_temporaries'] / 2**20:,.0f} and {one['fused_temporaries'] / 2**20:,.0f} "
            "MiB",
            flush=True,
        )
    keep(args.json, found)


if __name__ == "__main__":
    main()
