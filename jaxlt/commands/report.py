"""One page of what was found: claims, figures and tables of rows, to open in any browser.

Reads results (*.jsonl) in a folder, each file a section, and writes a page that asks no network,
with every figure as SVG and PNG and every table as CSV and LaTeX beside it.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    parser.add_argument("folder", help="a folder of rows, *.jsonl: results, a run")
    parser.add_argument("--output", help="the folder of the page (FOLDER/report)")
    parser.add_argument("--title", help="above the page (the folder's name)")
    parser.add_argument(
        "--interactive",
        action="store_true",
        help="figures show their numbers under the pointer; the page grows by 0.9 MB",
    )


def main(args: argparse.Namespace) -> int:
    """Writes the page and prints where it is."""
    from jaxlt.report.page import write

    folder = Path(args.folder)
    output = Path(args.output) if args.output else folder / "report"
    title = args.title or folder.resolve().name
    print(write(output, title, sections(folder), interactive=args.interactive))
    return 0


def sections(folder: Path) -> list:
    """Returns a section for each file of rows."""
    from jaxlt.errors import UserError
    from jaxlt.metrics import result_file
    from jaxlt.report.sections import section_of

    if not folder.is_dir():
        raise UserError(f"There is no folder '{folder}'.")
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise UserError(f"'{folder}' has no rows: no file in it ends in .jsonl.")
    return [section_of(file.stem, result_file.read(file), title=file.stem) for file in files]
