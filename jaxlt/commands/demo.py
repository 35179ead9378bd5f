"""See jaxlt at work in two minutes on a CPU: tag a language of which nobody has labelled a word.

Makes two related languages, has encoders read texts of both, of one, or of none, trains a tagger on
each with labels of one language, and tags the other. Then a module learns to read that other
language. It is a study like any other (gin_configs/experiments/demo.gin); everything is in one
folder, and what was interrupted goes on from there.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxlt.errors import check_positive

if TYPE_CHECKING:
    from rich.console import Console

    from jaxlt.experiments.states import Survey
    from jaxlt.metrics.result import Result

STUDY = "experiments/demo.gin"
TAGGERS = {
    "both": "reads both",
    "alone": "reads the labelled one alone",
    "neither": "reads neither",
    "baseline/commonest_tag": "always the commonest tag",
}
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
        "About two minutes on two processors; stopped, the same command goes on.\n"
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
    show_sentence(console, survey)
    show_tags(console, rows(survey))
    show_module(console, rows(survey))
    page = write_page(places)
    whats_next(console, folder, page, time.monotonic() - began)
    return 0


def _folder(survey: "Survey", stage: str) -> Path:
    """The result of a stage by its name or the beginning of it."""
    from jaxlt.experiments.attempt import attempt_folder

    state = next(s for s in survey.states.values() if s.stage.name.startswith(stage))
    return attempt_folder(survey.places.folder(state.stage), state.record["attempt"])


def show_sentence(console: "Console", survey: "Survey") -> None:
    """Prints one sentence of the language without labels with its right and its guessed tags."""
    from jaxlt.screen import plain_table

    told = {}
    for arm in ("both", "neither"):
        (path,) = (_folder(survey, f"tags-{arm}") / "answers").glob("*.jsonl")
        told[arm] = [json.loads(line) for line in path.read_text("utf-8").splitlines()[1:]]
    source = told["both"][0]["language"]
    pairs = zip(told["both"], told["neither"], strict=True)
    unseen = [pair for pair in pairs if pair[0]["language"] != source]
    good = (one for one in unseen if _right(one[0]) > _right(one[1]) and 6 <= _words(one[0]) <= 10)
    tags, without = next(good, unseen[0])
    words = tags["inputs"].partition(": ")[2].split()
    heads = ("a sentence of it", "right", "by who reads both", "by who reads neither")
    table = plain_table(*heads, padding=(0, 3, 0, 0))
    lines = (tags["target"], tags["answer"], without["answer"])
    for row in zip(words, *(line.split() for line in lines), strict=False):
        table.add_row(*row)
    console.print(table)


def _right(example: dict[str, Any]) -> float:
    pairs = list(zip(example["target"].split(), example["answer"].split(), strict=False))
    return sum(gold == guess for gold, guess in pairs) / max(1, len(pairs))


def _words(example: dict[str, Any]) -> int:
    return len(example["target"].split())


def show_tags(console: "Console", found: "Sequence[Result]") -> None:
    """Prints each tagger's accuracy in both languages."""
    from jaxlt.screen import plain_table

    scores = {
        (row.method, row.target): row
        for row in found
        if row.metric == "accuracy" and row.split == "test" and row.aggregate == "none"
    }
    languages = list(dict.fromkeys(target for _, target in scores))
    names = ("labelled", "never labelled")
    heads = [f">{code} ({name})" for code, name in zip(languages, names, strict=True)]
    table = plain_table("part-of-speech tags, share right", *heads, padding=(0, 3, 0, 0))
    for method, name in TAGGERS.items():
        told = [scores[method, language] for language in languages]
        table.add_row(name, *(f"{row.value:.3f}" for row in told))
    console.print()
    console.print(table)


def show_module(console: "Console", found: "Sequence[Result]") -> None:
    """Prints what a language module does to the language that its encoder has not read."""
    bits = {row.method: row.value for row in found if row.metric == "bpb" and row.method}
    without, module = bits["without"], bits["with"]
    console.print(
        "\nA module of the second language on the encoder that has read the first alone: a masked "
        f"byte costs\n{without:.2f} bits without it and {module:.2f} with it; the encoder itself "
        "is untouched."
    )


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
