"""Merge a run's modules and weight deltas into its backbone, and write that for others to load.

  jaxlt modules merge --workdir=runs/lora merged --to=hf
  jaxlt modules merge --workdir=runs/bank --modules=lang=swh_Latn --library=library merged --to=t5x

LoRA, (IA)^3, norm scales, sparse and dense deltas can be merged; bottlenecks, biases, prefixes and
the like cannot, and say why. TARGET is as for `jaxlt convert`. --take_out subtracts what a backbone
has merged in already.
"""

import argparse
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlt.commands import run_flags
from jaxlt.commands.convert import convert
from jaxlt.errors import UserError
from jaxlt.inference import backbone

if TYPE_CHECKING:
    from jaxlt.config import RunConfig
    from jaxlt.inference.predictor import Predictor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    run_flags.add_run_arguments(parser)
    run_flags.add_module_arguments(parser)
    parser.add_argument("target", metavar="TARGET", help="the new local folder")
    parser.add_argument(
        "--to", choices=convert.FORMATS, default="jaxlt", help="the format of TARGET (jaxlt)"
    )
    parser.add_argument(
        "--language", metavar="NAME", help="of a bank, the language whose module is meant"
    )
    parser.add_argument(
        "--take_out", action="store_true", help="take the modules out instead of merging them"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace TARGET once the new one is whole"
    )
    run_flags.add_machine_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Merges what the flags name."""
    run = run_flags.load_run(args)
    target = convert.target_folder(str(run.workdir), args.target, args.overwrite)
    run_flags.start_jax(args)
    predictor, _ = run_flags.open_model(run, args)
    if not (predictor.config.plugs or predictor.config.deltas):
        raise UserError(f"'{run.workdir}' has nothing to merge: no plugs and no deltas.")
    merged = merge(predictor, args.language, args.take_out)
    for note in convert.convert(as_backbone(run, predictor, merged), target, args.to):
        print(note)
    return 0


def merge(
    predictor: "Predictor", language: str | None = None, take_out: bool = False
) -> dict[str, np.ndarray]:
    """Returns the backbone with all of its modules and deltas merged in, by canonical names."""
    from jaxlt.models.layout import stack, unstack
    from jaxlt.modules.int8 import dense
    from jaxlt.modules.merge import merged

    config = predictor.config
    slots = {}
    if language is not None:
        slot = predictor.language_id(language)
        slots = {p.name: slot for p in config.plugs if p.routes}
    params = {n: dense(v) for n, v in predictor.params.items()}
    flat = params if config.scan_layers else stack(params)
    whole = unstack(merged(flat, config.plugs, config.deltas, slots, take_out))
    return {n.removeprefix("params/"): np.asarray(v) for n, v in whole.items()}


class _Held:
    """Tensors in memory, as a base."""

    def __init__(self, values: Mapping[str, np.ndarray], path: str):
        self._values = values
        self.origin = {"path": path, "format": "jaxlt"}
        self.shapes = {n: v.shape for n, v in values.items()}

    def read(self, name: str) -> Any:
        return self._values[name]


def as_backbone(
    run: "RunConfig", predictor: "Predictor", values: Mapping[str, np.ndarray]
) -> backbone.Backbone:
    """What `jaxlt convert` writes: the tensors, with the run's settings and vocabulary."""
    model = predictor.config
    fields = [f.name for f in dataclasses.fields(model) if f.name not in backbone.RUNTIME]
    settings = {name: getattr(model, name) for name in fields}
    return backbone.Backbone(_Held(values, str(run.workdir)), settings, run.data.vocabulary)
