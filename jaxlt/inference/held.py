"""What a trained run holds in memory, for another run to start from: its backbone, its modules.

held = backbone_of(predictor)            # a BaseSource
modules = Modules(run, predictor, chosen_plugs(predictor))
modules.into(model, languages).values(backbone)
modules.save("library")
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlt.errors import UserError, nearest, some_of
from jaxlt.inference.compose import stacked_modules
from jaxlt.inference.predictor import Predictor
from jaxlt.inference.saving import save_all
from jaxlt.models.config import ModelConfig, T5Config
from jaxlt.models.init import describe
from jaxlt.modules.fingerprints import Fingerprint
from jaxlt.modules.int8 import dense
from jaxlt.modules.layout import is_scanned, layer_name, unstack
from jaxlt.modules.library import Saved
from jaxlt.modules.site import Plug, owner

if TYPE_CHECKING:
    from jaxlt.config import RunConfig


class HeldBackbone:
    """The backbone of a run in memory as the base of another one: a `BaseSource`."""

    def __init__(self, predictor: Predictor):
        self.origin = {"format": "memory"}
        self.meta = {"vocabulary": predictor.vocabulary}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._where: dict[str, tuple[Any, int | None]] = {}  # a leaf, and which layer of it
        for full, leaf in predictor.params.items():
            if not full.startswith("params/"):
                continue
            name, shape = full.removeprefix("params/"), tuple(leaf.shape)
            if not is_scanned(name):
                self._where[name], self.shapes[name] = (leaf, None), shape
                continue
            for i in range(shape[0]):
                layer = layer_name(name, i)
                self._where[layer], self.shapes[layer] = (leaf, i), shape[1:]

    def read(self, name: str) -> np.ndarray:
        """One whole tensor; of scanned layers the one layer."""
        leaf, layer = self._where[name]
        value = np.asarray(dense(leaf))
        return value if layer is None else value[layer]

    def read_slice(self, name: str, index: tuple[slice, ...]) -> np.ndarray:
        """`read(name)[index]`."""
        return self.read(name)[index]


@dataclasses.dataclass(frozen=True)
class Modules:
    """Modules of a trained run as values: the start of another one's, or a library's."""

    run: "RunConfig"
    predictor: Predictor
    plugs: tuple[Plug, ...]

    def into(
        self, model: ModelConfig, languages: Sequence[str], force: bool = False
    ) -> "ModulesInto":
        """The values for a model with plugs of the same names; UserError where one does not fit.

        languages: names by the ids that the model's banks go by. force: modules may have been
        trained on another backbone.
        """
        theirs = {plug.name: plug for plug in model.plugs}
        for plug in self.plugs:
            if plug.name not in theirs:
                raise UserError(
                    f"The run that modules are given to has no plug '{plug.name}'."
                    f"{nearest(plug.name, theirs)} It has {', '.join(theirs) or 'none'}: plug in "
                    "what they are of, or give .modules(NAME) of those that it has."
                )
            other = theirs[plug.name]
            for field in dataclasses.fields(Plug):
                mine, wanted = getattr(plug, field.name), getattr(other, field.name)
                if mine != wanted:
                    raise UserError(
                        f"The modules of plug '{plug.name}' do not fit the run that they are given "
                        f"to: their {field.name} is {mine}, that of its plug {wanted}."
                    )
            own = self.predictor.languages
            if plug.routes and plug.key in ("source", "target") and own != tuple(languages):
                raise UserError(
                    f"Plug '{plug.name}' has a module a language, in the order of "
                    f"{', '.join(own)}, and the run that they are given to has "
                    f"{', '.join(languages)}: set DataConfig.languages to the same, or go by a "
                    "library (.modules().save(FOLDER), then run.modules = 'NAME=*')."
                )
        assert isinstance(model, T5Config)  # what has plugs
        return ModulesInto(self, model, force)

    def save(
        self, library: str, languages: Sequence[str] = (), name: str | None = None
    ) -> list[Saved]:
        """Writes them into a library; returns their records.

        languages: of a bank only these. name: of a module that is no bank's (else the run's folder
        names it, which one in memory has not).
        """
        banks = all(plug.routes for plug in self.plugs)
        if not (banks or name or self.run.workdir):
            raise UserError("Modules of a run in memory have no name: give name='task/pos' or so.")
        return save_all(self.run, self.predictor, list(self.plugs), library, languages, name)


@dataclasses.dataclass(frozen=True)
class ModulesInto:
    """Modules of one run for the model of another: `jaxlt.engine.state.ModuleValues`."""

    modules: Modules
    model: T5Config
    force: bool = False

    def values(self, base: Fingerprint) -> dict[str, np.ndarray]:
        """The values by the model's flat names; another backbone is refused unless forced."""
        predictor = self.modules.predictor
        own = predictor.backbone()
        names = {plug.name for plug in self.modules.plugs}
        if not self.force and not own.fits(base):
            raise UserError(
                f"The modules of {some_of(sorted(names), 3)} were trained on another backbone: "
                f"the fingerprint of their own is {own.whole}, of this one {base.whole}. Give the "
                "run the same base (.train(base=...)), or set run.force_modules = True if you know "
                "why it should work all the same."
            )
        assert isinstance(predictor.config, T5Config)  # what has plugs
        flat, _ = stacked_modules(predictor.config, predictor.params)
        mine = {n: v for n, v in flat.items() if owner(n) in names}
        out = mine if self.model.scan_layers else unstack(mine)
        leaves = describe(self.model)
        for name, value in out.items():
            if name not in leaves or leaves[name].shape != value.shape:
                there = list(leaves[name].shape) if name in leaves else "not there"
                raise UserError(
                    f"Module parameter '{name}' is {list(value.shape)}, and {there} in the run "
                    f"that it is given to: their backbones differ in size.{nearest(name, leaves)}"
                )
        return out

    def told(self, base: Fingerprint) -> list[str]:
        """Says of each plug where its modules come from."""
        return [f"Plug '{plug.name}' holds a run's, in memory." for plug in self.modules.plugs]
