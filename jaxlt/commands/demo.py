"""See jaxlt at work in two minutes on a CPU: tag a language of which nobody has labelled a word.

Makes two related languages, has encoders read texts of both, of one, or of none, trains a tagger on
each with labels of one language, and tags the other. Then a module learns to read that other
language. It is a study like any other (gin_configs/experiments/demo.gin); everything is in one
folder, and what was interrupted goes on from there.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from jaxlt.errors import check_positive

if TYPE_CHECKING:
    from rich.console import Console

STUDY = "experiments/demo.gin"
SMALLEST = (
    *("demo.steps=20", "demo.module_steps=10", "laboratory.sentences=1000"),
    *("laboratory.annotated=160", "laboratory.labelled=48"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    parser.add_argument("--workdir", default="jaxlt-demo", help="where to write (jaxlt-demo)")
    parser.add_argument("--seed", type=int, default=0, help="of the world and all models (0)")
    parser.add_argument("--workers", type=int, help="processes side by side (one a core)")
    parser.add_argument(
        "--smallest", action="store_true", help="too small to learn anything: does it all run?"
    )
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)


def main(args: argparse.Namespace) -> int:
    """Runs the demo and prints its table."""
    from jaxlt.commands.studies import places_of, texts_of, write_page
    from jaxlt.experiments import ledger, study, supervisor, worker
    from jaxlt.experiments.recipes.demo_tables import module, sentence, tags
    from jaxlt.experiments.states import rows
    from jaxlt.screen import screen

    check_positive("--workers", args.workers)
    began = time.monotonic()
    size = (*SMALLEST, "study.name='demo-smallest'") if args.smallest else ()
    plan = study.planned(study.load([STUDY], size, (), (args.seed,)))
    folder = Path(args.workdir)
    places = places_of(plan, folder)
    if args.worker:
        return worker.run(plan.stages, places, command=f"jaxlt experiment {STUDY}").status
    console = screen()
    console.print(
        "A minute or two on two processors; stopped, the same command goes on.\n"
        "A small world is made, with two sister languages. One has 300 labelled sentences, the "
        "other has none.\nThree taggers learn from those sentences: one whose encoder has read "
        "texts of both languages,\none whose encoder has read the labelled one alone, and one that "
        "has read neither.\n"
    )
    ledger.keep(
        places.study, ledger.described(plan, f"jaxlt experiment {STUDY}", texts_of([STUDY]))
    )
    argv = [sys.executable, "-m", "jaxlt", "demo", "--worker", f"--workdir={args.workdir}"]
    argv += [f"--seed={args.seed}", *(["--smallest"] if args.smallest else [])]
    survey = supervisor.run_local(argv, plan.stages, places, workers=args.workers)
    if survey.status:
        console.print("\n".join(survey.said()), markup=False)
        return survey.status
    for part in (sentence(survey), tags(rows(survey)), module(rows(survey))):
        console.print(part)
    page = write_page(places)
    whats_next(console, folder, page, time.monotonic() - began)
    return 0


def whats_next(console: "Console", folder: Path, page: Path, seconds: float) -> None:
    """Says where things are and what to try."""
    console.print(
        f"\nDone in {seconds:.0f} s. The page of it: {page}. One world says nothing of others: a "
        "study has several.\n\nTry next:\n"
        f"  jaxlt experiment {STUDY} --folder={folder} --seeds=5\n"
        "  jaxlt experiment --list\n"
        "  jaxlt plan --gin_file=models/mt5_xl.gin --gin_file=runs/pretrain.gin "
        "--gin.VOCABULARY=spiece.model\n"
        "  jaxlt train --gin_file=models/tiny.gin --gin_file=runs/pretrain.gin "
        "--gin.BATCH_SIZE=16 --gin.INPUTS_LENGTH=256 \\\n"
        "    --gin.DTYPE=float32 --gin.TEXT=FOLDER_WITH_A_TEXT_FILE_A_LANGUAGE "
        "--gin.WORKDIR=runs/mine",
        markup=False,
    )
