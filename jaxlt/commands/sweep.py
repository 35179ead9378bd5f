"""Trains and evaluates one run over axes, without a recipe; what is done is not done again.

  jaxlt sweep models/lab_mlm.gin runs/lab_mlm.gin my_sweep.gin --gin.TEXT=texts
  # my_sweep.gin:  sweep.cross = {'LEARNING_RATE': [1e-3, 3e-3], 'TrainConfig.steps': [200, 400]}

An axis is a macro or a binding of the runs. `sweep.zip` has axes side by side, `sweep.vary` one at
a time, `sweep.where` a condition; `sweep.seeds` seeds. Values and seeds that come later add runs.
The words of `jaxlt experiment` do here as well: status, explain STAGE, gc, export.
"""

import argparse
from typing import TYPE_CHECKING

from jaxlt.commands import studies

if TYPE_CHECKING:
    from jaxlt.experiments.study import Plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    studies.add_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Does what its words say; returns the exit status."""
    return studies.main("sweep", args, planned)


def planned(args: argparse.Namespace, files: list[str]) -> "Plan":
    """The runs of the sweep that gin files describe."""
    from jaxlt.experiments import sweep

    given = (args.gin_overrides, args.gin_search_paths, studies.seeds_of(args.seeds))
    return sweep.planned(*sweep.load(files, *given))
