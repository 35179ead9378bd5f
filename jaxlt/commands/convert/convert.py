"""Convert backbones between T5X, Hugging Face and jaxlt, or show what a checkpoint holds.

  jaxlt convert --inspect google/mt5-small-folder
  jaxlt convert t5x/mt5_small/checkpoint_1000000 mt5_small_hf --to=hf
  jaxlt convert runs/pretrained pretrained_t5x/checkpoint_1000 --to=t5x

SOURCE is found out by itself: a T5X checkpoint (legacy or orbax), a Hugging Face folder
(safetensors or flax msgpack), or a workdir of jaxlt. TARGET is a new folder: for hf safetensors,
config.json and tokenizer, for t5x a legacy checkpoint, for jaxlt a base that INIT_FROM takes. The
vocabulary goes along. Values and their dtypes are kept, and compared when all is written.
"""

import argparse

from jaxlt.commands import flags
from jaxlt.errors import UserError
from jaxlt.inference.backbone import open_backbone
from jaxlt.inference.converting import FORMATS, convert, target_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    parser.add_argument("source", metavar="SOURCE", help="the checkpoint to read (local or gs://)")
    flags.add_target(parser, "?")
    parser.add_argument("--to", choices=FORMATS, help="the format of TARGET")
    flags.add_overwrite(parser)
    parser.add_argument(
        "--inspect", action="store_true", help="show what SOURCE holds; write nothing"
    )


def main(args: argparse.Namespace) -> int:
    """Converts or inspects what the flags name."""
    if args.inspect:
        for flag, value in (("TARGET", args.target), ("--to", args.to)):
            if value:
                raise UserError(f"--inspect writes nothing: leave {flag} out.")
    elif not args.target or not args.to:
        lacking = "TARGET, the folder to write" if not args.target else "--to=hf, t5x or jaxlt"
        raise UserError(f"Converting needs {lacking} (or --inspect, to see what SOURCE holds).")
    import jax

    jax.config.update("jax_platforms", "cpu")  # the devices may be at work, and are of no use here
    from jaxlt.engine import compilation

    compilation.prepare()
    if args.inspect:
        from jaxlt.commands.convert.inspection import show

        show(open_backbone(args.source), args.source)
        return 0
    target = target_folder(args.source, args.target, args.overwrite)
    backbone = open_backbone(args.source)
    for note in convert(backbone, target, args.to):
        print(note)
    return 0
