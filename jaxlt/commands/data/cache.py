"""Write seqio's offline cache of a run's data with Apache Beam, for corpora beyond one machine.

jaxlt data cache --gin_file=models/tiny.gin --gin_file=runs/pretrain.gin --gin.TEXT=my_texts \\
  --out caches --beam=--runner=DirectRunner
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the caches")
    parser.add_argument(
        "--beam",
        action="append",
        default=[],
        metavar="FLAG",
        help="a flag of Beam's own (--beam=--runner=DataflowRunner); may be repeated",
    )


def main(args: argparse.Namespace) -> int:
    """Caches what the gin flags describe."""
    from jaxlt.commands.main import load_run
    from jaxlt.data.seqio_tasks import beam_cache

    run = load_run(args, {"WORKDIR": "", "INIT_FROM": None})
    for name, folder in beam_cache.write(run.data, args.out, args.beam).items():
        print(f"{name}: {folder}")
    return 0
