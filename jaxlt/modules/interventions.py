"""Interventions on hidden states, with constants that come from an analysis rather than training.

    plugs = (plug(Project, "onto", rank=8, sites=["encoder/block_out"], layers=[3]),)
    flat |= filled(flat, "onto", {"mean": mean, "basis": basis})     # [D], [D, 8] or a layer each

The constants are leaves of `modules` like any other: routed by language where `routes` is given,
saved and loaded alike, and left as they are unless `TrainConfig.trainable` names them.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from jaxlt.errors import UserError, nearest
from jaxlt.modules.boxed import ones, zeros
from jaxlt.modules.layout import group_layers, unstack
from jaxlt.modules.routing import Ids
from jaxlt.modules.site import Method

orthonormal = nn.initializers.orthogonal()


class Project(Method):
    """V V'(y - mu) + mu: y as far as it lies in an affine subspace (a language's).

    `basis` V [D, rank] has orthonormal columns, `mean` is mu [D]. With the mean of a language A and
    the basis of a language B it is the mean-shifted projection Proj_{B, mu_A}.
    """

    rank: int = 1

    places = ("block_out",)

    @nn.compact
    def __call__(self, y: jax.Array, x: Any = None, ids: Ids | None = None) -> jax.Array:
        """y: [B, T, D] -> [B, T, D]."""
        width = y.shape[-1]
        mean = self.vector("mean", zeros, width, "embed", ids)
        basis = self.parameter("basis", orthonormal, (width, self.rank), ("embed", None))
        inside = self.product(y - mean, basis, ids)
        return mean + self.product(inside, basis, ids, transposed=True)


class MeanShift(Method):
    """y + scale * mean. From language A to B: `mean` = mu_B - mu_A.

    Or by route, one plug with `scale` = -1 that takes the mean of each row's source language away,
    and one keyed by 'target' that adds the mean of its target language.
    """

    scale: float = 1.0

    places = ("block_out",)

    @nn.compact
    def __call__(self, y: jax.Array, x: Any = None, ids: Ids | None = None) -> jax.Array:
        """y: [B, T, D] -> [B, T, D]."""
        return y + self.scale * self.vector("mean", zeros, y.shape[-1], "embed", ids)


class Ablate(Method):
    """y * keep: neurons silenced (0), dimmed or amplified; starts as all ones.

    At 'mlp_inner' y are the MLP's neurons; at 'block_out', the dimensions of the residual stream.
    """

    places = ("mlp_inner",)

    @nn.compact
    def __call__(self, y: jax.Array, x: Any = None, ids: Ids | None = None) -> jax.Array:
        """y: [B, T, F] -> [B, T, F]."""
        return y * self.vector("keep", ones, y.shape[-1], None, ids)


class Capture(Method):
    """y as it is: see `watched`. Layers are to be spelt out, not scanned."""

    places = ("block_out",)
    combines = True

    @nn.compact
    def __call__(self, y: Any, x: Any = None, ids: Ids | None = None) -> Any:
        """y: [B, T, D], or (k, v, bias) at `kv`, of which (k, v) are kept -> y."""
        layer = 0 if ids is None or ids.layer is None else ids.layer + 1
        return watched(self, self.place, layer, y)


def watched(module: nn.Module, place: str, layer: int, y: Any) -> Any:
    """Leaves y in the collection 'captured' where that is asked for; adds what 'shifts' has there.

    Both name it by place and layer (0: outside of the layers), as 'encoder:mlp_out@1'. What is
    added are zeros, with regard to which a loss has the gradient that it has with regard to y.
    """
    name = f"{place.replace('/', ':')}@{layer}"
    if module.has_variable("shifts", name):
        y = y + module.get_variable("shifts", name)
    if not module.is_initializing():
        latest = {"init_fn": lambda: None, "reduce_fn": lambda old, new: new}
        module.sow("captured", name, y[:2] if isinstance(y, tuple) else y, **latest)
    return y


def filled(
    flat: Mapping[str, Any], plug: str, constants: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Returns the leaves of a plug with these values, by flat name, at all of its places.

    constants: 'mean', 'basis', ...: a value as the method wants it ([D], [D, rank]), or one for
    each layer and slot in front ([L, D], [R, D], [L, R, D], as `flat` holds it); one without them
    goes everywhere.
    """
    out: dict[str, np.ndarray] = {}
    for leaf, value in constants.items():
        names = [name for name in flat if name.endswith(f"/{plug}/{leaf}")]
        if not names:
            leaves = {n.rpartition("/")[2] for n in flat if f"/{plug}/" in n}
            has = ", ".join(sorted(leaves)) or "nothing: it is not plugged in"
            raise UserError(
                f"Plug '{plug}' has no constant '{leaf}' (it has: {has}).{nearest(leaf, leaves)}"
            )
        for name, members in group_layers(names).items():
            one = np.shape(flat[members[0]])
            shape = one if members == [name] else (len(members), *one)
            if np.shape(value) != shape[len(shape) - np.ndim(value) :]:
                raise UserError(
                    f"'{leaf}' of plug '{plug}' is {list(np.shape(value))}, which does not fit "
                    f"'{name}' {list(shape)}."
                )
            full = {name: np.broadcast_to(np.asarray(value, np.float32), shape)}
            out |= full if members == [name] else unstack(full)
    return out
