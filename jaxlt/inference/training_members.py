"""Training runs of one shape side by side, in one process and one compiled step.

runs = [config.load(["models/tiny.gin", ...], [f"WORKDIR=runs/{n}", f"SEED={n}"]) for n in (0, 1)]
outcomes = train_many(runs, "runs/group")      # each ends in its own workdir, as by `train`
[(one.name, one.ended, one.why) for one in outcomes]   # ('1', 'failed', 'Stopped at step 4: ...')
"""

import contextlib
import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from etils import epath

from jaxlt.config import derived
from jaxlt.engine import loop
from jaxlt.engine.checkpoint.checkpoints import Checkpoints
from jaxlt.engine.checkpoint.workdir import Workdir
from jaxlt.engine.evaluator import Evaluator
from jaxlt.engine.resume import Position, saved_position
from jaxlt.engine.train_members import Entry, MemberOutcome, Saved
from jaxlt.engine.train_members import train_many as train_entries
from jaxlt.errors import UserError
from jaxlt.inference import opening, provenance, training

if TYPE_CHECKING:
    from jaxlt.config import RunConfig

Read = tuple[opening.Opened, Sequence[Evaluator]]
Shared = dict[Any, Read]  # what was opened so far, by the configs that decide it


def train_many(runs: "Sequence[RunConfig]", folder: epath.PathLike) -> list[MemberOutcome]:
    """Opens everything that the runs name, and trains them as one group, or goes on with it.

    folder: of the group itself, which is saved there on the way. What the runs read is opened once
    for those that read the same. Raises UserError, naming the setting, where they are not of one
    shape.
    """
    names = _names(runs)
    listed = f"group.members = {names!r}\n"
    digest = hashlib.sha256(listed.encode()).hexdigest()
    with contextlib.ExitStack() as opened:
        own = opened.enter_context(Workdir.open(folder, listed, digest, harmless=("*",)))
        saved = Saved.newest(own.path, names)
        entries: list[Entry] = []
        shared: Shared = {}
        for k, (name, run) in enumerate(zip(names, runs, strict=True)):
            begun = saved.positions[k] if saved else saved_position(Checkpoints(run.workdir))
            bound = training.bound_to(run, begun is not None)
            workdir = opened.enter_context(Workdir.open(run.workdir, **bound))
            entries.append(_entry(name, run, begun, workdir, shared))
        return train_entries(entries, own)


def _entry(
    name: str, run: "RunConfig", begun: Position | None, workdir: Workdir, shared: Shared
) -> Entry:
    """A run with all that it reads."""
    needed = begun is None or bool(loop.program_of(run).layout.frozen_model)
    (base, vocabulary, inventory, data), held_out = _read(run, needed, shared)
    opening.keep_inventory(run, inventory)
    return Entry(
        name,
        derived.in_steps(run, data, begun.warmup_steps if begun else None),
        data,
        workdir,
        held_out,
        base,
        vocabulary.fingerprint,
        training.module_values(run, data.languages) if begun is None else None,
        provenance.about(run) | {"amounts": provenance.amounts_of(data)},
    )


def _read(run: "RunConfig", with_base: bool, shared: Shared) -> Read:
    """What a run reads: what is `shared`, where another member reads the same, else added to it."""
    key = (run.data, run.eval_data, run.init_from, run.model, with_base)
    if key not in shared:
        opened = opening.open_all(run, with_base)
        shared[key] = opened, training.evaluators(run, opened.data.languages, opened.inventory)
    return shared[key]


def _names(runs: "Sequence[RunConfig]") -> list[str]:
    """The last part of each run's workdir, or where two have one, the whole of it."""
    if not runs:
        raise UserError("A group has at least one run, and none is given.")
    paths = [str(run.workdir).rstrip("/") for run in runs]
    if "" in paths:
        raise UserError(
            "A run of the group has no workdir, in which its member is kept: give each its own "
            "WORKDIR."
        )
    if twice := [path for path, count in Counter(paths).items() if count > 1]:
        raise UserError(
            f"Two runs of the group have the workdir '{twice[0]}': give each its own WORKDIR."
        )
    short = [path.rpartition("/")[2] for path in paths]
    return short if len(set(short)) == len(short) else paths
