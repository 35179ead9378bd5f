"""Checkpoints of a run: saved in the background, complete or not there, restored onto any mesh.

    <workdir>/checkpoints/<step>/   trainable parameters, optimizer, extra; and their record
    <workdir>/base/                 frozen parameters, once, where they are not imported anew

`jaxlt.engine.checkpoint.store` says what one looks like on disk.
"""

import contextlib
import errno
import math
from collections.abc import Iterator, Mapping
from typing import Any

from etils import epath

from jaxlt.engine.checkpoint import store
from jaxlt.engine.checkpoint import tree as ct
from jaxlt.engine.checkpoint.fit import explain
from jaxlt.engine.config import CheckpointConfig
from jaxlt.engine.hosts import distributed
from jaxlt.errors import UserError

__all__ = ["CheckpointConfig", "Checkpoints", "explain"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_TEXTS = (*(f"[os_error_code='{code}']" for code in _FULL), "No space left on device")


class Checkpoints:
    """The checkpoints of one workdir. On several hosts every process calls every method."""

    def __init__(self, workdir: epath.PathLike, config: CheckpointConfig | None = None) -> None:
        self.config = config or CheckpointConfig()
        self.workdir = store.absolute(workdir)
        self.folder = self.workdir / "checkpoints"
        self._store = store.Store()
        self._pending: epath.Path | None = None
        self._metrics: dict[int, dict[str, float | None]] = {}

    def path(self, step: int) -> epath.Path:
        """Folder of the checkpoint of that step."""
        return self.folder / str(int(step))

    def save(
        self,
        step: int,
        arrays: Any,
        meta: Mapping[str, Any],
        metrics: Mapping[str, float] | None = None,
    ) -> bool:
        """Starts saving a tree of arrays and JSON-able `meta`; the arrays may be donated after it.

        Waits for the save before, and raises its error. Returns False, saving nothing, if this step
        has a checkpoint already. `metrics` (of an evaluation at this step) decide which is best.
        """
        self.wait()
        if step in self.steps():
            return False
        record = {"step": int(step), "meta": dict(meta), "metrics": _finite(metrics or {})}
        self._start(self.path(step), ct.name_leaves(arrays), record)
        return True

    def wait(self) -> None:
        """Returns when the save under way is complete; raises UserError if it failed."""
        if self._pending is None:
            return
        folder, self._pending = self._pending, None
        error: UserError | None = None
        try:
            self._store.wait()
        except Exception as caught:
            error = self._failed(folder, caught)
        distributed.agree(error, f"Saving '{folder}'")

    def abandon(self) -> None:
        """Lets the save under way end, silent about its errors: for a run that dies of another.

        Unlike `wait` it asks nothing of the other processes, which may be dead.
        """
        self._pending = None
        with contextlib.suppress(Exception):
            self._store.wait()

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, oldest first."""
        return store.steps_in(self.folder)

    def latest(self) -> int | None:
        """Step of the newest complete checkpoint."""
        return max(self.steps(), default=None)

    def best(self) -> int | None:
        """Step of the best checkpoint by `best_metric`, the earliest of equals, and never a NaN."""
        return next(iter(self._ranked(self.steps())), None)

    def meta(self, step: int) -> dict[str, Any]:
        """The `meta` that was saved with a step."""
        with self._sound(self.path(step)):
            return store.read_record(self.path(step))["meta"]

    def restore(self, step: int, abstract: Any, part: bool = False) -> tuple[Any, dict[str, Any]]:
        """Reads a checkpoint into the structure, shapes and shardings of `abstract`.

        `abstract` is a tree of `jax.ShapeDtypeStruct` with shardings, of any mesh; layers may be
        scanned in one and unrolled in the other. Returns (arrays, meta). Raises UserError where the
        checkpoint does not fit or is damaged.

        part: read the top-level parts that `abstract` has alone; the files of the others are
        neither read nor checked ({'trainable': {...}} does without the optimizer's).
        """
        self.wait()
        if step not in self.steps():
            have = ", ".join(map(str, self.steps())) or "none"
            raise UserError(f"'{self.folder}' has no complete checkpoint of step {step} ({have}).")
        return self._restore(self.path(step), abstract, tuple(abstract) if part else None)

    def has_base(self) -> bool:
        """True if the frozen parameters are saved in this workdir."""
        return store.is_complete(self.workdir / "base")

    def save_base(self, flat: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
        """Saves the frozen parameters once for all checkpoints, and waits for it.

        Does nothing where they are saved already, or where nothing is frozen.
        """
        self.wait()
        if flat and not self.has_base():
            self._start(
                self.workdir / "base", ct.name_leaves(flat), {"meta": dict(meta), "metrics": {}}
            )
            self.wait()

    def forget_base(self) -> None:
        """Deletes the frozen parameters that are saved here, if there are any."""
        self.wait()

        def work() -> None:
            if self.has_base():
                store.remove(self.workdir / "base")

        distributed.on_primary(work, f"Deleting '{self.workdir / 'base'}'")

    def restore_base(self, abstract: Any) -> tuple[Any, dict[str, Any]]:
        """Reads the frozen parameters saved by `save_base`: (arrays, meta)."""
        if not abstract:
            return abstract, {}
        if not self.has_base():
            raise UserError(
                f"'{self.workdir}' has no base: its frozen parameters were imported. Give the "
                f"INIT_FROM it was started with."
            )
        return self._restore(self.workdir / "base", abstract)

    def _start(self, folder: epath.Path, named: dict[str, Any], record: dict[str, Any]) -> None:
        try:
            self._store.start(folder, named, record, self._prune)
        except (TypeError, AssertionError):  # a mistake of the caller's code
            raise
        except Exception as error:
            raise self._failed(folder, error) from error
        self._pending = folder

    def _restore(
        self, folder: epath.Path, abstract: Any, parts: tuple[str, ...] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        with self._sound(folder):
            record = store.read_record(folder)

        def verify() -> None:
            with self._sound(folder):
                store.verify(folder, record, parts)

        distributed.on_primary(verify, f"Reading '{folder}'")
        return self._store.read(folder, record, abstract, parts), record["meta"]

    @contextlib.contextmanager
    def _sound(self, folder: epath.Path) -> Iterator[None]:
        """Within it, a folder that is damaged is told of as such, with a remedy."""
        try:
            yield
        except store.Damaged as error:
            raise self._damaged(folder, error) from error

    def _damaged(self, folder: epath.Path, error: store.Damaged) -> UserError:
        others = [s for s in self.steps() if self.path(s) != folder]
        if folder.name == "base":
            remedy = "Restore that folder from a copy, or start anew in another workdir."
        elif others:
            remedy = (
                f"The newest other complete checkpoint is that of step {others[-1]}: to go on "
                f"from there delete the folder '{folder}' and start the same command again."
            )
        else:
            remedy = (
                f"There is no other checkpoint in '{self.folder}': to start from the beginning "
                f"delete the folder '{folder}'."
            )
        return UserError(f"Checkpoint '{folder}' is damaged: {error}. {remedy}")

    def _failed(self, folder: epath.Path, error: Exception) -> UserError:
        """The error of a save; clears away what it left, so that the space is free again."""
        free = store.free_bytes(folder)
        space = "" if free is None else f" ({free / 1e6:,.1f} MB free there)"
        if distributed.is_primary() and not store.is_complete(folder):
            with contextlib.suppress(OSError):
                store.remove_leftovers(folder)
        text = str(error)
        if getattr(error, "errno", None) in _FULL or any(t in text for t in _FULL_TEXTS):
            reason = "the disk is full"
        else:
            reason = text.splitlines()[0] if text else type(error).__name__
        steps = ", ".join(map(str, self.steps()))
        what = "The base" if folder.name == "base" else f"The checkpoint of step {folder.name}"
        failed = UserError(
            f"{what} could not be saved to '{folder}': {reason}{space}. "
            f"Intact checkpoints: {steps or 'none'}. Mend the cause (free some space, or lower "
            f"CheckpointConfig.keep) and start the same command again: it goes on from "
            f"{f'step {self.latest()}' if steps else 'the beginning'}."
        )
        failed.__cause__ = error
        return failed

    def _ranked(self, steps: list[int]) -> list[int]:
        """Steps that have a finite best metric, best first."""
        name = self.config.best_metric
        if name is None:
            return []
        sign = 1 if self.config.best_mode == "min" else -1
        ranked: list[tuple[float, float, int]] = []
        for step in steps:
            found = self._step_metrics(step)
            value, tie = found.get(name), found.get(self.config.ties or "")
            if value is not None:
                ranked.append((sign * value, math.inf if tie is None else tie, step))
        return [step for *_, step in sorted(ranked)]

    def _step_metrics(self, step: int) -> dict[str, float | None]:
        if step not in self._metrics:
            try:
                self._metrics[step] = store.read_record(self.path(step))["metrics"]
            except store.Damaged:  # restore() tells of it
                self._metrics[step] = {}
        return self._metrics[step]

    def _prune(self) -> None:
        """Keeps the newest and the best; runs on the primary after a save is complete."""
        steps = self.steps()
        keep = {*steps[-self.config.keep :], *self._ranked(steps)[: self.config.keep_best]}
        for step in steps:
            if step not in keep:
                store.remove(self.path(step))
                self._metrics.pop(step, None)


def _finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """JSON knows no NaN, and nothing that is not finite can be best."""
    values = {name: float(value) for name, value in metrics.items()}
    return {name: v if math.isfinite(v) else None for name, v in values.items()}
