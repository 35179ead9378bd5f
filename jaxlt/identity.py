"""Which settings make a run what it is: marks at the fields of configs, and a hash of the rest.

    cache_dir: str | None = field(default=None, metadata=HARMLESS)
    config_hash(run)                     # equal for runs that differ in what is marked alone

Whatever is not marked counts. A field at its default is left out of the hash, so that a setting
that is added later changes no hash of before; where a default is changed, the field says the first
one (`introduced`), which goes on being left out. What is renamed counts by its first name.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_MARK, _FIRST, _NAME = "jaxlt.identity", "jaxlt.introduced", "jaxlt.first_name"
HARMLESS = {_MARK: "harmless"}  # cannot change a result: how long, where and how loudly it runs
DRAWN = {_MARK: "drawn"}  # a seed: runs that differ in it are several of one kind
PLACED = {_MARK: "placed"}  # a path of what is read, which has fingerprints: its last part counts


def introduced(first: Any) -> dict[str, Any]:
    """The mark of a field whose default was another one first."""
    return {_FIRST: first}


def renamed(first: str) -> dict[str, Any]:
    """The mark of a field that had another name first, by which hashes and old files know it."""
    return {_NAME: first}


def first_name(field: "dataclasses.Field[Any]") -> str:
    """Returns the name that a field was introduced with."""
    return field.metadata.get(_NAME, field.name)


def mark_of(field: "dataclasses.Field[Any]") -> str | None:
    """Returns 'harmless', 'drawn', 'placed', or None for a field that counts as it is."""
    return field.metadata.get(_MARK)


def as_tuples(config: Any, *fields: str) -> None:
    """Makes fields of a frozen config tuples, as it is made: a text alone is one name."""
    for field in fields:
        value = getattr(config, field)
        object.__setattr__(config, field, (value,) if isinstance(value, str) else tuple(value))


def config_hash(config: Any) -> str:
    """Returns 16 hex digits of what counts in a frozen config and in the configs within it."""
    text = json.dumps(identity(config), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def identity(value: Any) -> Any:
    """Returns what counts of a config as plain JSON; raises TypeError at what JSON cannot say."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"": type(value).__name__, **_fields(value)}
    if isinstance(value, type):
        return f"{value.__module__.rpartition('.')[2]}:{value.__qualname__}"
    if isinstance(value, float) and value.is_integer():
        return int(value)  # 1.0 == 1
    if isinstance(value, Mapping):
        return {str(key): identity(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [identity(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} {value!r} is nothing that identifies a run")


def _fields(config: Any) -> dict[str, Any]:
    out = {}
    for field in dataclasses.fields(config):
        keep, value = field_identity(field, getattr(config, field.name))
        if keep and mark_of(field) != "drawn":
            out[first_name(field)] = identity(value)
    return out


def field_identity(field: "dataclasses.Field[Any]", value: Any) -> tuple[bool, Any]:
    """Whether a field's value counts, and what of it: of a path the last part."""
    mark = mark_of(field)
    keep = mark != "harmless" and not _is_first(field, value)
    return keep, _last_parts(value) if mark == "placed" else value


def _is_first(field: "dataclasses.Field[Any]", value: Any) -> bool:
    """Whether a field is at the default that it was introduced with."""
    first = field.metadata.get(_FIRST, field.default)
    if field.default_factory is not dataclasses.MISSING:
        first = field.default_factory()
    return first is not dataclasses.MISSING and identity(value) == identity(first)


def _last_parts(value: Any) -> Any:
    """A path without the folders above it; of a run's checkpoint the run's folder stays.

    Which attempt at a stage of a study made it (stage/attempts/000002) does not count.
    """
    if isinstance(value, (list, tuple)):
        return [_last_parts(item) for item in value]
    if not isinstance(value, (str, Path)):
        return value
    text = re.sub(r"/attempts/\d{6}(?=/|$)", "", str(value).rstrip("/"))
    found = re.search(r"[^/]+(/checkpoints/[^/]+)?$", text)
    return found[0] if found else text
