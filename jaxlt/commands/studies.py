"""What `jaxlt experiment` and `jaxlt sweep` share: flags, words, and what they print."""

import argparse
import fnmatch
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxlt import progress
from jaxlt.errors import UserError, check_positive, nearest, some_of

if TYPE_CHECKING:
    from jaxlt.experiments.stage import Stage
    from jaxlt.experiments.states import Survey
    from jaxlt.experiments.storage import Places
    from jaxlt.experiments.study import Plan
    from jaxlt.experiments.worker import Bounds

WORDS = ("status", "explain", "gc", "export")
BOUNDS = ("hours", "memory_gb", "attempts")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of both verbs."""
    add = parser.add_argument
    add(
        "files",
        metavar="FILES",
        nargs="*",
        help="gin files; before them status, explain STAGE, gc or export",
    )
    add(
        "--folder",
        default="studies",
        help="where studies lie (studies), the laboratory in its 'lab'",
    )
    add("--results", default="results", help="where `export` writes, and estimates look (results)")
    add("--dry_run", action="store_true", help="say what is there and what would run; run nothing")
    add(
        "--seeds",
        metavar="N",
        help="so many seeds, or these (0,3), in the place of the study's own",
    )
    add(
        "--only",
        metavar="GLOB",
        help="only stages of this path or name ('tags-*'), and their needs",
    )
    add(
        "--rerun",
        metavar="WHAT",
        default="",
        help="run again: stale, failed, or a stage's path or name",
    )
    add(
        "--workers",
        type=int,
        metavar="N",
        help="processes on this machine (one a GPU, else one a core)",
    )
    add("--worker", action="store_true", help="be one worker on the folder, which others share")
    bounds = parser.add_argument_group("what a stage may take; beyond it, it has failed")
    bounds.add_argument("--hours", type=float, metavar="H", help="of an attempt (12)")
    bounds.add_argument(
        "--memory_gb", type=float, metavar="G", help="of its process (nine tenths of the machine's)"
    )
    bounds.add_argument("--attempts", type=int, metavar="N", help="that crash (2)")


def seeds_of(text: str | None) -> "int | tuple[int, ...] | None":
    """'3' -> 3; '0,3' -> (0, 3)."""
    if text is None:
        return None
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"--seeds is a number, or seeds as 0,3, not '{text}'.") from None
    return numbers if len(numbers) > 1 else numbers[0]


Planner = Callable[[argparse.Namespace, list[str]], "Plan"]


def main(verb: str, args: argparse.Namespace, planner: Planner) -> int:
    """Plans, and does what the first word says."""
    from jaxlt.experiments import worker
    from jaxlt.experiments.ledger import described, keep
    from jaxlt.experiments.states import Survey

    word, stage, files = _words(verb, args)
    plan = planner(args, files)
    places = places_of(plan, Path(args.folder))
    command = shlex.join(["jaxlt", *_command(verb, args, files)])
    anywhere = shlex.join(["jaxlt", *_command(verb, args, files, placed=False)])
    record = described(plan, anywhere, texts_of(files, args.gin_search_paths))
    if word == "export":
        return _exported(places, record, Path(args.results))
    if word:
        status = _looked(word, stage, Survey(plan.stages, places), args)
        if word == "status":
            _verdicts(places, record)
        return status
    chosen, bounds = _chosen(plan.stages, args.only), _bounds(args)
    if args.worker and args.rerun:
        raise UserError("--rerun is said once, without --worker: each worker would run it again.")
    check_positive("--workers", args.workers)
    if not args.dry_run:
        keep(places.study, record)
    if args.worker:
        own = [f"--seeds={args.seeds}"] if args.seeds else []
        command = shlex.join(["jaxlt", *_command(verb, args, files, own)])
        found = worker.run(chosen, places, bounds=bounds, command=command)
        print("\n".join(found.said()))
        return found.status
    survey = Survey(chosen, places)
    print("\n".join(_planned(plan, survey, args)), flush=True)
    if args.dry_run:
        return 0
    status = _run(verb, args, files, survey)
    try:
        _verdicts(places, record)
    finally:
        print(f"The page: {write_page(places)}")
    return status


def _words(verb: str, args: argparse.Namespace) -> tuple[str, str, list[str]]:
    """(the first word, the stage it is about, the gin files)."""
    given = list(args.files)
    word = given.pop(0) if given and given[0] in WORDS else ""
    stage = ""
    if word == "explain":
        if not given:
            raise UserError(f"`jaxlt {verb} explain STAGE FILES` needs a stage.")
        stage = given.pop(0)
    files = [*args.gin_file, *given]
    if not files:
        raise UserError(f"`jaxlt {verb}` needs the gin files of what it runs: FILES.")
    first = files[0]
    if "." not in first and "/" not in first and (near := nearest(first, WORDS)):
        raise UserError(f"'{first}' is no word of `jaxlt {verb}`, nor a gin file.{near}")
    return word, stage, files


def _command(
    verb: str,
    args: argparse.Namespace,
    files: Sequence[str],
    own: Sequence[str] = (),
    placed: bool = True,
) -> list[str]:
    """A command line of this study, with these flags of its own. placed: in this very folder."""
    said = [verb, *files]
    said += [f"--gin_search_paths={path}" for path in args.gin_search_paths]
    said += [f"--gin.{text}" for text in args.gin_overrides]
    if placed and args.folder != "studies":
        said.append(f"--folder={args.folder}")
    if getattr(args, "quick", False):
        said.append("--quick")
    return [*said, *own]


def texts_of(files: Sequence[str], search_paths: Sequence[str] = ()) -> str:
    """The texts of gin files, one below the other."""
    from jaxlt.config.files import find_file

    found = [(name, find_file(name, search_paths).read_text("utf-8")) for name in files]
    return found[0][1] if len(found) == 1 else "".join(f"# {n}\n{text}\n" for n, text in found)


def places_of(plan: "Plan", folder: Path) -> "Places":
    """Where a study lies."""
    from jaxlt.experiments.stage import LAB
    from jaxlt.experiments.storage import Places

    if plan.study.name == LAB:
        raise UserError(f"A study is not called '{LAB}': that folder is the laboratory's.")
    return Places(plan.study.name, folder / plan.study.name, folder / LAB)


def _chosen(stages: "Sequence[Stage]", only: str | None) -> "list[Stage]":
    """The stages that a pattern names, and what they need, in their order."""
    if only is None:
        return list(stages)
    wanted = [s for s in stages if fnmatch.fnmatch(s.path, only) or fnmatch.fnmatch(s.name, only)]
    if not wanted:
        names = {stage.name for stage in stages}
        raise UserError(
            f"--only='{only}' is no stage's path or name.{nearest(only, names)} There are "
            f"{some_of(sorted(names), 12)}."
        )
    paths = set()
    while wanted:
        stage = wanted.pop()
        paths.add(stage.path)
        wanted += [need for need in stage.needs if need.path not in paths]
    return [stage for stage in stages if stage.path in paths]


def _planned(plan: "Plan", survey: "Survey", args: argparse.Namespace) -> list[str]:
    """What is there, what will run and why, and how long that takes, in lines."""
    from jaxlt.experiments.states import to_rerun

    cells, seeds = {s.name for s in plan.settings}, {s.seed for s in plan.settings}
    lines = [
        f"{plan.study.name}: {len(cells)} cells, {len(seeds)} seeds; {survey.places.study} "
        f"(laboratory: {survey.places.lab}).",
        *survey.said(),
    ]
    if args.rerun:
        paths = [state.stage.path for state in to_rerun(survey, args.rerun)]
        lines.append(f"To run again (--rerun={args.rerun}): {some_of(paths) or 'nothing'}.")
    blocked = survey.blocked
    left = [s.stage for s in survey.named("absent") if s.stage.path not in blocked]
    if left:
        counts = Counter(stage.name for stage in left)
        told = [f"{name} ({count})" if count > 1 else name for name, count in counts.items()]
        lines.append(f"To run, not there yet: {some_of(told, 12)}.")
        lines.append(_cost(survey, args))
    return lines


def _cost(survey: "Survey", args: argparse.Namespace) -> str:
    from jaxlt.experiments import supervisor
    from jaxlt.experiments.estimate import estimate, flops_of
    from jaxlt.experiments.ledger import seconds_of

    workers = args.workers or len(supervisor.slots())
    before = seconds_of(Path(args.results) / f"{survey.places.name}.json")
    found = estimate(survey, workers, before)
    runs = [flops_of(state.stage) for state in survey.named("absent")]
    known = [flops for flops in runs if flops]
    work = f" Runs of known length ({len(known)}): {sum(known):.2g} FLOPs at most." if known else ""
    unknown = f"nothing like {found.unknown} of them was measured yet" if found.unknown else ""
    if not found.known:
        return f"How long it takes is not known: {unknown}.{work}"
    more = f"; {unknown}" if unknown else ""
    took = progress.duration(found.seconds)
    return (
        f"About {took} with {workers} workers, as {found.known} stages like these took{more}.{work}"
    )


def _bounds(args: argparse.Namespace) -> "Bounds":
    from jaxlt.experiments.worker import Bounds

    return Bounds(**{n: getattr(args, n) for n in BOUNDS if getattr(args, n) is not None})


def _run(verb: str, args: argparse.Namespace, files: Sequence[str], survey: "Survey") -> int:
    """Runs what is left with local workers, then says what came out."""
    from jaxlt.experiments import supervisor

    own = ["--worker", *([f"--seeds={args.seeds}"] if args.seeds else [])]
    own += [f"--only={args.only}"] if args.only else []
    own += [f"--{n}={getattr(args, n)}" for n in BOUNDS if getattr(args, n) is not None]
    argv = [sys.executable, "-m", "jaxlt", *_command(verb, args, files, own)]
    done = supervisor.run_local(
        argv,
        survey.stages,
        survey.places,
        workers=args.workers,
        bounds=_bounds(args),
        rerun=args.rerun,
    )
    print("\n".join(done.said()))
    return done.status


def write_page(places: "Places") -> Path:
    """Writes the study's page; returns where it is."""
    from jaxlt.experiments.pages import sections
    from jaxlt.report.page import write

    folder = places.study / "report"
    return write(folder, places.name, sections(places.study, folder))


