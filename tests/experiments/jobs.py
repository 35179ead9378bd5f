"""Verbs without jax, a study of them, and the command line of its workers, for tests of workers."""

import os
import sys
import time
from pathlib import Path
from typing import Any

from jaxlt.errors import UserError
from jaxlt.experiments.attempt import At
from jaxlt.experiments.stage import Cell, Stage
from jaxlt.experiments.storage import Places
from jaxlt.experiments.worker import Bounds, run
from jaxlt.metrics.result import Result

HERE = "tests.experiments.jobs"


def count(config: dict[str, Any], at: At) -> list[Result]:
    """Counts to `steps` from where its checkpoint stands; a row of what it and its needs counted.

    Each step that is made is a line of `$JOURNAL`, so that work done twice is seen.
    """
    checkpoint = at.folder / "checkpoints" / "step"
    checkpoint.parent.mkdir(exist_ok=True)
    step = int(checkpoint.read_text() or 0) if checkpoint.exists() else 0
    before = sum(int((Path(need) / "total").read_text()) for need in config.get("needs", ()))
    while step < config["steps"]:
        time.sleep(config.get("pause", 0.0))
        step += 1
        draft = checkpoint.with_suffix(".new")
        draft.write_text(str(step))
        note(f"{at.stage.path} {step}")
        draft.replace(checkpoint)
        at.log(f"step {step}")
    (at.folder / "total").write_text(str(step + before))
    method = config.get("method", "")
    return [Result(metric="total", value=step + before, n=step, method=method, unit="repeats")]


def note(line: str) -> None:
    """Adds a line to `$JOURNAL`, if there is one."""
    if journal := os.environ.get("JOURNAL"):
        with open(journal, "a") as out:
            out.write(f"{line}\n")


def fail(config: dict[str, Any], at: At) -> list[Result]:
    """Fails, as it is told to."""
    note(f"{at.stage.path} fails")
    print("about to fail", flush=True)
    kind = config["kind"]
    if kind == "user":
        raise UserError("There is no language 'xyz'.")
    if kind == "sleep":
        time.sleep(60)
    if kind == "memory":
        held = bytearray(config["bytes"])
        time.sleep(60)
        return [Result(metric="held", value=len(held), n=1)]
    if kind == "abort":
        os.abort()
    raise ValueError("boom")


def counted(steps: int, pause: float = 0.0, cells: int = 2, seeds: int = 2) -> list[Stage]:
    """A world a seed in the laboratory; in each cell a base, and two more stages on it."""
    stages = []
    for seed in range(seeds):
        world = Cell(seed=seed).stage("world", f"{HERE}:count", lab=True, steps=seed + 1)
        stages.append(world)
        for cell in range(cells):
            at, made = Cell(f"size={cell}", seed), dict(steps=steps + cell, pause=pause)
            base = at.stage("base", f"{HERE}:count", needs=[world], **made)
            stages.append(base)
            for name in ("target", "source"):
                stages.append(at.stage(name, f"{HERE}:count", needs=[base], method=name, **made))
    return stages


def places(folder: Path) -> Places:
    """A study in a folder, and a laboratory beside it."""
    return Places("study", folder / "study", folder / "lab")


PLANS = {
    "counted": lambda: counted(5, 0.01),
    "slowly": lambda: counted(5, 0.05),
    "failing": lambda: [
        Cell().stage("fails", f"{HERE}:fail", kind=sys.argv[3], bytes=300 * 2**20),
        Cell().stage("works", f"{HERE}:count", steps=1),
    ],
}


def main() -> int:
    """`python -m tests.experiments.jobs FOLDER PLAN [KIND [HOURS [GB]]]`: one worker."""
    numbers = [float(word) for word in sys.argv[4:]]
    limits = dict(zip(("hours", "memory_gb"), numbers, strict=False))
    survey = run(
        PLANS[sys.argv[2]](),
        places(Path(sys.argv[1])),
        bounds=Bounds(**limits),  # type: ignore[arg-type]
        lease_s=float(os.environ.get("LEASE_S", "2")),
        command="jaxlt experiment study.gin",
    )
    return survey.status


if __name__ == "__main__":
    raise SystemExit(main())
