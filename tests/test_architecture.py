"""The rooms of the house and the direction of the arrows between them, read from the imports."""

import ast
from pathlib import Path

import pytest

import jaxlt

ROOT = Path(jaxlt.__file__).parent
# A room may import from these; `errors`, `progress` and the version are everybody's.
ARROWS = {
    "commands": {"config", "convert", "data", "engine", "metrics", "models", "modules"},
    "config": {"data", "engine", "models", "modules"},
    "convert": {"models"},
    "data": set(),
    "engine": {"data", "models", "modules", "metrics"},
    "metrics": set(),
    "models": {"modules"},
    "modules": set(),
}
# What may not be imported where, at any depth of a function.
FORBIDDEN = {
    "engine": {"gin", "tensorflow", "seqio"},
    "models": {"gin", "tensorflow", "seqio"},
    "modules": {"gin", "tensorflow", "seqio"},
    "convert": {"gin", "tensorflow", "seqio", "pickle"},
    "data": {"gin", "jax", "flax"},
    "metrics": {"gin", "tensorflow", "seqio", "jax", "flax"},
}


def imports(path: Path) -> set[str]:
    """Names of all modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms_of(names: set[str]) -> set[str]:
    """The rooms among imported names."""
    parts = (name.split(".") for name in names)
    return {p[1] for p in parts if p[0] == "jaxlt" and len(p) > 1 and (ROOT / p[1]).is_dir()}


@pytest.mark.parametrize("room", sorted(ARROWS))
def test_arrows_point_one_way(room: str) -> None:
    for path in (ROOT / room).rglob("*.py"):
        names = imports(path)
        assert rooms_of(names) - {room} <= ARROWS[room], path
        tops = {name.split(".")[0] for name in names}
        assert not tops & FORBIDDEN.get(room, set()), path


def test_every_room_is_known() -> None:
    rooms = {p.parent.name for p in ROOT.glob("*/__init__.py")}
    assert rooms == set(ARROWS)


def test_convert_uses_the_layout_of_models_alone() -> None:
    for path in (ROOT / "convert").rglob("*.py"):
        of_models = {n for n in imports(path) if n.startswith("jaxlt.models")}
        assert all("jaxlt.models.layout".startswith(n) or "layout" in n for n in of_models), path


def test_the_tests_mirror_the_rooms() -> None:
    """Every test file of a room is named after a file of that room."""
    tests = Path(__file__).parent
    for room in ARROWS:
        for path in (tests / room).glob("test_*.py"):
            stem = path.stem.removeprefix("test_")
            known = {p.stem for p in (ROOT / room).rglob("*.py")}
            known |= {p.name for p in (ROOT / room).iterdir() if p.is_dir()}
            assert (
                stem in known
                or any(stem.startswith(k) for k in known)
                or stem
                in (
                    "contract",
                    "parity",
                    "hf_parity",
                    "extending",
                )
            ), path
