"""Alignment: translations are drawn together. `LossConfig.auxiliary = [@Alignment()]`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxlt.engine.loss.pairs import check_pairs, pair_vectors
from jaxlt.engine.open import Auxiliary


@dataclasses.dataclass(frozen=True)
class Alignment(Auxiliary):
    """1 - the cosine of the vectors of a sentence and of its translation, a pair."""

    def check(self, model: Any) -> None:
        """Batches have to hold pairs."""
        check_pairs("Alignment", model)

    def __call__(
        self, network: Any, params: dict[str, Any], batch: Mapping[str, jax.Array], key: Any
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        source, target, pair = pair_vectors(network, params, batch, key)
        apart = 1.0 - jnp.sum(source * target, axis=-1)
        return jnp.sum(apart * pair), {"weight_sum": jnp.sum(pair)}
