"""What every importer hands out: a base read tensor by tensor under canonical names.

Canonical names are T5X's own, unrolled (`encoder/layers_0/attention/query/kernel`). The checks here
look at names and shapes alone, so that a damaged or foreign checkpoint is refused before any tensor
is read.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from jaxlt.errors import UserError, nearest, some_of

_LAYER = re.compile(r"(encoder|decoder)/layers_(\d+)/(.+)")

SIZES = ("vocab_rows", "emb_dim", "mlp_dim", "num_heads", "head_dim", "encoder_layers")
Index = tuple[slice, ...]
Shapes = Mapping[str, tuple[int, ...]]


@runtime_checkable
class BaseSource(Protocol):
    """A backbone on disk.

    origin: 'path' (the folder read), 'format' ('t5x-legacy', 't5x-orbax', 'hf-safetensors',
        'hf-msgpack', or another opener's own), perhaps 'note' (one sentence for the user).
    shapes: canonical unrolled name -> shape, for every parameter; tensors that lie together on disk
        follow one another, so reading in this order is the fastest.
    settings: fields of `jaxlt.models.config.T5Config` that the checkpoint decides.
    """

    origin: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    settings: dict[str, Any]

    def read(self, name: str) -> np.ndarray:
        """Returns one whole tensor in its stored float dtype; nothing else is held in memory."""

    def read_slice(self, name: str, index: Index) -> np.ndarray:
        """Returns `read(name)[index]` (slices of step 1), reading as little as it can."""


def check_complete(shapes: Shapes, path: str) -> None:
    """Raises UserError unless every layer of the stacks is there, each with the same parts."""
    layers: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name in shapes:
        if match := _LAYER.fullmatch(name):
            layers[match[1]][int(match[2])].add(match[3])
    missing = [] if "token_embedder/embedding" in shapes else ["token_embedder/embedding"]
    if "encoder" not in layers:
        missing.append("encoder/layers_0/...")
    for stack, found in layers.items():
        parts = set().union(*found.values())
        # Only the first layer may own what the others share.
        parts = {
            p
            for p in parts
            if not p.startswith("relpos_bias") or len(found) == 1 or p in found[max(found)]
        }
        missing += [
            f"{stack}/layers_{i}/{part}"
            for i in range(max(found) + 1)
            for part in sorted(parts - found.get(i, set()))
        ]
        if f"{stack}/{stack}_norm/scale" not in shapes:
            missing.append(f"{stack}/{stack}_norm/scale")
    if missing:
        raise UserError(
            f"The checkpoint '{path}' is not a whole T5 model: {some_of(missing, 4)} "
            "missing. Perhaps the copy was interrupted, or it is another kind of model."
        )


def settings_from_shapes(shapes: Shapes, path: str) -> dict[str, Any]:
    """Returns the T5Config fields that shapes alone decide: T5X stores no sizes beside them."""
    rows, emb_dim = shapes["token_embedder/embedding"]
    depth = {
        stack: 1
        + max((int(m[2]) for m in map(_LAYER.fullmatch, shapes) if m and m[1] == stack), default=-1)
        for stack in ("encoder", "decoder")
    }
    per_layer = "encoder/layers_0/relpos_bias/rel_embedding" in shapes
    table = f"encoder/{'layers_0/' if per_layer else ''}relpos_bias/rel_embedding"
    if table not in shapes:
        raise UserError(
            f"The checkpoint '{path}' has no relative position table ('{table}'), so its number "
            "of heads is not known."
        )
    heads, buckets = shapes[table]
    gated = "encoder/layers_0/mlp/wi_0/kernel" in shapes
    joined = shapes["encoder/layers_0/attention/query/kernel"][1]
    if joined % heads:
        raise UserError(
            f"The checkpoint '{path}' contradicts itself: {heads} heads (from '{table}') do not "
            f"divide the width {joined} of 'encoder/layers_0/attention/query/kernel'."
        )
    return {
        "vocab_rows": rows,
        "emb_dim": emb_dim,
        "mlp_dim": shapes[f"encoder/layers_0/mlp/{'wi_0' if gated else 'wi'}/kernel"][1],
        "num_heads": heads,
        "head_dim": joined // heads,
        "encoder_layers": depth["encoder"],
        "decoder_layers": depth["decoder"],
        "mlp_activations": ("gelu", "linear") if gated else ("relu",),
        "relpos_buckets": buckets,
        "relpos_max_distance": 128,
        "relpos_per_layer": per_layer,
        "tie_logits": depth["decoder"] > 0 and "decoder/logits_dense/kernel" not in shapes,
    }


def known(name: str, shapes: Shapes, path: str) -> None:
    """Raises UserError, with the nearest name, when the base has no tensor called `name`."""
    if name not in shapes:
        raise UserError(
            f"The checkpoint '{path}' has no parameter '{name}'.{nearest(name, shapes)}"
        )