def _verdicts(places: "Places", record: dict[str, Any]) -> None:
    """Prints the verdicts so far; raises UserError where a claim can never have one."""
    from jaxlt.experiments.ledger import of_folder

    found = of_folder(places.study, places.lab, record).judged()
    for one in found:
        print(one.line())
    wrong = [one.error for one in found if one.error]
    if wrong:
        raise UserError(" ".join(wrong))


def _looked(word: str, stage: str, survey: "Survey", args: argparse.Namespace) -> int:
    """status, explain and gc."""
    from jaxlt.experiments import states, view

    if word == "gc":
        found = states.gc(survey, dry=args.dry_run)
        for folder, size in found:
            print(f"{size / 1e6:10.1f} MB  {folder}")
        would = "would be" if args.dry_run else "are"
        print(f"{sum(size for _, size in found) / 1e6:.1f} MB of checkpoints {would} deleted.")
        return 0
    if word == "explain":
        for one in states.explain(survey, stage):
            print("\n".join(_explained(one)))
        return 0
    print("\n".join(survey.said()))
    for one in states.status(survey):
        print(f"{one['worker'] or '?'} on {one['host'] or '?'}: {one['stage']}")
    workers = len(survey.named("running"))
    left = view.seconds_left(survey, workers) if workers else None
    if left is not None:
        print(f"About {progress.duration(left)} left with {workers} at work.")
    return 0


