"""What is printed on: a console, and plain tables."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def screen(width: int = 160) -> "Console":
    """Where tables are printed; a file or a pipe, which has no width of its own, gets this one."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=width)


def plain_table(*columns: str, fold: bool = False, **style: Any) -> "Table":
    """A table without lines; ">words" is a column that keeps to the right.

    fold: columns on the left break what is too long for them, rather than cut it.
    """
    from rich.table import Table

    table = Table(**{"box": None, "pad_edge": False, **style})
    for name in columns:
        right = name.startswith(">")
        table.add_column(
            name.removeprefix(">"),
            justify="right" if right else "left",
            overflow="fold" if fold and not right else "ellipsis",
        )
    return table
