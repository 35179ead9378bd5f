"""Compiles one step for one topology, in a process of its own: jaxlt.plan.compile starts it.

The platform is chosen before JAX starts, the compiler writes its programs to a folder, and where
the compiler dies it takes nothing else along.

    python -m jaxlt.plan.worker REQUEST.json ANSWER.json
"""

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

from jaxlt.config import derived
from jaxlt.errors import UserError
from jaxlt.plan.search import Candidate


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """request: all that `compile_for` sends."""
    from jaxlt.config import load
    from jaxlt.engine.log.flops import model_flops, tokens_of
    from jaxlt.engine.loop import program_of
    from jaxlt.engine.partitioning import check_batch
    from jaxlt.plan.aot import abstract_batch, compile_train
    from jaxlt.plan.estimate import Machine, Work, estimate
    from jaxlt.plan.estimate_early import early_estimate
    from jaxlt.plan.topologies import Topology, parse_target

    names = ("gin_files", "overrides", "search_paths", "fallbacks")
    run = load(*(request[name] for name in names))
    if request["candidate"]:
        mesh, remat, rows = request["candidate"]
        run = Candidate(tuple(mesh), remat, rows).applied(run)
    topology = parse_target(request["topology"])
    program = program_of(run, topology.devices())
    rows, fields = run.data.batch_size, derived.fields(run)
    inputs, targets, logits = tokens_of(fields)
    check_batch(rows, run.train.accumulate, program.spec.mesh)
    batch = abstract_batch(program, rows, inputs, targets, fields)
    work = Work(
        rows=rows,
        tokens=rows * (inputs + targets),
        flops=model_flops(run.model, program.layout, rows, inputs, logits),
        steps=run.train.steps,
    )
    machine = Machine(topology.chip, topology if isinstance(topology, Topology) else None)
    early = request["quick"] and machine.topology
    found = (early_estimate if early else estimate)(
        program, work, machine, lambda: compile_train(program, batch), request["dumped"]
    )
    return {"estimate": dataclasses.asdict(found)}


def main(argv: list[str]) -> int:
    """Reads the request, writes the answer; a UserError is an answer too."""
    request = json.loads(Path(argv[0]).read_text(encoding="utf-8"))
    try:
        found = answer(request)
    except UserError as error:
        found = {"error": str(error)}
    Path(argv[1]).write_text(json.dumps(found), encoding="utf-8")
    if request["quick"]:
        os._exit(0)  # the compiler may be at work still, and nobody waits for it
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
