"""Write a trained run's outputs: text lines in, one output line each, in the same order.

  jaxlt infer --workdir=runs/translator --output=out.txt in.txt
  echo 'Guten Tag, <extra_id_0> geht es?' | jaxlt infer --workdir=runs/pretrained

Decoding is greedy unless flags say otherwise. A span-corruption model reads and writes its
sentinels as <extra_id_0>, <extra_id_1>, ... A newline that the model writes is shown as \\n; an
empty line stays empty. With --output, lines are kept in FILE.part until all are there; --resume
goes on after a kill.
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, NamedTuple

from jaxlt.commands import session, trained
from jaxlt.commands.infer_output import Output
from jaxlt.errors import UserError

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.data.vocabularies import Vocabulary
    from jaxlt.engine.decoding_config import DecodingConfig
    from jaxlt.engine.predictor import Codec, Predictor

_WINDOW = 16  # batches that are read ahead and sorted by length


class Settings(NamedTuple):
    """How lines become outputs."""

    inputs_length: int
    length: int
    batch_size: int
    truncate: bool
    language: int | None
    decoding: "DecodingConfig"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    trained.add_arguments(parser)
    trained.add_module_arguments(parser)
    group = parser.add_argument_group("text")
    group.add_argument(
        "input", nargs="?", default="-", help="a file of UTF-8 lines (standard input)"
    )
    group.add_argument("--output", metavar="FILE", help="where outputs go (standard output)")
    group.add_argument("--resume", action="store_true", help="go on with FILE.part")
    group.add_argument("--overwrite", action="store_true", help="replace FILE if it is there")
    group.add_argument(
        "--language", metavar="NAME", help="the texts' language, where modules go by it"
    )
    group.add_argument(
        "--max_length", type=int, metavar="N", help="tokens of an output at most (as in training)"
    )
    group.add_argument(
        "--truncate",
        action="store_true",
        help="cut inputs above DataConfig.inputs_length tokens, which are errors otherwise",
    )
    group.add_argument(
        "--batch_size", type=int, default=32, metavar="N", help="lines decoded together (32)"
    )
    trained.add_decoding_arguments(parser)
    session.add_machine_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Infers what the flags describe."""
    for flag in ("batch_size", "max_length"):
        value = getattr(args, flag)
        if value is not None and value < 1:
            raise UserError(f"--{flag} is at least 1, not {value}.")
    if args.resume and not args.output:
        raise UserError("--resume goes on with an --output file: give it.")
    if args.resume and not args.overwrite and os.path.exists(args.output):
        trained.say(f"'{args.output}' is there already, and whole.")
        return 0
    run = trained.load(args)
    session.start_jax(args)
    from jaxlt.engine import distributed

    if run.model.is_encoder:
        raise UserError(
            f"The model of '{run.workdir}' is an encoder alone (T5Config.decoder_layers = 0): it "
            "has no decoder that could write text."
        )
    if distributed.process_count() > 1:
        raise UserError(
            "`jaxlt infer` runs in one process: start it on one host, over all of its devices."
        )
    with _open_input(args.input) as lines:
        predictor, vocabulary = trained.open_model(run, args)
        settings = settings_of(run, predictor, args)
        said = {"run": trained.trained_hash(run), "step": predictor.step, **settings._asdict()}
        said.pop("batch_size")  # changes no line
        said["decoding"] = dataclasses.asdict(settings.decoding)
        with Output(args.output, said, args.resume, args.overwrite) as output:
            try:
                infer(predictor, codec_of(run, vocabulary), lines, output, settings)
            except BrokenPipeError:  # who reads us (`| head`) has seen enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def settings_of(run: "RunConfig", predictor: "Predictor", args: argparse.Namespace) -> Settings:
    """Fills in what the flags leave out, from the run's data."""
    inputs, targets = session.lengths(run)
    language = None if args.language is None else predictor.language_id(args.language)
    if predictor.is_routed and language is None:
        raise UserError(
            "This model's modules go by language: give --language, one of "
            f"{', '.join(predictor.languages)}."
        )
    length = args.max_length or targets
    how = trained.decoding_of(args)
    return Settings(inputs, length, args.batch_size, args.truncate, language, how)


