"""What gin files and settings say in the end, as plain JSON: what a run is told, without its jax.

    bound(["models/lab_mlm.gin", "runs/lab_mlm.gin"], {"TEXT": "texts", "SEED": 1})
    # {'DataConfig.sources': 'texts', 'TrainConfig.seed': 1, 'T5Config.emb_dim': 64, ...}

Macros are resolved, and what cannot change a result is left out: fields marked as harmless
(jaxlt.identity), and those at the default that they were introduced with. So a setting that comes
later, in the code or in a file, changes nothing of what was said before. Of a path the last part
counts. Gin itself is not asked: this costs about a millisecond.
"""

import dataclasses
import functools
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxlt.config import renamed
from jaxlt.config.build import LATE, STUDIES, load_object, table
from jaxlt.config.files import Macro, Reference, Statement, mapped, read_files
from jaxlt.identity import field_identity

_LOOPS = 20  # macros within macros: more of them refer to each other


def bound(
    gin_files: Iterable[str], settings: Mapping[str, Any], search_paths: Sequence[str] = ()
) -> dict[str, Any]:
    """Returns {'scope/Name.field': value} of what is bound in the end.

    settings: of macros ('SEED') and bindings ('TrainConfig.steps') by Python values, which win over
    the files.
    """
    last = dict(_read(tuple(gin_files), tuple(search_paths)))
    last.update((_current(name), _as_read(value)) for name, value in settings.items())
    found = {}
    for name, value in sorted(last.items()):
        thing, dot, field = name.rpartition(".")
        if not dot or thing.rpartition("/")[2] in STUDIES:
            continue  # a macro, or what is about runs
        said = _resolved(value, last)
        kind = fields_of(thing.rpartition("/")[2]) or {}
        if field in kind:
            keep, said = field_identity(kind[field], said)
            if not keep:
                continue
        found[name] = _plain(said)
    return found


@functools.lru_cache(maxsize=256)
def _read(names: tuple[str, ...], search_paths: tuple[str, ...]) -> dict[str, Any]:
    """What the files say: the last statement of each name."""
    statements = renamed.now(read_files(names, search_paths), late=False)
    return {_name(s): s.value for s in statements if s.kind in ("binding", "macro")}


def _name(s: Statement) -> str:
    """A binding by the short name of its thing: 'eval/DataConfig.split'."""
    short = s.selector.rpartition(".")[2]
    scoped = f"{s.scope}/{short}" if s.scope else short
    return f"{scoped}.{s.arg}" if s.arg else scoped


def _current(name: str) -> str:
    late = name.rpartition(".")[0].rpartition("/")[2] in LATE
    return renamed.binding(name) if "." in name and not late else name


def _as_read(value: Any) -> Any:
    """A Python value as a gin file's is."""
    return str(value) if isinstance(value, Path) else value


def _resolved(value: Any, last: Mapping[str, Any]) -> Any:
    """A value without macros; of an unknown one, and of a reference, its name."""
    for _ in range(_LOOPS):
        if not _has_macro(value):
            break
        value = mapped(
            value, lambda r: last.get(r.name, f"%{r.name}") if isinstance(r, Macro) else r
        )
    return mapped(value, _written)


def _has_macro(value: Any) -> bool:
    found = False

    def see(node: Reference | Macro) -> Reference | Macro:
        nonlocal found
        found |= isinstance(node, Macro)
        return node

    mapped(value, see)
    return found


def _written(node: Reference | Macro) -> str:
    if isinstance(node, Reference):
        return f"@{node.name}{'()' if node.evaluate else ''}"
    return f"%{node.name}"


@functools.lru_cache(maxsize=256)
def fields_of(name: str) -> "dict[str, dataclasses.Field[Any]] | None":
    """The fields of what gin knows by a name, or None; {} of what brings jax (a head, a method)."""
    path = table().get(name)
    if path is None:
        return None
    if name in LATE:
        return {}
    target = load_object(path)
    made = target if isinstance(target, type) else typing.get_type_hints(target)["return"]
    return {field.name: field for field in dataclasses.fields(made)}


def _plain(value: Any) -> Any:
    """A value as JSON gives it back."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
