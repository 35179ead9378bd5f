"""From gin files to a study, and from a study to its stages in the order in which they are done.

    study = load(["experiments/mad_x.gin"], quick=True)
    plan = planned(study)
    plan.stages       # [Stage, ...]: needs first, all cells of seed 0, then of seed 1
    plan.settings     # [Setting, ...]

Neither gin's files nor a recipe bring jax: 1,000 stages are planned in about a second.
"""

import dataclasses
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from jaxlt import config
from jaxlt.config.types import Mismatch, fit
from jaxlt.errors import UserError, nearest
from jaxlt.experiments.axes import Setting
from jaxlt.experiments.config import Study, Sweep
from jaxlt.experiments.stage import Cell, Stage, asked, differences

QUICK, QUICK_SEEDS = "quick", 2


class Plan(NamedTuple):
    """A study's cells and stages. base: what axes are where no cell says another, by full name."""

    study: Study | Sweep
    settings: list[Setting]
    stages: list[Stage]
    base: Mapping[str, Any] = {}


def load(
    gin_files: Sequence[str],
    overrides: Iterable[str] = (),
    search_paths: Sequence[str] = (),
    seeds: int | tuple[int, ...] | None = None,
    quick: bool = False,
) -> Study:
    """Returns the study that gin files describe. seeds: in the place of its own.

    quick: a look at it, of 2 seeds and what `study.quick` makes small, under a name of its own.
    """
    texts = list(overrides)
    study = config.load_study(gin_files, texts, search_paths)
    if study.recipe is None:
        raise UserError(
            "study.recipe is not set: `import` the file of a recipe and give its settings, "
            "study.recipe = @my_recipe()."
        )
    if quick:
        study = _quick(study)
        few = study.all_seeds[:QUICK_SEEDS]
        asked = tuple(dataclasses.replace(claim, seeds=QUICK_SEEDS) for claim in study.claims)
        name = f"{study.name}-{QUICK}"
        study = dataclasses.replace(study, name=name, seeds=few, claims=asked)
    return study if seeds is None else dataclasses.replace(study, seeds=seeds)


def _quick(study: Study) -> Study:
    """The study as its `quick` says: settings of recipe and laboratory, and its own fields."""
    own = {name: value for name, value in study.quick if name.startswith("study.")}
    known = [f"study.{field.name}" for field in dataclasses.fields(study)]
    for name in own:
        if name not in known:
            raise UserError(
                f"study.quick sets '{name}', and no study has it.{nearest(name, known)}"
            )
    changed = {name.removeprefix("study."): value for name, value in own.items()}
    rest = [(name, value) for name, value in study.quick if name not in own]
    return applied(dataclasses.replace(study, **changed), rest)


def planned(study: Study) -> Plan:
    """Lays out the stages of all cells; raises UserError where an axis names no setting."""
    base = _base(study)
    settings = study.cells(base)
    found: dict[str, Stage] = {}
    recipes: dict[Any, Study] = {}
    for setting in settings:
        if setting.values not in recipes:
            recipes[setting.values] = applied(study, setting.values)
        own = recipes[setting.values]
        assert own.recipe is not None
        at = Cell(setting.name, setting.seed, setting.values)
        for stage in own.recipe.stages(at, own.laboratory):
            _add(stage, found)
    return Plan(study, settings, list(found.values()), base)


def _base(study: Study) -> dict[str, Any]:
    owners: dict[str, Any] = {
        type(study.recipe).__name__: study.recipe,
        "laboratory": study.laboratory,
    }
    return {
        f"{name}.{field.name}": getattr(owner, field.name)
        for name, owner in owners.items()
        for field in dataclasses.fields(owner)
    }


def _add(stage: Stage, found: dict[str, Stage]) -> None:
    """Adds a stage behind its needs; two of one place ask the same."""
    other = found.get(stage.path)
    if other is stage:
        return
    if other is not None:
        if asked(other) != asked(stage):
            raise UserError(
                f"Two cells ask the stage '{stage.path}' differently "
                f"({'; '.join(differences(asked(other), asked(stage))[:3])}): a stage that cells "
                "share is the same in all of them, and one that is not has its cell's folder."
            )
        return
    for need in stage.needs:
        _add(need, found)
    found[stage.path] = stage


def applied(study: Study, values: Iterable[tuple[str, Any]]) -> Study:
    """Returns the study with settings of its recipe or laboratory: ('mad_x.languages', 4)."""
    assert study.recipe is not None
    owners = {type(study.recipe).__name__: "recipe", "laboratory": "laboratory"}
    for name, value in values:
        thing, _, field = name.rpartition(".")
        if thing not in owners:
            known = [f"{thing}.{f.name}" for thing in owners for f in _fields(study, owners[thing])]
            raise UserError(
                f"The axis '{name}' names no setting of the study '{study.name}'."
                f"{nearest(name, known)} There are {', '.join(known)}."
            )
        part: Any = getattr(study, owners[thing])
        changed = dataclasses.replace(part, **{field: _fitted(part, thing, field, value)})
        whole: dict[str, Any] = {owners[thing]: changed}
        study = dataclasses.replace(study, **whole)
    return study


def _fields(study: Study, part: str) -> "tuple[dataclasses.Field[Any], ...]":
    return dataclasses.fields(getattr(study, part))


def _fitted(part: Any, thing: str, field: str, value: Any) -> Any:
    """A value as the field has it."""
    names = [one.name for one in dataclasses.fields(part)]
    if field not in names:
        raise UserError(
            f"The axis '{thing}.{field}' names no setting: {thing} has {', '.join(names)}."
            f"{nearest(field, names)}"
        )
    try:
        return fit(value, typing.get_type_hints(type(part))[field])
    except Mismatch as error:
        raise UserError(f"{thing}.{field} has to be {error}, not {value!r}.") from None
