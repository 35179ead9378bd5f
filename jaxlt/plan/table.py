"""An estimate of a step as lines to read."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from jaxlt.screen import plain_table

if TYPE_CHECKING:
    from rich.table import Table

    from jaxlt.config import RunConfig
    from jaxlt.plan.aot import Plan
    from jaxlt.plan.estimate import Estimate
    from jaxlt.plan.measure import Measured
    from jaxlt.plan.module_costs import PlugCost
    from jaxlt.plan.search import Found

GIB = 2**30


def lines_of(costs: "Estimate", advice: Sequence[str] = ()) -> list[str]:
    """The table of one estimate; advice: what to change where it does not fit."""
    mesh = " x ".join(f"{axis} {size}" for axis, size in costs.mesh.items())
    out = ["", f"{costs.machine}: {costs.devices} devices, mesh {mesh}"]
    if costs.failure:
        return [*out, "DOES NOT COMPILE:", *(f"  {line}" for line in costs.failure.splitlines())]
    out += memory_lines(costs)
    if not costs.fits:
        out.append("  what to change, first what costs least:")
        out += [f"    {line}" for line in advice]
    if costs.step[1]:
        out += time_lines(costs)
    elif costs.memory:
        out += [work_line(costs), *traffic_lines(costs)]
    out.append(
        f"checkpoint: {size(costs.checkpoint)} (what trains, and the optimizer's memory of it)"
    )
    notes = costs.notes if costs.memory else costs.notes[1:]  # the first is about times
    return out + [f"note: {note}" for note in notes]


def memory_lines(costs: "Estimate") -> list[str]:
    """Memory of one device by the compiler's count."""
    out = ["memory on one device, by the compiler's count:"]
    if not costs.limit:
        return out + mebibytes({**costs.memory, "sum": costs.needed})
    verdict = "FITS" if costs.fits else "DOES NOT FIT"
    share = 100 * costs.needed / costs.limit
    left = f"{size(costs.headroom)} left" if costs.fits else f"{size(-costs.headroom)} too much"
    total = f"  {verdict}: {size(costs.needed)} of {size(costs.limit)} ({share:.0f}%), {left}"
    return [*out, *mebibytes(costs.memory), total]


def mebibytes(memory: Mapping[str, int]) -> list[str]:
    """A line a name, with its bytes."""
    return [f"  {name:44} {nbytes / 2**20:12,.1f} MiB" for name, nbytes in memory.items()]


def time_lines(costs: "Estimate") -> list[str]:
    """Work, time and what follows from it."""
    best, worst = costs.step
    out = [
        work_line(costs),
        f"time of a step (estimate): {seconds(best)} at best (everything overlaps) to "
        f"{seconds(worst)} (as the program is ordered)",
        f"  {'matrix products':44} {seconds(costs.matrix):>12}",
        f"  {'element by element, and memory':44} {seconds(costs.vector):>12}"
        f"   (at the memory's bandwidth {seconds(costs.vector_at_bandwidth)})",
        f"  {'collectives':44} {seconds(costs.communication):>12}"
        f"   (exposed {seconds(costs.exposed)})",
    ]
    out += traffic_lines(costs)
    if costs.costliest:
        out.append("  costliest, collectives aside:")
    for source, value in costs.costliest:
        out.append(f"    {source:60} {seconds(value):>12}")
    low, high = sorted(costs.tokens_per_second)
    out.append(
        f"tokens a second: {low:,.0f} to {high:,.0f} ({low / costs.devices:,.0f} to "
        f"{high / costs.devices:,.0f} a device)"
    )
    out.append("model FLOPs utilisation: " + " to ".join(f"{m:.3f}" for m in sorted(costs.mfu)))
    out.append(
        "the whole run: "
        + " to ".join(f"{d:,.2f}" for d in sorted(costs.days))
        + " days, "
        + " to ".join(f"{h:,.0f}" for h in sorted(costs.chip_hours))
        + " device hours"
    )
    return out


def measured_lines(taken: "Measured", tokens: int, steps: int) -> list[str]:
    """What a step took when it was run."""
    return [
        f"time of a step (measured, median of {taken.steps}): {seconds(taken.seconds)}, "
        f"{seconds(taken.processor_seconds)} of this host's processors; "
        f"{tokens / taken.seconds:,.0f} tokens a second",
        f"the whole run at that: {taken.seconds * steps / 86400:,.2f} days",
    ]


def work_line(costs: "Estimate") -> str:
    """Rows, tokens and FLOPs of a step."""
    line = (
        f"a step: {costs.rows:,} rows, {costs.tokens:,} tokens; {costs.model_flops / 1e12:,.3f} "
        "TFLOP by hand"
    )
    if not costs.program_flops:
        return line
    again = costs.program_flops / costs.model_flops if costs.model_flops else 0.0
    return (
        f"{line}, {costs.program_flops / 1e12:,.3f} in the compiled program ({again:.2f}x: "
        "recomputation, and what the compiler added)"
    )


