"""How programs are compiled here: with which options, kept on disk, memory given back at once."""

import ctypes
import dataclasses
import functools
import os
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxlt.engine import heap
from jaxlt.errors import UserError, nearest

Option = tuple[str, bool | int | float | str]  # XLA's name of it, and its value
# Names to compare a misspelt one with: the compiler itself names none.
KNOWN = (
    "xla_enable_async_all_gather",
    "xla_gpu_all_gather_combine_threshold_bytes",
    "xla_gpu_all_reduce_combine_threshold_bytes",
    "xla_gpu_autotune_level",
    "xla_gpu_deterministic_ops",
    "xla_gpu_enable_command_buffer",
    "xla_gpu_enable_highest_priority_async_stream",
    "xla_gpu_enable_latency_hiding_scheduler",
    "xla_gpu_enable_triton_gemm",
    "xla_gpu_enable_while_loop_unrolling",
    "xla_gpu_memory_limit_slop_factor",
    "xla_gpu_reduce_scatter_combine_threshold_bytes",
    "xla_latency_hiding_scheduler_rerun",
    "xla_tpu_data_parallel_opt_different_sized_ops",
    "xla_tpu_decompose_all_gather_einsum",
    "xla_tpu_decompose_einsum_reduce_scatter",
    "xla_tpu_enable_async_collective_fusion",
    "xla_tpu_enable_async_collective_fusion_fuse_all_gather",
    "xla_tpu_enable_async_collective_fusion_multiple_steps",
    "xla_tpu_enable_data_parallel_all_reduce_opt",
    "xla_tpu_enable_latency_hiding_scheduler",
    "xla_tpu_overlap_compute_collective_tc",
    "xla_tpu_scoped_vmem_limit_kib",
)
_COMPILED = "/jax/core/compile/backend_compile_duration"
_ready = False


@dataclasses.dataclass(frozen=True)
class CompilerConfig:
    """Options of the compiler for training and evaluation steps, by platform.

    Pairs of XLA's name of an option, without dashes, and its value:
    tpu = [('xla_tpu_enable_latency_hiding_scheduler', True)]. Those of other platforms are not
    looked at, so that one configuration serves several.
    """

    cpu: tuple[Option, ...] = ()
    gpu: tuple[Option, ...] = ()
    tpu: tuple[Option, ...] = ()

    def __post_init__(self) -> None:
        for field in ("cpu", "gpu", "tpu"):
            names = [name for name, _ in getattr(self, field)]
            for name in names:
                if not name.startswith("xla_"):
                    raise UserError(
                        f"CompilerConfig.{field} names the option '{name}': XLA's begin with "
                        f"'xla_' (no dashes).{nearest(name.lstrip('-'), KNOWN)}"
                    )
                if names.count(name) > 1:
                    raise UserError(f"CompilerConfig.{field} gives '{name}' more than once.")

    def of(self, devices: Any) -> tuple[Option, ...]:
        """The options for these devices (an array or sequence of them, there or not).

        Raises UserError for what their compiler does not take.
        """
        found = list(getattr(devices, "flat", devices))
        own = [d for d in found if d.process_index == jax.process_index()]
        device = (own or found)[0]
        options = getattr(self, device.platform, ())
        if options:
            _try(options, device)
        return options


USUAL = CompilerConfig()


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
        try:
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        except (OSError, AttributeError):  # another libc
            return
