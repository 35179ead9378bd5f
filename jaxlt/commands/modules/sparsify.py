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
from typing import TYPE_CHECKING, Any

from jaxlt.commands import run_flags
from jaxlt.errors import UserError, nearest
from jaxlt.inference import opening

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.inference.predictor import Predictor
    from jaxlt.modules.deltas import Delta


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

    run = run_flags.load_run(args)
    _check(args)
    run_flags.start_jax(args)
    text = write(run, args)
    if distributed.is_primary():
        print(text)
    return 0


def _check(args: argparse.Namespace) -> None:
    if args.share is not None and not 0 < args.share <= 1:
        raise UserError(f"--share={args.share} is no share: above 0 and at most 1.")
    whole = args.count is None and args.share is None
    if args.by != "magnitude" and whole:
        raise UserError(f"--by={args.by} chooses entries: say how many (--count or --share).")
    if args.by != "magnitude" and args.values:
        raise UserError("--values keeps what was learnt, and entries are chosen --by=magnitude.")
    if whole and not args.values:
        raise UserError("A mask of everything masks nothing: give --count or --share, or --values.")
    if args.by == "gradient":
        args.step = 0


def write(run: "RunConfig", args: argparse.Namespace) -> str:
    """Cuts and saves; returns a line about it."""
    from jaxlt.engine.hosts import distributed
    from jaxlt.modules import delta_files
    from jaxlt.modules.delta_files import INDICES, VALUES
    from jaxlt.modules.deltas import changes, delta
    from jaxlt.modules.fingerprints import Fingerprint
    from jaxlt.modules.magnitude import random_scores, sparsify

    predictor, _ = run_flags.open_model(run, args)
    if run.model.deltas:
        item = chosen_delta(run, args.delta)
        made = changes(predictor.params, item)
        start = predictor.start
        if item.start:  # a file's, which may have come from another run
            start = Fingerprint(item.start, dict(item.start_parts))
    else:
        item = delta(args.delta or "tuned")
        made, start = _difference(run, predictor, item), predictor.start
    sizes = {n: v.size for n, v in made.items() if n.endswith(VALUES)}
    total = sum(sizes.values())
    count = args.count if args.share is None else max(1, round(args.share * total))
    scores = None
    if args.by == "random":
        scores = random_scores(made, args.seed)
    elif args.by == "gradient":
        scores = _gradients(run, predictor, item)
    arrays = sparsify(made, count, scores=scores, keep_values=args.values)
    kept = sum(len(v) for n, v in arrays.items() if n.endswith(INDICES))
    facts = {
        "delta": item.name,
        "by": args.by,
        "count": str(kept),
        "maskable": str(total),
        "step": str(predictor.step),
    } | delta_files.start_of(start)
    distributed.on_primary(
        lambda: delta_files.save(args.out, arrays, facts), f"Writing '{args.out}'"
    )
    of = f"{kept:,} of {total:,} entries ({kept / total:.3%}) in {len(sizes)} parameters"
    return f"{args.out}: {of}, {'with values' if args.values else 'a mask'}."


def chosen_delta(run: "RunConfig", name: str | None) -> "Delta":
    """The run's delta of that name, or its only one."""
    deltas = {d.name: d for d in run.model.deltas}
    if name is None and len(deltas) > 1:
        raise UserError(f"Which delta? The run has {', '.join(deltas)}: name one with --delta.")
    if name is not None and name not in deltas:
        raise UserError(
            f"The run has no delta '{name}'.{nearest(name, deltas)} It has: {', '.join(deltas)}."
        )
    return deltas[name or next(iter(deltas))]


def _difference(run: "RunConfig", predictor: "Predictor", item: "Delta") -> dict[str, Any]:
    """What a run without deltas changed in its backbone."""
    from jaxlt.engine.state import load_base
    from jaxlt.modules.delta_files import VALUES
    from jaxlt.modules.units import stacked

    layout = predictor.program.layout
    names = [n for n in item.targets(layout.leaves) if n in layout.trainable]
    base = opening.base_of(run)
    if not names or base is None:
        raise UserError(
            f"'{run.workdir}' has neither a delta (T5Config.deltas) nor a backbone that it trained "
            "from an INIT_FROM: there is no change to cut down."
        )
    before = load_base(layout, base, run.model.is_encoder, names)
    changed = {n: predictor.params[n] - v for n, v in before.items()}
    return {n + VALUES: v for n, v in stacked(changed).items()}


def _gradients(run: "RunConfig", predictor: "Predictor", item: "Delta") -> dict[str, Any]:
    """Mean squared gradients of a dense delta over one pass of the run's data, by parameter."""
    from jaxlt.inference.gradient_scores import mean_squared_gradients
    from jaxlt.modules.units import stacked

    if item.kind != "dense" or not run.model.deltas:
        raise UserError(
            "--by=gradient scores the entries of a dense delta: use runs/lt_sft_full.gin, or set "
            "T5Config.deltas = [@lang/delta()]."
        )
    data = opening.open_all(run, False).data
    steps = max(1, -(-sum(info.rows for info in data.info()) // data.batch_size))
    leaves = item.parts(predictor.params)
    found = mean_squared_gradients(
        predictor.program, predictor.params, data, list(leaves.values()), steps
    )
    return stacked({param: found[leaf] for param, leaf in leaves.items()})
