"""Merge a run's modules and weight deltas into its backbone, and write that for others to load.

  jaxlt modules merge --workdir=runs/lora merged --to=hf
  jaxlt modules merge --workdir=runs/bank --modules=lang=swh_Latn --library=library merged --to=t5x

LoRA, (IA)^3, norm scales, sparse and dense deltas can be merged; bottlenecks, biases, prefixes and
the like cannot, and say why. TARGET is as for `jaxlt convert`. --take_out subtracts what a backbone
has merged in already.
"""

import argparse

from jaxlt.commands import flags, run_flags
from jaxlt.errors import UserError
from jaxlt.inference.converting import FORMATS, convert, target_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    run_flags.add_run_arguments(parser)
    run_flags.add_module_arguments(parser)
    flags.add_target(parser)
    parser.add_argument(
        "--to", choices=FORMATS, default="jaxlt", help="the format of TARGET (jaxlt)"
    )
    parser.add_argument(
        "--language", metavar="NAME", help="of a bank, the language whose module is meant"
    )
    parser.add_argument(
        "--take_out", action="store_true", help="take the modules out instead of merging them"
    )
    flags.add_overwrite(parser)
    run_flags.add_machine_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Merges what the flags name."""
    run = run_flags.load_run(args)
    target = target_folder(str(run.workdir), args.target, args.overwrite)
    run_flags.start_jax(args)
    from jaxlt.inference.merging import as_backbone, merge

    predictor, _ = run_flags.open_model(run, args)
    if not (predictor.config.plugs or predictor.config.deltas):
        raise UserError(f"'{run.workdir}' has nothing to merge: no plugs and no deltas.")
    merged = merge(predictor, args.language, args.take_out)
    for note in convert(as_backbone(run, predictor, merged), target, args.to):
        print(note)
    return 0
