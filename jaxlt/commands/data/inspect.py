"""Print a run's data as people read it: rates and epochs, warnings, and rows with their masks.

jaxlt data inspect --gin_file=models/tiny.gin --gin_file=runs/pretrain.gin --gin.TEXT=my_texts
"""

import argparse
import unicodedata
from typing import TYPE_CHECKING, Any

from jaxlt.config import derived
from jaxlt.screen import screen

if TYPE_CHECKING:
    from jaxlt.data.reading import Mixture, Part

# Colours that are told apart on dark and on light terminals; sentinels take turns.
_TURNS = ("cyan", "magenta", "green", "yellow", "bright_blue", "bright_red")
_STYLES = {
    "text": "",
    "end": "dim",
    "masked": "black on cyan",
    "replaced": "black on yellow",
    "kept": "underline",
    "unknown": "white on red",
    "broken": "dim",
}
_BAR = 12  # columns of the widest rate
# What would move the cursor or ring is shown as its picture; a tab and a line's end as arrows.
_SHOWN: dict[int, int | str] = {code: 0x2400 + code for code in range(32)}
_SHOWN |= {127: 0x2421, 9: "\u21e5", 10: "\u21b5"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    parser.add_argument("--rows", type=int, default=1, help="rows of each language (1)")
    parser.add_argument("--split", help="another split than the run's own")
    parser.add_argument(
        "--steps", type=int, help="reckon epochs for so many steps, not TrainConfig.steps"
    )
    parser.add_argument(
        "--characters", type=int, default=600, help="shown of each text; 0 for all (600)"
    )


def main(args: argparse.Namespace) -> int:
    """Prints the mixture that the gin flags describe, the warnings, and rows."""
    from jaxlt.commands.main import load_run

    run = load_run(args, {"WORKDIR": "", "INIT_FROM": None})
    from jaxlt.data import reading
    from jaxlt.data.mixtures import open_mixture
    from jaxlt.data.vocabulary.vocabularies import open_vocabulary

    config = run.data
    mixture = open_mixture(config, args.split)
    steps = args.steps or derived.in_steps(run, mixture).train.steps
    vocabulary = open_vocabulary(config.vocabulary_config)
    console = screen(120)
    console.print(table(mixture, steps))
    console.print(_sums(mixture, steps), style="dim")
    lines = reading.remarks(config, mixture, vocabulary, steps)
    if lines:
        console.print(_grid(*(("!", line) for line in lines)), style="bold yellow")
    else:
        console.print("No warnings.", style="green")
    if legend := _legend(config.objective):
        console.print(legend)
    for batch, row in reading.one_a_language(mixture, args.rows):
        console.print(heading(mixture, batch, row))
        texts = reading.read(config, vocabulary, batch, row, mixture.languages)
        shown = ((f"{n}:", styled(n, parts, args.characters)) for n, parts in texts.items())
        console.print(_grid(*shown))
    return 0


def table(mixture: "Mixture", steps: int) -> Any:
    """A table of languages: rates, sizes, epochs."""
    from rich.table import Table
    from rich.text import Text

    from jaxlt.data.reading import MANY_EPOCHS, epochs

    infos = mixture.info()
    highest = max((i.rate for i in infos), default=0) or 1
    out = Table(box=None, pad_edge=False, header_style="bold")
    out.add_column("language", overflow="fold")
    out.add_column("", style="dim", overflow="ellipsis", no_wrap=True)
    out.add_column("rate", justify="right")
    out.add_column("", style="cyan", no_wrap=True)
    for name in ("documents", "tokens", "rows/epoch", f"epochs in {steps:,} steps"):
        out.add_column(name, justify="right")
    for i in infos:
        seen = epochs(i, mixture, steps)
        style = "bold yellow" if seen > MANY_EPOCHS else ""
        numbers = (f"{i.documents:,}", f"{i.tokens:,}", f"{i.rows:,}")
        bar = "\u2501" * max(round(_BAR * i.rate / highest), 1 if i.rate else 0)
        names = dict.fromkeys(filter(None, map(_name, i.languages)))
        cells = (i.name, " to ".join(names), f"{i.rate:.2%}", bar, *numbers)
        out.add_row(*cells, Text(f"{seen:,.2f}", style=style))
    return out


def _sums(mixture: "Mixture", steps: int) -> str:
    infos = mixture.info()
    return (
        f"{len(infos)} in all: {sum(i.documents for i in infos):,} documents, "
        f"{sum(i.tokens for i in infos):,} tokens; {steps:,} steps of {mixture.batch_size} rows "
        f"are {steps * mixture.batch_size:,} rows."
    )


def _name(code: str) -> str:
    """Returns a language's English name, "" for a code that no table knows."""
    from jaxlt.data.languages import LanguageTable

    found = LanguageTable().find(code)
    return found.name if found else ""


def _grid(*rows: tuple[Any, Any]) -> Any:
    """Lines of a label and a text that keeps to the right of it."""
    from rich.table import Table

    out = Table.grid(padding=(0, 1, 0, 0))
    out.add_column(no_wrap=True)
    out.add_column(overflow="fold")
    for row in rows:
        out.add_row(*row)
    return out


def heading(mixture: "Mixture", batch: dict[str, Any], row: int) -> Any:
    """The line above a row: its language and lengths."""
    from rich.text import Text

    name = mixture.languages[int(batch["language"][row])]
    if "target_language" in batch:
        name += f" to {mixture.languages[int(batch['target_language'][row])]}"
    sizes = []
    for label, field in (
        ("inputs", "encoder_input_tokens"),
        ("targets", "decoder_target_tokens"),
    ):
        if field in batch:
            ids = batch[field][row]
            sizes.append(f"{label} {int((ids > 0).sum())}/{len(ids)}")
    if "encoder_segment_ids" in batch:
        sizes.append(f"{int(batch['encoder_segment_ids'][row].max())} examples")
    sizes.append(f"{int(batch['target_bytes'][row])} bytes asked for")
    out = Text(f"\n{name}", style="bold")
    if shown := _name(name):
        out.append(f" {shown}", style="not bold")
    out.append(f"   {', '.join(sizes)}", style="not bold dim")
    return out


def styled(name: str, parts: "list[Part]", most: int) -> Any:
    """A text in its colours, cut after `most` characters; answers wear those of their sentinels."""
    from rich.text import Text

    out = Text()
    answer = ""
    for part in parts:
        style = _STYLES.get(part.kind, f"bold {_TURNS[part.number % len(_TURNS)]}")
        if part.kind == "sentinel" and name == "targets":
            answer = _TURNS[part.number % len(_TURNS)]
        if part.kind == "text":
            style = answer
        text = part.text.translate(_SHOWN)
        if most and len(out) + len(text) > most:
            out.append(_cut(text, max(most - len(out), 0)), style=style)
            out.append(" ...", style="dim")
            break
        out.append(text, style=style)
    return out


def _cut(text: str, most: int) -> str:
    """Returns the beginning of a text; marks stay with their letter."""
    while most < len(text) and unicodedata.category(text[most])[0] == "M":
        most += 1
    return text[:most]


def _legend(objective: str) -> Any:
    from rich.text import Text

    if objective != "mlm":
        return None
    return Text.assemble(
        "\n",
        ("masked", _STYLES["masked"]),
        "  ",
        ("replaced by another", _STYLES["replaced"]),
        "  ",
        ("kept and asked", _STYLES["kept"]),
    )
