"""Names of settings that were others once: what says the old ones goes on being read.

    length_buckets: int = field(default=0, metadata=renamed("like_lengths"))    # jaxlt.identity

`--gin.DataConfig.like_lengths=5`, the same in a gin file and in the config.gin of an old run all
set `length_buckets`, and a line says so once. Macros that had another name are in the table below.
Hashes are of the first names, so that no rename changes the identity of a run.
"""

import dataclasses
import functools
import logging
import re
import typing
from collections.abc import Sequence

from jaxlt.config.build import LATE, load_object, table
from jaxlt.config.files import Macro, Statement, references
from jaxlt.identity import first_name

_log = logging.getLogger(__name__)

# macro -> what it is called now, by what it names
MACROS: dict[str, tuple[str, ...]] = {"TEXT": ("CORPORA", "PAIRS")}


def binding(name: str, first: bool = False) -> str:
    """Returns the name of now (or the first) of a binding: 'eval/DataConfig.bad', or with module.

    Heads are known once they are imported, those of jaxlt's own always.
    """
    thing, dot, field = name.rpartition(".")
    path = (LATE | table()).get(re.split(r"[/.]", thing)[-1])
    names = _renamed(path) if path else {}
    if first:
        names = {new: old for old, new in names.items()}
    return f"{thing}{dot}{names.get(field, field)}"


@functools.cache
def _renamed(path: str) -> dict[str, str]:
    """Returns the fields of what is built by 'module:name', by the names that were others once."""
    target = load_object(path)
    built = target if isinstance(target, type) else typing.get_type_hints(target)["return"]
    fields = {first_name(field): field.name for field in dataclasses.fields(built)}
    return {old: new for old, new in fields.items() if old != new}


@functools.cache
def tell(text: str) -> None:
    """Says a line, once however often the files are read."""
    _log.warning(text)


def now(statements: Sequence[Statement], late: bool = True) -> list[Statement]:
    """Returns statements under the names of now; says which were old.

    Not late: settings of what brings jax (a head) stay as they are called, and jax stays out.
    """
    return _macros([s if not late and _is_late(s.selector) else _statement(s) for s in statements])


def _is_late(thing: str) -> bool:
    return re.split(r"[/.]", thing)[-1] in LATE


def _statement(s: Statement) -> Statement:
    """One statement with the name of now."""
    if s.kind != "binding":
        return s
    arg = binding(f"{s.selector}.{s.arg}").rpartition(".")[2]
    changed = dataclasses.replace(s, arg=arg)
    if arg != s.arg:
        tell(f"{s.where}: {s.name} is called {changed.name} now; the old name is still read.")
    return changed


def _macros(statements: list[Statement]) -> list[Statement]:
    """Returns statements in which macros by old names set those that are asked for now.

    That is each new one that waits for a value. Where none does, an old one that nothing uses
    stands for the first that is used.
    """
    last = {(s.scope, s.selector, s.arg): s for s in statements if s.kind in ("binding", "macro")}
    refs = [ref for s in last.values() for ref in references(s.value)]
    used = {ref.name for ref in refs if isinstance(ref, Macro)}
    for old, news in MACROS.items():
        asked = [new for new in news if new in used]
        waiting = [new for new in asked if _waits(last.get(("", new, "")))]
        targets = waiting if waiting or old in used else asked[:1]
        if not targets or _waits(last.get(("", old, ""))):
            continue
        out = []
        for s in statements:
            if s.name == old and not _waits(s):
                for new in targets:
                    tell(f"{s.where}: {old} is called {new} here; the old name is still read.")
                    out.append(dataclasses.replace(s, selector=new))
            if not (s.name in waiting and _waits(s)) and (s.name != old or old in used):
                out.append(s)
        statements = out
    return statements


def _waits(macro: Statement | None) -> bool:
    """Says whether a macro has no value yet."""
    return macro is None or (isinstance(macro.value, Macro) and macro.value.required)


def text(recorded: str, first: bool = False) -> str:
    """Returns the gin text of a recorded config under the names of now, or their first ones.

    A name stands at the start of a line.
    """
    return re.sub(r"(?m)^[\w/.]+(?= =)", lambda name: binding(name[0], first), recorded)
