"""Programs are kept on disk for the next run, where the user says."""

import os
import subprocess
import sys

from jaxlt.engine import compilation

COMPILE = """
import jax, jax.numpy as jnp
from jaxlt.engine import compilation
compilation.prepare()
compilation.prepare()
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event))

def deep(x):
    for _ in range(400):
        x = jnp.tanh(x @ x) + jnp.sin(x).sum(0)
    return x

jax.jit(deep)(jnp.ones((8, 8))).block_until_ready()
print("hit" if "/jax/compilation_cache/cache_hits" in hits else "miss")
print(jax.config.jax_compilation_cache_dir)
"""


def compiled(**variables: str) -> list[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_COMPILATION", "JAXLT"))}
    code = [sys.executable, "-c", COMPILE]
    out = subprocess.run(code, env=env | variables, capture_output=True, text=True, timeout=120)
    assert out.returncode == 0, out.stderr
    return out.stdout.split()


def test_a_second_process_finds_what_the_first_compiled(tmp_path):
    assert compiled(JAXLT_CACHE=str(tmp_path)) == ["miss", str(tmp_path / "compiled")]
    assert any((tmp_path / "compiled").iterdir())
    assert compiled(JAXLT_CACHE=str(tmp_path))[0] == "hit"


def test_jax_own_variable_wins(tmp_path):
    own = str(tmp_path / "own")
    found = compiled(JAXLT_CACHE=str(tmp_path / "ours"), JAX_COMPILATION_CACHE_DIR=own)
    assert found[1] == own and not (tmp_path / "ours").exists()


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXLT_CACHE", str(tmp_path))
    assert compilation.cache_folder() == tmp_path / "compiled"
    monkeypatch.delenv("JAXLT_CACHE")
    assert compilation.cache_folder().parts[-3:] == (".cache", "jaxlt", "compiled")


def test_deterministic_asks_the_gpu_compiler(monkeypatch):
    monkeypatch.setattr(compilation, "_ready", True)
    monkeypatch.setenv("XLA_FLAGS", "--a=1")
    compilation.prepare(deterministic=True)
    assert os.environ["XLA_FLAGS"] == "--a=1 --xla_gpu_deterministic_ops=true"


def test_memory_is_handed_back_after_long_compilations_only(monkeypatch):
    called = []
    monkeypatch.setattr(compilation.ctypes, "CDLL", lambda name: called.append(name) or _Libc())
    compilation._after_compiling("/jax/core/compile/backend_compile_duration", 0.1)
    compilation._after_compiling("/jax/other", 9.0)
    assert called == []
    compilation._after_compiling("/jax/core/compile/backend_compile_duration", 2.0)
    assert called == (["libc.so.6"] if sys.platform == "linux" else [])


class _Libc:
    def malloc_trim(self, pad: int) -> int:
        return 1
