"""Numbers of a batch that a gather would clamp in silence are errors, on the host.

In: the fields of a batch, arrays of the host or of the devices. A language or task beyond the slots
of its bank would go through another's module, and a word beyond its row's tokens would be read at
another's place.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxlt.models.config import ModelConfig
from jaxlt.models.head_parts import check_words
from jaxlt.modules.routing import CYCLE, FIELDS, check_indices


def slots_of(model: ModelConfig, languages: int | None = None) -> dict[str, int]:
    """Returns the slots behind each batch field that routes.

    languages: the most that a step is compiled for.
    """
    slots: dict[str, int] = {}
    for plug in model.plugs:
        if plug.routes and plug.key in FIELDS:
            field, size = FIELDS[plug.key], plug.routes
            if languages is not None and plug.key != "task":
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
    """`check_routes`, and the places of words, of arrays of the host."""
    check_routes(fields, slots, where)
    check_words(fields, where)


def _on_host(values: Any) -> list[np.ndarray]:
    """What this host can see of an array: all of it, its own shards, nothing while it is traced."""
    if isinstance(values, jax.core.Tracer):
        return []
    if isinstance(values, jax.Array) and not values.is_fully_addressable:
        return [np.asarray(shard.data) for shard in values.addressable_shards]
    return [np.asarray(values)]
