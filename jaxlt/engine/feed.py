"""Batches onto the devices, a step ahead of their use.

A thread reads the rows that this host needs and starts their transfer while the step before runs.
The batch of a step is a function of the step alone, so a feed can start anywhere.
"""

import functools
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxlt.data.rows.batches import BatchSource
from jaxlt.engine.batch_checks import check_fields
from jaxlt.engine.partitioning import local_rows, place_rows
from jaxlt.modules.routing import CYCLE

Batch = dict[str, jax.Array]
Cycle = Callable[[int, np.ndarray], np.ndarray]  # (step, rows [n]) -> slots [n], as `cycled` does


def read_batch(
    source: BatchSource,
    step: int,
    mesh: Mesh,
    slots: Mapping[str, int] | None = None,
    cycle: Cycle | None = None,
) -> tuple[Batch, Any]:
    """Returns the global batch of a step as sharded arrays, and this host's `language` ids.

    slots: those behind each field that routes; a number beyond them is a UserError.
    """
    parts = [
        (start, host_rows(source, step, start, stop, slots, cycle))
        for start, stop in local_rows(source.batch_size, mesh)
    ]
    batch = place_rows(parts, source.batch_size, mesh)
    languages = [f["language"] for _, f in parts if "language" in f]
    return batch, np.concatenate(languages) if languages else np.zeros(0, np.int32)


def host_rows(
    source: BatchSource,
    step: int,
    start: int,
    stop: int,
    slots: Mapping[str, int] | None = None,
    cycle: Cycle | None = None,
) -> dict[str, np.ndarray]:
    """Rows [start, stop) of the batch of a step, numbered and checked; see `read_batch`."""
    fields = dict(source.rows(step, start, stop))
    fields["row"] = np.arange(start, stop, dtype=np.int32)
    if cycle is not None:
        fields[CYCLE] = cycle(step, fields["row"])
    check_fields(fields, slots or {}, f"Step {step}: ")
    return fields


class Feed:
    """Iterates (step, batch, languages) over [start, stop); `waited_s` sums the waiting.

    A context manager, whose thread ends with its block.
    """

    def __init__(
        self,
        source: BatchSource,
        mesh: Mesh,
        start: int,
        stop: int,
        ahead: int = 2,
        slots: Mapping[str, int] | None = None,
        cycle: Cycle | None = None,
        read: Callable[[int], tuple[Batch, Any]] | None = None,
    ):
        """`slots` are the sizes of the banks that batch fields route into, to be checked.

        cycle: the slots that take turns in the place of the rows' own languages. read: another way
        to a step's (batch, what is beside it) than `read_batch`.
        """
        self.waited_s = 0.0
        self._read = read or functools.partial(
            read_batch, source, mesh=mesh, slots=dict(slots or {}), cycle=cycle
        )
        self.steps = range(start, stop)
        self._queue: queue.Queue[Any] = queue.Queue(maxsize=ahead)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._fill, name="jaxlt-feed", daemon=True)
        self._thread.start()

    def _offer(self, item: Any) -> None:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def _fill(self) -> None:
        try:
            for step in self.steps:
                if self._closed.is_set():
                    return
                self._offer((step, *self._read(step)))
            self._offer(None)
        except BaseException as err:  # handed to the loop, which raises it where the user looks
            self._offer(err)

    def __enter__(self) -> "Feed":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[tuple[int, Batch, np.ndarray]]:
        while True:
            began = time.perf_counter()
            item = self._queue.get()
            self.waited_s += time.perf_counter() - began
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self) -> None:
        """Stops the thread; safe to call twice."""
        self._closed.set()
        self._thread.join(timeout=5)
