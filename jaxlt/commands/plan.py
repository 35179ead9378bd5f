"""Show what a run will need, without running it: parameters, sharding, memory, work."""

import argparse
from typing import TYPE_CHECKING

from jaxlt.commands import session
from jaxlt.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from jaxlt.config import RunConfig
    from jaxlt.engine.aot import Plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    parser.add_argument(
        "--compile",
        action="store_true",
        help="compile the step for the devices at hand; the compiler's memory count joins in",
    )
    parser.add_argument(
        "--modules",
        action="store_true",
        help="what each plug costs instead: parameters a language or task, FLOPs, optimizer state",
    )
    session.add_machine_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Plans what the gin flags describe."""
    from jaxlt.commands.main import load_run

    run = load_run(args, {"WORKDIR": "", "TEXT": "", "INIT_FROM": None})
    session.start_jax(args)
    if args.modules:
        show_modules(run)
    else:
        show(run, args.compile)
    return 0


def show_modules(run: "RunConfig") -> None:
    """Prints a row a plug; on several hosts one of them does."""
    from rich.table import Table

    from jaxlt.engine import distributed
    from jaxlt.engine.module_costs import module_costs

    inputs, targets = session.lengths(run)
    costs = module_costs(run, inputs, targets)
    if not distributed.is_primary():
        return
    if not costs:
        raise UserError("Nothing is plugged in: give a modules/*.gin (T5Config.plugs).")
    table = Table(box=None, pad_edge=False)
    table.add_column("plug")
    table.add_column("method")
    for column in ("places", "parameters", "of the base", "slots", "FLOPs/token", "optimizer"):
        table.add_column(column, justify="right")
    for cost in costs:
        table.add_row(
            cost.name,
            cost.method,
            f"{cost.places}",
            f"{cost.parameters:,}",
            f"{100 * cost.share:.3g}%",
            f"{cost.slots}",
            f"{cost.flops:,.0f}",
            f"{cost.optimizer_bytes / 2**20:,.2f} MiB",
        )
    console = screen()
    console.print(table)
    console.print(
        "\nparameters: of one language or task (a slot); FLOPs: forward, a token of input and "
        "targets; optimizer: of all slots",
        soft_wrap=True,
    )


def screen() -> "Console":
    """Where a plan is printed: a file or a pipe has no width of its own, and names stay whole."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)


def show(run: "RunConfig", compile_step: bool = False) -> None:
    """Prints the plan of a run; on several hosts one of them does."""
    from jaxlt.engine import distributed
    from jaxlt.engine.aot import plan_run

    inputs, targets = session.lengths(run)
    plan = plan_run(run, run.data.batch_size, inputs, targets, compile_step)
    if not distributed.is_primary():
        return
    console = screen()
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
