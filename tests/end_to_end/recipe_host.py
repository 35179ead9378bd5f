"""Runs the launch commands of gin files, made small, one after another in one process.

    python -m tests.end_to_end.recipe_host FOLDER < plan.json > losses.json

The plan is [[name, [argument, ...]], ...], in order; an entry without a name is any other command.
What comes out is {name: the losses a target token, by step}, or {name: what went wrong}.
"""

import contextlib
import io
import json
import sys
from pathlib import Path

import jax

from jaxlt.commands.main import main

# Most of such a run is compiling.
jax.config.update("jax_disable_most_optimizations", True)


def losses(workdir: Path) -> list[float]:
    """What a run has logged, step by step."""
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [row["nll"] for row in map(json.loads, lines) if "nll" in row]


def ran(argv: list[str]) -> str:
    """Runs a command; returns its errors, or nothing."""
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        status = main(argv)
    return f"{argv}: status {status}: {said.getvalue()[-2000:]}" if status else ""


def run(plan: list[tuple[str, list[str]]], folder: Path) -> dict[str, list[float] | str]:
    """Runs a plan; the run of a name has its workdir in `folder`."""
    found: dict[str, list[float] | str] = {}
    for name, argv in plan:
        error = ran(argv)
        if name:
            found[name] = error or losses(folder / name)
        elif error:
            found[error] = error
    return found


if __name__ == "__main__":
    json.dump(run(json.load(sys.stdin), Path(sys.argv[1])), sys.stdout)
