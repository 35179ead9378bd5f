"""Count what lies in folders: sentences or documents, words and bytes, by corpus and language.

    jaxlt data stats corpus/ treebanks/ --by corpus

Files are known by their names and columns: CoNLL-U, IOB2, text, tables. Counts are remembered, and
a file that has not changed is not read again.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxlt.screen import plain_table, screen

if TYPE_CHECKING:
    from rich.table import Table

    from jaxlt.data.sources.stats import Count

SPLITS = ("train", "validation", "test", "")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="folders, files or patterns")
    parser.add_argument(
        "--by",
        choices=("corpus", "language", "both"),
        default="both",
        help="what a row of the table is (default: a corpus in a language)",
    )
    parser.add_argument(
        "--on_malformed",
        choices=("strict", "skip"),
        default="strict",
        help="a malformed line stops the count, or is left out and reported at the end",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every count to a file")
    parser.add_argument(
        "--cache_dir",
        default=os.environ.get("JAXLT_CACHE") or "~/.cache/jaxlt",
        help="where counts are remembered (default: $JAXLT_CACHE or ~/.cache/jaxlt)",
    )


def main(args: argparse.Namespace) -> int:
    """Counts and prints."""
    from jaxlt.data.sources import files, stats

    memory = Path(args.cache_dir).expanduser() / "counts"
    counts, notes = stats.count(args.paths, memory, args.on_malformed)
    console = screen()
    console.print(table(counts, args.by))
    languages = {code for count in counts for code in count.language.split(":") if code}
    corpora = len({(count.corpus, count.kind) for count in counts})
    console.print(
        f"{corpora} corp{'us' if corpora == 1 else 'ora'}, {len(languages)} "
        f"language{'s' * (len(languages) != 1)}, "
        f"{sum(c.items for c in counts):,} items, {sum(c.tokens or 0 for c in counts):,} words "
        f"where they are told apart, {_size(sum(c.bytes for c in counts))} of text"
    )
    for line in stats.grouped(notes):
        console.print(f"note: {line}", markup=False, soft_wrap=True)
    if args.json:
        files.write_atomically(args.json, stats.as_json(counts))
    return 0


def table(counts: "Sequence[Count]", by: str) -> "Table":
    """Returns a table: a row a corpus, a language, or a corpus in a language; kinds together."""
    rows: dict[tuple[str, ...], list[Count]] = {}
    for count in counts:
        whole = (count.corpus, count.kind, count.language)
        key = {"both": whole, "corpus": whole[:2], "language": whole[2:]}[by]
        rows.setdefault(key, []).append(count)
    heads = {"both": ("corpus", "kind", "language"), "corpus": ("corpus", "kind", ">languages")}
    used = [name for name in SPLITS if any(c.split == name for c in counts)]
    sizes = (f">{name}" for name in (*(name or "no split" for name in used), "words", "bytes"))
    shown = plain_table(*heads.get(by, ("language",)), *sizes, fold=True)
    for key, group in sorted(rows.items(), key=lambda row: (row[0][1:2], row[0])):
        names = [part or "-" for part in key]
        if by == "corpus":
            languages = {code for c in group for code in c.language.split(":") if code}
            names.append(str(len(languages) or "-"))
        items = [sum(c.items for c in group if c.split == name) for name in used]
        words = sum(c.tokens or 0 for c in group)
        cells = [f"{n:,}" if n else "-" for n in (*items, words)]
        shown.add_row(*names, *cells, _size(sum(c.bytes for c in group)))
    return shown


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
