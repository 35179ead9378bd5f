"""Flags that the verbs over runs share, and what they say: machine, run, modules, decoding.

run = load_run(args)
start_jax(args)
predictor, vocabulary = open_model(run, args)
"""

import argparse
from typing import TYPE_CHECKING

from jaxlt.errors import UserError
from jaxlt.inference import constraints, trained

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.data.vocabulary.vocabularies import Vocabulary
    from jaxlt.engine.decode.config import DecodingConfig
    from jaxlt.inference.predictor import Predictor


def add_machine_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags about devices and hosts."""
    group = parser.add_argument_group("machine")
    group.add_argument("--coordinator_address", metavar="HOST:PORT", help="of process 0")
    group.add_argument("--num_processes", type=int, help="how many processes make up the run")
    group.add_argument("--process_id", type=int, help="which of them this one is, from 0")
    group.add_argument(
        "--timeout_s", type=int, default=300, help="how long to wait for the others (300)"
    )
    group.add_argument(
        "--lost_after_s",
        type=float,
        default=100,
        help="how long another process may give no sign of life before this one ends too (100)",
    )
    group.add_argument(
        "--deterministic", action="store_true", help="bit-identical runs on GPUs, somewhat slower"
    )


def start_jax(args: argparse.Namespace) -> None:
    """Joins the other processes and sets compilation up; before anything touches a device."""
    from jaxlt import progress
    from jaxlt.commands.main import report
    from jaxlt.engine import compilation
    from jaxlt.engine.hosts import distributed

    compilation.prepare(args.deterministic)
    distributed.initialize(
        args.coordinator_address,
        args.num_processes,
        args.process_id,
        args.timeout_s,
        args.lost_after_s,
        on_end=report,
    )
    progress.speak(distributed.is_primary() and not getattr(args, "json", False))


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
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


def _step(text: str) -> int | str:
    if text == "best" or text.isdigit():
        return text if text == "best" else int(text)
    raise argparse.ArgumentTypeError(f"a step is a number or 'best', not '{text}'")


def load_run(args: argparse.Namespace) -> "RunConfig":
    """Returns the run that --workdir and the gin flags mean; args.step says which checkpoint."""
    given = args.gin_file, args.gin_overrides, args.gin_search_paths
    run, args.step = trained.find_run(args.workdir, args.step, *given)
    return run


def open_model(run: "RunConfig", args: argparse.Namespace) -> "tuple[Predictor, Vocabulary]":
    """Opens the model of a run that `load_run` gave, with the modules that the flags name."""
    modules = {
        name: getattr(args, name)
        for name in ("modules", "library", "force_modules")
        if hasattr(args, "modules")  # a verb may have a --library of another meaning
    }
    own_mesh = any("MeshConfig." in override for override in args.gin_overrides)
    return trained.open_model(run, args.step, **modules, own_mesh=own_mesh)


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
    _add_constraint_arguments(parser)
    group = parser.add_argument_group("decoding (greedy, unless one of these says otherwise)")
    group.add_argument("--beams", type=int, metavar="N", help="beam search with N hypotheses")
    group.add_argument(
        "--length_penalty", type=float, default=0.6, metavar="A", help="of beam search (0.6)"
    )
    group.add_argument("--temperature", type=float, metavar="T", help="draws by temperature")
    group.add_argument("--top_k", type=int, metavar="K", help="draws among the K best tokens")
    group.add_argument("--top_p", type=float, metavar="P", help="draws among the likeliest P")
    group.add_argument("--decoding_seed", type=int, default=0, metavar="N", help="of draws (0)")


def _add_constraint_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say what an answer may be."""
    group = parser.add_argument_group("what an answer may be (anything, unless one of these says)")
    allowed = group.add_mutually_exclusive_group()
    allowed.add_argument(
        "--labels", metavar="A,B,C", help="one of these (of tags: each word's is one of these)"
    )
    allowed.add_argument(
        "--choices", metavar="FILE", help="one of a file's lines, for labels that have commas"
    )
    group.add_argument("--force", metavar="TEXT", help="begins with this text")
    group.add_argument(
        "--max_length", type=int, metavar="N", help="has at most N tokens (as in training)"
    )


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


def labels_of(args: argparse.Namespace) -> tuple[str, ...]:
    """Returns the labels that the flags name, () where any answer will do."""
    if args.choices is None:
        return (
            () if args.labels is None else constraints.checked(args.labels.split(","), "--labels")
        )
    from jaxlt.data.readers.lines import raw_lines, text_lines
    from jaxlt.data.readers.problems import Problems

    problems, path = Problems(), args.choices
    found = [text for _, text in text_lines(raw_lines(path, problems), path, problems)]
    return constraints.checked(found, f"The file of --choices '{path}'")
