"""What is tested by night alone says which test guards the same claim every day."""

import ast
import functools
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FILES = sorted(TESTS.rglob("test_*.py"))


@functools.cache
def parsed(path: Path) -> ast.Module:
    """A file of tests, read once."""
    return ast.parse(path.read_text())


def guards(tree: ast.Module) -> list[ast.Call | ast.Attribute]:
    """Every `pytest.mark.nightly` of a file, with its arguments where it has some."""
    named = (n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr == "nightly")
    marks = [n for n in named if ast.unparse(n) == "pytest.mark.nightly"]
    calls = {n.func: n for n in ast.walk(tree) if isinstance(n, ast.Call)}
    return [calls.get(mark, mark) for mark in marks]


def is_tested_every_day(name: str) -> bool:
    """Whether a test `tests/file.py::function` is there, and is not one of the night."""
    file, _, function = name.partition("::")
    path = TESTS.parent / file
    if not path.is_file():
        return False
    tree = parsed(path)
    if any(isinstance(n, ast.Assign) and "nightly" in ast.unparse(n) for n in tree.body):
        return False
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            whole = (d for d in node.decorator_list if "parametrize" not in ast.unparse(d))
            return not any("nightly" in ast.unparse(decorator) for decorator in whole)
    return False


def test_each_names_what_guards_its_claim_every_day() -> None:
    named = 0
    for file in FILES:
        if "nightly" not in file.read_text():
            continue
        for mark in guards(parsed(file)):
            where = f"{file.relative_to(TESTS.parent)}, line {mark.lineno}"
            assert isinstance(mark, ast.Call) and mark.args, f"{where} names no test of every day"
            for argument in mark.args:
                name = ast.literal_eval(argument)
                assert is_tested_every_day(name), f"{where}: {name}"
                named += 1
    assert named


@pytest.mark.parametrize(
    "name",
    [
        "tests/end_to_end/test_elastic.py::"
        "test_ten_hosts_are_killed_and_one_asked_to_go_and_the_bits_stay_the_same",
        "tests/end_to_end/test_kill.py::test_the_same_seed_gives_the_same_bits",
        "tests/test_nightly.py::test_that_is_not_there",
        "tests/no_file.py::test_anything",
    ],
)
def test_what_is_of_the_night_or_not_there_guards_nothing(name: str) -> None:
    assert not is_tested_every_day(name)
