"""A run's configuration: gin files and overrides in, one frozen `RunConfig` out.

    run = load(["models/byt5_small.gin", "runs/pretrain.gin"], ["WORKDIR=out", "TEXT=my texts"])
    (Path(run.workdir) / "config.gin").write_text(operative_config(run))

gin is used here and nowhere else: what leaves is plain frozen dataclasses, equal by value and
hashable. Importing this costs no gin and no jax.
"""

import contextlib
import dataclasses
import functools
import hashlib
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxlt.config import build, checks, files, imports, layers, renamed, text
from jaxlt.config.files import shipped_configs
from jaxlt.errors import UserError
from jaxlt.identity import HARMLESS, PLACED
from jaxlt.version import __version__

if TYPE_CHECKING:
    from jaxlt.data.config import DataConfig
    from jaxlt.data.synth.families import FactoryConfig
    from jaxlt.engine.config import (
        CheckpointConfig,
        LossConfig,
        MeshConfig,
        OptimizerConfig,
        ScheduleConfig,
        TrainConfig,
    )
    from jaxlt.models.config import BiLSTMConfig, T5Config

__all__ = [
    "RunConfig",
    "config_hash",
    "load",
    "load_factory",
    "load_study",
    "operative_config",
    "shipped_configs",
    "versions",
]


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """All that decides a run. In gin it is `run`; each part is built from its own bindings."""

    workdir: str = dataclasses.field(metadata=HARMLESS)
    model: "T5Config | BiLSTMConfig"
    data: "DataConfig"
    train: "TrainConfig"
    optimizer: "OptimizerConfig"
    schedule: "ScheduleConfig"
    loss: "LossConfig"
    mesh: "MeshConfig" = dataclasses.field(metadata=HARMLESS)
    checkpoint: "CheckpointConfig"
    eval_data: "DataConfig | None" = None
    init_from: str | None = dataclasses.field(default=None, metadata=PLACED)
    library: str | None = dataclasses.field(
        default=None, metadata=HARMLESS
    )  # folder of modules that `modules` names
    modules: tuple[str, ...] = ()  # 'lang=*', 'task=pos': see jaxlt.inference.compose
    force_modules: bool = dataclasses.field(
        default=False, metadata=HARMLESS
    )  # take modules that were trained on another backbone

    def __post_init__(self) -> None:
        objective = self.data.objective
        if objective == "heads":
            return
        decoder = getattr(self.model, "decoder_layers", 0)
        if objective == "mlm" and decoder:
            raise UserError(
                "DataConfig.objective = 'mlm' trains an encoder alone, and T5Config.decoder_layers "
                f"is {decoder}: give T5Config.decoder_layers=0, or another objective."
            )
        if objective != "mlm" and not decoder:
            raise UserError(
                f"DataConfig.objective = '{objective}' trains a decoder, and this model has none "
                "(T5Config.decoder_layers is 0): runs/mlm.gin and runs/heads.gin are for encoders."
            )


