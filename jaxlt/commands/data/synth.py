"""Make languages whose relations are known: texts, trees, entities, facts, dictionaries.

The flags describe families that are all alike; a gin file describes any others:

    FactoryConfig.families = [@plain/Family(), @other/Family()]
    plain/Family.copies = 2
    Family.languages = 5
    Family.dialects = 1
    other/Family.script = 'Geor'

Folders of --out: text, conllu, iob2, sentiment, facts, dictionaries; tables: parallel.tsv,
provenance.tsv (which language tells which fact), templates.tsv, made_languages.tsv, distances.tsv.
The same description and seed write the same bytes on every machine.
"""

import argparse
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jaxlt.errors import UserError, check_positive
from jaxlt.screen import plain_table

if TYPE_CHECKING:
    from rich.console import Console

    from jaxlt.data.synth.families import FactoryConfig
    from jaxlt.data.synth.spec import LanguageSpec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    parser.add_argument("--out", metavar="FOLDER", help="write everything there")
    parser.add_argument(
        "--show",
        nargs="?",
        type=int,
        const=2,
        metavar="N",
        help="print N sentences (2) in every language, with glosses and trees",
    )
    parser.add_argument("--families", type=int, default=2, help="number of families (2)")
    parser.add_argument("--languages", type=int, default=3, help="languages of each family (3)")
    parser.add_argument("--dialects", type=int, default=0, help="dialects of each family (0)")
    parser.add_argument(
        "--scripts",
        default="Latn",
        metavar="NAME,NAME",
        help="scripts of the families in turn: Latn, Cyrl, Grek, Armn, Geor, Arab, Deva, Ethi",
    )
    parser.add_argument("--seed", type=int, default=0)


def main(args: argparse.Namespace) -> int:
    """Shows, writes, or both."""
    from rich.console import Console

    from jaxlt.data.synth.families import languages

    if args.show is None and args.out is None:
        args.show = 2
    if args.show is not None and args.show < 1:
        raise UserError(f"--show takes a number of sentences from 1, not {args.show}.")
    console = Console(highlight=False, soft_wrap=True)
    config = described(args)
    specs = languages(config)
    if args.show:
        show(console, specs, config.seed, args.show)
        show_distances(console, specs)
    if args.out:
        write_out(console, config, args.out)
    return 0


def described(args: argparse.Namespace) -> "FactoryConfig":
    """Returns what the flags or the gin files describe."""
    from jaxlt.data.synth.families import FactoryConfig, Family

    if args.gin_file or args.gin_overrides:
        from jaxlt.config import load_factory

        overrides = [*args.gin_overrides]
        if args.seed:
            overrides.append(f"FactoryConfig.seed={args.seed}")
        return load_factory(args.gin_file, overrides, args.gin_search_paths)
    check_positive("--families", args.families)
    scripts = [name.strip() for name in args.scripts.split(",")]
    return FactoryConfig(
        tuple(
            Family(args.languages, script=scripts[i % len(scripts)], dialects=args.dialects)
            for i in range(args.families)
        ),
        seed=args.seed,
    )


def show(console: "Console", specs: "Sequence[LanguageSpec]", seed: int, count: int) -> None:
    """Prints sentences worth reading, each in all languages: text, tree, morphs and glosses."""
    from rich.table import Table
    from rich.text import Text

    from jaxlt.data.synth.english import english
    from jaxlt.data.synth.show import chosen, interlinear, shown
    from jaxlt.data.synth.show import described as type_of

    heads = Table.grid(padding=(0, 2, 0, 0))
    for spec in specs:
        kin = f"dialect of {spec.parent.name}" if spec.parent else f"family {spec.family + 1}"
        heads.add_row(
            Text(spec.code, style="bold"), spec.name, kin, Text(type_of(spec), style="dim")
        )
    console.print()
    console.print(heads, soft_wrap=False)
    for number, (meaning, said) in enumerate(chosen(specs, seed, count, console.width - 2), 1):
        console.print(Text(f"\n({number}) '{english(meaning)}'", style="bold"))
        for spec, one in zip(specs, said, strict=True):
            morphs, glosses, parts = interlinear(one.words)[0]
            text, *lines = shown(one)
            console.print(Text.assemble((f"\n{spec.name}  ", "magenta"), (text, "bold")))
            styles = dict(zip((morphs, glosses, parts), ("green", "", "dim"), strict=True))
            for line in lines:
                console.print(Text("  " + line, style=styles.get(line, "cyan")))


def show_distances(console: "Console", specs: "Sequence[LanguageSpec]") -> None:
    """Prints how far the languages are from each other, in percent."""
    from jaxlt.data.synth.distances import table

    if len(specs) < 2:
        return
    far = table(specs)
    heads = (f">{spec.code.split('_')[0]}" for spec in specs[:-1])
    grid = plain_table(
        "",
        *heads,
        pad_edge=True,
        title="\ndistances, 0 to 100",
        title_justify="left",
        title_style="bold",
    )
    for row, spec in enumerate(specs[1:], 1):
        cells = [f"{100 * far[other.code, spec.code].overall:.0f}" for other in specs[:row]]
        grid.add_row(spec.code, *cells)
    console.print(grid)


def write_out(console: "Console", config: "FactoryConfig", folder: str) -> None:
    """Writes the folder and says what lies there."""
    from jaxlt.data.synth.write import write

    began = time.monotonic()
    specs = write(config, folder, lambda line: console.print(f"  {line}"))
    console.print(
        f"{len(specs)} languages are in {folder} after {time.monotonic() - began:.0f} s. Try next: "
        f"jaxlt train --gin_file=models/tiny.gin --gin_file=runs/pretrain.gin "
        f"--gin.TEXT={folder}/text --gin.WORKDIR=runs/made"
    )
