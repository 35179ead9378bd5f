"""From bound gin values to frozen dataclasses: what gin may build, and how it is checked.

gin calls the plain functions registered here, never the dataclasses, so what comes out are real
instances of the dataclasses themselves. A builder notes what is wrong (with file and line) in the
session and goes on, so that one reading tells all that has to be mended.
"""

import dataclasses
import functools
import importlib
import inspect
import re
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from jaxlt.config.files import Macro, Statement
from jaxlt.config.types import BASES, FAILED, GIN_NAMES, Failed, Mismatch, describe, fit, shown
from jaxlt.errors import UserError, nearest

# gin name -> where it lives. A new dataclass or method is one row here.
TABLE = {
    "run": "jaxlt.config:RunConfig",
    "T5Config": "jaxlt.models.config:T5Config",
    "BiLSTMConfig": "jaxlt.models.config:BiLSTMConfig",
    "plug": "jaxlt.modules.config:plug",
    "delta": "jaxlt.modules.config:delta",
    "DataConfig": "jaxlt.data.config:DataConfig",
    "TaskConfig": "jaxlt.data.task_config:TaskConfig",
    "TextConfig": "jaxlt.data.text.settings:TextConfig",
    "TransferConfig": "jaxlt.data.transfer_config:TransferConfig",
    "TrainConfig": "jaxlt.engine.config:TrainConfig",
    "CompilerConfig": "jaxlt.engine.config:CompilerConfig",
    "OptimizerConfig": "jaxlt.engine.config:OptimizerConfig",
    "ScheduleConfig": "jaxlt.engine.config:ScheduleConfig",
    "LossConfig": "jaxlt.engine.config:LossConfig",
    "MeshConfig": "jaxlt.engine.config:MeshConfig",
    "DecodingConfig": "jaxlt.engine.decode.config:DecodingConfig",
    "CheckpointConfig": "jaxlt.engine.config:CheckpointConfig",
    "FactoryConfig": "jaxlt.data.synth.families:FactoryConfig",
    "Family": "jaxlt.data.synth.families:Family",
}
# What is about runs, not of one: a run's own files may speak of it.
STUDIES = {
    "study": "jaxlt.experiments.config:Study",
    "sweep": "jaxlt.experiments.config:Sweep",
    "claim": "jaxlt.experiments.config:Claim",
    "figure": "jaxlt.report.figures:Figure",
    "laboratory": "jaxlt.experiments.laboratory:Laboratory",
}
TABLE |= STUDIES
# Heads, which bring jax: loaded where a gin file names one. One of a user's own needs no row: it
# is known once its file is imported (`import my_heads` in a gin file).
HEADS = {
    "TaggerConfig": "jaxlt.models.tagger:TaggerConfig",
    "ParserConfig": "jaxlt.models.biaffine:ParserConfig",
    "ClassifierConfig": "jaxlt.models.classifier:ClassifierConfig",
    "SpanConfig": "jaxlt.models.span_extractor:SpanConfig",
}
# Parts of a step, which bring jax too.
TRANSFORMS = {
    "ChildTuning": "jaxlt.engine.optim.transforms:ChildTuning",
    "VocabularyRows": "jaxlt.engine.optim.transforms:VocabularyRows",
    "PCGrad": "jaxlt.engine.optim.transforms:PCGrad",
}
AUXILIARY = {
    "Alignment": "jaxlt.engine.loss.alignment:Alignment",
    "Contrastive": "jaxlt.engine.loss.contrastive:Contrastive",
    "Adversary": "jaxlt.engine.loss.adversary:Adversary",
    "Distillation": "jaxlt.engine.loss.distillation:Distillation",
}
LATE = HEADS | TRANSFORMS | AUXILIARY
METHODS = {
    "bottleneck": "jaxlt.modules.bottleneck:Bottleneck",
    "pfeiffer": "jaxlt.modules.bottleneck:Pfeiffer",
    "parallel": "jaxlt.modules.bottleneck:Parallel",
    "nice": "jaxlt.modules.nice:Nice",
    "lora": "jaxlt.modules.lora:LoRA",
    "ia3": "jaxlt.modules.ia3:IA3",
    "bitfit": "jaxlt.modules.bitfit:BitFit",
    "norm_scale": "jaxlt.modules.norm_scale:NormScale",
    "x_mod": "jaxlt.modules.x_mod:XMod",
    "language_layer": "jaxlt.modules.language_layer:LanguageLayer",
    "prefix": "jaxlt.modules.prefix:Prefix",
    "soft_prompt": "jaxlt.modules.soft_prompt:SoftPrompt",
    "fusion": "jaxlt.modules.fusion:Fusion",
    "ensemble": "jaxlt.modules.ensemble:Ensemble",
    "project": "jaxlt.modules.interventions:Project",
    "mean_shift": "jaxlt.modules.interventions:MeanShift",
    "ablate": "jaxlt.modules.interventions:Ablate",
}
# Parts of a run that are built from their own bindings when `run.part = @...` is not said.
SECTIONS = {
    "model": "T5Config",
    "data": "DataConfig",
    "train": "TrainConfig",
    "optimizer": "OptimizerConfig",
    "schedule": "ScheduleConfig",
    "loss": "LossConfig",
    "mesh": "MeshConfig",
    "checkpoint": "CheckpointConfig",
}
MODELS = ("T5Config", "BiLSTMConfig")  # what `run.model` may be
# What has such parts, by its gin name.
PARTS = {
    "run": SECTIONS,
    "study": {"laboratory": "laboratory"},
    "DataConfig": {"text": "TextConfig"},
    "TrainConfig": {"compiler": "CompilerConfig"},
}


