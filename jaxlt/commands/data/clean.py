"""Drop duplicates, near duplicates, test text and foreign lines from a corpus; say what and why.

  jaxlt data clean corpus/ --to=clean/ --against=test/
  jaxlt data clean corpus/ --near=0.8 --script=0.5 --min_chars=20     (writes nothing, only counts)

SOURCE is a folder, file or pattern of text by language; each language is cleaned for itself, and
of texts that are alike the first stays. Without --to it is a look at what would be dropped.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from jaxlt.commands import flags
from jaxlt.data.languages import LanguageTable
from jaxlt.data.readers.problems import Problems
from jaxlt.data.sources import files, sources
from jaxlt.data.text.cleaning import clean
from jaxlt.data.text.hygiene import REASONS, CleanConfig, Report
from jaxlt.screen import plain_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    flags.add_source(parser)
    parser.add_argument("--to", metavar="FOLDER", help="where the clean text goes, a file each")
    parser.add_argument(
        "--against",
        metavar="SOURCE",
        action="append",
        default=[],
        help="test text by language that no line may be, hold or resemble; may be repeated",
    )
    parser.add_argument(
        "--keep_duplicates", action="store_true", help="keep texts that are equal to earlier ones"
    )
    parser.add_argument(
        "--near",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="drop texts at least this similar to an earlier one (0.8; 0, the default, is off)",
    )
    parser.add_argument(
        "--passage",
        type=int,
        default=50,
        metavar="N",
        help="with --against: drop texts that share N characters in one piece with it (50; 0 off)",
    )
    parser.add_argument("--min_chars", type=int, default=0, metavar="N", help="drop shorter texts")
    parser.add_argument("--max_chars", type=int, default=0, metavar="N", help="drop longer texts")
    parser.add_argument(
        "--script",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="drop texts with a smaller share of letters of the language's script (0.5)",
    )
    parser.add_argument(
        "--table", action="append", default=[], metavar="TSV", help="tables of languages"
    )
    flags.add_languages(parser)
    parser.add_argument(
        "--on_malformed", default="strict", help="malformed lines: strict stops, skip counts"
    )
    parser.add_argument("--report", metavar="JSON", help="a file for counts and examples")
    parser.add_argument(
        "--dropped", metavar="FOLDER", help="a local folder for all that is dropped (TSV)"
    )


def main(args: argparse.Namespace) -> int:
    """Cleans, and prints what was dropped."""
    config = CleanConfig(
        duplicates=not args.keep_duplicates,
        near=args.near,
        passage=args.passage,
        min_chars=args.min_chars,
        max_chars=args.max_chars,
        script=args.script,
    )
    corpus = sources.discover(args.source, sources.TEXT, flags.names(args.languages))
    against = sources.discover(args.against, sources.TEXT) if args.against else None
    table = LanguageTable.read(args.table)
    with Problems(args.on_malformed) as problems:
        reports = clean(corpus, config, against, table, args.to, args.dropped, problems)
    _show(reports)
    if args.report:
        found = {name: vars(report) for name, report in reports.items()}
        files.write_atomically(Path(args.report), json.dumps(found, ensure_ascii=False, indent=1))
    return 0


def _show(reports: Mapping[str, Report]) -> None:
    """Prints a table of languages and reasons, and an example of every reason."""
    reasons = [r for r in REASONS if any(r in report.dropped for report in reports.values())]
    table = plain_table("language", ">texts", ">kept", *(f">{reason}" for reason in reasons))
    for language, report in reports.items():
        counts = (report.seen, report.kept, *(report.dropped.get(r, 0) for r in reasons))
        table.add_row(language, *(f"{count:,}" for count in counts))
    console = Console(highlight=False)
    console.print(table)
    for reason in reasons:
        report = next(r for r in reports.values() if reason in r.dropped)
        text, like = report.examples[reason][0]
        note = f" ({like})" if like else ""
        console.print(f"{reason}: {REASONS[reason]}. For instance{note}:", markup=False)
        console.print(f"  {text[:100]}", markup=False)
