"""What a run's step takes on the devices at hand: counted, compiled, and run a few times."""

from jaxlt.data.rows.batches import Spec
from jaxlt.engine.config import Job
from jaxlt.engine.log.flops import tokens_of
from jaxlt.engine.loop import program_of
from jaxlt.plan.aot import Plan, abstract_batch, plan_run
from jaxlt.plan.estimate import Estimate, Work, estimate, present_machine
from jaxlt.plan.measure import Measured, measure


def plan_here(
    job: Job, rows: int, fields: Spec, compile_step: bool = False, measured: bool = False
) -> tuple[Plan, Estimate | None, Measured | None]:
    """Returns the plan of a step of so many rows, and what else was asked for.

    fields: of a row of the run's data. compile_step: an estimate of its time by the compiler's
    program; measured: that program is run too, on a made-up batch.
    """
    inputs, targets = tokens_of(fields)
    plan = plan_run(job, rows, inputs, targets, compile_step, fields)
    if not compile_step:
        return plan, None, None
    program = program_of(job)
    work = Work(rows, plan.tokens, plan.flops, job.train.steps)
    machine = present_machine(job.model.dtype)
    estimated = estimate(program, work, machine, lambda: plan.executable)
    if not measured:
        return plan, estimated, None
    batch = abstract_batch(job.model, rows, inputs, targets, program, fields)
    return plan, estimated, measure(program, plan.executable, batch)