@dataclasses.dataclass(frozen=True)
class Entry:
    """One thing that gin can build: its parameters with their types, and gin's function for it."""

    name: str
    path: str  # 'jaxlt.models.config.T5Config'
    hints: dict[str, Any]
    open_ended: bool  # takes settings beyond `hints`
    call: Callable[..., Any]

    def answers(self, selector: str) -> bool:
        """Says whether a gin selector, short or with (part of) its module, means this entry."""
        return self.path == selector or self.path.endswith("." + selector)


@dataclasses.dataclass
class Session:
    """What is known of one reading of gin files, and what went wrong in it."""

    bindings: dict[tuple[str, str, str], Statement]  # (scope, entry name, arg) -> last statement
    macros: dict[str, Statement]
    with_methods: bool = True  # False: plugs stay unbuilt, whose classes bring jax
    problems: list[str] = dataclasses.field(default_factory=list)
    missing: dict[str, str] = dataclasses.field(default_factory=dict)

    def binding(self, scopes: Sequence[str], name: str, arg: str) -> Statement | None:
        """Returns the statement that gin takes `arg` from: the innermost scope wins."""
        for depth in range(len(scopes), -1, -1):
            found = self.bindings.get(("/".join(scopes[:depth]), name, arg))
            if found:
                return found
        return None

    def origin(self, statement: Statement) -> Statement:
        """Follows macros to the statement that holds the value."""
        seen = set()
        while isinstance(statement.value, Macro) and statement.value.name in self.macros:
            if statement.value.name in seen:
                break
            seen.add(statement.value.name)
            statement = self.macros[statement.value.name]
        return statement

    def place(self, statement: Statement | None) -> str:
        """Returns where a value comes from, in brackets: its own place, and the macro's if any."""
        if statement is None:
            return ""
        origin = self.origin(statement)
        if origin is statement:
            return f" ({statement.where})"
        return f" ({origin.where}; used by {statement.name} at {statement.where})"


_SESSION: Session | None = None
_ENTRIES: dict[str, Entry] = {}


