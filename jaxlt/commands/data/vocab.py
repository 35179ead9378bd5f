"""Train a vocabulary over languages, or report how one fits them.

jaxlt data vocab --text corpus/ --out my.model --size 32000
jaxlt data vocab --text corpus/ --report my.model
jaxlt data vocab --gin_file=models/lab_mlm.gin --gin_file=runs/lab_mlm.gin --gin.TEXT=corpus/ \\
  --gin_file=data/doses.gin --gin.AMOUNTS="{'swh_Latn': 0.1}" --out my.model

What is held out of the text is not read; with a run's gin files, nor what its doses leave out.
"""

import argparse
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from jaxlt import progress
from jaxlt.commands import flags
from jaxlt.errors import UserError
from jaxlt.screen import plain_table, screen

if TYPE_CHECKING:
    from rich.table import Table

    from jaxlt.data.amounts import Documents
    from jaxlt.data.vocabulary.reports import Fit

SAMPLED = 1 << 29  # bytes of text that a vocabulary is trained on, at most


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    parser.add_argument(
        "--text",
        action="append",
        metavar="PATH",
        help="folder, file or pattern of text by language; may be repeated; without it that of a "
        "run's gin files",
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
    from jaxlt.commands.main import load_run
    from jaxlt.data import reading
    from jaxlt.data.config import DataConfig
    from jaxlt.data.mixtures import training_documents
    from jaxlt.data.vocabulary import reports
    from jaxlt.data.vocabulary.vocabularies import open_vocabulary, vocabulary_config

    names = flags.names(args.languages)
    if bool(args.out) == bool(args.report):
        raise UserError("Say --out=FILE to train a vocabulary, or --report=FILE to look at one.")
    given = args.gin_file or args.gin_overrides
    if bool(args.text) == bool(given):
        raise UserError("Say --text=PATH, or the gin files of a run, whose training text is read.")
    if given:
        config = load_run(args, {"WORKDIR": "", "INIT_FROM": None, "VOCABULARY": "bytes"}).data
        config = dataclasses.replace(config, languages=names) if names else config
    else:
        config = DataConfig(sources=args.text, languages=names)
    documents = training_documents(config, notes=bool(given))
    if args.out:
        _train(args, documents)
    vocabulary = open_vocabulary(vocabulary_config(args.out or args.report))
    fits = [reports.fit(language, read(), vocabulary) for language, read in documents.items()]
    screen(120).print(table(fits))
    for line in (line for f in fits for line in reading.script_remarks(f)):
        screen(120).print(f"! {line}", style="bold yellow", markup=False)
    return 0


def _train(args: argparse.Namespace, documents: "Mapping[str, Documents]") -> None:
    from jaxlt.data.vocabulary import training

    config = training.VocabTraining(
        args.size,
        args.model,
        args.coverage,
        not args.no_byte_fallback,
        args.extra_ids,
        args.normalization,
    )
    sampling = args.alpha, args.bytes, args.seed
    progress.speak(True)
    with progress.doing("Training a vocabulary", 100):
        written = training.write(args.out, documents, config, *sampling, args.overwrite, _tell)
    total = sum(written.values())
    screen(120).print(f"Trained '{args.out}' on {total:,} bytes of {len(written)} languages.")


def _tell(what: str, share: float) -> None:
    progress.reach(round(100 * share))
    progress.detail(what)


def table(fits: "list[Fit]") -> "Table":
    """A table of languages: the worst served last."""
    numbers = (">tokens/word", ">bytes/token", ">split words", ">coverage", ">in bytes")
    out = plain_table("language", *numbers, ">unknown", "script", fold=True)
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
