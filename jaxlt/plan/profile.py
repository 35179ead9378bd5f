"""What a trace of some steps says, as lines to read: `jaxlt train --profile=STEPS`."""

from typing import TYPE_CHECKING

from jaxlt.errors import UserError
from jaxlt.plan.table import seconds
from jaxlt.plan.xplane import read_trace

if TYPE_CHECKING:
    from jaxlt.engine.log.profiling import Profile

ROWS = 10
_NAME = 24  # characters of an operation's name that are shown


def lines_of(seen: "Profile") -> list[str]:
    """The costliest operations, and how much of the time the devices had nothing to do."""
    steps = f"step {seen.first}" if seen.steps == 1 else f"steps {seen.first} to {seen.last}"
    head = f"profile of {steps}: {seconds(seen.seconds / seen.steps)} a step"
    where = f"trace: {seen.folder} (xprof --logdir={seen.folder}; or *.trace.json.gz in Perfetto)"
    try:  # a damaged trace, or one of a form that is not known; jax's error is a RuntimeError
        costs = read_trace(seen.trace) if seen.trace else None
    except (OSError, RuntimeError, ValueError, LookupError) as error:
        raise UserError(str(error)) from error
    if costs is None or not costs.ops:
        return [f"{head}; the trace holds no operation of a device", where]
    devices = "the device" if costs.devices == 1 else f"each of {costs.devices} devices"
    waiting = 100 * seen.waited / seen.seconds
    out = [
        f"{head}; {devices} idle {100 * costs.idle:.1f}% of the time, the run waiting for data "
        f"{waiting:.1f}%",
        f"{'share':>6} {'a step':>10} {'times':>6}  {'operation':{_NAME}}  from",
    ]
    per = seen.steps * max(1, costs.devices)
    for op in costs.ops[:ROWS]:
        name = op.name if len(op.name) <= _NAME else op.name[: _NAME - 3] + "..."
        source = op.source if op.program.endswith("train_step") else f"{op.program}: {op.source}"
        place = f" ({op.place})" if op.place else ""
        out.append(
            f"{100 * op.seconds / costs.seconds:5.1f}% {seconds(op.seconds / per):>10} "
            f"{op.count / per:>6.4g}  {name:{_NAME}}  {source}{place}"
        )
    shown = sum(op.seconds for op in costs.ops[:ROWS])
    rest = len(costs.ops) - ROWS
    if rest > 0:
        left = costs.seconds - shown
        out.append(
            f"{100 * left / costs.seconds:5.1f}% {seconds(left / per):>10} {'':>6}  {rest:,} others"
        )
    return [*out, where]
