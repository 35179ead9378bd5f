"""Write a trained run's answers: text, CoNLL-U, IOB2, TSV or JSONL in, the same out, filled in.

  jaxlt infer --workdir=runs/translator --output=out.txt in.txt
  echo 'Guten Tag, <extra_id_0> geht es?' | jaxlt infer --workdir=runs/pretrained
  jaxlt infer --workdir=runs/tagging --output=tagged.conllu raw.conllu.gz
  jaxlt infer --workdir=runs/topics --labels=sports,health --output=out.tsv in.tsv
  jaxlt infer --workdir=runs/translator --format=jsonl --target=swh_Latn <in.jsonl

Order and bytes stay as they are; --task says what is filled in: UPOS (tag), HEAD and DEPREL (parse)
of CoNLL-U, the tags of IOB2 (entities), a new column or field of tables. Plain text is a text a
line, and an answer a line: a newline in it is shown as \\n, an empty line stays empty. Where words
are asked about, a line is a sentence, split at spaces and punctuation (of Han, Hiragana, Thai, Lao,
Khmer and Myanmar every character is a word), and comes out as CoNLL-U (tag, parse) or IOB2
(entities) with a comment that says so. Decoding is greedy unless flags say otherwise. A
span-corruption model reads and writes its sentinels as <extra_id_0>, <extra_id_1>, ... With
--output, what is there is kept in FILE.part until all is; --resume goes on after a kill.
"""

import argparse
import dataclasses
import os
import sys

from jaxlt import progress
from jaxlt.commands import run_flags
from jaxlt.data.config import DataConfig
from jaxlt.data.sources.files import PACKED
from jaxlt.errors import UserError, check_positive
from jaxlt.inference.asking import BY_WORD, OVERLENGTH, Settings, kinds_for
from jaxlt.inference.filling import Lines, decided_by, fill_in, tasks_of
from jaxlt.inference.formats import FORMATS, Format, asked_in, format_for, format_of
from jaxlt.inference.output import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    tasks = asked_in("tsv", kinds_for(DataConfig()))  # which any kind has a place in
    run_flags.add_run_arguments(parser)
    run_flags.add_module_arguments(parser)
    group = parser.add_argument_group("input and output")
    group.add_argument(
        "input", nargs="?", default="-", help="a file of UTF-8, .gz and .zst too (standard input)"
    )
    group.add_argument("--output", metavar="FILE", help="where it goes (standard output)")
    group.add_argument("--resume", action="store_true", help="go on with FILE.part")
    group.add_argument("--overwrite", action="store_true", help="replace FILE if it is there")
    group.add_argument(
        "--format", choices=tuple(FORMATS), help="of input and output (what the input's name says)"
    )
    group.add_argument(
        "--task",
        metavar="A,B",
        help=f"what is filled in, of {', '.join(tasks)} (what the run was trained for; of text "
        "where that is nothing or several, generate)",
    )
    group.add_argument("--column", metavar="NAME", help="of the answers in a table (the task's)")
    group.add_argument(
        "--language",
        metavar="NAME",
        help="the texts' language where modules go by it and a record itself (column `language`, "
        "comment `# lang = `) does not say it",
    )
    group.add_argument(
        "--target",
        metavar="NAME",
        help="the answers' language likewise (column `target_language`); of text: --task=translate",
    )
    group.add_argument(
        "--overlength",
        choices=OVERLENGTH,
        default="refuse",
        help="inputs above DataConfig.inputs_length tokens are errors (refuse), read in part "
        "(truncate), or their words answered in pieces (window: tag, entities)",
    )
    group.add_argument(
        "--batch_size", type=int, default=32, metavar="N", help="texts decoded together (32)"
    )
    group.add_argument(
        "--returns", type=int, default=1, metavar="N", help="answers to a text, a list in tables"
    )
    run_flags.add_decoding_arguments(parser)
    run_flags.add_machine_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Infers what the flags describe."""
    for flag in ("batch_size", "max_length", "returns"):
        check_positive(f"--{flag}", getattr(args, flag))
    if args.resume and not args.output:
        raise UserError("--resume goes on with an --output file: give it.")
    if args.output and args.output.endswith(PACKED):
        raise UserError(
            f"--output={args.output} is to be packed, and what is written line by line is plain: "
            "give a name without that ending, and pack the file when it is whole."
        )
    if args.resume and not args.overwrite and os.path.exists(args.output):
        progress.say(f"'{args.output}' is there already, and whole.")
        return 0
    run = run_flags.load_run(args)
    name = args.format or format_of(args.input)
    kinds = kinds_for(run.data)
    tasks = tasks_of(run, name, kinds, args.task, args.target, args.column)
    form = format_for(name, {task: kinds[task] for task in tasks}, args.column)
    run_flags.start_jax(args)
    from jaxlt.engine.hosts import distributed
    from jaxlt.inference.model import Model

    if run.model.is_encoder and not run.model.heads:
        raise UserError(
            f"The model of '{run.workdir}' is an encoder alone (T5Config.decoder_layers = 0): it "
            "has no decoder that could write text."
        )
    if distributed.process_count() > 1:
        raise UserError(
            "`jaxlt infer` runs in one process: start it on one host, over all of its devices."
        )
    how = settings_of(args, form)
    lines = Lines(args.input)
    model = Model(run, *run_flags.open_model(run, args))
    decided = decided_by(model, how, args.modules, args.language, args.target)
    decided |= {"column": args.column, "format": name, "tasks": tasks}
    with Output(args.output, decided, args.resume, args.overwrite) as output:
        try:
            fill_in(model, form, lines, output, how, args.language, args.target)
        except BrokenPipeError:  # who reads us (`| head`) has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def settings_of(args: argparse.Namespace, form: Format) -> Settings:
    """Returns how the flags want records answered."""
    by_word = any(kind.shape in BY_WORD for kind in form.kinds.values())
    if args.returns > 1 and (by_word or not form.several):
        raise UserError(
            f"--returns={args.returns} is for answers that are text (classify, translate, ...), in "
            "tables (tsv, jsonl), where they are a list."
        )
    decoding = dataclasses.replace(run_flags.decoding_of(args), returns=args.returns)
    return Settings(
        labels=run_flags.labels_of(args),
        force=args.force or "",
        length=args.max_length,
        overlength=args.overlength,
        batch_size=args.batch_size,
        decoding=decoding,
    )
