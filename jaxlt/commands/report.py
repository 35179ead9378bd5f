"""One page of what was found: claims, figures and tables of rows, to open in any browser.

Reads a study's folder, a folder of studies, or one of results (*.jsonl, each file a section), and
writes a page that asks no network, with every figure as SVG and PNG and every table as CSV and
LaTeX beside it.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    parser.add_argument("folder", help="a study, studies, or rows (*.jsonl): results, a run")
    parser.add_argument("--output", help="the folder of the page (FOLDER/report)")
    parser.add_argument("--title", help="above the page (the folder's name)")
    parser.add_argument(
        "--interactive",
        action="store_true",
        help="figures show their numbers under the pointer; the page grows by 0.9 MB",
    )


def main(args: argparse.Namespace) -> int:
    """Writes the page and prints where it is."""
    from jaxlt.experiments.pages import sections
    from jaxlt.report.page import write

    folder = Path(args.folder)
    output = Path(args.output) if args.output else folder / "report"
    title = args.title or folder.resolve().name
    print(write(output, title, sections(folder, output), interactive=args.interactive))
    return 0
