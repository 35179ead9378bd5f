"""A trained run's modules, into a library: of a bank one a language, of others one by its name.

save_all(run, predictor, chosen_plugs(predictor), "library")
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxlt.data.near import nearest_language
from jaxlt.errors import UserError, nearest
from jaxlt.inference import trained
from jaxlt.inference.compose import stacked_modules
from jaxlt.inference.predictor import Predictor
from jaxlt.models.config import T5Config
from jaxlt.modules.library import Saved, save
from jaxlt.modules.site import Plug, owner

if TYPE_CHECKING:
    from jaxlt.config import RunConfig


def chosen_plugs(predictor: Predictor, name: str | None = None) -> list[Plug]:
    """The plug of that name, or all that the run trained."""
    plugs = {p.name: p for p in predictor.config.plugs}
    if name is not None:
        if name not in plugs:
            raise UserError(
                f"The run has no plug '{name}'.{nearest(name, plugs)} It has: "
                f"{', '.join(plugs) or 'none'}."
            )
        return [plugs[name]]
    trains = {owner(n) for n in predictor.program.layout.trainable if n.startswith("modules/")}
    if not trains:
        raise UserError("The run trained no module: there is nothing to save.")
    return [p for p in plugs.values() if p.name in trains]


def save_all(
    run: "RunConfig",
    predictor: Predictor,
    plugs: list[Plug],
    library: str,
    languages: Sequence[str] = (),
    name: str | None = None,
) -> list[Saved]:
    """Writes the modules of these plugs; returns their records.

    languages: of a bank only these. name: of a module that is no bank's.
    """
    from jaxlt.config import operative_config

    base, training = predictor.backbone(), operative_config(run)
    out = []
    for p in plugs:
        mine = {n: v for n, v in predictor.params.items() if owner(n) == p.name}
        assert isinstance(predictor.config, T5Config)  # what has plugs
        flat, axes = stacked_modules(predictor.config, mine)
        told: dict[str, Any] = {"axes": axes, "base": base, "training": training}
        if not p.routes:
            called = name or f"{p.name}/{Path(run.workdir).name}"
            out.append(save(library, called, p, flat, metrics=dict(predictor.evaluation), **told))
            continue
        known = predictor.languages or trained.languages_of(run.data)
        for language in languages or known:
            if language not in known:
                raise UserError(
                    f"The run has no language '{language}'.{nearest_language(language, known)} Its "
                    f"languages: {', '.join(known)}."
                )
            called, end = f"{p.name}/{language}", f"/{language}"
            scores = predictor.evaluation.items()
            metrics = {n.removesuffix(end): v for n, v in scores if n.endswith(end)}
            own: dict[str, Any] = {"language": language, "metrics": metrics}
            out.append(save(library, called, p, flat, known.index(language), **own, **told))
    return out
