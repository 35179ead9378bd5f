"""From gin files and command-line overrides to a flat list of statements that know their place.

gin's own parser reads the text; every statement keeps the file and line it stands on (through
includes too), so that each error can say where. Nothing is bound here.
"""

import dataclasses
import functools
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxlt.config.layers import LAST, LAYERS, layer_of
from jaxlt.errors import UserError, nearest


@dataclasses.dataclass(frozen=True)
class Reference:
    """`@scope/Name` in gin, or `@scope/Name()` when `evaluate`."""

    name: str
    evaluate: bool

    @property
    def scopes(self) -> list[str]:
        """The scopes of the reference, outermost first."""
        return self.name.split("/")[:-1]

    @property
    def selector(self) -> str:
        """The name without scopes."""
        return self.name.rsplit("/", 1)[-1]


@dataclasses.dataclass(frozen=True)
class Macro:
    """`%NAME` in gin."""

    name: str

    @property
    def required(self) -> bool:
        """Says whether this is `%gin.REQUIRED`."""
        return self.name in ("gin.REQUIRED", "REQUIRED")


@dataclasses.dataclass(frozen=True, eq=False)
class Statement:
    """One statement: a binding (`scope/selector.arg = value`), a macro (no arg), or an import.

    `file` is None for what the command line gave; `text` is then the flag itself. A `fallback`
    stands behind every file and need not be used. `layer` is its file's (`jaxlt.config.layers`).
    """

    kind: str  # 'binding' | 'macro' | 'block' | 'import'
    scope: str = ""
    selector: str = ""
    arg: str = ""
    value: Any = None
    file: str | None = None
    line: int = 0
    text: str = ""
    fallback: bool = False
    layer: str = LAST
    given: str = ""  # the file that was asked for, whose include led to this
    order: int = 0  # of the files that were asked for, which

    @property
    def name(self) -> str:
        """What stands left of the equals sign."""
        scoped = f"{self.scope}/{self.selector}" if self.scope else self.selector
        return f"{scoped}.{self.arg}" if self.arg else scoped

    @property
    def where(self) -> str:
        """The place of the statement in words."""
        if self.fallback:
            return f"{self.text}, this verb's own default"
        return f"{self.file}, line {self.line}" if self.file else f"{self.text} on the command line"


