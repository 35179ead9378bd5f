"""How many target tokens of each language a run has trained on, exactly, on any mesh.

Each step's counts are summed on the devices over the global batch, so every host has the same
numbers; they are fetched where metrics are, and carried in the checkpoint's Position.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxlt.engine.partitioning import replicated
from jaxlt.models.head_parts import read_field

_HELD = 256  # steps whose counts may wait on the device


class TokenCounter:
    """Adds up target tokens by language; `totals` are those of the steps before."""

    def __init__(self, languages: Sequence[str], totals: Mapping[str, int]):
        self._languages = tuple(languages)
        self._totals = {name: int(totals.get(name, 0)) for name in self._languages}
        self._waiting: list[jax.Array] = []

    def add(self, batch: Mapping[str, Any]) -> None:
        """Counts a global batch; waits for no device, but for old counts now and then.

        Of heads, which have no target tokens, it counts what they read.
        """
        if "language" not in batch:
            return
        stack = "decoder" if "decoder_loss_weights" in batch else "encoder"
        asked = f"{stack}_loss_weights"
        weights = batch[asked if asked in batch else read_field(batch)]
        by_token = batch.get(f"{stack}_language_ids")
        ids = batch.get("target_language", batch["language"]) if by_token is None else by_token
        self._waiting.append(_count(ids, weights, len(self._languages)))
        if len(self._waiting) >= _HELD:
            self._settle(self._waiting[: _HELD // 2])

    def _settle(self, counts: list[jax.Array]) -> None:
        for array in jax.device_get(counts):
            for name, count in zip(self._languages, array.tolist(), strict=True):
                self._totals[name] += count
        self._waiting = self._waiting[len(counts) :]

    def totals(self) -> dict[str, int]:
        """Returns the target tokens of each language so far; waits for the steps in hand."""
        self._settle(self._waiting)
        return dict(self._totals)

    def metrics(self) -> dict[str, float]:
        """Returns {'tokens/<language>': target tokens so far}; waits for the steps in hand."""
        return {f"tokens/{name}": float(count) for name, count in self.totals().items()}


def _count(ids: jax.Array, weights: jax.Array, languages: int) -> jax.Array:
    mesh = getattr(getattr(weights, "sharding", None), "mesh", None)  # none of arrays on the host
    return _counting(languages, None if mesh is None else replicated(mesh))(ids, weights)


@functools.lru_cache(maxsize=16)
def _counting(languages: int, out):
    """The compiled count: ids [B] or [B, T], weights [B, T] -> int32 [languages]."""

    def count(ids: jax.Array, weights: jax.Array) -> jax.Array:
        asked = weights > 0
        if ids.ndim == 1:
            asked = asked.sum(axis=1)
        here = ids[..., None] == jnp.arange(languages)
        return jnp.sum(here * asked[..., None], axis=tuple(range(ids.ndim)), dtype=jnp.int32)

    return jax.jit(count) if out is None else jax.jit(count, out_shardings=out)
