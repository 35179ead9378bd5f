"""Memory and traffic of a step, read before the compiler generates its code.

    found = early_estimate(program, work, machine, lambda: compile_train(program, batch), dumped)

A TPU compiler has chosen, scheduled and placed everything before it generates code, and says so in
the files that --xla_dump_to asks for. What follows takes nine tenths of its time and adds cycles of
each instruction, that is, the times of an estimate. Here they are left out.
"""

import glob
import os
import re
import threading
import time
from collections.abc import Callable
from typing import Any

from jaxlt.engine.step import Program
from jaxlt.plan.estimate import (
    REDUCTIONS,
    Estimate,
    Machine,
    Work,
    failed_estimate,
    known_of,
    network,
    rates,
)
from jaxlt.plan.hlo_costs import step_costs
from jaxlt.plan.hlo_text import parse

# The last file before code is generated, the program, and the memory that all of it takes.
PLACED = "*train_step*.after_optimizations_after_buffer_assignment.txt"
PROGRAM = "*train_step*.after_optimizations.txt"
MEMORY = "*train_step*memory-usage-report.txt"
EVERY = 0.2  # seconds between two looks


def early_estimate(
    program: Program,
    work: Work,
    machine: Machine,
    compile_step: Callable[[], Any],
    dumped: str,
) -> Estimate:
    """Returns an Estimate without times; the compiler may still be at work, to be ended with its
    process.

    dumped: the folder that the compiler writes to; what an earlier call left there is removed.
    """
    for pattern in (PLACED, PROGRAM, MEMORY):
        for path in glob.glob(f"{glob.escape(dumped)}/{pattern}"):
            os.remove(path)
    known, mesh = known_of(program, work, machine), program.spec.mesh
    begun = time.monotonic()
    error = _wait(compile_step, dumped)
    known["compile_seconds"] = time.monotonic() - begun
    if error:
        return failed_estimate(known, error)
    needed = total_bytes(_read(dumped, MEMORY))
    known |= {"needed": needed, "fits": needed <= machine.chip.hbm}
    known["memory"] = {"all but the program itself": needed}
    known["notes"] = (
        "times were not asked for; the program itself takes some 0.1 GiB more",
        *known["notes"][1:],
    )
    module = parse(_read(dumped, PROGRAM))
    costs = step_costs(module, rates(machine)[0], network(mesh, machine))  # without its times
    traffic = {k: {"count": t.count, "nbytes": t.nbytes} for k, t in sorted(costs.traffic.items())}
    return Estimate(
        **known,
        program_flops=costs.flops * mesh.size,
        traffic=traffic,
        reduced=sum(traffic[k]["nbytes"] for k in REDUCTIONS if k in traffic),
    )


def total_bytes(report: str) -> int:
    """Bytes of a device's main memory in the compiler's report of its memory."""
    found = re.search(r"Memory Space: default \(color=0\)\s+Total bytes: (\d+)", report)
    if not found:
        raise ValueError("the compiler's report tells no total of the default memory space")
    return int(found.group(1))


def _wait(compile_step: Callable[[], Any], dumped: str) -> str:
    """Waits for the compiler's last file before code; returns why there is none, or ''."""
    errors: list[Exception] = []

    def compile_it() -> None:
        try:
            compile_step()
        except Exception as error:  # kept for the one who waits
            errors.append(error)

    thread = threading.Thread(target=compile_it, daemon=True)
    thread.start()
    while thread.is_alive() and not _is_whole(dumped):
        thread.join(EVERY)
    if errors:
        if not isinstance(errors[0], RuntimeError):
            raise errors[0]
        return str(errors[0])
    return ""


def _is_whole(dumped: str) -> bool:
    """True once the file is there to its end: it is written after all that is read here."""
    files = glob.glob(f"{glob.escape(dumped)}/{PLACED}")
    return bool(files) and _text(files[0]).rstrip().endswith("}")


def _read(dumped: str, pattern: str) -> str:
    return _text(max(glob.glob(f"{glob.escape(dumped)}/{pattern}")))


def _text(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()
