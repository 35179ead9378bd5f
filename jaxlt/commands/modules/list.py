"""Show what a library of modules holds: method, language, size, backbone, scores.

jaxlt modules list library
jaxlt modules list library --json
"""

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxlt.modules.library import Saved


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    parser.add_argument("library", metavar="DIR", help="the library's folder")
    parser.add_argument("--json", action="store_true", help="one JSON line a module")


def main(args: argparse.Namespace) -> int:
    """Lists the library that the flags name."""
    from rich.console import Console

    from jaxlt.modules.library import find

    found = find(args.library)
    if args.json:
        for saved in found:
            record = dataclasses.asdict(saved) | {"parameters": saved.parameters}
            print(json.dumps(record | {"path": str(saved.path)}, ensure_ascii=False))
        return 0
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    if not found:
        console.print(f"'{args.library}' holds no module yet. `jaxlt modules save` puts some in.")
        return 0
    console.print(table(found))
    return 0


def table(found: "list[Saved]"):
    """A row a module."""
    from rich.table import Table

    out = Table(box=None, pad_edge=False)
    for column in ("module", "method", "language", "parameters", "backbone", "scores"):
        out.add_column(column, justify="right" if column == "parameters" else "left")
    for saved in found:
        settings = ", ".join(f"{k}={v}" for k, v in saved.plug["settings"].items())
        method = saved.method.rpartition(":")[2]
        scores = ", ".join(f"{k} {v:.4g}" for k, v in saved.metrics.items())
        out.add_row(
            saved.name,
            f"{method}({settings})",
            saved.language or "-",
            f"{saved.parameters:,}",
            saved.base[:8],
            scores or "-",
        )
    return out
