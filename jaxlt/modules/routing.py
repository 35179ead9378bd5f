"""Which module serves which row: routes, and the lookup of a bank's weights by them.

A bank is a weight with a leading `routes` axis, one slot a language or task. A `Route` says, for
the rows of a batch, which slot each goes through. Routes are made once a step, not once a layer.
"""

from collections.abc import Mapping

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxlt.errors import UserError


class Route(flax.struct.PyTreeNode):
    """Slots of a bank for a batch.

    `index` is int32: [B] (a slot a row) or [] (one slot for the whole batch, which then costs no
    more than an unrouted module).
    """

    index: jax.Array


Ids = Mapping[str, Route]

# A batch field for each key a plug may name; 'target' and 'task' fall back on nothing: a plug that
# names a key the batch does not carry is an error, never a silent slot 0.
FIELDS = {"source": "language", "target": "target_language", "task": "task"}


def routes_of(batch: Mapping[str, jax.Array]) -> dict[str, Route]:
    """Returns the routes that a batch carries: {'source': Route([B]), ...}."""
    return {key: Route(batch[field]) for key, field in FIELDS.items() if field in batch}


def check_indices(index: np.ndarray, capacity: int, what: str) -> None:
    """Raises UserError, on the host, for slots outside [0, capacity): a gather would clamp them."""
    bad = np.asarray(index)
    bad = bad[(bad < 0) | (bad >= capacity)]
    if bad.size:
        raise UserError(
            f"{what} {int(bad[0])} has no slot: the bank has {capacity} "
            f"(0 to {capacity - 1}). Give the plug at least {int(bad.max()) + 1} routes."
        )


def select(bank: jax.Array, route: Route) -> jax.Array:
    """Looks a bank up: [R, ...] by [B] -> [B, ...]; by [] -> [...] (the uniform case)."""
    return jnp.take(bank, route.index, axis=0, mode="clip")
