"""How programs are compiled here: with which options, kept on disk, memory given back at once."""

import contextlib
import ctypes
import functools
import gc
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.experimental.compilation_cache import compilation_cache

from jaxlt.engine import heap
from jaxlt.engine.config import KNOWN, CompilerConfig, Option
from jaxlt.errors import UserError, nearest

_COMPILED = "/jax/core/compile/backend_compile_duration"
_MAPS, _MAP_BOUND = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")
_log = logging.getLogger(__name__)
_ready = False
Made = TypeVar("Made")


def options_of(config: CompilerConfig, devices: Any) -> tuple[Option, ...]:
    """The compiler's options for these devices (an array or sequence of them, there or not).

    Raises UserError for what their compiler does not take.
    """
    found = list(getattr(devices, "flat", devices))
    own = [d for d in found if d.process_index == jax.process_index()]
    device = (own or found)[0]
    options = getattr(config, device.platform, ())
    if options:
        _try(options, device)
    return options


@functools.lru_cache(maxsize=64)
def _try(options: tuple[Option, ...], device: Any) -> None:
    """Compiles next to nothing with them; raises UserError if the compiler refuses them."""
    sharding = jax.sharding.SingleDeviceSharding(device)
    value = jax.ShapeDtypeStruct((1,), jnp.float32, sharding=sharding)
    try:
        jax.jit(lambda x: x + 1, compiler_options=dict(options)).lower(value).compile()
    except jax.errors.JaxRuntimeError as error:
        why = str(error).splitlines()[0]
        named = [name for name, _ in options if f"'{name}'" in why]
        raise UserError(
            f"The compiler for {device.platform.upper()}s does not take CompilerConfig."
            f"{device.platform} = {list(options)}: {why.rstrip('.')}."
            + (nearest(named[0], KNOWN) if named else "")
        ) from error


def cache_folder() -> Path:
    """Where compiled programs are kept: $JAXLT_CACHE or ~/.cache/jaxlt."""
    return Path(os.environ.get("JAXLT_CACHE") or "~/.cache/jaxlt").expanduser() / "compiled"


def prepare(deterministic: bool = False) -> None:
    """Sets up the persistent compilation cache, and what is done with freed memory.

    Call it before the first computation, and before JAX looks for its devices. JAX's own
    JAX_COMPILATION_CACHE_DIR wins. `deterministic` asks GPUs for bit-identical runs, at some cost
    in speed; CPUs and TPUs are so anyway.
    """
    global _ready
    if deterministic:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    if _ready:
        return
    _ready = True
    heap.keep()
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
        with contextlib.suppress(OSError, AttributeError):  # another libc
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def room(share: float = 0.5) -> bool:
    """Forgets all compiled programs where this process holds too many; returns whether it did.

    Linux bounds how many pieces of memory a process may map, a small model's run takes hundreds,
    and where none is left the compiler crashes. share: of the bound, beyond which they go.
    """
    try:
        bound = int(_MAP_BOUND.read_text())
        with open(_MAPS, "rb") as file:
            mapped = sum(1 for _ in file)
    except (OSError, ValueError):  # another system
        return False
    if mapped <= share * bound:
        return False
    jax.clear_caches()
    gc.collect()
    return True


@contextlib.contextmanager
def with_names() -> Iterator[None]:
    """Compiles anew what runs in it: in a trace, a program of the persistent cache has no names."""
    before = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    jax.clear_caches()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()


def remembered(size: int, what: str) -> Callable[[Callable[..., Made]], Callable[..., Made]]:
    """A cache of so many results of a function, by its arguments; says once when it overflows.

    What is not there yet is to be compiled: `room` is made for it.
    """

    def cached(make: Callable[..., Made]) -> Callable[..., Made]:
        told = False

        @functools.lru_cache(maxsize=size)
        def cache(*args: Any, **kwargs: Any) -> Made:
            room()
            return make(*args, **kwargs)

        @functools.wraps(make)
        def look_up(*args: Any, **kwargs: Any) -> Made:
            nonlocal told
            made = cache(*args, **kwargs)
            if not told and cache.cache_info().misses > size:
                told = True
                _log.warning(
                    "More than %d %s in one process: the oldest are forgotten, and compiled again "
                    "where they come back.",
                    size,
                    what,
                )
            return made

        look_up.cache_clear = cache.cache_clear  # type: ignore[attr-defined]
        return look_up

    return cached
