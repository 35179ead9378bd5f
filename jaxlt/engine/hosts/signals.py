"""SIGTERM means: save, say how to resume, and go."""

import signal
import threading
from typing import Any

import jax
from jax.experimental import multihost_utils


class Preemption:
    """Listens for SIGTERM from its making to `release`; asked(step) says whether it came.

    A context manager: however its block ends, what was there before is put back. On several hosts
    the runtime agrees on a step that all of them reach: they save the same.
    """

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._before: Any = None
        self._installed = (
            jax.process_count() == 1 and threading.current_thread() is threading.main_thread()
        )
        if self._installed:
            self._before = signal.signal(signal.SIGTERM, lambda *_: self._asked.set())

    def __enter__(self) -> "Preemption":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def asked(self, step: int) -> bool:
        """True once the run should save and stop after `step`."""
        if jax.process_count() > 1:
            return bool(multihost_utils.reached_preemption_sync_point(step))
        return self._asked.is_set()

    def release(self) -> None:
        """Puts back the handler that was there before."""
        if self._installed:
            signal.signal(signal.SIGTERM, self._before)
            self._installed = False
