"""Runs a study from its gin file, and judges its claims; what is done is not done again.

  jaxlt experiment FILES                    what is there, what will run, runs it, the verdicts
  jaxlt experiment FILES --worker           one more worker, here or on another machine
  jaxlt experiment status FILES             how it stands; the verdicts so far
  jaxlt experiment explain STAGE FILES      why a stage (a path, or a name) is as it is
  jaxlt experiment gc FILES                 deletes checkpoints that no further stage needs
  jaxlt experiment export FILES             rows and rules to results/NAME.jsonl, .json and .gin

FILES are gin files, as of --gin_file. A stage that was done otherwise than the study asks now is
never run again in silence: --rerun=stale does.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from jaxlt.commands import studies
from jaxlt.errors import UserError

if TYPE_CHECKING:
    from jaxlt.experiments.study import Plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    studies.add_arguments(parser)
    parser.add_argument(
        "--quick", action="store_true", help="a look at it: 2 seeds, small, under a name of its own"
    )
    parser.add_argument(
        "--list", action="store_true", help="which studies there are, and what they ask"
    )


def main(args: argparse.Namespace) -> int:
    """Does what its words say; returns the exit status."""
    if args.list:
        print("\n\n".join(listed(args.gin_search_paths)))
        return 0
    return studies.main("experiment", args, planned)


def planned(args: argparse.Namespace, files: list[str]) -> "Plan":
    """The stages of the study that gin files describe."""
    from jaxlt.experiments import study

    given = (args.gin_overrides, args.gin_search_paths, studies.seeds_of(args.seeds))
    return study.planned(study.load(files, *given, quick=args.quick))


def listed(search_paths: list[str]) -> list[str]:
    """A paragraph for each study whose gin file lies in a folder 'experiments'."""
    from jaxlt import config
    from jaxlt.config import load_study

    told = []
    for folder in (config.shipped_configs(), *map(Path, search_paths)):
        for path in sorted((folder / "experiments").glob("*.gin")):
            try:
                question = load_study([str(path)]).question
            except UserError as error:
                question = f"It cannot be read: {error}"
            told.append(f"experiments/{path.name}\n  {question}")
    return told
