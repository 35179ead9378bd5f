"""What the verbs over a trained run share: finding its config, opening its model and vocabulary."""

import argparse
import contextlib
import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from etils import epath

from jaxlt import progress
from jaxlt.errors import UserError, nearest
from jaxlt.inference import constraints, session

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.data.config import DataConfig
    from jaxlt.data.vocabulary.vocabularies import Vocabulary
    from jaxlt.engine.decode.config import DecodingConfig
    from jaxlt.engine.step import Program
    from jaxlt.inference.predictor import Predictor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say which run, and which of its checkpoints."""
    group = parser.add_argument_group("the trained run")
    group.add_argument(
        "--workdir",
        metavar="DIR",
        help="folder of the run, or one of its checkpoints; its own config.gin is read, so that no "
        "--gin_file is needed (those given, and --gin.NAME=value, come on top)",
    )
    group.add_argument(
        "--step",
        type=_step,
        metavar="N|best",
        help="which checkpoint (the newest); 'best' is that of CheckpointConfig.best_metric, 0 the "
        "run as it starts",
    )


def add_module_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that plug modules of a library into the run's model."""
    group = parser.add_argument_group("modules")
    group.add_argument(
        "--modules",
        metavar="NAME=MODULE,...",
        help="modules of a library, without any retraining: lang=swh_Latn,task=pos; A+B averages "
        "several, * takes one a language, none leaves a plug out",
    )
    group.add_argument("--library", metavar="DIR", help="its folder (run.library)")
    group.add_argument(
        "--force_modules", action="store_true", help="even if trained on another backbone"
    )


def add_decoding_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say how tokens are chosen, and what an answer may be."""
    constraints.add_arguments(parser)
    group = parser.add_argument_group("decoding (greedy, unless one of these says otherwise)")
    group.add_argument("--beams", type=int, metavar="N", help="beam search with N hypotheses")
    group.add_argument(
        "--length_penalty", type=float, default=0.6, metavar="A", help="of beam search (0.6)"
    )
    group.add_argument("--temperature", type=float, metavar="T", help="draws by temperature")
    group.add_argument("--top_k", type=int, metavar="K", help="draws among the K best tokens")
    group.add_argument("--top_p", type=float, metavar="P", help="draws among the likeliest P")
    group.add_argument("--decoding_seed", type=int, default=0, metavar="N", help="of draws (0)")


def decoding_of(args: argparse.Namespace) -> "DecodingConfig":
    """How the flags want tokens chosen."""
    from jaxlt.engine.decode.config import DecodingConfig

    draws = {"temperature": args.temperature, "top_k": args.top_k, "top_p": args.top_p}
    draws = {name: value for name, value in draws.items() if value is not None}
    if args.beams is not None and draws:
        raise UserError(f"--beams searches and --{next(iter(draws))} draws: give one of them.")
    if args.beams is not None:
        return DecodingConfig(method="beam", beams=args.beams, length_penalty=args.length_penalty)
    if draws:
        return DecodingConfig(method="sample", seed=args.decoding_seed, **draws)
    return DecodingConfig()


def _step(text: str) -> int | str:
    if text == "best" or text.isdigit():
        return text if text == "best" else int(text)
    raise argparse.ArgumentTypeError(f"a step is a number or 'best', not '{text}'")


def load(args: argparse.Namespace) -> "RunConfig":
    """Returns the run that --workdir and the gin flags mean."""
    from jaxlt.commands.main import load_run

    if args.workdir is None:
        if not args.gin_file:
            raise UserError(
                "Which run? Give its folder (--workdir=DIR), or the gin files it was started with."
            )
        return load_run(args)
    folder = Path(args.workdir).expanduser()
    if folder.name.isdigit() and folder.parent.name == "checkpoints":
        if args.step is not None:
            raise UserError(f"'{folder}' is the checkpoint of a step: give no --step beside it.")
        args.step, folder = int(folder.name), folder.parent.parent
    if not (folder / "config.gin").is_file():
        beside = folder.parent.iterdir() if folder.parent.is_dir() else ()
        what = "has no config.gin" if folder.exists() else "does not exist"
        raise UserError(
            f"'{folder}' is no workdir of a run: it {what}."
            f"{nearest(folder.name, [p.name for p in beside if (p / 'config.gin').is_file()])} "
            "`jaxlt train` makes one (WORKDIR), with the run's config.gin in it."
        )
    args.gin_file = [str((folder / "config.gin").absolute()), *args.gin_file]
    return dataclasses.replace(load_run(args, folder=str(folder)), workdir=str(folder))


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


def config_hash_of(run: "RunConfig") -> str:
    """The hash of what decides the run's results, but for the seed (jaxlt.identity)."""
    from jaxlt import identity
    from jaxlt.config import load, recorded

    path = epath.Path(run.workdir).expanduser() / "config.gin"
    if path.is_file():
        with tempfile.TemporaryDirectory() as folder:  # gin files are read on this machine
            copy = Path(folder) / path.name
            copy.write_bytes(path.read_bytes())
            run = load([str(copy)], fallbacks=recorded.behind(str(run.workdir)))
    return identity.config_hash(run)


