"""The command line: `jaxlt VERB [flags]`. Picks the verb, reads the shared flags, words the errors.

A verb is a module with `add_arguments(parser)` and `main(args) -> int`, imported when it is called
for, so that `jaxlt --help` needs neither jax nor TensorFlow. Verbs over gin find their files in
`args.gin_file`, `args.gin_overrides` and `args.gin_search_paths`; `load_run(args)` reads them.
"""

import argparse
import importlib
import sys
import textwrap
import traceback
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from jaxlt import progress
from jaxlt.errors import UserError, nearest
from jaxlt.version import __version__

if TYPE_CHECKING:
    from jaxlt.config import RunConfig


class Verb(NamedTuple):
    """Where a verb lives, whether it is configured by gin, and its line in the help."""

    module: str
    gin: bool
    help: str


VERBS = {
    "train": Verb(
        "jaxlt.commands.train", True, "train, fine-tune or adapt a model; goes on by itself"
    ),
    "eval": Verb("jaxlt.commands.evaluate", True, "evaluate a trained run on its data"),
    "infer": Verb("jaxlt.commands.infer", True, "write a trained run's outputs for given inputs"),
    "experiment": Verb(
        "jaxlt.commands.experiment", True, "run a study, judge its claims; any number of workers"
    ),
    "sweep": Verb("jaxlt.commands.sweep", True, "train and evaluate a run over axes"),
    "plan": Verb(
        "jaxlt.commands.plan.plan", True, "show shapes, sharding and memory of a run; run nothing"
    ),
    "convert": Verb(
        "jaxlt.commands.convert.convert",
        False,
        "import and export T5X and Hugging Face checkpoints",
    ),
    "data": Verb("jaxlt.commands.data", False, "look at, count, clean and make data; vocabularies"),
    "modules": Verb(
        "jaxlt.commands.modules", False, "keep modules in a library; list, save and merge them"
    ),
    "report": Verb(
        "jaxlt.commands.report", False, "one page of claims, figures and tables from rows"
    ),
    "demo": Verb(
        "jaxlt.commands.demo", False, "tag a language without labels, in two minutes on a CPU"
    ),
}


class Parser(argparse.ArgumentParser):
    """argparse whose errors are UserErrors, with no abbreviated flags."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs
        )

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}. `{self.prog} --help` lists the flags.")


RENAMED = {  # flags that are still read
    "--long": "--overlength",
    "--bad": "--on_malformed",
    "--own_tokens": "--language_tokens",
}


def _with_new_names(argv: Sequence[str]) -> list[str]:
    """Returns the arguments with flags that were renamed under their new names, and says so."""
    out = []
    for arg in argv:
        flag, equals, value = arg.partition("=")
        if flag in RENAMED:
            print(f"jaxlt: {flag} is called {RENAMED[flag]} now.", file=sys.stderr)
        out.append(f"{RENAMED.get(flag, flag)}{equals}{value}")
    return out


def add_gin_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of verbs that are configured by gin."""
    group = parser.add_argument_group("configuration")
    group.add_argument(
        "--gin_file",
        action="append",
        default=[],
        metavar="FILE",
        help="a gin file; may be repeated, later ones win; looked for in the current folder, "
        "--gin_search_paths, then jaxlt's own gin_configs",
    )
    group.add_argument(
        "--gin_search_paths",
        action="append",
        default=[],
        metavar="DIR,DIR",
        help="folders in which gin files are looked for",
    )
    group.add_argument(  # taken out before argparse; here for the help alone
        "--gin.NAME",
        dest="gin_overrides",
        metavar="VALUE",
        action="append",
        default=[],
        help="sets a binding (--gin.T5Config.dropout=0.1) or a macro (--gin.BATCH_SIZE=32); wins "
        "over files; what is no gin literal is a text (--gin.TEXT=data/my_folder)",
    )


def load_run(
    args: argparse.Namespace,
    fallbacks: Mapping[str, Any] | None = None,
    folder: str | None = None,
) -> "RunConfig":
    """Returns the run that the gin flags describe (`jaxlt.config.recorded.load_run`)."""
    from jaxlt.config import recorded

    given = args.gin_file, args.gin_overrides, args.gin_search_paths
    return recorded.load_run(*given, fallbacks, folder)


def overview() -> str:
    """Returns the text of `jaxlt --help`."""
    verbs = "\n".join(f"  {name:<11}{verb.help}" for name, verb in VERBS.items())
    return (
        "usage: jaxlt VERB [flags]\n\n"
        "Trains multilingual sequence models and carries what they learn across languages.\n\n"
        f"verbs:\n{verbs}\n\n"
        "flags of every verb:\n"
        "  --help     the verb's own flags\n"
        "  --debug    show the whole traceback of an error\n"
        "  --version  the version of jaxlt (without a verb)\n\n"
        "first steps:\n"
        "  jaxlt demo\n"
        "  jaxlt train --gin_file=models/byt5_small.gin --gin_file=runs/pretrain.gin \\\n"
        "    --gin_file=tiny.gin --gin.TEXT=FOLDER --gin.WORKDIR=out --dry_run\n"
    )