def references(value: Any) -> Iterator[Reference | Macro]:
    """Yields every reference and macro in a value, however deeply it is nested."""
    if isinstance(value, (Reference, Macro)):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from references(key)
            yield from references(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from references(item)


class InOrder(dict[Any, Any]):
    """A dict that gin's text of a run does not sort: some are read in the order they are said."""

    def __repr__(self) -> str:
        return f"{{{', '.join(f'{k!r}: {v!r}' for k, v in self.items())}}}"


def mapped(value: Any, change: Callable[[Reference | Macro], Any]) -> Any:
    """Returns a value with every reference and macro in it, however deep, changed."""
    if isinstance(value, (Reference, Macro)):
        return change(value)
    if isinstance(value, dict):
        return InOrder({mapped(k, change): mapped(v, change) for k, v in value.items()})
    if isinstance(value, (list, tuple)):
        return type(value)(mapped(item, change) for item in value)
    return value


def _delegate() -> Any:
    """Returns gin's parser delegate that builds our nodes in place of gin's live references."""
    from gin import config_parser

    class Delegate(config_parser.ParserDelegate):
        def configurable_reference(
            self, scoped_configurable_name: str, evaluate: bool
        ) -> Reference:
            return Reference(scoped_configurable_name, evaluate)

        def macro(self, macro_name: str) -> Macro:
            return Macro(macro_name)

    return Delegate()


def shipped_configs() -> Path:
    """Returns the folder of jaxlt's own gin files: inside the package, or the repository's."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "gin_configs"
    return inside if inside.is_dir() else package.parent / "gin_configs"


def _folders(search_paths: Sequence[str | Path], beside: Path | None = None) -> list[Path]:
    """Returns where gin files are looked for, first hit wins."""
    paths = [Path(p).expanduser() for p in search_paths]
    return [Path(), *paths, *([beside] if beside else []), shipped_configs()]


def find_file(name: str, search_paths: Sequence[str | Path], beside: Path | None = None) -> Path:
    """Returns the path of gin file `name`; an unknown one is an error with the nearest name."""
    folders = _folders(search_paths, beside)
    for folder in folders:
        path = folder / Path(name).expanduser()
        if path.is_file():
            return path
    known: dict[str, None] = {}
    for folder in folders[1:]:
        paths = sorted(folder.rglob("*.gin")) if folder.is_dir() else []
        known.update(dict.fromkeys(p.relative_to(folder).as_posix() for p in paths))
    local = sorted({*Path().glob("*.gin"), *(Path() / name).parent.glob("*.gin")})
    known.update(dict.fromkeys(p.as_posix() for p in local))
    same_name = [k for k in known if Path(k).stem == Path(name).stem]
    hint = f" Did you mean '{same_name[0]}'?" if same_name else nearest(name, known)
    looked = ", ".join(dict.fromkeys(str(f.absolute()) for f in folders))
    raise UserError(
        f"There is no gin file '{name}'.{hint} It was looked for in {looked} (the current folder, "
        "--gin_search_paths, then the files that come with jaxlt)."
    )


def _shown(path: Path) -> str:
    """Returns a path as the user would write it: relative where it lies under this folder."""
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)


def read_files(names: Iterable[str], search_paths: Sequence[str | Path] = ()) -> list[Statement]:
    """Returns the statements of gin files, the winning ones last: by layer, then in order.

    Includes are expanded where they stand.
    """
    statements: list[Statement] = []
    for order, name in enumerate(names):
        read = _read(find_file(name, search_paths), search_paths, ())
        statements += [dataclasses.replace(s, order=order) for s in read]
    return sorted(statements, key=lambda s: LAYERS.index(s.layer))


def _read(
    path: Path,
    search_paths: Sequence[str | Path],
    outer: tuple[Path, ...],
    layer: str = LAST,
    given: str = "",
) -> list[Statement]:
    """Parses one file; `outer` are the files whose include led here, `layer` the first's."""
    from gin import config_parser

    shown = _shown(path)
    if path.resolve() in outer:
        chain = " -> ".join(_shown(p) for p in (*outer, path))
        raise UserError(f"Gin files include each other in a circle: {chain}.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The gin file {shown} cannot be read as UTF-8 text: {error}.") from error
    outer = (*outer, path.resolve())
    if layer == LAST:
        layer, given = layer_of(path, text, shown), shown
    statements: list[Statement] = []
    try:
        for s in _parsed(text):
            at = {"file": shown, "line": s.location.line_num, "layer": layer, "given": given}
            if isinstance(s, config_parser.IncludeStatement):
                try:
                    included = find_file(s.filename, search_paths, path.parent)
                except UserError as error:
                    raise UserError(f"{shown}, line {at['line']}: {error}") from error
                statements += _read(included, search_paths, outer, layer, given)
            elif isinstance(s, config_parser.ImportStatement):
                statements.append(Statement("import", selector=s.module, text=s.format(), **at))
            elif isinstance(s, config_parser.BlockDeclaration):
                statements.append(Statement("block", s.scope, s.selector, **at))
            else:
                statements.append(_binding(s.scope, s.selector, s.arg_name, s.value, **at))
    except (SyntaxError, tokenize.TokenError) as error:
        raise UserError(_syntax(shown, text, error)) from error
    return statements


@functools.lru_cache(maxsize=256)
def _parsed(text: str) -> list[Any]:
    """Returns what gin's parser makes of a file's text; shipped files are parsed once."""
    from gin import config_parser

    return list(config_parser.ConfigParser(text, _delegate()))


def _binding(scope: str, selector: str, arg: str, value: Any, **at: Any) -> Statement:
    """Returns a macro statement for a bare name, else a binding."""
    return Statement("binding" if arg else "macro", scope, selector, arg, value, **at)


def _syntax(shown: str, text: str, error: Exception) -> str:
    """Says in one paragraph where gin's parser stopped, and why."""
    if isinstance(error, SyntaxError):
        message, line = error.msg, error.lineno or 0
    else:  # the text ended inside a bracket or a string: tokenize gives (message, (line, column))
        message, line = str(error.args[0]), error.args[1][0]
    lines = text.splitlines()
    while line > len(lines) or (line > 1 and not lines[line - 1].strip()):
        line -= 1  # an unclosed bracket is noticed past the end of the file
    quoted = f" ('{lines[line - 1].strip()}')" if lines else ""
    message = " ".join(message.split()).rstrip(".")
    if token := re.search(r"Failed to parse token '(.*)'", message):
        message = f"'{token[1]}' is no literal, @reference or %MACRO"
    return (
        f"{shown}, line {line}{quoted} is not valid gin: {message}. A line is `Name.field = value`,"
        " `MACRO = value`, `include 'file.gin'` or a block `scope/Name:`; texts need quotes."
    )


def read_overrides(overrides: Iterable[str]) -> list[Statement]:
    """Returns the statements of `NAME=value` texts (what follows `--gin.` on the command line).

    The value is a gin literal, `@reference` or `%MACRO`; anything else is taken as a string, so
    that `TEXT=data/my folder` needs no inner quotes.
    """
    from gin import config_parser

    statements = []
    for override in overrides:
        key, equals, raw = override.partition("=")
        key = key.strip()
        if not equals:
            raise UserError(f"--gin.{override} has no value: write --gin.{override}=VALUE.")
        scopes = key.split("/")
        if not all(part.isidentifier() for s in scopes for part in s.split(".")):
            raise UserError(
                f"--gin.{override} names no gin binding: write --gin.Name.field=VALUE, "
                "--gin.MACRO=VALUE or --gin.scope/Name.field=VALUE."
            )
        scope, selector, arg = config_parser.parse_binding_key(key)
        at = {"text": f"--gin.{override}"}
        statements.append(_binding(scope, selector, arg, parse_value(raw), **at))
    return statements


def parse_value(raw: str) -> Any:
    """Returns a gin literal's value, or the text itself where it is none.

    `[a/.*,b]` is a list of texts: a shell takes the quotes within away.
    """
    from gin import config_parser

    try:
        parser = config_parser.ConfigParser(raw.strip(), _delegate())
        value = parser.parse_value()
        ended = parser.current_token.type in (tokenize.NEWLINE, tokenize.ENDMARKER)
        if ended and "#" not in raw:
            return value
    except (SyntaxError, tokenize.TokenError, StopIteration):
        pass
    if raw.startswith("[") and raw.endswith("]"):
        return [parse_value(item.strip()) for item in raw[1:-1].split(",")]
    return raw
