"""Training what a config names: all is opened, checked, and handed to the loop.

outcome = train(config.load(["models/tiny.gin", "runs/pretrain.gin"], ["WORKDIR=out", ...]))
rehearse(run)       # the same as far as the first batch; nothing is written into the folder
in_memory(run)      # the same to the end, without a folder: nothing is written at all
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from etils import epath

from jaxlt import progress
from jaxlt.config import derived
from jaxlt.data.inventory import Inventory
from jaxlt.data.labelling import Labels
from jaxlt.data.mixtures import build_objective, open_evaluation
from jaxlt.data.vocabulary.vocabularies import Vocabulary, open_vocabulary
from jaxlt.engine import loop
from jaxlt.engine.batch_checks import check_fields, slots_of
from jaxlt.engine.checkpoint.checkpoints import Checkpoints
from jaxlt.engine.checkpoint.workdir import Workdir
from jaxlt.engine.evaluator import LossEvaluator
from jaxlt.engine.fit import fit
from jaxlt.engine.head_evaluator import HeadEvaluator
from jaxlt.engine.hosts import distributed
from jaxlt.engine.log.history import History
from jaxlt.engine.log.journal import Journal
from jaxlt.engine.log.profiling import Profile, Recorder, Steps
from jaxlt.engine.log.reporter import Reporter
from jaxlt.engine.optim.pace import Pace, spare
from jaxlt.engine.resume import check_position, fresh, rows_at_once, saved_position
from jaxlt.engine.state import BaseSource, ModuleValues, TrainState, load_base
from jaxlt.engine.step import Program
from jaxlt.errors import UserError
from jaxlt.inference import opening, provenance
from jaxlt.inference.held import Modules
from jaxlt.modules.fingerprints import Fingerprint

if TYPE_CHECKING:
    import jax

    from jaxlt.config import RunConfig


def train(
    run: "RunConfig",
    profiled: Steps | None = None,
    describe: Callable[[Profile], Sequence[str]] = lambda _: (),
    *,
    base: BaseSource | None = None,
    modules: Modules | None = None,
    devices: Sequence["jax.Device"] | None = None,
    history: History | None = None,
) -> loop.Outcome:
    """Opens everything that a run names, and trains it in its folder.

    profiled: steps to trace; describe: words what was seen of them. base, modules: in memory, in
    the place of those that the run names. history: keeps all that is seen.
    """
    position = saved_position(Checkpoints(run.workdir))
    begun = position is not None
    with Workdir.open(run.workdir, **bound_to(run, begun)) as workdir:
        # A run under way needs its base again only for what is frozen.
        needed = not begun or loop.program_of(run).layout.frozen_model
        base, vocabulary, inventory, data = opening.open_all(run, bool(needed), base)
        opening.keep_inventory(run, inventory)
        run = derived.in_steps(run, data, position.warmup_steps if position else None)
        values = None if begun else module_values(run, data.languages, modules)
        about = provenance.about(run) | {"amounts": provenance.amounts_of(data)}
        reporter = Reporter(workdir.path, run.train.steps, about=about)
        reporter.note(data.describe(run.train.steps))
        changed = {n: v for n, v in workdir.changed.items() if begun and n != "run.workdir"}
        for name, was in changed.items():
            reporter.note(f"Changed since the last start: {name}: {was}")
        if profiled is not None:
            profiled.check(run.train.steps)
        mine = profiled if distributed.is_primary() else None  # each host traces its own part
        recorder = Recorder(mine, epath.Path(run.workdir) / "profile", describe, reporter)
        result = loop.train(
            run,
            data,
            workdir,
            evaluators=evaluators(run, data.languages, inventory),
            base=base,
            reporter=reporter,
            vocabulary=vocabulary.fingerprint,
            devices=devices,
            modules=values,
            recorder=recorder,
            history=history,
        )
    return result


class Trained(NamedTuple):
    """A run that was trained in memory."""

    program: Program
    state: TrainState
    history: History
    vocabulary: Vocabulary
    inventory: Inventory


def in_memory(
    run: "RunConfig",
    base: BaseSource | None = None,
    modules: Modules | None = None,
    devices: Sequence["jax.Device"] | None = None,
) -> Trained:
    """Trains what a run names, but for its folder, from the start; writes and prints nothing.

    base, modules: in memory, in the place of those that the run names.
    """
    base, vocabulary, inventory, data = opening.open_all(run, True, base)
    run = derived.in_steps(run, data)
    values = module_values(run, data.languages, modules)
    held_out = evaluators(run, data.languages, inventory)
    program = loop.program_of(run, devices, spare(run.model, data.languages))
    loop.check_job(run, data, None, program.spec.mesh)
    history = History(notes=[data.describe(run.train.steps)])
    parts = (run, program, data, base, history.note, vocabulary.fingerprint, values)
    state, position, _ = fresh(*parts)
    pace = Pace(run, program, data.languages)
    state, history = fit(
        program,
        state,
        data,
        pace.at,
        run.train.steps,
        evaluators=held_out,
        settings=run.train,
        best=run.checkpoint,
        position=position,
        journal=Journal(run.train, pace.rate, data.languages, position, history),
        donate=True,
    )
    return Trained(program, state, history, vocabulary, inventory)


def bound_to(run: "RunConfig", begun: bool) -> dict[str, Any]:
    """The config that a workdir is bound to, and what of it may change.

    It is bound by what was learnt in it, not by a start that failed.
    """
    from jaxlt.config import config_hash, operative_config, recorded, renamed, resuming

    return {
        "config_text": operative_config(run),
        "config_hash": config_hash(run),
        "harmless": resuming.may_change() if begun else ("*",),
        "younger": recorded.younger,
        "renamed": renamed.text,
    }


def rehearse(run: "RunConfig") -> list[str]:
    """Opens what a run opens, as far as its first batch; returns lines on what was found.

    Nothing is written into the run's folder (tokens go to the data's cache, as the run's own do).
    Of a base and of a checkpoint to go on from, names, shapes and position are looked at, and no
    values; so whether modules of a library were trained on this backbone is left to the run.
    """
    checkpoints = Checkpoints(run.workdir, run.checkpoint)
    position = saved_position(checkpoints)
    Workdir.check(run.workdir, **bound_to(run, position is not None))
    needed = position is None or loop.program_of(run).layout.frozen_model
    base, vocabulary, inventory, data = opening.open_all(run, bool(needed))
    run = derived.in_steps(run, data, position.warmup_steps if position else None)
    held_out = evaluators(run, data.languages, inventory)
    rows = rows_at_once(checkpoints)
    program = loop.program_of(run, None, spare(run.model, data.languages), rows)
    loop.check_job(run, data, checkpoints, program.spec.mesh)
    lines = [data.describe(run.train.steps)]
    if base is not None:
        load_base(program.layout, base, run.model.is_encoder, names=())
        lines.append(f"INIT_FROM has what the model asks for ({base.origin['path']}).")
    if position is not None:
        check_position(run, data, checkpoints, position, vocabulary.fingerprint)
        lines.append(f"The run would go on from step {position.step}.")
    elif module_values(run, data.languages) is not None:
        forced = opening.composed(dataclasses.replace(run, force_modules=True), data.languages)
        assert forced is not None
        forced.values(Fingerprint(""))
        lines.append(f"The modules of {run.library} fit.")
    check_fields(data.rows(0, 0, data.batch_size), slots_of(run.model, program.spec.languages))
    read = " and the evaluation's data" if held_out else ""
    return [*lines, f"The first batch ({data.batch_size} rows){read} could be read."]


def module_values(
    run: "RunConfig", languages: tuple[str, ...], modules: Modules | None = None
) -> ModuleValues | None:
    """What the run's plugs start from: modules of another run, in memory, or of a library."""
    if modules is not None:
        if run.modules:
            raise UserError(
                f"run.modules = {list(run.modules)} names modules of a library, and modules in "
                "memory are given besides: leave one of them out."
            )
        return modules.into(run.model, languages, run.force_modules)
    composed = opening.composed(run, languages)
    if composed is None:
        return None
    if composed.model != run.model:  # checkpoints are read by what the gin files plug in
        plugs = {p.name: p for p in run.model.plugs}
        for p in composed.model.plugs:
            if plugs.get(p.name) != p:
                routes = f"routes = {p.routes}, key = '{p.key}'" if p.routes else "routes = 0"
                raise UserError(
                    f"run.modules fills plug '{p.name}', which has to be plugged in for that "
                    f"({p.method.__name__}, {routes}): give its modules/*.gin, with these routes."
                )
        raise UserError("run.modules takes plugs out ('none'): leave them out of the gin files.")
    return composed


def evaluators(
    run: "RunConfig", languages: tuple[str, ...], inventory: Inventory
) -> list[LossEvaluator]:
    """The held-out loss, by language, where the run has evaluation data; of heads their scores.

    Languages keep the ids they have in training, so that a routed module finds its slots.
    """
    if run.eval_data is None:
        return []
    config = dataclasses.replace(run.eval_data, languages=languages)
    with progress.doing("Opening the evaluation's data"):
        held_out = open_evaluation(config, config.split, inventory=inventory)
    objective = build_objective(config, open_vocabulary(config.vocabulary_config), inventory)
    if isinstance(objective, Labels):
        return [HeadEvaluator(held_out, objective, split=config.split)]
    return [LossEvaluator(held_out, "eval", split=config.split)]
