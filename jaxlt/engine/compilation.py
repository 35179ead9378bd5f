"""How programs are compiled here: kept on disk for the next run, and memory given back at once."""

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

import jax

_COMPILED = "/jax/core/compile/backend_compile_duration"
_ready = False


def cache_folder() -> Path:
    """Where compiled programs are kept: $JAXLT_CACHE or ~/.cache/jaxlt."""
    return Path(os.environ.get("JAXLT_CACHE") or "~/.cache/jaxlt").expanduser() / "compiled"


def prepare(deterministic: bool = False) -> None:
    """Sets up the persistent compilation cache and the return of the compiler's memory.

    Call it before the first computation. JAX's own JAX_COMPILATION_CACHE_DIR wins. `deterministic`
    asks GPUs for bit-identical runs, at some cost in speed; CPUs and TPUs are so anyway.
    """
    global _ready
    if deterministic:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    if _ready:
        return
    _ready = True
    if not jax.config.values.get("jax_compilation_cache_dir"):
        jax.config.update("jax_compilation_cache_dir", str(cache_folder()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.02)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    listener: Any = _after_compiling
    jax.monitoring.register_event_duration_secs_listener(listener)


def _after_compiling(event: str, seconds: float, **_: Any) -> None:
    """Hands freed heap back to the system after a long compilation.

    The compiler leaves hundreds of megabytes of free but scattered heap behind; without this they
    stay on top of the step's own memory for the rest of the run.
    """
    if event == _COMPILED and seconds > 1.0 and sys.platform == "linux":
        try:
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        except (OSError, AttributeError):  # another libc
            return
