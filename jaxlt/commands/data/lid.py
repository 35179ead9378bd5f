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
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from jaxlt.data.languages import LanguageTable
from jaxlt.data.sources import files, sources
from jaxlt.data.sources.items import Texts, by_language
from jaxlt.data.text import lid
from jaxlt.errors import UserError

_BATCH = 4096


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    train = actions.add_parser("train", help="learn languages from their texts")
    train.add_argument("source", metavar="SOURCE", nargs="+", help="text by language")
    train.add_argument("--to", metavar="FOLDER", required=True, help="where the model goes")
    train.add_argument("--languages", default="", metavar="A,B", help="only these languages")
    train.add_argument(
        "--lines", type=int, default=10_000, metavar="N", help="at most N lines a language (10000)"
    )
    defaults = lid.LidConfig()
    train.add_argument("--orders", type=int, default=defaults.orders, help="longest n-gram")
    train.add_argument("--bits", type=int, default=defaults.bits, help="2**BITS n-grams")
    train.add_argument("--epochs", type=int, default=defaults.epochs, help="passes over the lines")
    train.add_argument("--seed", type=int, default=0, help="which lines, and their order")

    test = actions.add_parser("eval", help="test a model: F1, and what is taken for what")
    test.add_argument("model", metavar="MODEL", help="the folder of a model")
    test.add_argument("source", metavar="SOURCE", nargs="+", help="text by language")
    test.add_argument(
        "--table", action="append", default=[], metavar="TSV", help="tables of languages, families"
    )
    test.add_argument("--lines", type=int, default=10_000, metavar="N", help="at most N a language")
    test.add_argument("--json", metavar="FILE", help="a file for all scores")

    name = actions.add_parser("predict", help="print language, probability and line of each line")
    name.add_argument("model", metavar="MODEL", help="the folder of a model")
    name.add_argument(
        "file", metavar="FILE", nargs="?", default="-", help="default: standard input"
    )

    sieve = actions.add_parser("filter", help="keep lines that are in the language of their file")
    sieve.add_argument("model", metavar="MODEL", help="the folder of a model")
    sieve.add_argument("source", metavar="SOURCE", nargs="+", help="text by language")
    sieve.add_argument("--to", metavar="FOLDER", required=True, help="where kept lines go")
    sieve.add_argument(
        "--at_least", type=float, default=0.5, metavar="P", help="least probability (0.5)"
    )
    for action in (train, test, name, sieve):
        action.add_argument("--debug", action="store_true", default=argparse.SUPPRESS)


def main(args: argparse.Namespace) -> int:
    """Does the action that was asked for."""
    {"train": _train, "eval": _evaluate, "predict": _predict, "filter": _filter}[args.action](args)
    return 0


def _lines(path: str) -> Iterator[str]:
    for _, raw in sources.lines(path):
        yield " ".join(raw.decode("utf-8").splitlines())


def _sample(texts: Texts, count: int, seed: int) -> list[str]:
    """Returns at most `count` lines, each as likely as any other, in the order of the files."""
    if count < 1:
        raise UserError(f"--lines is at least 1, not {count}.")
    rng = np.random.default_rng(seed)
    kept: list[tuple[int, str]] = []
    for number, line in enumerate(texts.lines()):
        if number < count:
            kept.append((number, line))
        elif (place := int(rng.integers(number + 1))) < count:
            kept[place] = (number, line)
    return [line for _, line in sorted(kept)]


def _train(args: argparse.Namespace) -> None:
    wanted = [name for name in args.languages.split(",") if name]
    corpus = by_language(args.source, wanted)
    config = lid.LidConfig(orders=args.orders, bits=args.bits, epochs=args.epochs, seed=args.seed)
    texts = {name: _sample(found, args.lines, args.seed) for name, found in corpus.items()}
    model = lid.train(texts, config)
    model.save(args.to)
    learnt = sum(len(lines) for lines in texts.values())
    print(f"{args.to}: {len(model.languages)} languages, learnt from {learnt:,} lines.")


