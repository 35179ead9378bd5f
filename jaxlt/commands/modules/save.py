"""Save a trained run's modules to a library: of a bank one a language, of others one by its name.

  jaxlt modules save --workdir=runs/languages --library=library
  jaxlt modules save --workdir=runs/pos --library=library --plug=task --name=task/pos

Without --plug all that the run trained are saved. A bank's modules are named PLUG/LANGUAGE, others
PLUG/RUN by the name of the run's folder. Each keeps the scores of the run's last evaluation.
"""

import argparse

from jaxlt.commands import flags, run_flags
from jaxlt.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    run_flags.add_run_arguments(parser)
    group = parser.add_argument_group("what is saved, and where")
    group.add_argument("--library", metavar="DIR", help="the library's folder (run.library)")
    group.add_argument("--plug", help="only this one (all that the run trained)")
    group.add_argument("--languages", metavar="A,B", help="of a bank only these (all of the run's)")
    group.add_argument("--name", help="of a module that is no bank's (PLUG/RUN)")
    run_flags.add_machine_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Saves what the flags name."""
    run = run_flags.load_run(args)
    library = args.library or run.library
    if not library:
        raise UserError("Which library? Give its folder (--library=DIR); a new one is made.")
    run_flags.start_jax(args)
    from jaxlt.inference.saving import chosen_plugs, save_all

    predictor, _ = run_flags.open_model(run, args)
    plugs = chosen_plugs(predictor, args.plug)
    if args.name and (len(plugs) > 1 or plugs[0].routes):
        raise UserError("--name names one module that is no bank's: choose it with --plug.")
    languages = flags.names(args.languages)
    for saved in save_all(run, predictor, plugs, library, languages, args.name):
        print(f"{saved.path}: {saved.parameters:,} parameters")
    return 0
