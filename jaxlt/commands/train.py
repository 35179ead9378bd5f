"""Train, fine-tune or adapt a model, from the newest checkpoint of its workdir if there is one."""

import argparse
import shlex
import sys
import time
from typing import TYPE_CHECKING

from jaxlt import progress
from jaxlt.commands import run_flags
from jaxlt.errors import SAVED, UserError

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.engine.loop import Outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    parser.add_argument(
        "--dry_run",
        action="store_true",
        help="open all that the run opens, as far as its first batch, print shapes, counts, "
        "sharding and a memory estimate, and stop",
    )
    parser.add_argument(
        "--profile",
        metavar="STEPS",
        help="trace so many steps (5, when the run is warm) or those from one to another (20:25) "
        "into the run's folder, for XProf and Perfetto, and print the costliest operations",
    )
    run_flags.add_machine_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Trains what the gin flags describe."""
    from jaxlt.commands.main import load_run

    if not args.gin_file and not any("." in name for name in args.gin_overrides):
        raise UserError(
            "What is to be trained? Give a model, a run and where things are: jaxlt train "
            "--gin_file=models/byt5_small.gin --gin_file=runs/pretrain.gin --gin.TEXT=FOLDER "
            "--gin.WORKDIR=FOLDER. Each gin file says in its header what it is for."
        )
    run = load_run(args)  # before anything heavy is imported: what is wrong here is said at once
    from jaxlt.engine.log.profiling import parse_steps

    steps = None if args.profile is None else parse_steps(args.profile)
    run_flags.start_jax(args)
    from jaxlt.engine.hosts import distributed
    from jaxlt.inference.training import rehearse, train
    from jaxlt.plan import profile

    if args.dry_run:
        from jaxlt.commands.plan.plan import show

        lines = rehearse(run)
        show(run)
        if distributed.is_primary():
            print("", *lines, sep="\n")
        return 0
    began = time.monotonic()
    result = train(run, steps, profile.lines_of)
    if distributed.is_primary():
        print(farewell(run, result, time.monotonic() - began))
    return SAVED if result.ended == "preempted" else 0


def farewell(run: "RunConfig", result: "Outcome", seconds: float) -> str:
    """The last line: how it ended, what was saved where, how long it took, how to go on."""
    checkpoints, step = result.checkpoints, result.position.step
    latest = checkpoints.latest()
    saved = "" if latest is None else f" Saved: {checkpoints.path(latest)}"
    if result.ended == "preempted":
        again = shlex.join(["jaxlt", *sys.argv[1:]])
        return f"Stopped by SIGTERM after step {step}.{saved and saved + chr(46)} To go on: {again}"
    if result.position.best_step is not None:
        kept = checkpoints.best()
        where = f", at {checkpoints.path(kept)}" if kept not in (None, latest) else ""
        saved += (
            f" (best {run.checkpoint.best_metric}: {result.position.best:.4g} at step "
            f"{result.position.best_step}{where})"
        )
    if result.ended == "patience":
        bad = result.position.bad_evaluations
        how = f"Stopped at step {step}, after {bad} evaluations without a better one"
    else:
        how = f"Done: {step:,} steps"
    return f"{how}, in {progress.duration(seconds)}.{saved}"
