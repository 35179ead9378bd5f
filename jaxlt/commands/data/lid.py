"""Language identification: train it on any languages, test it, name lines, filter a corpus.

  jaxlt data lid train corpus/ --to=lid/
  jaxlt data lid eval lid/ test/ --table=glottolog_languages.tsv.gz
  jaxlt data lid predict lid/ lines.txt
  jaxlt data lid filter lid/ crawl/ --to=filtered/ --at_least=0.7

SOURCE is a folder, file or pattern of text by language, a text a line, or of anything that `jaxlt
data stats` counts: treebanks, entities, tables of texts, pairs, questions, bitext.
"""

import argparse
import itertools
import json
import sys
from pathlib import Path

from rich.console import Console

from jaxlt.commands import flags
from jaxlt.data.languages import LanguageTable
from jaxlt.data.sources import files, sources
from jaxlt.data.sources.items import by_language
from jaxlt.data.text import lid, lid_filter
from jaxlt.screen import plain_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    train = actions.add_parser("train", help="learn languages from their texts")
    flags.add_source(train)
    train.add_argument("--to", metavar="FOLDER", required=True, help="where the model goes")
    flags.add_languages(train)
    train.add_argument(
        "--lines", type=int, default=10_000, metavar="N", help="at most N lines a language (10000)"
    )
    defaults = lid.LidConfig()
    train.add_argument("--orders", type=int, default=defaults.orders, help="longest n-gram")
    train.add_argument("--bits", type=int, default=defaults.bits, help="2**BITS n-grams")
    train.add_argument("--epochs", type=int, default=defaults.epochs, help="passes over the lines")
    train.add_argument("--seed", type=int, default=0, help="which lines, and their order")

    test = actions.add_parser("eval", help="test a model: F1, and what is taken for what")
    _add_model(test)
    flags.add_source(test)
    test.add_argument(
        "--table", action="append", default=[], metavar="TSV", help="tables of languages, families"
    )
    test.add_argument("--lines", type=int, default=10_000, metavar="N", help="at most N a language")
    test.add_argument("--json", metavar="FILE", help="a file for all scores")

    name = actions.add_parser("predict", help="print language, probability and line of each line")
    _add_model(name)
    name.add_argument(
        "file", metavar="FILE", nargs="?", default="-", help="default: standard input"
    )

    sieve = actions.add_parser("filter", help="keep lines that are in the language of their file")
    _add_model(sieve)
    flags.add_source(sieve)
    sieve.add_argument("--to", metavar="FOLDER", required=True, help="where kept lines go")
    sieve.add_argument(
        "--at_least", type=float, default=0.5, metavar="P", help="least probability (0.5)"
    )
    for action in (train, test, name, sieve):
        action.add_argument("--debug", action="store_true", default=argparse.SUPPRESS)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="the folder of a model")


def main(args: argparse.Namespace) -> int:
    """Does the action that was asked for."""
    {"train": _train, "eval": _evaluate, "predict": _predict, "filter": _filter}[args.action](args)
    return 0


def _train(args: argparse.Namespace) -> None:
    corpus = by_language(args.source, flags.names(args.languages))
    config = lid.LidConfig(orders=args.orders, bits=args.bits, epochs=args.epochs, seed=args.seed)
    texts = {name: found.sample(args.lines, args.seed) for name, found in corpus.items()}
    model = lid.train(texts, config)
    model.save(args.to)
    learnt = sum(len(lines) for lines in texts.values())
    print(f"{args.to}: {len(model.languages)} languages, learnt from {learnt:,} lines.")


def _evaluate(args: argparse.Namespace) -> None:
    model = lid.load(args.model)
    corpus = by_language(args.source)
    texts = {name: found.sample(args.lines, 0) for name, found in corpus.items()}
    report = lid.evaluate(model, texts)
    table = LanguageTable.read(args.table)
    known = {name: table.find(name) for name in report.languages}
    families = {name: language.family for name, language in known.items() if language}
    console = Console(highlight=False)
    console.print(
        f"macro-F1 {report.macro_f1:.4f}, accuracy {report.accuracy:.4f} "
        f"({report.confusion.sum():,} lines, {len(texts)} languages)"
    )
    weakest = plain_table("weakest", "name", "family", "F1")
    scores = {name: score for name, score in report.f1.items() if name in texts}
    for name, score in sorted(scores.items(), key=lambda item: (item[1], item[0]))[:10]:
        language = known[name]
        weakest.add_row(
            name, language.name if language else "", families.get(name, ""), f"{score:.3f}"
        )
    confused = plain_table("truth", "taken for", "lines")
    for truth, predicted, count in report.confused():
        confused.add_row(truth, predicted, f"{count:,}")
    between = report.by_family(families)
    by_family = plain_table("family", "taken for family", "lines")
    for (truth, predicted), count in itertools.islice(between.items(), 10):
        by_family.add_row(truth, predicted, f"{count:,}")
    for part in (weakest, confused, by_family):
        if part.row_count:
            console.print()
            console.print(part)
    if args.json:
        found = {
            "macro_f1": report.macro_f1,
            "accuracy": report.accuracy,
            "f1": scores,
            "confused": report.confused(most=1000),
            "by_family": [[*pair, n] for pair, n in between.items()],
        }
        files.write_atomically(Path(args.json), json.dumps(found, ensure_ascii=False, indent=1))


def _predict(args: argparse.Namespace) -> None:
    model = lid.load(args.model)
    piped = (line.rstrip("\r\n") for line in sys.stdin)
    for batch in lid_filter.batched(piped if args.file == "-" else sources.texts((args.file,))):
        for line, (language, share) in zip(batch, model.predict(batch), strict=True):
            print(f"{language}\t{share:.3f}\t{line}")


def _filter(args: argparse.Namespace) -> None:
    table = plain_table("language", "lines", "kept", "dropped as")
    corpus = by_language(args.source)
    for name, kept, others in lid_filter.keep_own(args.model, corpus, args.to, args.at_least):
        most = sorted(others.items(), key=lambda item: (-item[1], item[0]))[:5]
        named = ", ".join(f"{other} {count:,}" for other, count in most)
        table.add_row(name, f"{kept + others.total():,}", f"{kept:,}", named)
    Console(highlight=False).print(table)
