"""Cut what a run changed down to a sparse delta: a file that `delta.file` takes.

  jaxlt modules sparsify --workdir=runs/full --count=7667712 --out=masks/swh.safetensors
  jaxlt modules sparsify --workdir=runs/sparse --values --out=deltas/swh.safetensors
  jaxlt modules sparsify --workdir=runs/full --share=0.005 --by=random --out=masks/r.safetensors

Without --values the file is a mask, under which training starts from zero (LT-SFT); with them it is
the delta itself, to be tuned on, composed or merged. Neither --count nor --share: all is kept. A
run without deltas that trained the backbone is compared with its INIT_FROM.
--by=gradient scores a run as it starts, by one pass over its data (ChildTuning D): no checkpoint is
needed, give the run's gin files.
"""

import argparse

from jaxlt.commands import run_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    run_flags.add_run_arguments(parser)
    group = parser.add_argument_group("the sparse delta")
    group.add_argument("--out", metavar="FILE", required=True, help="the safetensors file to write")
    group.add_argument("--delta", metavar="NAME", help="which of the run's deltas (the only one)")
    size = group.add_mutually_exclusive_group()
    size.add_argument("--count", type=int, help="entries that stay, over all parameters together")
    size.add_argument("--share", type=float, help="the same as a share of the maskable entries")
    group.add_argument(
        "--by",
        choices=("magnitude", "random", "gradient"),
        default="magnitude",
        help="what is kept: the largest changes, random entries (the control), or the entries with "
        "the largest mean squared gradient before training",
    )
    group.add_argument("--seed", type=int, default=0, help="of random entries (0)")
    group.add_argument(
        "--values", action="store_true", help="keep the values too, instead of a mask alone"
    )
    run_flags.add_machine_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Writes the file that the flags describe."""
    from jaxlt.engine.hosts import distributed
    from jaxlt.inference.sparsifying import Cut
    from jaxlt.modules import delta_files

    run = run_flags.load_run(args)
    cut = Cut(args.delta, args.count, args.share, args.by, args.seed, args.values)
    if cut.by == "gradient":
        args.step = 0
    run_flags.start_jax(args)
    predictor, _ = run_flags.open_model(run, args)
    made = cut.of(run, predictor)
    distributed.on_primary(
        lambda: delta_files.save(args.out, made.arrays, made.facts), f"Writing '{args.out}'"
    )
    if distributed.is_primary():
        of = f"{made.kept:,} of {made.maskable:,} entries ({made.kept / made.maskable:.3%})"
        what = "with values" if args.values else "a mask"
        print(f"{args.out}: {of} in {made.parameters} parameters, {what}.")
    return 0
