"""Train, fine-tune or adapt a model, from the newest checkpoint of its workdir if there is one."""

import argparse
import dataclasses
import shlex
import sys
from typing import TYPE_CHECKING

from jaxlt.commands import session

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.engine.loop import Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    parser.add_argument(
        "--dry_run",
        action="store_true",
        help="print shapes, counts, sharding and a memory estimate, and stop",
    )
    session.add_machine_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Trains what the gin flags describe."""
    from jaxlt.commands.main import load_run

    run = load_run(args)
    session.start_jax(args)
    if args.dry_run:
        from jaxlt.commands.plan import show

        show(run)
        return 0
    result = train(run)
    if result.ended == "preempted":
        from jaxlt.engine import distributed

        if distributed.is_primary():
            again = shlex.join(["jaxlt", *sys.argv[1:]])
            print(f"Saved at step {result.position.step}. To go on: {again}")
    return 0


def train(run: "RunConfig") -> "Result":
    """Opens everything that a run names, and trains it."""
    from jaxlt.config import config_hash, operative_config
    from jaxlt.data.mixtures import open_mixture
    from jaxlt.engine import loop
    from jaxlt.engine.logging import Reporter
    from jaxlt.engine.workdir import Workdir

    hash_ = config_hash(run)
    with Workdir.open(run.workdir, operative_config(run), hash_) as workdir:
        base = session.base_of(run)
        vocabulary = session.vocabulary_of(run, base)
        data = open_mixture(run.data)
        reporter = Reporter(workdir.path, run.train.steps)
        reporter.note(data.describe())
        result = loop.train(
            run,
            data,
            workdir,
            evaluators=evaluators(run, data.languages),
            base=base,
            reporter=reporter,
            vocabulary=vocabulary.fingerprint,
        )
    return result


def evaluators(run: "RunConfig", languages: tuple[str, ...]) -> list:
    """The held-out loss, by language, where the run has evaluation data.

    Languages keep the ids they have in training, so that a routed module finds its slots.
    """
    from jaxlt.data.mixtures import open_evaluation
    from jaxlt.engine.evaluator import LossEvaluator

    if run.eval_data is None:
        return []
    config = dataclasses.replace(run.eval_data, languages=languages)
    return [LossEvaluator(open_evaluation(config, config.split), "eval")]
