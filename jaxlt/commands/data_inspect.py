"""Print a run's data as people read it: rates and epochs, warnings, and rows with their masks.

jaxlt data inspect --gin_file=models/tiny.gin --gin_file=runs/pretrain.gin --gin.TEXT=my_texts
"""

import argparse
from typing import TYPE_CHECKING, Any

from jaxlt.commands import session

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.data.reading import Mixture, Part

# Colours that are told apart on dark and on light terminals; sentinels take turns.
_TURNS = ("cyan", "magenta", "green", "yellow", "blue", "red")
_STYLES = {
    "text": "",
    "end": "dim",
    "masked": "black on cyan",
    "replaced": "black on yellow",
    "kept": "underline",
}


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
    """Shows what the gin flags describe."""
    from jaxlt.commands.main import load_run

    run = load_run(args, {"WORKDIR": "", "INIT_FROM": None})
    show(run, args)
    return 0


def show(run: "RunConfig", args: argparse.Namespace) -> None:
    """Prints the mixture, the warnings, and rows."""
    from rich.console import Console

    from jaxlt.data import reading
    from jaxlt.data.mixtures import open_mixture
    from jaxlt.data.vocabularies import open_vocabulary

    config = run.data
    mixture = open_mixture(config, args.split)
    steps = args.steps or session.in_steps(run, mixture).train.steps
    vocabulary = open_vocabulary(config.vocabulary_config)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=120)
    console.print(table(mixture, steps))
    lines = reading.remarks(config, mixture, vocabulary, steps)
    for line in lines:
        console.print(f"! {line}", style="bold yellow", markup=False)
    if not lines:
        console.print("No warnings.", style="green")
    if legend := _legend(config.objective):
        console.print(legend)
    for batch, row in reading.one_a_language(mixture, args.rows):
        console.print(heading(mixture, batch, row))
        texts = reading.read(config, vocabulary, batch, row, mixture.languages)
        for name, parts in texts.items():
            console.print(styled(name, parts, args.characters))


def table(mixture: "Mixture", steps: int) -> Any:
    """A table of languages: rates, sizes, epochs."""
    from rich.table import Table

    from jaxlt.data.reading import epochs

    out = Table(box=None, pad_edge=False, header_style="bold")
    out.add_column("language", overflow="fold")
    for name in ("rate", "documents", "tokens", "rows/epoch", f"epochs in {steps:,} steps"):
        out.add_column(name, justify="right")
    for i in mixture.info():
        seen = epochs(i, mixture, steps)
        numbers = (f"{i.documents:,}", f"{i.tokens:,}", f"{i.rows:,}", f"{seen:,.2f}")
        out.add_row(i.name, f"{i.rate:.3%}", *numbers)
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
    out.append(f"   {', '.join(sizes)}", style="not bold dim")
    return out


def styled(name: str, parts: "list[Part]", most: int) -> Any:
    """A text in its colours, cut after `most` characters."""
    from rich.text import Text

    out = Text(f"{name + ':':9}", style="")
    for part in parts:
        colour = _TURNS[part.number % len(_TURNS)]
        style = _STYLES.get(part.kind, f"bold {colour}")
        shown = part.text.replace("\n", "\u21b5")
        if most and len(out) + len(shown) > most:
            out.append(shown[: max(most - len(out), 0)], style=style)
            out.append(" ...", style="dim")
            break
        out.append(shown, style=style)
    return out


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
