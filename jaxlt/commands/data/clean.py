"""Drop duplicates, near duplicates, test text and foreign lines from a corpus; say what and why.

  jaxlt data clean corpus/ --to=clean/ --against=test/
  jaxlt data clean corpus/ --near=0.8 --script=0.5 --min_chars=20     (writes nothing, only counts)

SOURCE is a folder, file or pattern of text by language; each language is cleaned for itself, and
of texts that are alike the first stays. Without --to it is a look at what would be dropped.
"""

import argparse
import collections
import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.table import Table

from jaxlt.data.languages import LanguageTable
from jaxlt.data.readers.problems import Problems
from jaxlt.data.sources import files, sources
from jaxlt.data.text.hygiene import REASONS, CleanConfig, Cleaner, Report
from jaxlt.errors import UserError, nearest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    parser.add_argument("source", metavar="SOURCE", nargs="+", help="text by language")
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
    parser.add_argument("--languages", default="", metavar="A,B", help="only these languages")
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
    wanted = [name for name in args.languages.split(",") if name]
    corpus = sources.discover(args.source, sources.TEXT, wanted)
    against = sources.discover(args.against, sources.TEXT) if args.against else {}
    if against and not against.keys() & corpus.keys():
        raise UserError(
            f"No language of --against ({', '.join(list(against)[:5])}) is one of the corpus "
            f"({', '.join(list(corpus)[:5])}): files of one language need one name."
            f"{nearest(next(iter(against)), corpus)}"
        )
    for folder in filter(None, (args.to, args.dropped)):
        _check_apart(folder, corpus)
    table = LanguageTable.read(args.table)
    reports: dict[str, Report] = {}
    with Problems(args.on_malformed) as problems:
        for language, paths in corpus.items():
            script = _script(language, table) if config.script else ""
            cleaner = Cleaner(config, script)
            for path in against.get(language, ()):
                cleaner.protect(texts((path,), problems), path)
            _clean(cleaner, texts(paths, problems), language, args.to, args.dropped)
            reports[language] = cleaner.report
    _show(reports)
    if args.report:
        found = {name: vars(report) for name, report in reports.items()}
        files.write_atomically(Path(args.report), json.dumps(found, ensure_ascii=False, indent=1))
    return 0


def texts(paths: tuple[str, ...], problems: Problems) -> Iterator[str]:
    """Yields the texts of files, each on one line."""
    for path in paths:
        for _, raw in sources.lines(path, problems):
            yield " ".join(raw.decode("utf-8").splitlines())


def _check_apart(folder: str, corpus: Mapping[str, tuple[str, ...]]) -> None:
    for path in (p for paths in corpus.values() for p in paths):
        if not files.is_remote(path) and Path(folder).resolve() in Path(path).resolve().parents:
            raise UserError(f"'{folder}' holds the source '{path}': give another folder.")


def _script(language: str, table: LanguageTable) -> str:
    known = table.find(language)
    tail = language.rpartition("_")[2]
    script = known.script if known else tail
    if script == "Zyyy" or (not known and not (len(tail) == 4 and "_" in language)):
        raise UserError(
            f"The script of '{language}' is not known, so --script cannot be used: name the file "
            f"by language and script ({language}_Latn), or give a table of languages with --table."
        )
    return script


def _clean(
    cleaner: Cleaner, lines: Iterator[str], language: str, to: str | None, dropped: str | None
) -> None:
    """Cleans one language; kept texts and dropped ones go to their folders, if there are any."""

    def kept(waste: BinaryIO | None) -> Iterator[bytes]:
        for line in lines:
            reason = cleaner.verdict(line)
            if reason is None:
                yield f"{line}\n".encode()
            elif waste:
                cell = line.replace("\t", " ")
                waste.write(f"{reason}\t{cell}\n".encode())

    with contextlib.ExitStack() as stack:
        waste = None
        if dropped:
            Path(dropped).mkdir(parents=True, exist_ok=True)
            waste = stack.enter_context((Path(dropped) / f"{language}.tsv").open("wb"))
            waste.write(b"reason\ttext\n")
        if to:
            files.write_chunks(f"{to.rstrip('/')}/{language}.txt", kept(waste))
        else:
            collections.deque(kept(waste), maxlen=0)


def _show(reports: Mapping[str, Report]) -> None:
    """Prints a table of languages and reasons, and an example of every reason."""
    reasons = [r for r in REASONS if any(r in report.dropped for report in reports.values())]
    table = Table("language", box=None, pad_edge=False)
    for name in ("texts", "kept", *reasons):
        table.add_column(name, justify="right")
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
