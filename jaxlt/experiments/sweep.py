"""Single runs over axes, without a recipe: each cell is trained, then evaluated.

    study = load(["models/lab_mlm.gin", "runs/lab_mlm.gin", "my_sweep.gin"], ["TEXT=texts"])
    planned(study).stages        # 'languages=1/0/train', 'languages=1/0/scores', ...

An axis is a macro of the runs' files ('NUM_LANGUAGES') or a binding ('TrainConfig.steps'). Where no
file uses a macro MODULES, an axis of that name says which module is put in: 'x_mod' adds
modules/x_mod.gin, 'none' nothing. Cells that are there stay as they are when values, seeds or axes
(`sweep.added`) come to it.
"""

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from jaxlt import config
from jaxlt.config.bound import bound, fields_of
from jaxlt.config.build import STUDIES
from jaxlt.config.files import (
    Macro,
    Statement,
    find_file,
    read_files,
    read_overrides,
    references,
)
from jaxlt.errors import UserError, nearest
from jaxlt.experiments.config import Sweep
from jaxlt.experiments.stage import Cell, Stage
from jaxlt.experiments.study import Plan

SEED, TRAIN_SEED, MODULES, NONE = "SEED", "TrainConfig.seed", "MODULES", "none"


class Runs(NamedTuple):
    """What all runs of a sweep have: gin files, and settings of the command line."""

    files: tuple[str, ...]
    settings: dict[str, Any]
    macros: frozenset[str]  # that the files use, those of modules too


def load(
    gin_files: Sequence[str],
    overrides: Iterable[str] = (),
    search_paths: Sequence[str] = (),
    seeds: int | tuple[int, ...] | None = None,
) -> tuple[Sweep, Runs]:
    """Returns the sweep that gin files describe, and its runs."""
    texts = list(overrides)
    read = read_files(gin_files, search_paths)
    given = list(zip(texts, read_overrides(texts), strict=True))
    used = _macros(read)
    own = [text for text, s in given if s.selector in STUDIES]
    of_runs = {s.name: _value(text, s) for text, s in given if s.selector not in STUDIES}
    sweep = config.load_study(gin_files, own, search_paths, "sweep", dict.fromkeys(used))
    if seeds is not None:
        sweep = dataclasses.replace(sweep, seeds=seeds)
    beside = [name for name in gin_files if not _is_found(name)]
    files = [str(find_file(n, search_paths).absolute()) if n in beside else n for n in gin_files]
    axes = (*sweep.cross, *sweep.zip, *sweep.vary)
    for name in (*(axis for axis, _ in axes), *of_runs):
        if name in (SEED, TRAIN_SEED):
            raise UserError(f"'{name}' is each run's own in a sweep: sweep.seeds (--seeds) has it.")
    added = {f for a, values in axes if a == MODULES for v in values for f in _module(v)}
    if MODULES not in used:
        used |= _macros(read_files(sorted(added), search_paths))
    for axis, _ in axes:
        if axis != MODULES or not added:
            _check_axis(axis, used)
    return sweep, Runs(tuple(files), of_runs, frozenset(used))


def _macros(read: Iterable[Statement]) -> set[str]:
    """The macros that statements use."""
    macros = (r for s in read for r in references(s.value) if isinstance(r, Macro))
    return {macro.name for macro in macros if not macro.required}


def _module(name: str) -> list[str]:
    """The gin file of a module, as a list; of 'none' an empty one."""
    return [] if name == NONE else [f"modules/{name}.gin"]


def _is_found(name: str) -> bool:
    """Whether a gin file is found from the current folder, without search paths."""
    try:
        find_file(name, ())
    except UserError:
        return False
    return True


def _value(text: str, statement: Statement) -> Any:
    """The value of an override; of one that refers to something its text."""
    refers = any(True for _ in references(statement.value))
    return text.partition("=")[2].strip() if refers else statement.value


def _check_axis(axis: str, macros: Collection[str]) -> None:
    """Raises UserError where an axis is no macro of the files and no setting of a run."""
    thing, dot, field = axis.rpartition(".")
    if not dot:
        if axis not in macros:
            raise UserError(
                f"The axis '{axis}' of the sweep is no macro that its gin files use."
                f"{nearest(axis, macros)} They use {', '.join(sorted(macros)) or 'none'}."
            )
        return
    known = fields_of(thing.rpartition("/")[2])
    if known is None:
        raise UserError(
            f"The axis '{axis}' of the sweep is no binding: gin knows no '{thing}'."
            f"{nearest(thing, config.build.table())}"
        )
    if known and field not in known and thing.rpartition("/")[2] != "plug":
        raise UserError(
            f"The axis '{axis}' of the sweep is no binding: {thing} has no '{field}'."
            f"{nearest(field, known)}"
        )


def planned(sweep: Sweep, runs: Runs) -> Plan:
    """Lays out the stages of all cells: a run, and its scores."""
    base = _base(sweep, runs)
    settings = sweep.cells(base)
    seed = SEED if SEED in runs.macros else TRAIN_SEED
    stages: list[Stage] = []
    for setting in settings:
        at = Cell(setting.name, setting.seed, setting.values)
        own = {**runs.settings, **dict(setting.values), seed: setting.seed}
        files = runs.files
        if MODULES not in runs.macros:
            files += tuple(_module(own.pop(MODULES, NONE)))
        run = at.stage("train", "train", files=files, settings=own)
        verb = "answers" if sweep.answers else "evaluate"
        how: dict[str, Any] = {"split": sweep.split} if sweep.split else {}
        stages += [run, at.stage("scores", verb, run=run, method=sweep.name, **how)]
    return Plan(sweep, settings, stages, base)


def _base(sweep: Sweep, runs: Runs) -> dict[str, Any]:
    """What its runs have where a cell says nothing of an axis: as the files and settings say."""
    read = read_files(runs.files)
    last = {s.name: s.value for s in read if s.kind == "macro"} | runs.settings
    last |= bound(runs.files, runs.settings) | {MODULES: NONE}
    return {axis: last[axis] for axis, _ in sweep.vary if axis in last}