def traffic_lines(costs: "Estimate") -> list[str]:
    """What one device sends, by kind; times where they are known."""
    out = []
    for kind, traffic in costs.traffic.items():
        timed = "seconds" in traffic
        taken = seconds(traffic["seconds"]) if timed else ""
        late = f", exposed {seconds(traffic['exposed'])}" if timed else ""
        out.append(
            f"    {kind:42} {taken:>12}   {traffic['nbytes'] / 1e9:,.3f} GB "
            f"in {traffic['count']:,.0f}{late}"
        )
    if costs.reduced_ideal and costs.devices > 1 and costs.traffic:
        out.append(
            f"    {'of it in reductions (gradients)':42} {'':>12}   {costs.reduced / 1e9:,.3f} GB, "
            f"{costs.reduced / costs.reduced_ideal:.2f} times what a reduce-scatter takes"
        )
    return out


def short(tried: "Found") -> str:
    """One line on a configuration that was tried."""
    one, estimate = tried.candidate, tried.estimate
    mesh = " x ".join(str(s) for s in one.mesh)
    what = f"mesh {mesh}, remat {one.remat or '-'}, {one.rows} rows: "
    if estimate.failure:
        return f"{what}does not compile: {estimate.failure.splitlines()[0]}"
    if not estimate.fits:
        return f"{what}does not fit: {size(estimate.needed)} of {size(estimate.limit)}"
    low, high = sorted(estimate.mfu)
    return f"{what}{size(estimate.needed)}, utilisation {low:.3f} to {high:.3f}"


def search_table(tried: Sequence["Found"]) -> "Table":
    """A row a configuration, the fastest first."""
    counts = (">rows", ">memory", ">step", ">tokens/s", ">utilisation", ">days")
    table = plain_table("replica x data x fsdp x tensor", "remat", *counts, "")
    for each in tried:
        one, estimate = each.candidate, each.estimate
        mesh = " x ".join(str(s) for s in one.mesh)
        needed = "" if estimate.failure else size(estimate.needed)
        cells = ["does not compile" if estimate.failure else "does not fit", "", "", "", ""]
        if estimate.fits:
            cells = [
                " to ".join(seconds(s) for s in estimate.step),
                f"{min(estimate.tokens_per_second):,.0f}",
                " to ".join(f"{m:.3f}" for m in sorted(estimate.mfu)),
                f"{max(estimate.days):,.2f}",
                "*" if each.best else "",
            ]
        table.add_row(mesh, one.remat, f"{one.rows:,}", needed, *cells)
    return table


def module_table(costs: Sequence["PlugCost"]) -> "Table":
    """A row a plug."""
    counts = (">places", ">parameters", ">of the base", ">slots", ">FLOPs/token", ">optimizer")
    table = plain_table("plug", "method", *counts)
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
    return table


def parameter_table(plan: "Plan") -> "Table":
    """A row a parameter."""
    table = plain_table("parameter", "shape", "sharding", "trains", fold=True)
    for row in plan.rows:
        shape = " x ".join(map(str, row.shape))
        table.add_row(row.name, shape, row.sharding, "yes" if row.trainable else "-")
    return table


def group_table(plan: "Plan") -> "Table":
    """Counts by group."""
    table = plain_table("\ngroup", ">\nparameters", ">\ntrainable")
    for name, (count, trained) in plan.groups.items():
        table.add_row(name, f"{count:,}", f"{trained:,}")
    total = sum(c for c, _ in plan.groups.values())
    table.add_row("all", f"{total:,}", f"{sum(t for _, t in plan.groups.values()):,}", style="bold")
    return table


def summary(run: "RunConfig", plan: "Plan", inputs: int, targets: int) -> list[str]:
    """Lines on mesh, memory and work."""
    mesh = " x ".join(f"{axis} {size}" for axis, size in plan.mesh.items())
    lines = ["", f"mesh: {mesh}", "memory on one device:"]
    lines += mebibytes({**plan.memory, "sum": sum(plan.memory.values())})
    if not plan.compiled:
        lines.append("  (activations are not in it: `jaxlt plan --compile` counts them)")
    lines.append(
        f"a step: {run.data.batch_size} rows x ({inputs} + {targets}) = {plan.tokens:,} tokens, "
        f"{plan.flops / 1e12:,.3f} TFLOP; {run.train.steps:,} steps: "
        f"{plan.flops * run.train.steps / 1e18:,.4f} EFLOP"
    )
    return lines


def size(nbytes: float) -> str:
    """Bytes as people read them."""
    return f"{nbytes / GIB:,.2f} GiB" if nbytes >= GIB / 10 else f"{nbytes / 2**20:,.1f} MiB"


def seconds(value: float) -> str:
    """Seconds as people read them."""
    return f"{value:,.3f} s" if value >= 1 else f"{1000 * value:,.3g} ms"
