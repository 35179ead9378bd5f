"""From studies' folders, or what was exported of them, to the sections of a page.

sections(Path("studies"), Path("studies/report"))    # also one study, results/, or a run's rows
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxlt.errors import UserError
from jaxlt.experiments.claims import Judged
from jaxlt.experiments.ledger import PLAN, Told, of_folder, of_results
from jaxlt.experiments.study import QUICK
from jaxlt.metrics import result_file
from jaxlt.report.page import Claimed, Sample, Section
from jaxlt.report.sections import section_of

_LINKS = 40


def sections(folder: Path, page: Path) -> list[Section]:
    """Returns a section for each study, or file of rows, in a folder. page: the page's folder."""
    if not folder.is_dir():
        raise UserError(f"There is no folder '{folder}'.")
    if (folder / PLAN).is_dir():
        return [_of_folder(folder, page)]
    studies = sorted(path.parent for path in folder.glob(f"*/{PLAN}") if path.is_dir())
    files = [] if studies else sorted(folder.glob("*.jsonl"))
    if not studies and not files:
        raise UserError(
            f"'{folder}' is no study's folder, nor one of studies, and has no rows: no file in it "
            "ends in .jsonl."
        )
    return [*(_of_folder(each, page) for each in studies), *map(_of_file, files)]


def _of_folder(study: Path, page: Path) -> Section:
    told = of_folder(study)
    cells = sorted(path for path in study.iterdir() if _is_cell(path))
    links = [(path.name, os.path.relpath(path, page)) for path in cells[:_LINKS]]
    return section_of_study(told, tuple(links))


def _is_cell(path: Path) -> bool:
    """Whether it is the folder of a cell, which has seeds in it."""
    return path.is_dir() and path.name != PLAN and any(p.name.isdigit() for p in path.iterdir())


def _of_file(file: Path) -> Section:
    if file.with_suffix(".json").exists():
        return section_of_study(of_results(file))
    return section_of(file.stem, result_file.read(file), title=file.stem)


def section_of_study(told: Told, links: tuple[tuple[str, str], ...] = ()) -> Section:
    """The section of a study: verdicts, figures, tables, samples, and what has to be known."""
    judged = told.judged()
    samples = [Sample(one["language"], one["text"], one["gloss"]) for one in told.samples]
    return section_of(
        told.name,
        told.rows,
        told.figures,
        told.grid.base,
        tuple(_notes(told, judged)),
        title=told.name,
        question=str(told.record["question"]),
        claims=tuple(map(_claimed, judged)),
        how_to_run=str(told.record["command"]),
        samples=tuple(samples),
        links=links,
    )


def _notes(told: Told, judged: list[Judged]) -> Iterator[str]:
    if told.name.endswith(f"-{QUICK}"):
        yield "This is a quick look, small and of few seeds: it shows that the study runs, no more."
    if told.done < told.stages:
        yield f"{told.done} of {told.stages} stages are done."
    if told.stale:
        yield f"{told.stale} stages are stale: their rows are left out."
    yield from (one.error for one in judged if one.error)
    gone = {one.claim.name for one in judged}
    yield from (f"{name}: {said}" for name, said in told.changed().items() if name not in gone)


def _claimed(one: Judged) -> Claimed:
    seeds: Any = (one.seeds, one.claim.seeds)
    of = one.claim
    return Claimed(of.text, one.verdict, of.effect, of.holds, seeds, of.paper, "; ".join(one.notes))