def load(
    gin_files: Iterable[str] = (),
    overrides: Iterable[str] = (),
    search_paths: Sequence[str | Path] = (),
    fallbacks: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Returns the run that gin files and overrides describe; raises UserError with place and cure.

    gin_files: names, looked for in the current folder, `search_paths`, then jaxlt's own files; of
        one layer (`jaxlt.config.layers`) the later win. overrides: 'NAME=value' texts, without
        '--gin.'; they win over files. fallbacks: values for bindings or macros that neither sets
        (a macro there need not be used).
    Nothing of an earlier call is left: gin's state is cleared first and last.
    """
    run, text_of = _load("run", gin_files, overrides, search_paths, fallbacks)
    _TEXTS.pop(run, None)
    _TEXTS[run] = text_of
    while len(_TEXTS) > 64:
        _TEXTS.pop(next(iter(_TEXTS)))
    return run


def load_factory(
    gin_files: Iterable[str] = (),
    overrides: Iterable[str] = (),
    search_paths: Sequence[str | Path] = (),
) -> "FactoryConfig":
    """Returns the made languages that gin files and overrides describe."""
    return _load("FactoryConfig", gin_files, overrides, search_paths, None)[0]


def load_study(
    gin_files: Iterable[str] = (),
    overrides: Iterable[str] = (),
    search_paths: Sequence[str | Path] = (),
    root: str = "study",
    fallbacks: Mapping[str, Any] | None = None,
) -> Any:
    """Returns the study (or the sweep) that gin files and overrides describe."""
    return _load(root, gin_files, overrides, search_paths, fallbacks)[0]


def _load(
    root: str,
    gin_files: Iterable[str],
    overrides: Iterable[str],
    search_paths: Sequence[str | Path],
    fallbacks: Mapping[str, Any] | None,
) -> tuple[Any, Callable[[], str]]:
    """Returns (what has the gin name `root`, a function that returns gin's own text of it)."""
    read = files.read_files(gin_files, search_paths) + files.read_overrides(overrides)
    given = renamed.now(read)
    behind = {name: _fallback(name, value) for name, value in (fallbacks or {}).items()}
    # What is required in the end and given by a fallback is its value, whatever stood there before.
    last = {s.name: s.value for s in given}
    asked = {n for n, v in last.items() if isinstance(v, files.Macro) and v.required}
    statements = [*behind.values(), *(s for s in given if s.name not in asked & behind.keys())]
    statements, lines = imports.carried_out(statements)
    entries = build.entries(_selectors(statements))
    with _clear():
        checks.check(statements, entries, root)
        for line in checks.overruled(statements, entries):
            renamed.tell(line)
        built = build.build_root(_bind(statements, entries), root)
    return built, functools.partial(_operative, statements, entries, root, lines)


def _operative(
    statements: Sequence[files.Statement],
    entries: dict[str, build.Entry],
    root: str,
    lines: Sequence[str],
) -> str:
    """Returns gin's text of what statements make, behind the lines that import for it."""
    import gin

    with _clear():
        build.build_root(_bind(statements, entries), root)
        return "\n".join([*lines, gin.operative_config_str(max_line_length=100)])


@contextlib.contextmanager
def _clear() -> Iterator[None]:
    """Leaves nothing of before and nothing behind in gin."""
    import gin

    gin.clear_config()
    try:
        yield
    except RecursionError as error:
        raise UserError("Gin values refer to each other in a circle (@references).") from error
    finally:
        gin.clear_config()


# What makes gin's own text of each run it built: that has the macros, which a run does not know.
_TEXTS: dict[RunConfig, Callable[[], str]] = {}


def _fallback(name: str, value: Any) -> files.Statement:
    (statement,) = files.read_overrides([f"{name}="])
    return dataclasses.replace(statement, value=value, text=f"{name} = {value!r}", fallback=True)


def _selectors(statements: Iterable[files.Statement]) -> set[str]:
    """Returns what statements bind, and what their values refer to."""
    refs = [r for s in statements for r in files.references(s.value)]
    referred = {r.selector for r in refs if isinstance(r, files.Reference)}
    return referred | {s.selector for s in statements if s.kind in ("binding", "block")}


def _live(value: files.Reference | files.Macro) -> Any:
    """Returns gin's own reference in the place of our node."""
    from gin import config

    if isinstance(value, files.Reference):
        return config.ConfigurableReference(value.name, value.evaluate)
    return config.ParserDelegate().macro(value.name)


def _bind(statements: Iterable[files.Statement], entries: dict[str, build.Entry]) -> build.Session:
    """Gives every statement to gin, the last one of a name winning, and remembers its place."""
    import gin

    session = build.Session({}, {})
    for s in statements:
        if s.kind == "macro":
            gin.bind_parameter((s.name, "gin.macro", "value"), files.mapped(s.value, _live))
            session.macros[s.name] = s
        elif s.kind == "binding":
            try:
                gin.bind_parameter((s.scope, s.selector, s.arg), files.mapped(s.value, _live))
            except ValueError as error:
                raise UserError(f"{s.where}: {error}") from error
            session.bindings[checks.name_of(s, entries)] = s
    return session


@functools.cache
def versions() -> dict[str, str]:
    """Returns the versions of what computes a run, as installed; nothing is imported for it."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "seqio", "tensorflow")
    installed = {"jaxlt": __version__, "python": platform.python_version()}
    for package in packages:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return installed


def operative_config(run: RunConfig | None = None) -> str:
    """Returns gin text that `load` reads back as an equal run, headed with versions.

    Without `run`, that of the run loaded last. A run made in Python (dataclasses.replace) is
    written out field by field; a loaded one in gin's own words, with its macros.
    """
    if run is None:
        if not _TEXTS:
            raise UserError("No configuration has been loaded yet.")
        run = next(reversed(_TEXTS))
    head = "".join(f"# {name} {version}\n" for name, version in versions().items())
    body = _TEXTS[run]() if run in _TEXTS else text.render(run)
    return f"{layers.HEADER}\n{head}\n{body}"


def config_hash(run: RunConfig) -> str:
    """Returns a hex digest of all settings but the workdir; equal for equal runs."""
    body = renamed.text(text.render(run, ignore=("workdir",)), first=True)
    return hashlib.sha256(body.encode()).hexdigest()[:16]