def codec_of(run: "RunConfig", vocabulary: "Vocabulary") -> "Codec":
    """How the run's texts are read and written: with sentinels where it was trained on them."""
    from jaxlt.data.mixtures import build_objective
    from jaxlt.data.objectives import span_counts
    from jaxlt.data.sentinels import PlainText, SentinelText

    if run.data.objective != "span_corruption":
        return PlainText(vocabulary)
    window = build_objective(run.data, vocabulary).window
    trained_on = span_counts(window, run.data.noise_density, run.data.mean_span)[1]
    return SentinelText(vocabulary, max(trained_on, 10))


def infer(
    predictor: "Predictor",
    codec: "Codec",
    lines: "Lines",
    output: Output,
    settings: Settings,
) -> None:
    """Decodes the lines that `output` does not have yet, a window of batches at a time."""
    from jaxlt.engine.predictor import encode

    window = 1 if lines.interactive else _WINDOW * settings.batch_size
    cut = first = 0
    with _progress(lines.total) as advance:
        for texts in _windows(output.skip(iter(lines)), window):
            number = output.lines + 1
            encoded = [
                encode(codec, t, settings.inputs_length, settings.truncate, f"Line {number + i}")
                for i, t in enumerate(texts)
            ]
            first = first or next((number + i for i, (_, c) in enumerate(encoded) if c), 0)
            cut += sum(was_cut for _, was_cut in encoded)
            asked = [i for i, text in enumerate(texts) if text]
            language = settings.language
            decoded = predictor.decode_tokens(
                [encoded[i][0] for i in asked],
                settings.length,
                batch_size=settings.batch_size,
                languages=None if language is None else [language] * len(asked),
                decoding=settings.decoding,
                numbers=[number + i for i in asked],
            )
            outputs = [""] * len(texts)
            for i, ids in zip(asked, decoded, strict=True):
                outputs[i] = codec.decode(ids).replace("\r", "\\r").replace("\n", "\\n")
            output.write(texts, outputs)
            advance(output.lines)
    if not output.lines:
        raise UserError(f"'{lines.name}' is empty: there is nothing to decode.")
    if cut:
        trained.say(
            f"{cut} of {output.lines} inputs were cut to {settings.inputs_length} tokens "
            f"(line {first} first)."
        )


def _windows(lines: Iterator[str], size: int) -> Iterator[list[str]]:
    window: list[str] = []
    for line in lines:
        window.append(line)
        if len(window) == size:
            yield window
            window = []
    if window:
        yield window


class Lines:
    """The lines of a file or of standard input, without their ends; UTF-8, or a UserError."""

    def __init__(self, file: IO[bytes], name: str, total: int | None):
        self._file, self.name, self.total = file, name, total
        self.interactive = file.isatty()

    def __iter__(self) -> Iterator[str]:
        for number, line in enumerate(self._file, 1):
            try:
                yield line.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise UserError(
                    f"'{self.name}', line {number}: byte {error.start + 1} is not UTF-8 "
                    f"({error.reason}). Convert the file, for example with iconv -t UTF-8."
                ) from None


@contextmanager
def _open_input(path: str) -> Iterator[Lines]:
    from jaxlt.data import files

    if path == "-":
        yield Lines(sys.stdin.buffer, "standard input", None)
        return
    with files.open_bytes(path) as file:
        total = sum(1 for _ in file)
    with files.open_bytes(path) as file:
        yield Lines(file, path, total)


@contextmanager
def _progress(total: int | None):
    """Yields a function that takes the number of lines done; shown on a terminal's stderr alone."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal or (sys.stdin.isatty() and total is None):
        yield lambda done: None
        return
    columns = (TextColumn("lines"), BarColumn(24), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("lines", total=total)
        yield lambda done: progress.update(task, completed=done)
