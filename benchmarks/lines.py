"""How large the house is: lines and statements of the package and of its tests, by room.

    python benchmarks/lines.py [--beside 12c77fe]

A statement is one of Python's grammar (`ast.stmt`) at any depth, docstrings left out, so that a
line broken in two counts once. With --beside, the same of a git revision, and what became of it.
"""

import argparse
import ast
import io
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SIDES = {"jaxlt": "package", "tests": "tests"}


def is_docstring(node: ast.stmt) -> bool:
    """Whether a statement is a string alone, as docstrings are."""
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
        return False
    return isinstance(node.value.value, str)


def statements(source: str) -> int:
    """Counts the statements of a file: `if a: b()` has two."""
    nodes = ast.walk(ast.parse(source))
    return sum(isinstance(node, ast.stmt) and not is_docstring(node) for node in nodes)


def room(path: str) -> str:
    """`jaxlt/engine/optim/routes.py` -> `engine`; a file outside every room is in `(files)`."""
    parts = path.split("/")
    return parts[1] if len(parts) > 2 else "(files)"


def count(files: Iterable[tuple[str, str]]) -> dict[str, dict[str, Counter]]:
    """Counts (path, source) pairs.

    Returns {side: {room: Counter(files, lines, statements)}}; the room 'all' is the sum of a side.
    """
    sides: dict[str, dict[str, Counter]] = {side: {"all": Counter()} for side in SIDES.values()}
    for path, source in files:
        rooms = sides[SIDES[path.split("/")[0]]]
        found = Counter(files=1, lines=source.count("\n"), statements=statements(source))
        rooms.setdefault(room(path), Counter()).update(found)
        rooms["all"].update(found)
    return sides


def working_tree() -> Iterator[tuple[str, str]]:
    """The Python files of the working tree, as (path, source)."""
    for side in SIDES:
        for path in (ROOT / side).rglob("*.py"):
            yield path.relative_to(ROOT).as_posix(), path.read_text()


def revision(name: str) -> Iterator[tuple[str, str]]:
    """The same of a git revision."""
    command = ["git", "-C", str(ROOT), "archive", name, *SIDES]
    archive = subprocess.run(command, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.name.endswith(".py") else None
            if file is not None:
                yield member.name, file.read().decode()


def table(now: dict[str, Counter], before: dict[str, Counter] | None) -> str:
    """One side's rows, the sum last; `37000 (47900)` is now, and before."""
    columns = ("files", "lines", "statements")
    names = sorted((set(now) | set(before or {})) - {"all"})
    out = [f"{'room':<14}" + "".join(f"{c:>19}" for c in columns)]
    for name in [*names, "all"]:
        cells = []
        for column in columns:
            cell = f"{now.get(name, Counter())[column]}"
            if before is not None:
                cell += f" ({before.get(name, Counter())[column]})"
            cells.append(f"{cell:>19}")
        out.append(f"{name:<14}" + "".join(cells))
    return "\n".join(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--beside", metavar="REVISION", help="a git revision to compare with")
    beside = parser.parse_args().beside
    now = count(working_tree())
    before = count(revision(beside)) if beside else {}
    for side in SIDES.values():
        title = f"{side}, beside {beside} in brackets" if beside else side
        print(f"{title}\n{table(now[side], before.get(side))}\n")


if __name__ == "__main__":
    main()
