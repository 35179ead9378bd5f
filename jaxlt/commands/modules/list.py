"""Show what a library of modules holds: method, language, size, backbone, scores.

jaxlt modules list library
jaxlt modules list library --json
"""

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

from jaxlt.screen import plain_table, screen

if TYPE_CHECKING:
    from rich.table import Table

    from jaxlt.modules.library import Saved


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    parser.add_argument("library", metavar="DIR", help="the library's folder")
    parser.add_argument("--json", action="store_true", help="one JSON line a module")


def main(args: argparse.Namespace) -> int:
    """Lists the library that the flags name."""
    from jaxlt.modules.library import find

    found = find(args.library)
    if args.json:
        for saved in found:
            record = dataclasses.asdict(saved) | {"parameters": saved.parameters}
            print(json.dumps(record | {"path": str(saved.path)}, ensure_ascii=False))
        return 0
    console = screen()
    if not found:
        console.print(f"'{args.library}' holds no module yet. `jaxlt modules save` puts some in.")
        return 0
    console.print(table(found))
    return 0


def table(found: "list[Saved]") -> "Table":
    """A row a module."""
    out = plain_table("module", "method", "language", ">parameters", "backbone", "scores")
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
