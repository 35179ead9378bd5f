"""What can be wrong with gin statements before anything is built: names, scopes, macros.

gin itself accepts a macro that nothing uses and a scope that nobody enters; both are nearly always
misspelt, so they are errors here.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from jaxlt.config.build import LATE, MODELS, PARTS, STUDIES, Entry
from jaxlt.config.files import Macro, Reference, Statement, references, shipped_configs
from jaxlt.config.layers import DECLARED, LAST
from jaxlt.errors import UserError, nearest


def lookup(selector: str, entries: dict[str, Entry]) -> Entry | None:
    """Returns the entry that a gin selector means, or None."""
    return next((e for e in entries.values() if e.answers(selector)), None)


def check(statements: Sequence[Statement], entries: dict[str, Entry], root: str = "run") -> None:
    """Raises UserError that tells every misspelt or unused name, with its place.

    `root` is the gin name of what will be built.
    """
    problems = [p for s in statements for p in _names(s, entries)]
    if not problems:
        problems = _conflicts(statements, entries)
    if not problems:
        problems = [*_macros(statements, entries), *_unused(statements, entries, root)]
    if problems:
        raise UserError(" ".join(problems))


def _known_to_gin(selector: str) -> bool:
    """Says whether an imported module registered the selector with gin."""
    from gin import config

    try:
        config.parse_value(f"@{selector}")
    except (ValueError, KeyError, SyntaxError):
        return False
    return True


def _is_constant(name: str) -> bool:
    """Says whether `%name` is a constant of gin's (gin.REQUIRED, or an imported module's)."""
    import gin

    try:
        gin.query_parameter(name)
    except ValueError:
        return False
    return True


def _names(statement: Statement, entries: dict[str, Entry]) -> Iterable[str]:
    """Yields what is wrong with the names in one statement."""
    known = dict.fromkeys([*entries, *LATE])
    if statement.kind in ("binding", "block"):
        entry = lookup(statement.selector, entries)
        if entry is None and not _known_to_gin(statement.selector):
            hint = nearest(statement.selector, known) or f" There are {', '.join(known)}."
            yield f"{statement.where}: gin knows no '{statement.selector}'.{hint}"
        elif entry and statement.arg and not entry.open_ended and statement.arg not in entry.hints:
            hint = nearest(statement.arg, entry.hints) or f" It has {', '.join(entry.hints)}."
            yield f"{statement.where}: {entry.name} has no '{statement.arg}'.{hint}"
    for ref in references(statement.value):
        if isinstance(ref, Macro) or lookup(ref.selector, entries):
            continue
        if not _known_to_gin(ref.selector):
            hint = nearest(ref.selector, known)
            yield f"{statement.where}: '@{ref.name}' refers to nothing.{hint}"


def name_of(s: Statement, entries: dict[str, Entry]) -> tuple[str, str, str]:
    """Returns what a statement sets, whatever part of its module its selector says."""
    entry = lookup(s.selector, entries) if s.arg else None
    return s.scope, entry.name if entry else s.selector, s.arg


def _by_name(
    statements: Iterable[Statement], entries: dict[str, Entry]
) -> dict[tuple[str, str, str], list[Statement]]:
    """Returns the bindings and macros, those of one name together."""
    by_name: dict[tuple[str, str, str], list[Statement]] = {}
    for s in statements:
        if s.kind in ("binding", "macro"):
            by_name.setdefault(name_of(s, entries), []).append(s)
    return by_name


def _final(statements: Iterable[Statement], entries: dict[str, Entry]) -> list[Statement]:
    """Returns the statements that later ones do not override."""
    return [same[-1] for same in _by_name(statements, entries).values()]


def _conflicts(statements: Iterable[Statement], entries: dict[str, Entry]) -> list[str]:
    """Returns what is wrong where two files of the winning layer say different things."""
    conflicts = []
    for same in _by_name(statements, entries).values():
        last = same[-1]
        rivals = {s.given: s for s in same if s.layer == last.layer in DECLARED}
        other = next((s for s in rivals.values() if s.value != last.value), None)
        if other:
            conflicts.append((other, last))
    if not conflicts:
        return []
    more = f" (and {len(conflicts) - 1} more)" if len(conflicts) > 1 else ""
    (other, last), layer = conflicts[0], conflicts[0][1].layer
    return [
        f"{other.where} and {last.where} both set {last.name}{more}, and of two files of one "
        f"layer, '{layer}', neither wins: leave one of them out, set it on the command line "
        f"(--gin.{last.name}=VALUE), or declare in the header of one that is your own that it "
        f"stands over the other: `# Layer: over {layer.removeprefix('over ')}`."
    ]


def overruled(statements: Iterable[Statement], entries: dict[str, Entry]) -> list[str]:
    """Returns a line for each file that has no layer and wins over files given after it."""
    lost: dict[str, dict[str, set[str]]] = {}
    for same in _by_name(statements, entries).values():
        last = same[-1]
        if last.layer != LAST or not last.file or _is_shipped(last.file):
            continue
        for s in same:
            if s.layer in DECLARED and s.order > last.order and s.value != last.value:
                lost.setdefault(last.file, {}).setdefault(s.given, set()).add(s.name)
    return [
        f"{file} has no layer and so stands over {' and '.join(over)}, given after it, in "
        f"{', '.join(sorted(set.union(*over.values())))}. Where that is not meant, declare in its "
        "header what it is: `# Layer: model`, run, module, data or hardware."
        for file, over in lost.items()
    ]


def _is_shipped(file: str) -> bool:
    return Path(file).resolve().is_relative_to(shipped_configs().resolve())


def _uses(statements: Iterable[Statement]) -> dict[str, Statement]:
    """Returns the macros that values refer to, each with a statement that does."""
    return {
        ref.name: s for s in statements for ref in references(s.value) if isinstance(ref, Macro)
    }


def _macros(statements: Sequence[Statement], entries: dict[str, Entry]) -> Iterable[str]:
    """Yields macros that are used by nothing, used and not defined, or without effect."""
    final = _final(statements, entries)
    used, in_effect = _uses(statements), _uses(final)
    defined = {s.name: s for s in final if s.kind == "macro"}
    fields = {f: f"{e.name}.{f}" for e in entries.values() for f in e.hints}
    for name, s in defined.items():
        if name not in used and not s.fallback:
            field = fields.get(name) or fields.get(name.lower())
            hint = nearest(name, used) or (f" Did you mean '{field}'?" if field else "")
            listing = f" Macros in use: {', '.join(sorted(used))}." if used and not hint else ""
            yield f"{s.where}: the macro '{name}' is used by nothing.{hint}{listing}"
        elif name not in in_effect and not s.file and not s.fallback:
            of = name_of(used[name], entries)
            over = next(s for s in final if name_of(s, entries) == of)
            if over.value is None:
                continue  # switched off on purpose, as tiny.gin does with run.init_from
            yield f"{s.where} has no effect: {over.name} is set directly ({over.where})."
    for name, s in defined.items():
        circle = [name]
        while (step := defined.get(circle[-1])) and isinstance(step.value, Macro):
            circle.append(step.value.name)
            if circle[-1] in circle[:-1]:
                yield f"{s.where}: macros refer to each other in a circle: {' -> '.join(circle)}."
                return
    for name, s in in_effect.items():
        if name not in defined and not _is_constant(name):
            hint = nearest(name, defined)
            yield (
                f"{s.where}: %{name} is not defined anywhere.{hint} Define it with "
                f"--gin.{name}=VALUE or a line `{name} = ...` in a gin file."
            )


def _unused(statements: Sequence[Statement], entries: dict[str, Entry], root: str) -> Iterable[str]:
    """Yields bindings in a scope that nothing enters, or of a thing that nothing builds.

    Where only a part is built, files may describe a whole run that has it; and a recipe may speak
    of either kind of model.
    """
    refs = [r for s in statements for r in references(s.value) if isinstance(r, Reference)]
    scopes = {"/".join(r.scopes[: i + 1]) for r in refs for i in range(len(r.scopes))}
    built = {e.name for r in refs if (e := lookup(r.selector, entries))}
    built.add(root)
    for name in PARTS:  # `run` comes first
        built |= set(PARTS[name].values()) if name in built else set()
    for s in statements:
        if s.kind != "binding" or s.fallback:
            continue
        entry = lookup(s.selector, entries)
        if s.scope and s.scope not in scopes:
            hint = nearest(s.scope, scopes)
            yield (
                f"{s.where}: nothing enters the scope '{s.scope}', so this would have no effect: "
                f"no value is @{s.scope}/{s.selector}().{hint}"
            )
        elif (
            entry
            and entry.name not in built
            and not (s.file and (root != "run" or entry.name in (*MODELS, *STUDIES)))
        ):
            yield (
                f"{s.where}: nothing builds '{entry.name}', so this would have no effect: a value "
                f"has to be @{entry.name}()."
            )