def open_model(run: "RunConfig", args: argparse.Namespace) -> "tuple[Predictor, Vocabulary]":
    """Reads the run's model onto the devices at hand, and opens its vocabulary."""
    from jaxlt.inference.predictor import open_predictor

    program = _program(run, args)
    needed = bool(program.layout.frozen) or args.step == 0
    with progress.doing("Opening the model"):
        base = session.base_of(run) if needed else None
        vocabulary = session.vocabulary_of(run, base)
        predictor = open_predictor(run, program, run.workdir, args.step, base)
    if predictor.vocabulary not in ("", vocabulary.fingerprint):
        raise UserError(
            f"DataConfig.vocabulary = '{run.data.vocabulary}' is not the vocabulary that "
            f"'{run.workdir}' was trained with (by its fingerprint). Give that one, with the same "
            "DataConfig.sentinels."
        )
    if not predictor.languages and (predictor.is_routed or getattr(args, "modules", None)):
        predictor = dataclasses.replace(predictor, languages=languages_of(run.data))
    return _with_modules(predictor, run, args), vocabulary


def _with_modules(
    predictor: "Predictor", run: "RunConfig", args: argparse.Namespace
) -> "Predictor":
    """The predictor with the modules that the flags name."""
    from jaxlt.inference.predictor import recomposed

    if not getattr(args, "modules", None):
        return predictor
    # Those that the run itself was started with are in its checkpoint.
    run = dataclasses.replace(
        run,
        model=predictor.config,
        modules=tuple(args.modules.split(",")),
        library=args.library or run.library,
        force_modules=run.force_modules or args.force_modules,
    )
    composed = session.composed(run, predictor.languages)
    assert composed is not None
    base = predictor.backbone()
    made = recomposed(predictor, run, composed, base)
    for line in composed.told(base):
        say(line)
    return made


def _program(run: "RunConfig", args: argparse.Namespace) -> "Program":
    """The run's program, on a mesh that fits: its own, or else all devices as fsdp."""
    from jaxlt.engine.loop import program_of
    from jaxlt.engine.partitioning import MeshConfig

    try:
        return program_of(run)
    except UserError as error:
        chosen = any("MeshConfig." in override for override in args.gin_overrides)
        if chosen or not str(error).startswith("The mesh does not fit"):
            raise
    mesh = MeshConfig(data=1, fsdp=-1, rules=run.mesh.rules)
    say("The run's own mesh does not fit the devices at hand: all of them are fsdp here.")
    return program_of(dataclasses.replace(run, mesh=mesh))


def say(text: str) -> None:
    """Prints a line for people, beside the output proper."""
    from jaxlt.engine.hosts import distributed

    if distributed.is_primary():
        print(text, file=sys.stderr, flush=True)
