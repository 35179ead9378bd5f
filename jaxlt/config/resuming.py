"""Which bindings may change between the runs of one workdir.

    Workdir.open(path, text, config_hash, harmless=may_change())

They are those that are marked as harmless at their fields (`jaxlt.identity`), and a few that count
in what a run is and yet leave the steps alone that it has taken.
"""

import dataclasses
import typing

from jaxlt.config.build import PARTS, load_object, table
from jaxlt.identity import mark_of

_FROM_HERE_ON = (
    # How long it goes on, and what is made of it on the way: which step is its last or best.
    *("TrainConfig.steps", "TrainConfig.epochs", "TrainConfig.eval_*", "TrainConfig.patience"),
    *("CheckpointConfig.*", "run.eval_data", "eval/*"),
    *("TrainConfig.on_nan", "TrainConfig.max_loss"),  # how bad steps are met that are still to come
    "run.init_from",  # a frozen base is known by its content, and may move
    *("T5Config.relpos_start", "T5Config.embedding_std"),  # it has begun
)
_SHAPES = ("delta.counts",)  # its file's own, and yet of the shapes that its checkpoints hold


def may_change() -> tuple[str, ...]:
    """Returns patterns of bindings, for `fnmatch`; of what has a scope, too (lang/plug.routing)."""
    patterns = [pattern for pattern in marked() if pattern not in _SHAPES]
    return (*_FROM_HERE_ON, *patterns, *(f"*/{pattern}" for pattern in patterns))


def marked() -> tuple[str, ...]:
    """Returns patterns of the bindings, without scope, whose fields are marked as harmless."""
    patterns = []
    for name, path in table().items():
        made = load_object(path)
        kind = made if isinstance(made, type) else typing.get_type_hints(made)["return"]
        for field in dataclasses.fields(kind):
            if mark_of(field) == "harmless":
                part = PARTS.get(name, {}).get(field.name)  # a config of its own: all of it
                patterns += [f"{name}.{field.name}", *([f"{part}.*"] if part else [])]
    return tuple(patterns)
