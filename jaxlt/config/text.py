"""A run written out as gin text, field by field: canonical, without macros, read back by `load`."""

import dataclasses
import re
from typing import Any

from jaxlt.config.build import METHODS, SECTIONS, table
from jaxlt.errors import UserError

# Made by functions, each under a scope of its own name.
_SCOPED = {"jaxlt.modules.config:Plug": "plug", "jaxlt.modules.config:Delta": "delta"}
_METHOD_NAMES = {path: name for name, path in METHODS.items()}


def _path(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def render(run: Any, ignore: tuple[str, ...] = ()) -> str:
    """Returns gin text of a RunConfig, every field said but the run's own fields in `ignore`."""
    lines: list[str] = []
    for field in dataclasses.fields(run):
        value = getattr(run, field.name)
        if field.name in ignore:
            continue
        if dataclasses.is_dataclass(value):
            scope = "" if field.name in SECTIONS else field.name
            reference = _emit(value, scope, lines)
            usual = SECTIONS.get(field.name) == reference.strip("@()")
            lines += [] if usual else [f"run.{field.name} = {reference}"]
        else:
            lines.append(f"run.{field.name} = {_literal(value, field.name, lines)}")
    return "\n".join(lines) + "\n"


def _emit(value: Any, scope: str, lines: list[str]) -> str:
    """Adds the bindings of a dataclass under `scope`; returns the gin reference that builds it."""
    settings = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
    path = _path(type(value))
    if path in _SCOPED:
        own = re.sub(r"^(?=\d)|\W", "_", value.name)  # a scope has to be an identifier
        gin_name, scope = _SCOPED[path], f"{scope}/{own}" if scope else own
    if path == "jaxlt.modules.config:Plug":
        settings |= dict(settings.pop("settings"))
        method = _path(value.method)
        settings["method"] = _METHOD_NAMES.get(method, method)
    elif path not in _SCOPED:
        gin_name = {named: name for name, named in table().items()}.get(path, "")
    if not gin_name:
        raise UserError(
            f"A {type(value).__name__} cannot be written as gin: it is not in jaxlt's table."
        )
    module = type(value).__module__
    if not module.startswith("jaxlt.") and f"import {module}" not in lines:
        lines.append(f"import {module}")
    full = f"{scope}/{gin_name}" if scope else gin_name
    for name, item in settings.items():
        lines.append(
            f"{full}.{name} = {_literal(item, f'{scope}/{name}' if scope else name, lines)}"
        )
    return f"@{full}()"


def _literal(value: Any, scope: str, lines: list[str]) -> str:
    """Returns a value as gin writes it; what dataclasses it holds are added to `lines`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _emit(value, "" if _path(type(value)) in _SCOPED else scope, lines)
    if isinstance(value, (tuple, list)):
        # A scope each, or the bindings of several would be one another's.
        scopes = [f"{scope}_{i}" if len(value) > 1 else scope for i in range(len(value))]
        items = [_literal(item, own, lines) for item, own in zip(value, scopes, strict=True)]
        return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
    return repr(value)
