"""Folders of runs that another version of jaxlt wrote: what they could not say yet.

A config.gin holds all settings that there were when it was written. A setting that is younger has
its default in such a run; the few that it would read other data by have the value that makes the
run what it was: those stand behind the gin files that resume or open it. What shipped gin files
said at the time does not: where they changed, a run goes on by its own config.gin.
"""

import dataclasses
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxlt.config import RunConfig, load, renamed
from jaxlt.config.build import load_object, table

_REVISION, _MADE = "DataConfig.revision", "FactoryConfig.revision"
# Where a config.gin says nothing of these.
_FIRST: dict[str, Any] = {_REVISION: 1, _MADE: 1, "DataConfig.held_out": 0.01}


def behind(folder: str) -> dict[str, Any]:
    """Returns the bindings that stand behind the gin files of a run in this folder.

    They are those by which the run in it reads its data; none where there is no run.
    """
    from etils import epath

    path = (epath.Path if "://" in folder else Path)(folder).expanduser() / "config.gin"
    if not path.is_file():
        return {}
    revision = _value_of(renamed.text(path.read_text(encoding="utf-8")), _REVISION)
    if revision in (None, "1"):
        return _FIRST
    return {_REVISION: int(revision), _MADE: int(revision)}


_KEPT = (  # what goes together: all of it is as the folder says, or none
    ("CheckpointConfig.best_metric", "CheckpointConfig.best_mode", "CheckpointConfig.ties"),
    ("ScheduleConfig.warmup_share",),
)


def kept(folder: str, overrides: Iterable[str]) -> dict[str, str]:
    """Returns the bindings by which a run that is under way in a folder goes on as it began.

    It selects by the metric of its best value so far, and is as warm as it was, whatever gin files
    say by now; none where the run has no checkpoint yet, or where an override asks for another.
    """
    from etils import epath

    path = (epath.Path if "://" in folder else Path)(folder).expanduser()
    asked = {renamed.binding(item.partition("=")[0].strip()) for item in overrides}
    saved = path / "checkpoints"
    begun = saved.is_dir() and any(one.name.isdigit() for one in saved.iterdir())
    if not begun or not (path / "config.gin").is_file():
        return {}
    text = renamed.text((path / "config.gin").read_text(encoding="utf-8"))
    names = [name for group in _KEPT if not asked & set(group) for name in group]
    return {name: _value_of(text, name) or str(younger(name)) for name in names}


def _value_of(text: str, name: str) -> str | None:
    """Returns the value of a binding in gin text, that of its macro where it is one; else None."""
    found = re.search(rf"(?m)^{re.escape(name)} = (\S+)\s*$", text)
    if found is None:
        return None
    return _value_of(text, found[1][1:]) if found[1].startswith("%") else found[1]


def younger(binding: str) -> str | None:
    """Returns the value, as gin writes it, of a binding that a stored config does not have.

    None for one that has no default, or is of no thing of ours.
    """
    name, _, field = binding.rpartition("/")[2].rpartition(".")
    if f"{name}.{field}" in _FIRST:
        return repr(_FIRST[f"{name}.{field}"])
    if name not in table():
        return None
    parameter = inspect.signature(load_object(table()[name])).parameters.get(field)
    if parameter is None or parameter.default in (inspect.Parameter.empty, dataclasses.MISSING):
        return None
    return repr(parameter.default)


def load_run(
    gin_files: Sequence[str] = (),
    overrides: Sequence[str] = (),
    search_paths: Sequence[str] = (),
    fallbacks: Mapping[str, Any] | None = None,
    folder: str | None = None,
) -> RunConfig:
    """Returns the run that gin files and overrides describe (`jaxlt.config.load`).

    One that is in its folder reads its data, is warm and selects its best step as it did there.
    folder: where the run is, if not where its config says.
    """
    run = load(gin_files, overrides, search_paths, fallbacks)
    place = folder or run.workdir
    if not place:  # in memory
        return run
    unsaid = behind(place)
    begun = kept(place, overrides)
    of_data = {n.removeprefix("DataConfig."): v for n, v in unsaid.items() if "DataConfig." in n}
    if all(getattr(run.data, name) == value for name, value in of_data.items()):
        unsaid = {}
    parts = {"CheckpointConfig": run.checkpoint, "ScheduleConfig": run.schedule}
    current = {n: repr(getattr(parts[n.partition(".")[0]], n.partition(".")[2])) for n in begun}
    if not unsaid and begun == current:
        return run
    asked = [*overrides, *(f"{name}={value}" for name, value in begun.items())]
    return load(gin_files, asked, search_paths, {**unsaid, **(fallbacks or {})})