def _explained(one: dict[str, Any]) -> list[str]:
    """A stage's state in lines; what says nothing is left out."""
    lines = [f"{one['stage']}: {one['state']}"]
    lines += [f"  {why}" for why in one["why"]]
    lines += [f"  waits for {path}, which is {kind}" for path, kind in one["waits"].items()]
    facts = {"folder": one["folder"], "attempts": one["attempts"], "command": one["command"]}
    if "seconds" in one["result"]:
        facts["took"] = progress.duration(one["result"]["seconds"])
    lines += [f"  {name}: {value}" for name, value in facts.items() if value]
    return lines + [f"  | {line}" for line in one["log"]]


def _exported(places: "Places", record: dict[str, Any], results: Path) -> int:
    """Writes rows and rules where they may be committed."""
    from jaxlt.experiments.ledger import export, of_folder

    told = of_folder(places.study, places.lab, record)
    if not told.done:
        raise UserError(
            f"Nothing of '{places.study}' is done that counts: what is in '{results}' stays as it "
            "is. `status` says how it stands; --folder names where studies lie."
        )
    path = export(told, results)
    stale = f"; {told.stale} are stale and left out" if told.stale else ""
    print(f"{len(told.rows)} rows of {told.done} of {told.stages} stages{stale}: {path}")
    return 0
