"""A trained run as a Python object, for notebooks and scripts.

import jaxlt
model = jaxlt.load("runs/task", modules="lang=swh_Latn", library="library")
model.tag([["Habari", "yako", "?"]])
model.classify(["Nimefurahi sana"], labels=["positive", "negative"])
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxlt.inference.model import Model as Model
    from jaxlt.inference.model import Names as Names
    from jaxlt.inference.model import Words as Words
    from jaxlt.inference.model import as_tree as as_tree

_OF_MODEL = ("Model", "Names", "Words", "as_tree")


def __getattr__(name: str) -> object:
    """What `load` returns and takes, imported when it is asked for."""
    if name in _OF_MODEL:
        from jaxlt.inference import model

        return getattr(model, name)
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
