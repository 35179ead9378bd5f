"""Show what a run will need, without running it: parameters, sharding, memory, work, time.

With --topology the training step is compiled for TPUs that are not there.
"""

import argparse
import dataclasses
import json
import os
from typing import TYPE_CHECKING

from jaxlt import progress
from jaxlt.commands import run_flags
from jaxlt.commands.plan import table as plan_table
from jaxlt.config import derived
from jaxlt.errors import UserError
from jaxlt.plan import compile as plan_compile
from jaxlt.plan import search as plan_search

if TYPE_CHECKING:
    from rich.console import Console

    from jaxlt.config import RunConfig
    from jaxlt.plan.aot import Plan
    from jaxlt.plan.estimate import Estimate
    from jaxlt.plan.measure import Measured


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    parser.add_argument(
        "--compile",
        action="store_true",
        help="compile the step for the devices at hand: the compiler's memory count and an "
        "estimate of the time",
    )
    parser.add_argument(
        "--measure",
        action="store_true",
        help="run the compiled step a few times too, on a made-up batch: the time itself",
    )
    parser.add_argument(
        "--modules",
        action="store_true",
        help="what each plug costs instead: parameters a language or task, FLOPs, optimizer state",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    group = parser.add_argument_group("machines that are not there (TPUs: needs the extra `plan`)")
    group.add_argument(
        "--topology",
        metavar="CHIP:AxB[xC]",
        help="compile the step for v5e:16x16, v4:4x4x4, v5p:8x8x8, v6e:16x16, ...; for several "
        "slices 2*v5p:8x8x8; for GPUs by their memory gpu:80GB, 8*gpu:40GB (memory alone)",
    )
    group.add_argument(
        "--quick",
        action="store_true",
        help="memory and traffic alone, without times, in about a tenth of the time",
    )
    group.add_argument(
        "--search",
        action="store_true",
        help="try meshes, remat policies and batch sizes on the topology; the best are marked",
    )
    group.add_argument(
        "--meshes", nargs="+", default=[], metavar="fsdp=N,tensor=M", help="to search; data: rest"
    )
    group.add_argument("--remats", nargs="+", default=[], metavar="POLICY", help="to search")
    group.add_argument(
        "--batch_sizes", nargs="+", type=int, default=[], metavar="ROWS", help="to search"
    )
    group.add_argument(
        "--jobs", type=int, help="compilations at a time in a search (half of the processors)"
    )
    group.add_argument(
        "--dump", metavar="FOLDER", help="keep the compiler's files: the program, memory, schedule"
    )
    run_flags.add_machine_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Plans what the gin flags describe."""
    from jaxlt.commands.main import load_run

    run = load_run(args, plan_compile.FALLBACKS)
    if args.topology:
        if args.modules or args.compile or args.measure:
            raise UserError(
                "--topology compiles by itself, for devices that are not there to --measure, and "
                "--modules counts without it."
            )
        return search(run, args) if args.search else show_topology(run, args)
    if args.search:
        raise UserError("--search tries configurations on a --topology, such as v5e:16x16.")
    if args.quick:
        raise UserError("--quick is about a --topology, such as v5e:16x16.")
    run_flags.start_jax(args)
    if args.modules:
        show_modules(run)
    else:
        show(run, args.compile or args.measure, args.json, args.measure)
    return 0


def show_topology(run: "RunConfig", args: argparse.Namespace) -> int:
    """Prints the estimate for one topology; the status is 1 where the step does not fit."""
    progress.speak(not args.json)
    with progress.doing(f"Compiling for {args.topology}"):
        found = _compile(args)
    if args.json:
        print(json.dumps(as_json(found), indent=1))
    else:
        advice = [] if found.fits else plan_compile.advice(run, found.mesh)
        for line in plan_table.lines_of(found, advice):
            screen().print(line, markup=False, soft_wrap=True)
    return 0 if found.fits else 1


def _compile(
    args: argparse.Namespace, candidate: plan_search.Candidate | None = None
) -> "Estimate":
    from jaxlt.plan.topologies import parse_target

    parse_target(args.topology).check()
    return plan_compile.compile_for(
        args.topology,
        args.gin_file,
        args.gin_overrides,
        args.gin_search_paths,
        candidate,
        args.dump,
        args.quick,
    )


def search(run: "RunConfig", args: argparse.Namespace) -> int:
    """Prints a row a configuration; the status is 1 where none fits."""
    from jaxlt.plan.topologies import Topology, parse_target

    if args.dump:
        raise UserError("--dump keeps the files of one configuration, and --search tries many.")
    topology = parse_target(args.topology)
    if args.quick or not isinstance(topology, Topology):
        raise UserError(
            "--search compares times, which --quick leaves out and plans for GPUs do not have."
        )
    tries = plan_search.candidates(run, topology, args.meshes, args.remats, args.batch_sizes)
    topology.check()
    console = screen()
    if not args.json:
        console.print(f"{len(tries)} configurations on {topology.name}, larger batches last")

    def one(candidate: plan_search.Candidate) -> "Estimate":
        try:
            return _compile(args, candidate)
        except UserError as error:
            return plan_compile.failed(args.topology, str(error))

    def tell(found: plan_search.Found) -> None:
        if not args.json:
            console.print(f"  {plan_table.short(found)}", markup=False, soft_wrap=True)

    jobs = args.jobs or max(1, (os.cpu_count() or 2) // 2)
    found = plan_search.search(tries, one, jobs, tell)
    if args.json:
        rows = [
            {"overrides": f.candidate.overrides, "best": f.best, **as_json(f.estimate)}
            for f in found
        ]
        print(json.dumps(rows, indent=1))
    else:
        console.print(plan_table.search_table(found))
        console.print("* nothing else is both faster and smaller", markup=False)
    return 0 if any(f.estimate.fits for f in found) else 1


def as_json(found: "Estimate") -> dict[str, object]:
    """All figures of an estimate."""
    return {**dataclasses.asdict(found), "headroom": found.headroom}


def show_modules(run: "RunConfig") -> None:
    """Prints a row a plug; on several hosts one of them does."""
    from rich.table import Table

    from jaxlt.engine.hosts import distributed
    from jaxlt.plan.module_costs import module_costs

    inputs, targets = derived.lengths(run)
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


def show(
    run: "RunConfig", compile_step: bool = False, as_text: bool = False, measured: bool = False
) -> None:
    """Prints the plan of a run, or its JSON text; on several hosts one of them does."""
    from jaxlt.engine.hosts import distributed
    from jaxlt.plan.aot import plan_run

    inputs, targets = derived.lengths(run)
    rows, fields = run.data.batch_size, derived.fields(run)
    with progress.doing("Compiling the step" if compile_step else "Counting"):
        plan = plan_run(run, rows, inputs, targets, compile_step, fields)
        found = _present(run, plan) if compile_step else None
        taken = _measured(run, plan) if measured else None
    if not distributed.is_primary():
        return
    if as_text:
        text = plan_json(plan, found) | {"measured": dataclasses.asdict(taken) if taken else None}
        print(json.dumps(text, indent=1))
        return
    console = screen()
    console.print(parameters(plan))
    console.print(groups(plan))
    lines = summary(run, plan, inputs, targets)
    if found is not None:
        lines += plan_table.time_lines(found) + [f"note: {note}" for note in found.notes]
    if taken is not None:
        lines += plan_table.measured_lines(taken, plan.tokens, run.train.steps)
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _present(run: "RunConfig", plan: "Plan") -> "Estimate":
    """The estimate for the devices at hand, of a step that is compiled already."""
    from jaxlt.engine.loop import program_of
    from jaxlt.plan.estimate import Work, estimate, present_machine

    work = Work(run.data.batch_size, plan.tokens, plan.flops, run.train.steps)
    machine = present_machine(run.model.dtype)
    return estimate(program_of(run), work, machine, lambda: plan.executable)


def _measured(run: "RunConfig", plan: "Plan") -> "Measured":
    """What the compiled step takes on the devices at hand."""
    from jaxlt.engine.loop import program_of
    from jaxlt.plan.aot import abstract_batch
    from jaxlt.plan.measure import measure

    program, (inputs, targets) = program_of(run), derived.lengths(run)
    fields = derived.fields(run)
    rows = run.data.batch_size
    batch = abstract_batch(run.model, rows, inputs, targets, program, fields)
    return measure(program, plan.executable, batch)


def plan_json(plan: "Plan", found: "Estimate | None") -> dict[str, object]:
    """All figures of a plan; `estimate` where the step was compiled."""
    groups = {n: {"parameters": c, "trainable": t} for n, (c, t) in plan.groups.items()}
    return {
        "mesh": dict(plan.mesh),
        "groups": groups,
        "memory": dict(plan.memory),
        "model_flops": plan.flops,
        "tokens": plan.tokens,
        "estimate": as_json(found) if found else None,
    }


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
