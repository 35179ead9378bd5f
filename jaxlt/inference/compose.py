"""Modules by name: from 'lang=swh_Latn,task=pos' and a library to a model and its values.

    choices = parse_choices("lang=swh_Latn+amh_Ethi,task=pos")
    composed = compose(model, choices, "library", languages)
    composed.model                         # the plugs, with those that the model did not have
    composed.values(fingerprint)           # {flat name: array}, checked against the backbone
    composed.told(fingerprint)             # a line a plug: which modules, from where, of what

A choice is NAME=MODULE; NAME=A+B plugs several in and averages what they give; NAME=* fills a bank
with the modules that are named by the run's languages; NAME=none takes a plug out. Where NAME is a
fusion or ensemble of the model's, A+B are what it joins.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from jaxlt.errors import UserError, nearest, repeated, some_of
from jaxlt.models.config import T5Config
from jaxlt.models.init import describe
from jaxlt.modules.fingerprints import Fingerprint
from jaxlt.modules.fusion import bank_of
from jaxlt.modules.layout import stack, unstack
from jaxlt.modules.library import Saved, open_module
from jaxlt.modules.routing import ALL
from jaxlt.modules.site import Plug, owner

Choices = tuple[tuple[str, tuple[str, ...]], ...]
NONE, EACH = "none", "*"


def parse_choices(text: str | Sequence[str]) -> Choices:
    """'lang=sw+am,task=pos' -> (('lang', ('sw', 'am')), ('task', ('pos',)))."""
    items = text.split(",") if isinstance(text, str) else list(text)
    choices = []
    for item in items:
        name, sign, modules = (part.strip() for part in item.partition("="))
        chosen = tuple(part.strip() for part in modules.split("+"))
        if not (name and sign and all(chosen)):
            raise UserError(
                f"'{item}' does not say which module goes where: expected NAME=MODULE, such as "
                "lang=swh_Latn, task=pos, lang=swh_Latn+amh_Ethi (averaged), lang=* (one for each "
                "language), task=none (left out)."
            )
        choices.append((name, chosen))
    if repeated(name for name, _ in choices):
        raise UserError(f"A plug is chosen twice in '{','.join(items)}': join modules with '+'.")
    return tuple(choices)


@dataclasses.dataclass(frozen=True)
class Composed:
    """A model with modules of a library in it; `slots` says which fills which slot of a plug.

    force: modules may have been trained on another backbone.
    """

    model: T5Config
    slots: Mapping[str, tuple[Saved, ...]]
    force: bool = False

    def told(self, base: Fingerprint) -> list[str]:
        """Says of each plug which modules it holds, where they lie, and what they were trained on.

        base: fingerprint of the backbone that `values` were asked for.
        """
        lines = []
        for name, modules in self.slots.items():
            origins: dict[str, list[str]] = {}
            for saved in modules:
                origins.setdefault(saved.origin(base), []).append(saved.name)
            for origin, names in origins.items():
                lines.append(
                    f"Plug '{name}' holds {some_of(names, 3)} of {modules[0].library}, {origin}."
                )
        return lines

    @property
    def names(self) -> dict[str, str]:
        """What fills each plug: 'glv_Latn', 'glv_Latn+tgl_Latn', '*' for one a language."""
        out: dict[str, str] = {}
        for p in self.model.plugs:
            if modules := self.slots.get(p.name):
                bank = p.routes and p.key != ALL and inner_of(p, modules) is None
                each = (saved.name.removeprefix(f"{p.name}/") for saved in modules)
                out[p.name] = EACH if bank else "+".join(each)
        return out

    def values(self, base: Fingerprint) -> dict[str, np.ndarray]:
        """Returns the values of the plugs that the library fills, by the model's flat names.

        base: fingerprint of the backbone; another than a module's own is refused unless forced.
        """
        leaves = describe(dataclasses.replace(self.model, scan_layers=True))
        out: dict[str, np.ndarray] = {}
        for p in self.model.plugs:
            if p.name not in self.slots:
                continue
            if inner := inner_of(p, self.slots[p.name]):
                out |= self._members(p, inner, base)
                continue
            mine = {n: leaf for n, leaf in leaves.items() if owner(n) == p.name}
            one = {n: _without_routes(leaf.shape, leaf.axes) for n, leaf in mine.items()}
            loaded = []
            for saved in self.slots[p.name]:
                saved.check(p, base, self.force)
                loaded.append(saved.values_for(p, one))
            for name, leaf in mine.items():
                parts = [values[name] for values in loaded]
                if "routes" not in leaf.axes:  # of one module, or shared by all slots
                    out[name] = parts[0]
                    continue
                axis = leaf.axes.index("routes")
                bank = np.zeros(leaf.shape, np.float32)
                np.moveaxis(bank, axis, 0)[: len(parts)] = np.stack(parts)
                out[name] = bank
        return out if self.model.scan_layers else unstack(out)

    def _members(self, p: Plug, inner: Plug, base: Fingerprint) -> dict[str, np.ndarray]:
        """Values of the modules that a fusion or ensemble joins; its own weights are not in it."""
        alone = dataclasses.replace(self.model, plugs=(inner,), scan_layers=True)
        shapes = {n: leaf.shape for n, leaf in describe(alone).items() if owner(n) == inner.name}
        loaded = []
        for saved in self.slots[p.name]:
            saved.check(inner, base, self.force)
            loaded.append(saved.values_for(inner, shapes))
        return {n: np.asarray(v) for n, v in bank_of(p.name, inner.name, loaded).items()}


def inner_of(p: Plug, modules: Sequence[Saved]) -> Plug | None:
    """The plug that a fusion or ensemble has several of, as it would stand alone.

    None where there is none, and where these are a whole fusion themselves.
    """
    inner = dict(p.settings).get("inner")
    if inner is None or modules[0].is_of(p):
        return None
    same = {f: getattr(p, f) for f in ("sites", "stacks", "layers", "leave_out")}
    return dataclasses.replace(inner, **same)


def _without_routes(shape: tuple[int, ...], axes: tuple[str | None, ...]) -> tuple[int, ...]:
    return tuple(n for n, axis in zip(shape, axes, strict=True) if axis != "routes")


def compose(
    model: T5Config,
    choices: Choices,
    library: str,
    languages: Sequence[str] = (),
    force: bool = False,
) -> Composed:
    """Plugs the chosen modules in: in the place of a plug of that name, or else behind the others.

    languages: names by the ids that routes go by; a bank ('lang=*') is filled for each of them.
    force: whatever backbone they were trained on.
    """
    plugs = {p.name: p for p in model.plugs}
    slots: dict[str, tuple[Saved, ...]] = {}
    for name, modules in choices:
        if modules == (NONE,):
            if name not in plugs:
                raise UserError(
                    f"There is no plug '{name}' to leave out.{nearest(name, plugs)} The model has: "
                    f"{', '.join(plugs) or 'none'}."
                )
            del plugs[name]
            continue
        if modules == (EACH,):
            plugs[name], slots[name] = _bank(plugs.get(name), name, library, languages)
            continue
        opened = tuple(open_module(library, module, name) for module in modules)
        if name in plugs and inner_of(plugs[name], opened):
            count = dict(plugs[name].settings).get("count")
            if count != len(opened):
                raise UserError(
                    f"Plug '{name}' joins {count} modules (its `count`), and '{'+'.join(modules)}' "
                    f"names {len(opened)}."
                )
            slots[name] = opened
            continue
        routes, key = (len(opened), ALL) if len(opened) > 1 else (0, None)
        if name in plugs:
            plugs[name] = dataclasses.replace(plugs[name], routes=routes, key=key)
        else:
            plugs[name] = opened[0].plug_as(name, routes, key)
        slots[name] = opened
    return Composed(dataclasses.replace(model, plugs=tuple(plugs.values())), slots, force)


def _bank(
    there: Plug | None, name: str, library: str, languages: Sequence[str]
) -> tuple[Plug, tuple[Saved, ...]]:
    """A plug with a slot for each language, and what fills it."""
    if not languages:
        raise UserError(f"'{name}=*' asks for a module of each language, and none are known here.")
    modules = tuple(open_module(library, language, name) for language in languages)
    if there is None:
        return modules[0].plug_as(name, len(languages), "source"), modules
    if not there.routes:
        there = dataclasses.replace(there, routes=len(languages), key="source")
    if there.routes < len(languages):
        raise UserError(
            f"Plug '{name}' has {there.routes} routes, and there are {len(languages)} languages."
        )
    return there, modules


Axes = dict[str, tuple[str | None, ...]]


def stacked_modules(
    model: T5Config, flat: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], Axes]:
    """The leaves of all plugs by stacked names, as a library keeps them, and their logical axes."""
    modules = {n: np.asarray(v) for n, v in flat.items() if n.startswith("modules/")}
    if not model.scan_layers:
        modules = stack(modules, np.stack)
    leaves = describe(dataclasses.replace(model, scan_layers=True))
    return modules, {n: leaves[n].axes for n in modules}
