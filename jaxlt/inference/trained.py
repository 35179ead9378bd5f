"""A trained run opened: its config by its folder, its model on the devices at hand.

run, step = find_run("runs/task")
predictor, vocabulary = open_model(run, step, modules="lang=swh_Latn", library="library")
"""

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from etils import epath

from jaxlt import progress
from jaxlt.errors import UserError, nearest
from jaxlt.inference import opening

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.data.config import DataConfig
    from jaxlt.data.vocabulary.vocabularies import Vocabulary
    from jaxlt.engine.step import Program
    from jaxlt.inference.predictor import Predictor

Step = int | str | None  # of a checkpoint: its number, 'best', or None for the newest


def find_run(
    workdir: str | None,
    step: Step = None,
    gin_files: Sequence[str] = (),
    overrides: Sequence[str] = (),
    search_paths: Sequence[str] = (),
) -> "tuple[RunConfig, Step]":
    """Returns the run in a folder, and which of its checkpoints is meant.

    workdir: the run's folder, or that of one of its checkpoints; None: the run that the gin files
    describe. Of a folder its own config.gin is read first, and what is given comes on top.
    """
    from jaxlt.config.recorded import load_run

    if workdir is None:
        if not gin_files:
            raise UserError(
                "Which run? Give its folder (--workdir=DIR), or the gin files it was started with."
            )
        return load_run(gin_files, overrides, search_paths), step
    folder = Path(workdir).expanduser()
    if folder.name.isdigit() and folder.parent.name == "checkpoints":
        if step is not None:
            raise UserError(f"'{folder}' is the checkpoint of a step: give no --step beside it.")
        step, folder = int(folder.name), folder.parent.parent
    if not (folder / "config.gin").is_file():
        beside = folder.parent.iterdir() if folder.parent.is_dir() else ()
        what = "has no config.gin" if folder.exists() else "does not exist"
        raise UserError(
            f"'{folder}' is no workdir of a run: it {what}."
            f"{nearest(folder.name, [p.name for p in beside if (p / 'config.gin').is_file()])} "
            "`jaxlt train` makes one (WORKDIR), with the run's config.gin in it."
        )
    files = [str((folder / "config.gin").absolute()), *gin_files]
    run = load_run(files, overrides, search_paths, folder=str(folder))
    return dataclasses.replace(run, workdir=str(folder)), step


def languages_of(config: "DataConfig") -> tuple[str, ...]:
    """Names of the languages that a config's data has."""
    from jaxlt.data import mixtures

    if config.languages:
        return config.languages
    if config.sources:
        return tuple(mixtures.discover(dataclasses.replace(config, rates=())))
    return mixtures.open_mixture(config).languages


def trained_hash(run: "RunConfig") -> str:
    """The hash of every setting that the run was trained with, whatever is set otherwise now."""
    from jaxlt.config import config_hash

    with contextlib.suppress(OSError, ValueError, KeyError):
        facts = (epath.Path(run.workdir).expanduser() / "versions.json").read_text()
        return str(json.loads(facts)["config_hash"])
    return config_hash(run)


def open_model(
    run: "RunConfig",
    step: Step = None,
    modules: str | None = None,
    library: str | None = None,
    force_modules: bool = False,
    own_mesh: bool = False,
) -> "tuple[Predictor, Vocabulary]":
    """Reads the run's model onto the devices at hand, and opens its vocabulary.

    modules: of a library, as `jaxlt.inference.compose.parse_choices` takes them. own_mesh: no other
    mesh will do than the run's.
    """
    from jaxlt.inference.predictor import open_predictor

    program = _program(run, own_mesh)
    needed = bool(program.layout.frozen_model) or step == 0
    with progress.doing("Opening the model"):
        base = opening.base_of(run) if needed else None
        vocabulary = opening.vocabulary_of(run, base)
        predictor = open_predictor(run, program, run.workdir, step, base)
    if predictor.vocabulary not in ("", vocabulary.fingerprint):
        raise UserError(
            f"DataConfig.vocabulary = '{run.data.vocabulary}' is not the vocabulary that "
            f"'{run.workdir}' was trained with (by its fingerprint). Give that one, with the same "
            "DataConfig.sentinels."
        )
    if not predictor.languages and (predictor.is_routed or modules):
        predictor = dataclasses.replace(predictor, languages=languages_of(run.data))
    if not modules:
        return predictor, vocabulary
    # Those that the run itself was started with are in its checkpoint.
    wanted = dataclasses.replace(
        run,
        model=predictor.config,
        modules=tuple(modules.split(",")),
        library=library or run.library,
        force_modules=run.force_modules or force_modules,
    )
    return _with_modules(predictor, wanted), vocabulary


def _with_modules(predictor: "Predictor", run: "RunConfig") -> "Predictor":
    """The predictor with the modules that its run names."""
    from jaxlt.inference.predictor import recomposed

    composed = opening.composed(run, predictor.languages)
    assert composed is not None
    base = predictor.backbone()
    out = recomposed(predictor, run, composed, base)
    for line in composed.told(base):
        progress.say(line)
    return out


def _program(run: "RunConfig", own_mesh: bool) -> "Program":
    """The run's program, on a mesh that fits: its own, or else all devices as fsdp."""
    from jaxlt.engine.loop import program_of
    from jaxlt.engine.partitioning import MeshConfig, MeshError

    try:
        return program_of(run)
    except MeshError:
        if own_mesh:
            raise
    mesh = MeshConfig(data=1, fsdp=-1, rules=run.mesh.rules)
    progress.say("The run's own mesh does not fit the devices at hand: all of them are fsdp here.")
    return program_of(dataclasses.replace(run, mesh=mesh))
