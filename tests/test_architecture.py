"""The rooms of the house, the arrows between them, no circle of files: read from the imports."""

import ast
import functools
from pathlib import Path

import pytest

import jaxlt

ROOT = Path(jaxlt.__file__).parent
# A room may import from these. The plain files beside them are everybody's.
EVERYBODYS = {"errors", "identity", "progress", "screen", "version"}
ARROWS = {
    "__init__": {"api"},
    "__main__": {"commands"},
    "api": {"config", "data", "engine", "inference", "models", "modules"},
    "commands": {
        "api",
        "config",
        "convert",
        "data",
        "engine",
        "experiments",
        "inference",
        "metrics",
        "models",
        "modules",
        "plan",
        "report",
    },
    "config": {"data", "engine", "models", "modules"},
    "convert": {"models"},
    "data": {"metrics"},
    "engine": {"data", "metrics", "models", "modules"},
    "errors": set(),
    "experiments": {
        "analysis",
        "config",
        "convert",
        "data",
        "engine",
        "inference",
        "metrics",
        "models",
        "modules",
        "report",
    },
    "identity": set(),
    "inference": {"config", "convert", "data", "engine", "metrics", "models", "modules"},
    "metrics": set(),
    "models": {"modules"},
    "modules": set(),
    "plan": {"config", "data", "engine", "models", "modules"},
    "progress": set(),
    "report": {"metrics"},
    "screen": set(),
    "version": set(),
}
# What may not be imported where, at any depth of a function.
FORBIDDEN = {
    "engine": {"argparse", "gin", "tensorflow", "seqio"},
    "inference": {"argparse", "gin"},
    "models": {"argparse", "gin", "tensorflow", "seqio"},
    "modules": {"argparse", "gin", "tensorflow", "seqio"},
    "convert": {"argparse", "gin", "tensorflow", "seqio", "pickle"},
    "data": {"argparse", "gin", "jax", "flax"},
    "experiments": {"argparse", "gin", "tensorflow", "seqio"},
    "metrics": {"argparse", "gin", "tensorflow", "seqio", "jax", "flax"},
    "plan": {"argparse", "gin", "tensorflow", "seqio"},
    "report": {"argparse", "gin", "tensorflow", "seqio", "jax", "flax"},
    "api": {"argparse", "gin"},
}
# Tests named after what they hold, not after a file.
PLAIN = (
    "bad_input",
    "contract",
    "corpora",
    "extending",
    "heads",
    "hf_parity",
    "parity",
    "published",
    "tasks",
    "tfds",
)
# What has still to go: (file, what it imports).
STILL: set[tuple[str, str]] = set()


@functools.cache
def modules() -> dict[str, Path]:
    """Dotted names of all files of the package, and where they lie."""
    named = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


@functools.cache
def imports(path: Path) -> set[str]:
    """Names of all modules (and of what is imported from them) in a file, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@functools.cache
def graph() -> dict[str, set[str]]:
    """Each file's name with the names of the files that it imports."""
    named = modules()
    edges = {}
    for name, path in named.items():
        targets = set()
        for imported in imports(path):
            owner = imported if imported in named else imported.rpartition(".")[0]
            if owner in named:
                targets.add(owner)
        edges[name] = targets - {name}
    return edges


def room_of(name: str) -> str:
    """`jaxlt.engine.loop` -> `engine`; the package's own file is `__init__`."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Sets of files that reach each other (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    out = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for target in edges[name]:
            if target not in index:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], index[target])
        if low[name] == index[name]:
            at = stack.index(name)
            if len(stack) - at > 1:
                out.append(sorted(stack[at:]))
            del stack[at:]

    for name in edges:
        if name not in index:
            visit(name)
    return out


def test_no_circle_of_files() -> None:
    assert circles(graph()) == []


def test_a_circle_is_seen() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == [["b", "c"]]


@pytest.mark.parametrize("room", sorted(ARROWS))
def test_arrows_point_one_way(room: str) -> None:
    allowed = ARROWS[room] | EVERYBODYS | {room}
    for name, targets in graph().items():
        if room_of(name) == room:
            against = {t for t in targets if room_of(t) not in allowed and (name, t) not in STILL}
            assert not against, (name, against)
            tops = {i.split(".")[0] for i in imports(modules()[name])} & FORBIDDEN.get(room, set())
            assert not {t for t in tops if (name, t) not in STILL}, (name, tops)


def test_every_room_is_known() -> None:
    assert {room_of(name) for name in modules()} == set(ARROWS)


def test_convert_uses_the_layout_of_parameters_alone() -> None:
    for name, targets in graph().items():
        if room_of(name) == "convert":
            assert {t for t in targets if room_of(t) == "modules"} <= {"jaxlt.modules.layout"}, name


def test_the_tests_mirror_the_rooms() -> None:
    """A test file of a room lies in the folder, and bears the name, of a file or folder there."""
    tests = Path(__file__).parent
    for path in tests.rglob("test_*.py"):
        folder = path.parent.relative_to(tests)
        if str(folder) == "." or folder.parts[0] not in ARROWS:
            continue
        stem = path.stem.removeprefix("test_")
        known = {p.stem for p in (ROOT / folder).iterdir()} | set(PLAIN)
        assert any(stem == k or stem.startswith(k + "_") for k in known), path
