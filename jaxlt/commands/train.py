"""Train, fine-tune or adapt a model, from the newest checkpoint of its workdir if there is one."""

import argparse
import dataclasses
import shlex
import sys
import time
from typing import TYPE_CHECKING, Any

from jaxlt import progress
from jaxlt.commands import run_flags
from jaxlt.commands.plan import profile as profile_table
from jaxlt.config import derived
from jaxlt.errors import SAVED, UserError
from jaxlt.inference import opening, provenance

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.data.inventory import Inventory
    from jaxlt.engine.evaluator import LossEvaluator
    from jaxlt.engine.log.profiling import Recorder, Steps
    from jaxlt.engine.log.reporter import Reporter
    from jaxlt.engine.loop import Outcome
    from jaxlt.inference.compose import Composed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    parser.add_argument(
        "--dry_run",
        action="store_true",
        help="open all that the run opens, as far as its first batch, print shapes, counts, "
        "sharding and a memory estimate, and stop",
    )
    parser.add_argument(
        "--profile",
        metavar="STEPS",
        help="trace so many steps (5, when the run is warm) or those from one to another (20:25) "
        "into the run's folder, for XProf and Perfetto, and print the costliest operations",
    )
    run_flags.add_machine_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Trains what the gin flags describe."""
    from jaxlt.commands.main import load_run

    if not args.gin_file and not any("." in name for name in args.gin_overrides):
        raise UserError(
            "What is to be trained? Give a model, a run and where things are: jaxlt train "
            "--gin_file=models/byt5_small.gin --gin_file=runs/pretrain.gin --gin.TEXT=FOLDER "
            "--gin.WORKDIR=FOLDER. Each gin file says in its header what it is for."
        )
    run = load_run(args)  # before anything heavy is imported: what is wrong here is said at once
    from jaxlt.engine.log.profiling import parse_steps

    steps = None if args.profile is None else parse_steps(args.profile)
    run_flags.start_jax(args)
    if args.dry_run:
        from jaxlt.commands.plan.plan import show
        from jaxlt.engine.hosts import distributed

        lines = rehearse(run)
        show(run)
        if distributed.is_primary():
            print("", *lines, sep="\n")
        return 0
    began = time.monotonic()
    result = train(run, steps)
    from jaxlt.engine.hosts import distributed

    if distributed.is_primary():
        print(farewell(run, result, time.monotonic() - began))
    return SAVED if result.ended == "preempted" else 0


def farewell(run: "RunConfig", result: "Outcome", seconds: float) -> str:
    """The last line: how it ended, what was saved where, how long it took, how to go on."""
    checkpoints, step = result.checkpoints, result.position.step
    latest = checkpoints.latest()
    saved = "" if latest is None else f" Saved: {checkpoints.path(latest)}"
    if result.ended == "preempted":
        again = shlex.join(["jaxlt", *sys.argv[1:]])
        return f"Stopped by SIGTERM after step {step}.{saved and saved + chr(46)} To go on: {again}"
    if result.position.best_step is not None:
        kept = checkpoints.best()
        where = f", at {checkpoints.path(kept)}" if kept not in (None, latest) else ""
        saved += (
            f" (best {run.checkpoint.best_metric}: {result.position.best:.4g} at step "
            f"{result.position.best_step}{where})"
        )
    if result.ended == "patience":
        bad = result.position.bad_evaluations
        how = f"Stopped at step {step}, after {bad} evaluations without a better one"
    else:
        how = f"Done: {step:,} steps"
    return f"{how}, in {progress.duration(seconds)}.{saved}"


def train(run: "RunConfig", profiled: "Steps | None" = None) -> "Outcome":
    """Opens everything that a run names, and trains it. profiled: steps to trace."""
    from jaxlt.engine import loop
    from jaxlt.engine.checkpoint.checkpoints import Checkpoints
    from jaxlt.engine.checkpoint.workdir import Workdir
    from jaxlt.engine.log.reporter import Reporter

    begun = Checkpoints(run.workdir).latest() is not None
    with Workdir.open(run.workdir, **_bound_to(run, begun)) as workdir:
        # A run under way needs its base again only for what is frozen.
        needed = not begun or loop.program_of(run).layout.frozen
        base, vocabulary, inventory, data = opening.open_all(run, bool(needed))
        opening.keep_inventory(run, inventory)
        run = derived.in_steps(run, data)
        modules = None if begun else module_values(run, data.languages)
        reporter = Reporter(workdir.path, run.train.steps, about=provenance.about(run))
        reporter.note(data.describe())
        changed = {n: v for n, v in workdir.changed.items() if begun and n != "run.workdir"}
        for name, values in changed.items():
            reporter.note(f"Changed since the last start: {name}: {values}")
        recorder = recorder_of(run, profiled, reporter)
        result = loop.train(
            run,
            data,
            workdir,
            evaluators=evaluators(run, data.languages, inventory),
            base=base,
            reporter=reporter,
            vocabulary=vocabulary.fingerprint,
            modules=modules,
            recorder=recorder,
        )
    return result


def _bound_to(run: "RunConfig", begun: bool) -> dict[str, Any]:
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
    from jaxlt.engine import loop
    from jaxlt.engine.batch_checks import check_fields, slots_of
    from jaxlt.engine.checkpoint.checkpoints import Checkpoints
    from jaxlt.engine.checkpoint.workdir import Workdir
    from jaxlt.engine.log.clocks import spare
    from jaxlt.engine.resume import check_position, position_of, rows_at_once
    from jaxlt.engine.state import load_base
    from jaxlt.modules.fingerprints import Fingerprint

    checkpoints = Checkpoints(run.workdir, run.checkpoint)
    latest = checkpoints.latest()
    Workdir.check(run.workdir, **_bound_to(run, latest is not None))
    needed = latest is None or loop.program_of(run).layout.frozen
    base, vocabulary, inventory, data = opening.open_all(run, bool(needed))
    run = derived.in_steps(run, data)
    held_out = evaluators(run, data.languages, inventory)
    rows = rows_at_once(checkpoints)
    program = loop.program_of(run, None, spare(run.model, data.languages), rows)
    loop.check_job(run, data, checkpoints, program.spec.mesh)
    lines = [data.describe()]
    if base is not None:
        load_base(program.layout, base, run.model.is_encoder, names=())
        lines.append(f"INIT_FROM has what the model asks for ({base.origin['path']}).")
    if latest is not None:
        position = position_of(checkpoints.meta(latest))
        check_position(run, data, checkpoints, position, vocabulary.fingerprint)
        lines.append(f"The run would go on from step {latest}.")
    elif module_values(run, data.languages) is not None:
        forced = opening.composed(dataclasses.replace(run, force_modules=True), data.languages)
        assert forced is not None
        forced.values(Fingerprint(""))
        lines.append(f"The modules of {run.library} fit.")
    check_fields(data.rows(0, 0, data.batch_size), slots_of(run.model, program.spec.languages))
    read = " and the evaluation's data" if held_out else ""
    return [*lines, f"The first batch ({data.batch_size} rows){read} could be read."]


def recorder_of(run: "RunConfig", steps: "Steps | None", reporter: "Reporter") -> "Recorder":
    """What traces those steps of the run; on several hosts the primary one traces its own part."""
    from etils import epath

    from jaxlt.engine.hosts import distributed
    from jaxlt.engine.log.profiling import Recorder

    if steps is not None:
        steps.check(run.train.steps)

    folder = epath.Path(run.workdir) / "profile"
    mine = steps if distributed.is_primary() else None
    return Recorder(mine, folder, profile_table.lines_of, reporter)


def module_values(run: "RunConfig", languages: tuple[str, ...]) -> "Composed | None":
    """What the run's plugs start from, where a library says it."""
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
    run: "RunConfig", languages: tuple[str, ...], inventory: "Inventory"
) -> "list[LossEvaluator]":
    """The held-out loss, by language, where the run has evaluation data; of heads their scores.

    Languages keep the ids they have in training, so that a routed module finds its slots.
    """
    from jaxlt.data.labelling import Labels
    from jaxlt.data.mixtures import build_objective, open_evaluation
    from jaxlt.data.vocabulary.vocabularies import open_vocabulary
    from jaxlt.engine.evaluator import LossEvaluator
    from jaxlt.engine.head_evaluator import HeadEvaluator

    if run.eval_data is None:
        return []
    config = dataclasses.replace(run.eval_data, languages=languages)
    with progress.doing("Opening the evaluation's data"):
        held_out = open_evaluation(config, config.split, inventory=inventory)
    objective = build_objective(config, open_vocabulary(config.vocabulary_config), inventory)
    if isinstance(objective, Labels):
        return [HeadEvaluator(held_out, objective, split=config.split)]
    return [LossEvaluator(held_out, "eval", split=config.split)]