def _evaluate(args: argparse.Namespace) -> None:
    model = lid.load(args.model)
    corpus = by_language(args.source)
    texts = {name: _sample(found, args.lines, 0) for name, found in corpus.items()}
    report = lid.evaluate(model, texts)
    table = LanguageTable.read(args.table)
    known = {name: table.find(name) for name in report.languages}
    families = {name: language.family for name, language in known.items() if language}
    console = Console(highlight=False)
    console.print(
        f"macro-F1 {report.macro_f1:.4f}, accuracy {report.accuracy:.4f} "
        f"({report.confusion.sum():,} lines, {len(texts)} languages)"
    )
    weakest = Table("weakest", "name", "family", "F1", box=None, pad_edge=False)
    scores = {name: score for name, score in report.f1.items() if name in texts}
    for name, score in sorted(scores.items(), key=lambda item: (item[1], item[0]))[:10]:
        language = known[name]
        weakest.add_row(
            name, language.name if language else "", families.get(name, ""), f"{score:.3f}"
        )
    confused = Table("truth", "taken for", "lines", box=None, pad_edge=False)
    for truth, said, count in report.confused():
        confused.add_row(truth, said, f"{count:,}")
    by_family = Table("family", "taken for family", "lines", box=None, pad_edge=False)
    for (truth, said), count in itertools.islice(report.by_family(families).items(), 10):
        by_family.add_row(truth, said, f"{count:,}")
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
            "by_family": [[*pair, n] for pair, n in report.by_family(families).items()],
        }
        files.write_atomically(Path(args.json), json.dumps(found, ensure_ascii=False, indent=1))


def _predict(args: argparse.Namespace) -> None:
    model = lid.load(args.model)
    given = (line.rstrip("\r\n") for line in sys.stdin) if args.file == "-" else _lines(args.file)
    for batch in _batched(given):
        for line, (language, share) in zip(batch, model.predict(batch), strict=True):
            print(f"{language}\t{share:.3f}\t{line}")


def _batched(lines: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(lines)
    while batch := list(itertools.islice(rest, _BATCH)):
        yield batch


def _filter(args: argparse.Namespace) -> None:
    if not 0 <= args.at_least <= 1:
        raise UserError(f"--at_least is a probability from 0 to 1, not {args.at_least}.")
    model = lid.load(args.model)
    corpus = by_language(args.source)
    unknown = [name for name in corpus if name not in model.languages]
    if unknown:
        raise UserError(
            f"The model in '{args.model}' has never learnt '{unknown[0]}': train one with all "
            "languages of the corpus, and with those that may have strayed into it."
        )
    out = Path(args.to).resolve()
    for path in (path for found in corpus.values() for path in found.paths):
        if not files.is_remote(path) and out in Path(path).resolve().parents:
            raise UserError(f"'{args.to}' holds the source '{path}': give another folder.")
    table = Table("language", "lines", "kept", "dropped as", box=None, pad_edge=False)
    for name, found in corpus.items():
        counts: dict[str, int] = {}
        kept = _kept(model, name, found, args.at_least, counts)
        files.write_chunks(f"{args.to.rstrip('/')}/{name}.txt", kept)
        good = counts.pop("", 0)
        others = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        named = ", ".join(f"{other} {count:,}" for other, count in others[:5])
        table.add_row(name, f"{good + sum(counts.values()):,}", f"{good:,}", named)
    Console(highlight=False).print(table)


def _kept(
    model: lid.LidModel, language: str, texts: Texts, least: float, counts: dict[str, int]
) -> Iterator[bytes]:
    """Yields the lines that are of the language; counts the others by what they seem to be.

    A line is kept if its own language has the probability `least`, whatever the others have.
    """
    column = model.languages.index(language)
    for batch in _batched(texts.lines()):
        shares = model.probabilities(batch)
        for line, row in zip(batch, shares, strict=True):
            if row[column] >= least:
                counts[""] = counts.get("", 0) + 1
                yield f"{line}\n".encode()
            else:
                best = model.languages[int(row.argmax())]
                why = "unsure" if best == language else best
                counts[why] = counts.get(why, 0) + 1