def _known(name: str, verbs: Mapping[str, Verb], within: str) -> Verb:
    """Returns the verb of that name; `within` is what comes before it on the command line."""
    if name in verbs:
        return verbs[name]
    kind = "flag" if name.startswith("-") else "verb"
    top = ["--help", "--version", "--debug"] if within == "jaxlt" else ["--help"]
    raise UserError(
        f"There is no {kind} '{name}'{'' if within == 'jaxlt' else f' of `{within}`'}."
        f"{nearest(name, top if kind == 'flag' else verbs)} Verbs are {', '.join(verbs)}: "
        f"`{within} VERB --help` shows one's flags."
    )


def _resolve(argv: Sequence[str]) -> tuple[str, Verb, Any, list[str]]:
    """Returns (the command so far, its verb, its module, the rest of `argv`).

    A module with VERBS of its own is a group: its verb is the next argument.
    """
    verb = _known(argv[0], VERBS, "jaxlt")
    module = importlib.import_module(verb.module)
    command, rest = f"jaxlt {argv[0]}", list(argv[1:])
    if not hasattr(module, "VERBS"):
        return command, verb, module, rest
    if not rest or rest[0] in ("-h", "--help", "help"):
        print(_group_help(command, module), end="")
        raise SystemExit(0 if rest else 2)
    verb = _known(rest[0], module.VERBS, command)
    return f"{command} {rest[0]}", verb, importlib.import_module(verb.module), rest[1:]


def _group_help(command: str, module: Any) -> str:
    verbs = "\n".join(f"  {name:<9}{verb.help}" for name, verb in module.VERBS.items())
    return (
        f"usage: {command} VERB [flags]\n\n{module.__doc__}\n\nverbs:\n{verbs}\n\n"
        f"`{command} VERB --help` shows one's flags.\n"
    )


def parse(argv: Sequence[str]) -> tuple[Any, argparse.Namespace]:
    """Returns the module of the verb in `argv` and its parsed flags."""
    command, verb, module, argv = _resolve(argv)
    parser = Parser(prog=command, description=module.__doc__)
    module.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the whole traceback of an error")
    overrides: list[str] = []
    if verb.gin:
        add_gin_arguments(parser)
        overrides = [arg.removeprefix("--gin.") for arg in argv if arg.startswith("--gin.")]
        argv = [arg for arg in argv if not arg.startswith("--gin.")]
    args, unknown = parser.parse_known_args(_with_new_names(argv))
    if unknown:
        flag = unknown[0].partition("=")[0]
        known = [option for action in parser._actions for option in action.option_strings]
        what = f"has no flag '{flag}'" if flag.startswith("-") else f"does not expect '{flag}'"
        raise UserError(f"`{command}` {what}.{nearest(flag, known)} `{command} --help` lists them.")
    if verb.gin:
        args.gin_overrides = overrides
        args.gin_search_paths = [
            p for paths in args.gin_search_paths for p in paths.split(",") if p
        ]
    return module, args


def _run(argv: Sequence[str]) -> int:
    """Does what the arguments say; errors are the caller's to word."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(overview(), end="")
        return 0 if argv else 2
    if argv[0] == "--version":
        print(f"jaxlt {__version__}")
        return 0
    module, args = parse(argv)
    return int(module.main(args) or 0)


def report(error: BaseException) -> int:
    """Writes an error for a person to stderr; returns the exit status that goes with it."""
    if isinstance(error, KeyboardInterrupt):
        print("jaxlt: interrupted", file=sys.stderr)
        return 130
    if isinstance(error, UserError):
        text = " ".join(f"jaxlt: error: {error}".split())
        print(
            textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False),
            file=sys.stderr,
        )
        return error.status
    if _hosts() is not None:
        _hosts().hear_out()
    traceback.print_exception(error)
    print(
        f"jaxlt: this is a fault in jaxlt {__version__}, not in what you gave: please report "
        "the lines above, the command, and config.gin of the run's folder if there is one.",
        file=sys.stderr,
    )
    return 1


def _hosts() -> Any:
    """The module `jaxlt.engine.hosts.distributed` where the verb has use for it, else None."""
    return sys.modules.get("jaxlt.engine.hosts.distributed")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status.

    0: done; 2: what the user can mend; 75 and 69 (`jaxlt.errors`): start the same command again.
    On several hosts an error ends the process here, and the others with it.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in argv
    if debug and argv[0] == "--debug":
        argv.remove("--debug")  # before the verb; after it the verb's parser takes it
    try:
        status = _run(argv)
    except SystemExit as stop:  # argparse's --help
        status = stop.code if isinstance(stop.code, int) else 0
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            raise
        status = report(error)
    finally:
        progress.speak(False)
    if _hosts() is not None:
        _hosts().leave(status)
    return status
