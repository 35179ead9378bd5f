"""Names of settings that were others once: what says the old ones goes on being read.

    length_buckets: int = field(default=0, metadata=renamed("length_buckets"))    # jaxlt.identity

`--gin.DataConfig.length_buckets=5`, the same in a gin file and in the config.gin of an old run all
set `length_buckets`, and a line says so once. A config class says its first name by `NAMED_FIRST`,
which is what its gin name was; macros are in the table below. Hashes are of the first names, so
that no rename changes the identity of a run.
"""

import dataclasses
import functools
import logging
import re
import typing
from collections.abc import Sequence

from jaxlt.config.build import TABLE, load_object
from jaxlt.config.files import Macro, Reference, Statement, mapped, references
from jaxlt.identity import NAMED_FIRST, first_name

_log = logging.getLogger(__name__)

# macro -> what it is called now: the first of these that is asked for
MACROS: dict[str, tuple[str, ...]] = {"TEXT": ("CORPORA", "PAIRS")}


class Names(typing.NamedTuple):
    """The gin names of classes, and of fields ('DataConfig.length_buckets'): from old to new."""

    classes: dict[str, str]
    fields: dict[str, str]

    def binding(self, name: str) -> str:
        """Returns the name of a binding ('eval/DataConfig.seed'), with or without field, of now."""
        scope, slash, rest = name.rpartition("/")
        selector, dot, field = rest.partition(".")
        selector = self.classes.get(selector, selector)
        field = self.fields.get(f"{selector}.{field}", field)
        return f"{scope}{slash}{selector}{dot}{field}"


@functools.cache
def names() -> Names:
    """Returns all names of classes and fields that were others."""
    found = Names({}, {})
    for name, path in TABLE.items():
        target = load_object(path)
        built = target if isinstance(target, type) else typing.get_type_hints(target)["return"]
        if NAMED_FIRST in vars(built):
            found.classes[vars(built)[NAMED_FIRST]] = name
        for field in dataclasses.fields(built):
            if first_name(field) != field.name:
                found.fields[f"{name}.{first_name(field)}"] = field.name
    return found


@functools.cache
def first_names() -> Names:
    """Returns the same from new to old."""
    known = names()
    classes = {new: old for old, new in known.classes.items()}
    fields = {}
    for name, new in known.fields.items():
        selector, _, old = name.partition(".")
        fields[f"{classes.get(selector, selector)}.{new}"] = old
    return Names(classes, fields)


@functools.cache
def tell(text: str) -> None:
    """Says a line, once however often the files are read."""
    _log.warning(text)


def now(statements: Sequence[Statement]) -> list[Statement]:
    """Returns statements under the names of now; says which were old."""
    return _macros([_statement(s) for s in statements])


def _statement(s: Statement) -> Statement:
    """One statement with the names of now, in its value too."""
    known = names()
    value = mapped(s.value, lambda ref: _reference(ref, s, known))
    changed = dataclasses.replace(s, value=value)
    if s.kind in ("binding", "block"):
        module, dot, selector = s.selector.rpartition(".")
        new = known.binding(f"{selector}.{s.arg}" if s.arg else selector)
        selector, _, arg = new.partition(".")
        changed = dataclasses.replace(changed, selector=f"{module}{dot}{selector}", arg=arg)
    if changed.name != s.name:
        tell(f"{s.where}: {s.name} is called {changed.name} now; the old name is still read.")
    return changed


def _reference(ref: Reference | Macro, s: Statement, known: Names) -> Reference | Macro:
    if isinstance(ref, Macro) or known.binding(ref.name) == ref.name:
        return ref
    new = dataclasses.replace(ref, name=known.binding(ref.name))
    tell(f"{s.where}: @{ref.name} is called @{new.name} now; the old name is still read.")
    return new


def _macros(statements: list[Statement]) -> list[Statement]:
    """A macro by its old name, that nothing uses, sets the new one that a value waits for."""
    last = {(s.scope, s.selector, s.arg): s for s in statements if s.kind in ("binding", "macro")}
    refs = [ref for s in last.values() for ref in references(s.value)]
    used = {ref.name for ref in refs if isinstance(ref, Macro)}
    for old, news in MACROS.items():
        new = next((name for name in news if name in used), None)
        if new is None or old in used:
            continue
        for i, s in enumerate(statements):
            if s.name == old and not (isinstance(s.value, Macro) and s.value.required):
                tell(f"{s.where}: {old} is called {new} here; the old name is still read.")
                statements[i] = dataclasses.replace(s, selector=new)
    return statements


def text(recorded: str, known: Names | None = None) -> str:
    """Returns the gin text of a recorded config under the names of now, or others that are known.

    A name stands at the start of a line, or behind an '@'.
    """
    of = (known or names()).binding
    return re.sub(r"(?m)^[\w/.]+(?= =)|(?<=@)[\w/]+", lambda found: of(found[0]), recorded)
