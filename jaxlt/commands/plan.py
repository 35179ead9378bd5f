"""Show what a run will need, without running it: parameters, sharding, memory, work."""

import argparse
from typing import TYPE_CHECKING

from jaxlt.commands import session

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.engine.aot import Plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    parser.add_argument(
        "--compile",
        action="store_true",
        help="compile the step for the devices at hand; the compiler's memory count joins in",
    )
    session.add_machine_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Plans what the gin flags describe."""
    from jaxlt.commands.main import load_run

    run = load_run(args, {"WORKDIR": "", "TEXT": "", "INIT_FROM": None})
    session.start_jax(args)
    show(run, args.compile)
    return 0


def show(run: "RunConfig", compile_step: bool = False) -> None:
    """Prints the plan of a run; on several hosts one of them does."""
    from rich.console import Console

    from jaxlt.engine import distributed
    from jaxlt.engine.aot import plan_run

    inputs, targets = session.lengths(run)
    plan = plan_run(run, run.data.batch_size, inputs, targets, compile_step)
    if not distributed.is_primary():
        return
    console = Console(highlight=False)
    if not console.is_terminal:  # a file or a pipe has no width of its own: keep names whole
        console = Console(highlight=False, width=160)
    console.print(parameters(plan))
    console.print(groups(plan))
    for line in summary(run, plan, inputs, targets):
        console.print(line, markup=False, soft_wrap=True)


def parameters(plan: "Plan"):
    """A table of every parameter."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("parameter", "shape", "sharding", "trains"):
        table.add_column(column, overflow="fold")
    for row in plan.rows:
        shape = " x ".join(map(str, row.shape))
        table.add_row(row.name, shape, row.sharding, "yes" if row.trainable else "-")
    return table


def groups(plan: "Plan"):
    """A table of counts by group."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("\ngroup")
    table.add_column("\nparameters", justify="right")
    table.add_column("\ntrainable", justify="right")
    for name, (count, trained) in plan.groups.items():
        table.add_row(name, f"{count:,}", f"{trained:,}")
    whole = sum(c for c, _ in plan.groups.values())
    table.add_row("all", f"{whole:,}", f"{sum(t for _, t in plan.groups.values()):,}", style="bold")
    return table


def summary(run: "RunConfig", plan: "Plan", inputs: int, targets: int) -> list[str]:
    """Lines on mesh, memory and work."""
    mesh = " x ".join(f"{axis} {size}" for axis, size in plan.mesh.items())
    lines = ["", f"mesh: {mesh}", "memory on one device:"]
    for name, size in plan.memory.items():
        lines.append(f"  {name:44} {size / 2**20:12,.1f} MiB")
    lines.append(f"  {'sum':44} {plan.total_memory / 2**20:12,.1f} MiB")
    if not plan.compiled:
        lines.append("  (activations are not in it: `jaxlt plan --compile` counts them)")
    lines.append(
        f"a step: {run.data.batch_size} rows x ({inputs} + {targets}) = {plan.tokens:,} tokens, "
        f"{plan.flops / 1e12:,.3f} TFLOP; {run.train.steps:,} steps: "
        f"{plan.flops * run.train.steps / 1e18:,.4f} EFLOP"
    )
    return lines
