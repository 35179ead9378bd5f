"""One host of a run on several: a tiny model on a device, for processes that are forked often.

Imported once by the server that forks them, with all that training imports.
"""

import gc
import os
import sys
from pathlib import Path
from typing import Any

import jax
import jax._src.cache_key as cache_key
import orbax.checkpoint
import rich.live
from jax.experimental import multihost_utils

from jaxlt.commands.main import report
from jaxlt.data.rows.batches import ArrayBatches
from jaxlt.engine import compilation
from jaxlt.engine.hosts import distributed
from jaxlt.errors import SAVED
from tests.conftest import make_mlm_batch
from tests.engine import jobs

IMPORTED = (orbax.checkpoint, rich.live, multihost_utils)  # by the engine, when it comes to them
STEPS, ROWS = 60, 8


def job(**changes: Any) -> jobs.ArrayJob:
    """An encoder of one layer; a checkpoint every four steps."""
    return jobs.job(
        steps=STEPS,
        every=4,
        model={"encoder_layers": 1, "decoder_layers": 0},
        optimizer={"name": "adam"},
        schedule={"learning_rate": 0.003},
        **changes,
    )


def data() -> ArrayBatches:
    """Batches of random rows for it."""
    return ArrayBatches(make_mlm_batch(22), ROWS, seed=0, languages=jobs.LANGUAGES)


def main(address: str, hosts: int, host: int, workdir: Path, cache: Path) -> None:
    """Trains as `jaxlt train` would, and ends with its statuses; what it says is in a file."""
    log = os.open(
        workdir.parent / f"{workdir.name}-{host}.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND
    )
    for stream in (1, 2):
        os.dup2(log, stream)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - for life
    sys.stderr = open(2, "w", closefd=False, buffering=1)  # noqa: SIM115
    os.environ |= {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=1",
        "JAXLT_CACHE": str(cache),
    }
    gc.disable()  # it lives for seconds
    compilation.prepare()
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_disable_most_optimizations", True)
    # CPUs' programs are kept by host, and those of host 0 alone: let all use them.
    cache_key._hash_accelerator_config = cache_key._hash_devices
    try:
        distributed.initialize(address, hosts, host, timeout_s=60, lost_after_s=60, on_end=report)
        result = jobs.run(job(), workdir, data(), devices=hosts)
        status = SAVED if result.ended == "preempted" else 0
    except Exception as error:
        status = report(error)
    distributed.leave(status)
    jax.distributed.shutdown()
    sys.exit(status)
