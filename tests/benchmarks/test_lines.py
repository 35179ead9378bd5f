"""What counts as a line, a statement and a room."""

from benchmarks.lines import count, room, statements, table

SOURCE = '''"""A docstring."""

def f(a,
      b):
    """Another."""
    if a:
        return b
'''


def test_statements_are_pythons_without_docstrings():
    assert statements(SOURCE) == 3


def test_a_room_is_a_folder():
    assert [room("jaxlt/engine/optim/rates.py"), room("jaxlt/api.py")] == ["engine", "(files)"]


def test_both_sides_are_summed():
    sides = count([("jaxlt/api.py", SOURCE), ("jaxlt/data/a.py", "x = 1\n"), ("tests/t.py", "")])
    assert sides["package"]["all"] == {"files": 2, "lines": 8, "statements": 4}
    shown = table(sides["package"], {"all": sides["tests"]["all"]}).splitlines()
    assert shown[-1].split() == ["all", "2", "(1)", "8", "(0)", "4", "(0)"]
