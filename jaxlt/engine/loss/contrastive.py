"""Contrastive: a translation is told from the batch's others.

`LossConfig.auxiliary = [@Contrastive()]`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxlt.engine.loss.pairs import check_pairs, pair_vectors
from jaxlt.engine.open import Auxiliary
from jaxlt.errors import UserError


@dataclasses.dataclass(frozen=True)
class Contrastive(Auxiliary):
    """InfoNCE over the pairs of a batch, both ways: softmax of cosines / temperature.

    Where a batch is accumulated, over those of each part. `contrastive/correct`: how often the
    translation is the nearest.
    """

    temperature: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise UserError(f"Contrastive.temperature is {self.temperature}; it must be above 0.")

    def check(self, model: Any) -> None:
        """Batches have to hold pairs."""
        check_pairs("Contrastive", model)

    def __call__(
        self, network: Any, params: dict[str, Any], batch: Mapping[str, jax.Array], key: Any
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        source, target, pair = pair_vectors(network, params, batch, key)
        scores = source @ target.T / self.temperature
        total = correct = jnp.float32(0.0)
        for each in (scores, scores.T):
            among = jnp.where(pair[None, :] > 0, each, -1e9)
            own = jnp.diagonal(each)
            total += 0.5 * jnp.sum(pair * (jax.nn.logsumexp(among, axis=1) - own))
            correct += 0.5 * jnp.sum(pair * (own >= jnp.max(among, axis=1)))
        return total, {"weight_sum": jnp.sum(pair), "correct": correct}
