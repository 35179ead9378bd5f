"""Train a vocabulary over languages, or report how one fits them.

jaxlt data vocab --text corpus/ --out my.model --size 32000
jaxlt data vocab --text corpus/ --report my.model
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxlt.errors import UserError

if TYPE_CHECKING:
    from jaxlt.data.vocabulary.reports import Fit

SAMPLED = 1 << 29  # bytes of text that a vocabulary is trained on, at most


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    parser.add_argument(
        "--text",
        action="append",
        required=True,
        metavar="PATH",
        help="folder, file or pattern of text by language; may be repeated",
    )
    parser.add_argument("--languages", metavar="A,B", help="only these of the languages there")
    parser.add_argument("--out", metavar="FILE", help="train, and write the model here")
    parser.add_argument(
        "--report", metavar="FILE", help="report on this model ('bytes': on the byte vocabulary)"
    )
    group = parser.add_argument_group("training")
    group.add_argument("--size", type=int, default=32_000, help="ids in all (32000)")
    group.add_argument(
        "--model", default="unigram", metavar="KIND", help="unigram, bpe or char (unigram)"
    )
    group.add_argument(
        "--alpha", type=float, default=0.3, help="languages are sampled by bytes^alpha (0.3)"
    )
    group.add_argument(
        "--coverage", type=float, default=0.9995, help="share of characters with a piece (0.9995)"
    )
    group.add_argument("--no_byte_fallback", action="store_true", help="rare letters are unknown")
    group.add_argument("--extra_ids", type=int, default=100, help="sentinels, the last ids (100)")
    group.add_argument(
        "--normalization", default="identity", metavar="RULE", help="SentencePiece's (identity)"
    )
    group.add_argument(
        "--bytes", type=int, default=SAMPLED, metavar="N", help=f"of text sampled ({SAMPLED})"
    )
    group.add_argument("--seed", type=int, default=0, help="of the sample (0)")
    group.add_argument("--overwrite", action="store_true", help="if the file is there already")


def main(args: argparse.Namespace) -> int:
    """Trains or reports."""
    from jaxlt.data import reading
    from jaxlt.data.sources import sources
    from jaxlt.data.vocabulary.vocabularies import open_vocabulary, vocabulary_config

    if bool(args.out) == bool(args.report):
        raise UserError("Say --out=FILE to train a vocabulary, or --report=FILE to look at one.")
    names = tuple(n for n in (args.languages or "").split(",") if n)
    found = sources.discover(args.text, sources.TEXT, names)
    if args.out:
        _train(args, found)
    fits = report(found, open_vocabulary(vocabulary_config(args.out or args.report)))
    _console().print(table(fits))
    for line in (line for f in fits for line in reading.script_remarks(f)):
        _console().print(f"! {line}", style="bold yellow", markup=False)
    return 0


def _console() -> Any:
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=120)


def _train(args: argparse.Namespace, found: dict[str, tuple[str, ...]]) -> None:
    """Samples, trains, and writes the model file whole or not at all."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from jaxlt.data.sources import sources
    from jaxlt.data.vocabulary import training as vocab_training

    out = Path(args.out)
    if out.exists() and not args.overwrite:
        raise UserError(f"'{out}' is there already; say --overwrite to replace it.")
    config = vocab_training.VocabTraining(
        args.size,
        args.model,
        args.coverage,
        not args.no_byte_fallback,
        args.extra_ids,
        args.normalization,
    )
    texts = {
        language: lambda paths=paths: sources.documents(paths, "train")
        for language, paths in found.items()
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    columns = (TextColumn("{task.description:36}"), BarColumn(24), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory(prefix="jaxlt-vocab-") as folder,
        Progress(*columns, console=_console(), transient=True) as progress,
    ):
        task = progress.add_task("counting", total=1.0)

        def tell(what: str, share: float) -> None:
            progress.update(task, description=what, completed=share)

        text = Path(folder) / "text"
        written = vocab_training.sample(texts, args.alpha, args.bytes, text, args.seed, tell)
        progress.update(task, description="reading the sample", completed=0.0)
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
        model = vocab_training.train(text, config, tell, threads)
    part = out.with_name(f".{out.name}.part")
    part.write_bytes(model)
    os.replace(part, out)
    total = sum(written.values())
    _console().print(f"Trained '{out}' on {total:,} bytes of {len(written)} languages.")


def report(found: dict[str, tuple[str, ...]], vocabulary: Any) -> "list[Fit]":
    """Returns how a vocabulary fits each language."""
    from jaxlt.data.sources import sources
    from jaxlt.data.vocabulary import reports

    return [
        reports.fit(language, sources.documents(paths, "train"), vocabulary)
        for language, paths in found.items()
    ]


def table(fits: "list[Fit]") -> Any:
    """A table of languages: the worst served last."""
    from rich.table import Table

    out = Table(box=None, pad_edge=False)
    out.add_column("language", overflow="fold")
    for name in ("tokens/word", "bytes/token", "split words", "coverage", "in bytes", "unknown"):
        out.add_column(name, justify="right")
    out.add_column("script")
    for f in sorted(fits, key=lambda f: (f.unknown + f.in_bytes, f.fertility)):
        out.add_row(
            f.language,
            f"{f.fertility:.2f}",
            f"{f.bytes_per_token:.2f}",
            f"{f.split:.1%}",
            f"{f.coverage:.2%}",
            f"{f.in_bytes:.2%}",
            f"{f.unknown:.2%}",
            f.script,
        )
    return out
