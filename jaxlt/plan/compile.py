"""Compiles a run's step for a TPU topology that is not there: `jaxlt plan --topology=v5e:16x16`."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxlt.engine.config import AXES
from jaxlt.errors import UserError

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.plan.estimate import Estimate
    from jaxlt.plan.search import Candidate

# Of a plan: what it does not read need not be given.
FALLBACKS: dict[str, Any] = {
    **dict.fromkeys(("WORKDIR", "TEXT", "PAIRS", "CORPORA"), ""),
    "INIT_FROM": None,
    "VOCABULARY": "bytes",
}


def compile_for(
    topology: str,
    gin_files: Sequence[str],
    overrides: Sequence[str],
    search_paths: Sequence[str],
    candidate: "Candidate | None" = None,
    dump: str | None = None,
    quick: bool = False,
) -> "Estimate":
    """Compiles in a process of its own; what the user can mend is raised as UserError.

    topology: TPUs, or GPUs by their memory.

    candidate: the mesh, remat policy and batch size to take instead of the run's own.
    dump: a folder in which the compiler's own files of the step are kept.
    quick: memory and traffic alone, without times.
    """
    from jaxlt.plan.estimate import read_estimate
    from jaxlt.plan.topologies import parse_target

    more = parse_target(topology).flags

    with tempfile.TemporaryDirectory(prefix="jaxlt_plan_") as folder:
        dumped = str(Path(dump).absolute() if dump else Path(folder) / "programs")
        request = {
            "topology": topology,
            "gin_files": list(gin_files),
            "overrides": list(overrides),
            "search_paths": list(search_paths),
            "fallbacks": FALLBACKS,
            "dumped": dumped,
            "candidate": candidate,
            "quick": quick,
        }
        asked, answered = Path(folder) / "request.json", Path(folder) / "answer.json"
        asked.write_text(json.dumps(request), encoding="utf-8")
        log = Path(folder) / "log.txt"
        with log.open("wb") as stream:
            status = subprocess.run(
                [sys.executable, "-m", "jaxlt.plan.worker", str(asked), str(answered)],
                env=environment(dumped, more),
                stdout=stream,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        if not answered.exists():
            return _died(topology, status, log.read_text(encoding="utf-8", errors="replace"))
        answer = json.loads(answered.read_text(encoding="utf-8"))
    if "error" in answer:
        raise UserError(answer["error"])
    return read_estimate(answer["estimate"])


def environment(dumped: str, more: str = "") -> dict[str, str]:
    """The worker's environment: no TPU is looked for, and compiled programs are written down.

    more: further flags of XLA.
    """
    from jaxlt.plan.topologies import ENVIRONMENT

    here = str(Path(__file__).parents[2])
    paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    flags = (
        f"--xla_dump_to={dumped} --xla_dump_hlo_as_text "
        f"--xla_dump_hlo_module_re=.*train_step.* --xla_dump_hlo_pass_re=^$ {more}"
    )
    return {
        **os.environ,
        **ENVIRONMENT,
        "PYTHONPATH": os.pathsep.join(paths),
        "XLA_FLAGS": flags,
    }


def _died(topology: str, status: int, log: str) -> "Estimate":
    """What the compiler said before it ended without an answer."""
    lines = [line for line in log.splitlines() if line.strip()][-12:]
    killed = " (killed: out of the host's memory?)" if status in (-9, 137) else ""
    text = f"the compiler's process ended with status {status}{killed}"
    return failed(topology, "\n".join([text, *lines]))


def failed(topology: str, why: str) -> "Estimate":
    """The estimate of what did not compile."""
    from jaxlt.plan.estimate import Estimate

    return Estimate(machine=topology, failure=why)


def advice(run: "RunConfig", mesh: Mapping[str, int]) -> list[str]:
    """What to change in a run whose step does not fit, by the names of the settings."""
    model, train = run.model, run.train
    remat = getattr(model, "remat", None)
    out = []
    if remat in ("none", "dots", "dots_all"):
        kept = {"none": "'dots' or 'full'"}.get(remat, "'full'")
        out.append(f"T5Config.remat = {kept} (now '{remat}'): activations are computed again")
    replica, data, fsdp, tensor = (mesh.get(axis, 1) for axis in AXES)
    if data > 1:
        out.append(
            f"MeshConfig.fsdp = {data * fsdp}, MeshConfig.data = 1 (now {fsdp} and {data}): "
            "parameters and optimizer shared by more devices"
        )
    ways, rows = replica * data * fsdp, run.data.batch_size
    if rows // ways // train.accumulate > 1:
        out.append(
            f"TrainConfig.accumulate = {2 * train.accumulate} (now {train.accumulate}): the same "
            "batch in smaller parts"
        )
        out.append(f"DataConfig.batch_size = {max(ways, rows // 2)} (BATCH_SIZE; now {rows})")
    else:
        out.append(
            f"MeshConfig.tensor = {2 * tensor} (now {tensor}): heads, MLP and vocabulary split, "
            "rows shared by fewer"
        )
    freezes = bool(train.frozen) or train.trainable != (".*",)
    if freezes and train.frozen_dtype is None:
        out.append("TrainConfig.frozen_dtype = 'bfloat16': what is frozen takes half the memory")
    if freezes and train.frozen_dtype in ("bfloat16", "float16") and remat is not None:
        out.append(
            f"TrainConfig.frozen_dtype = 'int8' (now '{train.frozen_dtype}'): a frozen backbone "
            "takes half the memory"
        )
    if run.optimizer.name != "adafactor":
        out.append(
            f"OptimizerConfig.name = 'adafactor' (now '{run.optimizer.name}'): factored moments"
        )
    out.append(
        f"LossConfig.chunk_bytes = {run.loss.chunk_bytes // 4} (now "
        f"{run.loss.chunk_bytes}): logits in smaller parts"
    )
    return out
