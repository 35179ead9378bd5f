"""Numbers of a batch that a gather would clamp in silence are errors, on the host.

In: the fields of a batch, arrays of the host or of the devices. A language or task beyond the slots
of its bank would go through another's module, a word beyond its row's tokens would be read at
another's place, and a target that is at none of the places of targets would not be learnt.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxlt.errors import UserError
from jaxlt.models.config import ModelConfig
from jaxlt.models.encoder import PLACES
from jaxlt.models.head_parts import check_words
from jaxlt.modules.routing import ALL, CYCLE, FIELDS, check_indices, field_of

WEIGHTS = "encoder_loss_weights"


def slots_of(model: ModelConfig, languages: int | None = None) -> dict[str, int]:
    """Returns the slots behind each batch field that routes.

    languages: the most that a step is compiled for.
    """
    slots: dict[str, int] = {}
    for plug in model.plugs:
        if plug.routes and plug.key and plug.key != ALL:
            field, size = field_of(plug.key), plug.routes
            if languages is not None and plug.key in ("source", "target"):
                size = min(size, languages)
            slots[field] = min(size, slots.get(field, size))
    if FIELDS["source"] in slots:
        slots[CYCLE] = slots[FIELDS["source"]]
    return slots


def check_routes(fields: Mapping[str, Any], slots: Mapping[str, int], where: str = "") -> None:
    """Raises UserError for a number of a field that is beyond its slots (see `slots_of`).

    where: begins the message ('Step 3: '). On several hosts each looks at its own rows.
    """
    for name, capacity in slots.items():
        if name in fields:
            for part in _on_host(fields[name]):
                check_indices(part, capacity, f"{where}the batch's {name}")


def check_fields(fields: Mapping[str, Any], slots: Mapping[str, int], where: str = "") -> None:
    """`check_routes`, and the places of words and of targets, of arrays of the host."""
    check_routes(fields, slots, where)
    check_words(fields, where)
    check_places(fields, where)


def check_places(fields: Mapping[str, Any], where: str = "") -> None:
    """Raises UserError where a target is at none of its row's places, or twice at one.

    Logits are made at the places alone: what is elsewhere would be lost in silence.
    """
    if PLACES not in fields:
        return
    weights, places = fields[WEIGHTS] != 0, fields[PLACES]
    there = np.zeros(weights.shape, np.int64)
    outside = np.argwhere((places < 0) | (places >= weights.shape[1]))
    if len(outside):
        row, column = (int(i) for i in outside[0])
        raise UserError(
            f"{where}Row {row}: {PLACES} has the place {int(places[row, column])}, and rows have "
            f"places 0 to {weights.shape[1] - 1}."
        )
    np.add.at(there, (np.arange(len(places))[:, None], places), 1)
    bad = np.argwhere(weights & (there != 1))
    if len(bad):
        row, place = (int(i) for i in bad[0])
        raise UserError(
            f"{where}Row {row}: the target at place {place} (a weight in {WEIGHTS}) is "
            f"{int(there[row, place])} times among {PLACES}, which have to name each place of a "
            f"target once: up to {places.shape[1]} a row here. Leave the field out, and logits are "
            "made at all places."
        )


def _on_host(values: Any) -> list[np.ndarray]:
    """What this host can see of an array: all of it, its own shards, nothing while it is traced."""
    if isinstance(values, jax.core.Tracer):
        return []
    if isinstance(values, jax.Array) and not values.is_fully_addressable:
        return [np.asarray(shard.data) for shard in values.addressable_shards]
    return [np.asarray(values)]
