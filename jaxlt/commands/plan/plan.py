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
from jaxlt.config import derived
from jaxlt.errors import UserError
from jaxlt.plan import compile as plan_compile
from jaxlt.plan import search as plan_search
from jaxlt.plan import table as plan_table
from jaxlt.screen import screen

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.plan.estimate import Estimate


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
        print(json.dumps(found.as_json(), indent=1))
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
            {"overrides": f.candidate.overrides, "best": f.best, **f.estimate.as_json()}
            for f in found
        ]
        print(json.dumps(rows, indent=1))
    else:
        console.print(plan_table.search_table(found))
        console.print("* nothing else is both faster and smaller", markup=False)
    return 0 if any(f.estimate.fits for f in found) else 1


def show_modules(run: "RunConfig") -> None:
    """Prints a row a plug; on several hosts one of them does."""
    from jaxlt.engine.hosts import distributed
    from jaxlt.plan.module_costs import module_costs

    inputs, targets = derived.lengths(run)
    costs = module_costs(run, inputs, targets)
    if not distributed.is_primary():
        return
    if not costs:
        raise UserError("Nothing is plugged in: give a modules/*.gin (T5Config.plugs).")
    console = screen()
    console.print(plan_table.module_table(costs))
    console.print(
        "\nparameters: of one language or task (a slot); FLOPs: forward, a token of input and "
        "targets; optimizer: of all slots",
        soft_wrap=True,
    )


def show(
    run: "RunConfig", compile_step: bool = False, as_text: bool = False, measured: bool = False
) -> None:
    """Prints the plan of a run, or its JSON text; on several hosts one of them does."""
    from jaxlt.engine.hosts import distributed
    from jaxlt.plan.aot import plan_here

    fields = derived.fields(run)
    with progress.doing("Compiling the step" if compile_step else "Counting"):
        plan, found, taken = plan_here(run, run.data.batch_size, fields, compile_step, measured)
    if not distributed.is_primary():
        return
    if as_text:
        more = {
            "estimate": found.as_json() if found else None,
            "measured": dataclasses.asdict(taken) if taken else None,
        }
        print(json.dumps(plan.as_json() | more, indent=1))
        return
    console = screen()
    console.print(plan_table.parameter_table(plan))
    console.print(plan_table.group_table(plan))
    lines = plan_table.summary(run, plan, *derived.lengths(run))
    if found is not None:
        lines += plan_table.time_lines(found) + [f"note: {note}" for note in found.notes]
    if taken is not None:
        lines += plan_table.measured_lines(taken, plan.tokens, run.train.steps)
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
