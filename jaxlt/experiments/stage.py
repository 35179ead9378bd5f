"""A stage: one call of a verb, with frozen configs in and a folder out.

    at = Cell("languages=4", seed=1)
    base = at.stage("base", "train", files=("models/lab_mlm.gin", ...), settings={"SEED": 1})
    tags = at.stage("tags", "answers", run=base, split="test", shared=True)
    tags.path                     # 'shared/1/tags'
    asked(tags)              # {'verb': 'answers', 'config': {'run': 'languages=4:1:base'}, ...}
    differences(before, now)      # ['ScheduleConfig.learning_rate 0.001 -> 0.0003']

What a stage needs are the stages in its config. Its identity is what it asks, as plain JSON: of a
run the bindings that its gin files and settings make (jaxlt.config.bound), of a need its place and
what that one asks. Nothing here runs anything.
"""

import dataclasses
import functools
import hashlib
import json
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxlt.config.bound import bound
from jaxlt.errors import UserError

LAB, SHARED, ALL = "lab", "shared", "all"


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """A need's folder, or what is in it: `world / "text"`."""

    stage: "Stage"
    path: str = ""

    def __truediv__(self, path: str) -> "Part":
        return Part(self.stage, f"{self.path}/{path}".lstrip("/"))

    @property
    def place(self) -> str:
        """Its name in what is asked: 'lab:0:world:text'."""
        return f"{self.stage.path}/{self.path}".rstrip("/").replace("/", ":")


@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
    """One call of a verb.

    verb: a name in `verbs.VERBS`, or 'package.module:function' of your own. config: what it is
    given: plain values, and Stages or Parts where it reads what they wrote. With `files` and
    `settings` in it, these are a run. cell: '' where all cells share it. lab: it lies in the
    laboratory, where studies share it. version: raised by hand when its verb's code comes to mean
    something else.
    """

    name: str
    verb: str
    config: Mapping[str, Any]
    seed: int = 0
    cell: str = ""
    lab: bool = False
    version: int = 1

    def __truediv__(self, path: str) -> Part:
        return Part(self, path)

    @property
    def path(self) -> str:
        """Its folder within the study ('languages=4/0/tags', 'shared/0/base') or 'lab/0/world'."""
        return f"{LAB if self.lab else self.cell or SHARED}/{self.seed}/{self.name}"

    @functools.cached_property
    def needs(self) -> "tuple[Stage, ...]":
        """The stages whose folders it reads, in the order of its config."""
        return tuple(dict.fromkeys(part.stage for part in _parts(self.config)))


@dataclasses.dataclass(frozen=True)
class Cell:
    """One setting of a study's axes and one seed; makes stages of it.

    axes: (name, value) of what the cell is, for recipes that name rows by it.
    """

    name: str = ALL
    seed: int = 0
    axes: tuple[tuple[str, Any], ...] = ()

    def stage(
        self,
        name: str,
        verb: str,
        /,
        *,
        shared: bool = False,
        lab: bool = False,
        version: int = 1,
        **config: Any,
    ) -> Stage:
        """A stage of this cell; of all cells where `shared`, and of all studies in the `lab`."""
        cell = "" if shared or lab else self.name
        return Stage(name, verb, config, self.seed, cell, lab, version)


def _parts(value: Any) -> Iterator[Part]:
    """The folders of needs in a config, however deep."""
    if isinstance(value, Stage):
        yield Part(value)
    elif isinstance(value, Part):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _parts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _parts(item)


def filled(value: Any, folders: Mapping[str, Path]) -> Any:
    """A config with folders in the place of needs; folders: by `Stage.path`."""
    if isinstance(value, Stage):
        value = Part(value)
    if isinstance(value, Part):
        return str(folders[value.stage.path] / value.path)
    if isinstance(value, Mapping):
        return {key: filled(item, folders) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [filled(item, folders) for item in value]
    return value


_ASKED: "weakref.WeakKeyDictionary[Stage, dict[str, Any]]" = weakref.WeakKeyDictionary()


def asked(stage: Stage) -> dict[str, Any]:
    """What a stage asks, as JSON gives it back: verb, version, seed, config, and needs by hash."""
    if stage not in _ASKED:
        named = _named(stage.config, stage)
        if "files" in named:
            run = (tuple(named.pop("files")), named.pop("settings", {}))
            named["run"] = bound(*run)
        _ASKED[stage] = {
            "verb": stage.verb,
            "version": stage.version,
            "seed": stage.seed,
            "config": named,
            "needs": {need.path: digest(asked(need)) for need in stage.needs},
        }
    return _ASKED[stage]


def _named(value: Any, stage: Stage) -> Any:
    """A config with the places of needs, as JSON has it; raises UserError at what it cannot say."""
    if isinstance(value, Stage):
        value = Part(value)
    if isinstance(value, Part):
        return value.place
    if isinstance(value, Mapping):
        return {str(key): _named(item, stage) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_named(item, stage) for item in value]
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise UserError(
        f"The stage '{stage.path}' is given {type(value).__name__} {value!r}, and what it asks "
        "is written down: give numbers, texts, lists, mappings, or other stages."
    )


def digest(value: Any) -> str:
    """16 hex digits of plain JSON."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What two stages ask differently, a line each: 'TrainConfig.steps 600 -> 300'."""
    old, new = dict(_flat(before)), dict(_flat(now))
    said = []
    for name in dict.fromkeys([*old, *new]):
        if name not in new:
            said.append(f"{name} {_short(old[name])} -> not set")
        elif name not in old:
            said.append(f"{name} not set -> {_short(new[name])}")
        elif old[name] != new[name]:
            is_need = name in now.get("needs", {})
            change = f"{_short(old[name])} -> {_short(new[name])}"
            said.append(f"{name} is another" if is_need else f"{name} {change}")
    return said


def _flat(value: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[str, Any]]:
    """(name, value) of what is asked; of a config and a run in it their fields."""
    for name, item in value.items():
        inner = isinstance(item, Mapping) and (depth == 0 or (depth == 1 and name == "run"))
        if inner:
            yield from _flat(item, depth + 1)
        else:
            yield name, item


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