def load_object(path: str) -> Any:
    """Returns the object at 'module:name'."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def table() -> dict[str, str]:
    """Returns TABLE with the heads and parts of a step that have been imported."""
    kinds = load_object("jaxlt.models.head:HeadConfig").imported()
    bases = ("jaxlt.engine.open:Transform", "jaxlt.engine.open:Auxiliary")
    for base in (*bases, "jaxlt.experiments.recipe:Recipe"):
        kinds |= load_object("jaxlt.engine.open:kinds_of")(load_object(base))
    return TABLE | {name: f"{kind.__module__}:{name}" for name, kind in kinds.items()}


def heads_for(shape: str) -> list[str]:
    """Returns in words which heads label examples of that shape."""
    for path in HEADS.values():
        load_object(path)
    heads = load_object("jaxlt.models.head:HeadConfig").imported().values()
    return [head.form_for(shape) for head in heads if shape in head.shapes]


def entries(named: Iterable[str] = ()) -> dict[str, Entry]:
    """Returns all that gin can build, by gin name; registers it with gin the first time.

    named: selectors of gin's; those among them that bring jax are loaded.
    """
    import gin

    for name in {selector.rpartition(".")[2] for selector in named} & LATE.keys():
        load_object(LATE[name])
    BASES[load_object("jaxlt.models.head:HeadConfig")] = tuple(HEADS)
    BASES[load_object("jaxlt.engine.open:Transform")] = tuple(TRANSFORMS)
    BASES[load_object("jaxlt.engine.open:Auxiliary")] = tuple(AUXILIARY)
    for name, path in table().items():
        if name not in _ENTRIES:
            module = path.partition(":")[0]
            function, hints, open_ended = _builder(name, load_object(path))
            call = gin.external_configurable(function, name=name, module=module)
            _ENTRIES[name] = Entry(name, f"{module}.{name}", hints, open_ended, call)
    for path in METHODS.values():
        module, _, name = path.partition(":")
        if name not in _ENTRIES:
            call = gin.external_configurable(_class_reference(path), name=name, module=module)
            _ENTRIES[name] = Entry(name, f"{module}.{name}", {}, False, call)
    return _ENTRIES


def _class_reference(path: str) -> Callable[[], type]:
    """Returns a function for gin to know a method class by, since gin would subclass a class."""

    def reference() -> type:
        return load_object(path)

    reference.names_class = path  # type: ignore[attr-defined]
    return reference


def _hints(target: Any) -> dict[str, Any]:
    """Returns the parameters of a dataclass or function with their resolved types, in order."""
    local = {}
    if target.__module__ == "jaxlt.config":  # it names the others without importing them
        local = {p.partition(":")[2]: load_object(p) for n, p in TABLE.items() if n != "run"}
    types = typing.get_type_hints(target, localns=local or None)
    kept = inspect.signature(target).parameters.values()
    return {p.name: types.get(p.name, Any) for p in kept if p.kind is not p.VAR_KEYWORD}


def _builder(name: str, target: Any) -> tuple[Callable[..., Any], dict[str, Any], bool]:
    """Returns the function gin calls for `target`, its parameters' types, and if it is open."""
    hints = _hints(target)
    signature = inspect.signature(target)
    open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    required = [
        p.name
        for p in signature.parameters.values()
        if p.default is p.empty and p.kind is not p.VAR_KEYWORD
    ]

    def build(**given: Any) -> Any:
        return _build(name, target, hints, required, given)

    functools.update_wrapper(build, target, assigned=("__module__", "__doc__"), updated=())
    delattr(build, "__wrapped__")  # gin would look through it to the class
    build.__name__ = build.__qualname__ = name
    build.__signature__ = signature  # type: ignore[attr-defined]
    made = target if inspect.isclass(target) else typing.get_type_hints(target)["return"]
    build.builds = made  # type: ignore[attr-defined]
    GIN_NAMES[made] = name
    return build, hints, open_ended


def _build(name: str, target: Any, hints: dict[str, Any], required: list[str], given: dict) -> Any:
    """Checks and fits what gin gives, fills a run's parts in, and calls the target."""
    import gin

    session, scopes = _SESSION, gin.current_scope()
    if session is None:
        session = Session({}, {})  # built outside load(), by a user's own code
    find = functools.partial(session.binding, scopes, name)
    full = "/".join([*scopes, name])
    parts = PARTS.get(name, {})
    made = {part: _ENTRIES[s].call() for part, s in parts.items() if part not in given}
    given = {**made, **given}
    if name in ("delta", "claim", "figure") and scopes:
        given.setdefault("name", scopes[-1])
    if name == "plug":
        given, hints = _prepare_plug(session, scopes, given, hints)
    absent = [arg for arg in required if arg not in given]
    for arg in absent:
        session.missing.setdefault(f"{full}.{arg}", describe(hints[arg]))
    for arg, value in given.items():
        statement = find(arg)
        label = statement.name if statement else f"{full}.{arg}"
        if value is gin.REQUIRED or (isinstance(value, (list, tuple)) and gin.REQUIRED in value):
            wanted, why = label, ""
            if statement and session.origin(statement) is not statement:
                wanted = session.origin(statement).name
                why = f", for {label} at {statement.where}"
            session.missing.setdefault(wanted, describe(hints.get(arg, Any)) + why)
            given[arg] = FAILED
            continue
        try:
            given[arg] = fit(value, hints.get(arg, Any))
        except Mismatch as error:
            place = session.place(statement)
            session.problems.append(f"{label} has to be {error}, not {shown(value)}{place}.")
            given[arg] = FAILED
    if absent or any(isinstance(v, Failed) for value in given.values() for v in _leaves(value)):
        return FAILED
    return _call(session, full, target, given, find)


