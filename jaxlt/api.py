"""Runs as Python objects, for notebooks and scripts.

import jaxlt
run = jaxlt.run(["models/tiny.gin", "runs/pretrain.gin", "tiny.gin"], TEXT="texts", SEED=1)
run.train(), run.evaluate("validation")
model = jaxlt.load("runs/task", modules="lang=swh_Latn", library="library")
model.tag([["Habari", "yako", "?"]])
model.classify(["Nimefurahi sana"], labels=["positive", "negative"])
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxlt.inference.model import Model as Model
    from jaxlt.inference.model import Names as Names
    from jaxlt.inference.model import Words as Words
    from jaxlt.inference.model import as_tree as as_tree
    from jaxlt.inference.run import Run as Run

_OF_MODEL = ("Model", "Names", "Words", "as_tree")


def __getattr__(name: str) -> object:
    """What `load` and `run` return and take, imported when it is asked for."""
    if name in _OF_MODEL:
        from jaxlt.inference import model

        return getattr(model, name)
    if name == "Run":
        from jaxlt.inference.run import Run

        return Run
    raise AttributeError(f"module 'jaxlt.api' has no attribute '{name}'")


def load(
    workdir: str,
    step: int | str | None = None,
    modules: str | None = None,
    library: str | None = None,
    force_modules: bool = False,
) -> "Model":
    """Opens the run in a workdir: its newest checkpoint, that of a step, or the 'best'.

    modules: of a library, as `jaxlt infer --modules` takes them: 'lang=swh_Latn,task=pos'.
    """
    from jaxlt.inference import trained
    from jaxlt.inference.model import Model

    run, step = trained.find_run(str(workdir), step)
    return Model(run, *trained.open_model(run, step, modules, library, force_modules))


def run(
    gin_files: Sequence[str] = (),
    overrides: Mapping[str, Any] | Iterable[str] = (),
    search_paths: Sequence[str] = (),
    **macros: Any,
) -> "Run":
    """Returns the run that gin files describe; in memory unless a WORKDIR is given.

    overrides: {'TrainConfig.steps': 100} with values as Python has them, or texts as the command
    line takes them behind '--gin.' ('lang/plug.key=source'). macros: TEXT='texts', SEED=1.
    """
    from jaxlt.config.recorded import load_run
    from jaxlt.inference.run import Run

    named = [*overrides.items()] if isinstance(overrides, Mapping) else []
    texts = [] if isinstance(overrides, Mapping) else list(overrides)
    texts += [f"{name}={_in_gin(value)}" for name, value in (*named, *macros.items())]
    in_memory = {"WORKDIR": "", "run.workdir": "", "INIT_FROM": ""}  # what `train` may be given
    return Run(load_run(tuple(gin_files), texts, search_paths, in_memory))


def _in_gin(value: Any) -> str:
    """A value of Python as gin text: a path as its text, all else as Python writes it."""
    return repr(str(value) if isinstance(value, Path) else value)
