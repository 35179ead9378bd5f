"""Python in gin files: `import my_module`, and with dynamic registration whatever is in it.

import my_tools                                  # its @gin.configurable functions are known

from __gin__ import dynamic_registration
from my_package import steps                     # all of it is known, by the imported name
TrainConfig.steps = @steps.doubled()
steps.doubled.n = 500
"""

import dataclasses
import importlib
from collections.abc import Sequence
from typing import Any

from jaxlt.config.build import METHODS, load_object, table
from jaxlt.config.files import Macro, Reference, Statement, mapped
from jaxlt.errors import UserError, nearest

_DYNAMIC = "__gin__.dynamic_registration"


def carried_out(statements: Sequence[Statement]) -> tuple[list[Statement], list[str]]:
    """Imports what statements import, and registers with gin what their files name of it.

    Returns the statements with gin's names of that, and the lines by which a recorded config has
    it again.
    """
    dynamic = {s.file for s in statements if s.selector == _DYNAMIC}
    symbols: dict[str | None, dict[str, Any]] = {file: {} for file in dynamic}
    lines: dict[str, None] = {}
    for s in (s for s in statements if s.kind == "import" and s.selector != _DYNAMIC):
        if s.selector.startswith("__gin__"):
            raise UserError(f"{s.where}: '{s.text}' is nothing that gin has.")
        symbols.setdefault(s.file, {}).update(_imported(s))
        if s.file not in dynamic:
            lines[s.text] = None
    registered: dict[str, None] = {}
    out = [
        _resolved(s, symbols[s.file], registered) if s.file in dynamic else s
        for s in statements
        if s.kind != "import"
    ]
    if registered:
        lines = {f"from {_DYNAMIC.replace('.', ' import ')}": None, **lines, **registered}
    return out, list(lines)


def _imported(s: Statement) -> dict[str, Any]:
    """Returns what an import line binds, as Python does: {name: module or what is in one}."""
    name, _, alias = s.text.partition(" as ")
    try:
        if name.startswith("from "):
            package, _, last = s.selector.rpartition(".")
            within = importlib.import_module(package)
            found = getattr(within, last, None)
            return {alias or last: found or importlib.import_module(s.selector)}
        module = importlib.import_module(s.selector)
    except ImportError as error:
        raise UserError(f"{s.where}: '{s.text}' failed: {str(error).splitlines()[0]}.") from error
    first = s.selector.partition(".")[0]
    return {alias: module} if alias else {first: importlib.import_module(first)}


def _resolved(s: Statement, symbols: dict[str, Any], registered: dict[str, None]) -> Statement:
    """Returns a statement with gin's names in the place of imported ones."""

    def changed(ref: Reference | Macro) -> Any:
        if isinstance(ref, Macro) or (found := _find(ref.selector, symbols, s)) is None:
            return ref
        if path := _method(found):
            return path
        scopes = "/".join([*ref.scopes, _register(found, registered)])
        return dataclasses.replace(ref, name=scopes)

    found = _find(s.selector, symbols, s) if s.kind in ("binding", "block") else None
    selector = s.selector if found is None else _register(found, registered)
    return dataclasses.replace(s, selector=selector, value=mapped(s.value, changed))


def _find(selector: str, symbols: dict[str, Any], s: Statement) -> Any:
    """Returns what a dotted name means; None where it does not start with an imported one."""
    first, *rest = selector.split(".")
    found: Any = symbols.get(first)
    for name in rest if first in symbols else ():
        if not hasattr(found, name):
            raise UserError(
                f"{s.where}: '{selector}' is not there: '{name}' is nothing in {found.__name__}."
                f"{nearest(name, [known for known in vars(found) if known[0] != '_'])}"
            )
        found = getattr(found, name)
    return found


def _method(found: Any) -> str | None:
    """Returns the path of a class of modules, by which a plug's `method` knows it."""
    is_method = isinstance(found, type) and issubclass(
        found, load_object("jaxlt.modules.site:Method")
    )
    path = f"{found.__module__}:{found.__qualname__}" if is_method else None
    return next((name for name, known in METHODS.items() if known == path), path)


def _register(found: Any, registered: dict[str, None]) -> str:
    """Returns gin's name of a function or class, which it gets here if it has none."""
    from gin import config

    path = f"{found.__module__}:{found.__qualname__}"
    ours = next((name for name, known in table().items() if known == path), None)
    if ours:
        return ours
    registered[f"from {found.__module__} import {found.__qualname__}"] = None
    if known := config._inverse_lookup(found):
        return str(known.selector)
    config.external_configurable(found, name=found.__name__, module=found.__module__)
    return f"{found.__module__}.{found.__name__}"
