"""A run's modules and deltas, merged into its backbone.

predictor, _ = open_model(run)
convert(as_backbone(run, predictor, merge(predictor)), Path("merged"), "hf")
"""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from jaxlt.inference import backbone
from jaxlt.inference.predictor import Predictor
from jaxlt.modules.int8 import dense
from jaxlt.modules.layout import stack, unstack
from jaxlt.modules.merge import merged

if TYPE_CHECKING:
    from jaxlt.config import RunConfig


def merge(
    predictor: Predictor, language: str | None = None, take_out: bool = False
) -> dict[str, np.ndarray]:
    """Returns the backbone with all of its modules and deltas merged in, by canonical names."""
    config = predictor.config
    slots = {}
    if language is not None:
        slot = predictor.language_id(language)
        slots = {p.name: slot for p in config.plugs if p.routes}
    params = {n: dense(v) for n, v in predictor.params.items()}
    flat = params if config.scan_layers else stack(params)
    whole = unstack(merged(flat, config.plugs, config.deltas, slots, take_out))
    return {n.removeprefix("params/"): np.asarray(v) for n, v in whole.items()}


def as_backbone(
    run: "RunConfig", predictor: Predictor, values: Mapping[str, np.ndarray]
) -> backbone.Backbone:
    """What `jaxlt convert` writes: the tensors, with the run's settings and vocabulary."""
    model = predictor.config
    fields = [f.name for f in dataclasses.fields(model) if f.name not in backbone.RUNTIME]
    settings = {name: getattr(model, name) for name in fields}
    origin = {"path": str(run.workdir), "format": "jaxlt"}
    base = backbone.Held(values, {n: v.shape for n, v in values.items()}, origin)
    return backbone.Backbone(base, settings, run.data.vocabulary)
