"""What this processor is: its name, its cores, and its own rate of float32 matrix products.

    python benchmarks/matmul_rate.py

Times of tests and benchmarks mean something only beside it: processors with AVX2 alone reach some
55 GFLOP/s a core, those with AVX-512 some 200.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
VECTORS = ("avx512f", "avx2", "avx")


def processor() -> str:
    """Its name, and the widest vectors that it has."""
    text = CPUINFO.read_text() if CPUINFO.exists() else ""
    fields = dict(
        (key.strip(), value.strip())
        for key, _, value in (line.partition(":") for line in text.splitlines())
    )
    flags = fields.get("flags", "").split()
    widest = next((v for v in VECTORS if v in flags), "no AVX")
    return f"{fields.get('model name') or platform.machine()} ({widest})"


def rate(size: int = 1024, calls: int = 8) -> float:
    """GFLOP/s of a matrix product on the cores that this process may use; the best of several."""
    import time

    import jax
    import jax.numpy as jnp

    product = jax.jit(jnp.matmul)
    x = jnp.ones((size, size), jnp.float32)
    jax.block_until_ready(product(x, x))
    best = float("inf")
    for _ in range(calls):
        began = time.perf_counter()
        jax.block_until_ready(product(x, x))
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best / 1e9


def main() -> None:
    """Measures all cores here, and one core in a process of its own."""
    cores = len(os.sched_getaffinity(0))
    if sys.argv[1:] == ["--one"]:
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
        print(f"{rate():.0f}")
        return
    one = subprocess.run(
        [sys.executable, __file__, "--one"], check=True, capture_output=True, text=True
    )
    print(
        f"{processor()}, {cores} cores: float32 matrix products {one.stdout.strip()} GFLOP/s on "
        f"one core, {rate():.0f} on {cores}"
    )


if __name__ == "__main__":
    main()
