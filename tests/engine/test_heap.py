"""Freed memory stays with the process between steps."""

import os
import subprocess
import sys

import pytest

from jaxlt.engine import heap

STEPS = """
import resource, sys
from jaxlt.engine import heap
kept = heap.keep() if sys.argv[1] == "kept" else False
import jax, jax.numpy as jnp
work = jax.jit(lambda x: jnp.sin(x @ x.T) @ x)  # 64 MiB between the products
x = jnp.ones((4096, 16))
for _ in range(6):  # the heap has settled by then
    jax.block_until_ready(work(x))
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = faults()
for _ in range(4):
    jax.block_until_ready(work(x))
print(kept, (faults() - before) // 4)
"""


def run(how: str) -> list[str]:
    out = subprocess.run(
        [sys.executable, "-c", STEPS, how],
        # One device, as on a real machine: eight have threads, and so heaps, of their own.
        env={k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    return out.stdout.split()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="glibc's own settings")
def test_a_step_finds_the_pages_of_the_step_before():
    # A thread that some library made before may have a heap of its own: the best of three.
    found = [run("kept") for _ in range(3)]
    if found[0][0] == "False":
        pytest.skip("another libc, or a machine with an accelerator")
    plain = int(run("plain")[1])
    assert plain > 4000 and min(int(faults) for _, faults in found) < plain / 20


def test_with_an_accelerator_nothing_is_changed(monkeypatch):
    monkeypatch.setattr(heap, "_ACCELERATORS", ("/dev/null",))
    assert heap.keep() is False