def _leaves(value: Any) -> list[Any]:
    """Returns what a tuple holds, however deeply; of anything else, itself."""
    if isinstance(value, tuple):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value]


def _call(session: Session, full: str, target: Any, given: dict, find: Callable) -> Any:
    """Calls the target; what it refuses becomes a problem that says where its arguments stand."""
    try:
        built = target(**given)
        hash(built)
        return built
    except (UserError, ValueError, TypeError) as error:
        if isinstance(error, TypeError) and "unhashable" not in str(error):
            raise
        words = set(re.findall(r"\w+", str(error)))
        named = [arg for arg in given if arg in words and find(arg)]
        places = "; ".join(f"{a}{session.place(find(a))}" for a in named)
        text = str(error) if str(error).endswith((".", "?", "!")) else f"{error}."
        prefix = "" if isinstance(error, UserError) else f"{full} cannot be built: "
        session.problems.append(f"{prefix}{text}" + (f" Set here: {places}." if places else ""))
        return FAILED


def _prepare_plug(
    session: Session, scopes: list[str], given: dict, hints: dict
) -> tuple[dict, dict]:
    """Names a plug after its scope, finds its method, and gives the settings the method's types."""
    if scopes:
        given.setdefault("name", scopes[-1])
    if "method" not in given:
        return given, hints
    if not session.with_methods:
        return {**{n: v for n, v in given.items() if n in hints}, "method": FAILED}, hints
    place = session.place(session.binding(scopes, "plug", "method"))
    method = given["method"]
    path = getattr(method, "names_class", None)
    if isinstance(method, str):
        path = METHODS.get(method, method if ":" in method else None)
        if path is None:
            session.problems.append(
                f"There is no method '{method}'{place}. Methods are {', '.join(METHODS)}, or "
                f"'package.module:Class' for one of your own.{nearest(method, METHODS)}"
            )
            return {**given, "method": FAILED}, hints
    if path:
        try:
            method = load_object(path)
        except (ImportError, AttributeError, ValueError) as error:
            session.problems.append(f"The method '{path}'{place} cannot be imported: {error}.")
            return {**given, "method": FAILED}, hints
    base = load_object("jaxlt.modules.site:Method")
    if not (isinstance(method, type) and issubclass(method, base)):
        return {**given, "method": method}, hints  # the type check says what is wrong
    settings: set[str] = method.own_settings()  # type: ignore[attr-defined]
    types = typing.get_type_hints(method)
    own = {name: types[name] for name in sorted(settings)}
    for arg in sorted(set(given) - set(hints) - set(own)):
        at = session.place(session.binding(scopes, "plug", arg))
        session.problems.append(
            f"{method.__name__} has no setting '{arg}'{at}; it has {', '.join(sorted(own))}, and "
            f"every plug {', '.join(hints)}.{nearest(arg, {*own, *hints})}"
        )
        given[arg] = FAILED
    return {**given, "method": method}, {**own, **hints}


def build_root(session: Session, name: str = "run") -> Any:
    """Builds a run, or what else has that gin name, from what is bound.

    Raises UserError with all that is missing or wrong. It is built without its plugs' methods
    first: what is wrong elsewhere is then said before jax is imported.
    """
    if session.with_methods and any(name == "plug" for _, name, _ in session.bindings):
        build_root(dataclasses.replace(session, with_methods=False), name)
    global _SESSION
    _SESSION = session
    try:
        built = entries()[name].call()
    finally:
        _SESSION = None
    texts = list(dict.fromkeys(session.problems))  # a scope repeats what it inherits
    if session.missing:
        bare = [f"--gin.{name}=VALUE ({what})" for name, what in session.missing.items()]
        several = "these are" if len(bare) > 1 else "this is"
        texts.append(
            f"Required and not set: {several} to be added on the command line (or in a gin file, "
            f"without '--gin.'): {'; '.join(bare)}."
        )
    if texts:
        raise UserError(" ".join(texts))
    return built
