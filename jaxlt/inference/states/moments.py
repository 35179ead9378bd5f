"""Counts, sums and Gram matrices of states over a corpus, added up on the devices.

    found = moments(config, params, batches, look(config, batch, [6, 12]))
    found[12].mean, found[12].covariance                                # [D], [D, D]

A million tokens need what one does: D * D floats a layer, and the states of one batch.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlt.inference.states.capture import Flat, Look, spelt_out, states_of, whole_rows
from jaxlt.models.config import ModelConfig
from jaxlt.modules.placement import rules_now

AT_ONCE = 16  # batches of token ids that a call of the compiled loop goes through
_PANELS = 4  # of the Gram matrix's rows, each from its own diagonal on: 5/8 of the products
Place = Callable[[np.ndarray], jax.Array]  # host fields [N, B, ...] -> the devices


class Moments(NamedTuple):
    """Of n states x [D]: count n, int32 []; sum of x, [D]; gram, the sum of x x', [D, D]."""

    count: Any
    sum: Any
    gram: Any

    @property
    def mean(self) -> np.ndarray:
        """[D]."""
        return np.asarray(self.sum) / max(int(self.count), 1)

    @property
    def covariance(self) -> np.ndarray:
        """[D, D], float64, with n in the denominator."""
        mean = np.asarray(self.mean, np.float64)
        return np.asarray(self.gram, np.float64) / max(int(self.count), 1) - np.outer(mean, mean)


def moments(
    config: ModelConfig,
    params: Flat,
    batches: Iterable[Mapping[str, np.ndarray]],
    where: Look,
    more: Mapping[str, Any] | None = None,
    place: Place = jnp.asarray,
) -> dict[int, Moments]:
    """Returns {layer: Moments} of all tokens (or words) of batches that are no padding; float32.

    batches: fields [B, ...] of the host; each shape is compiled once. more: fields that all have.
    """
    total, params, more = None, dict(params), dict(more or {})
    for count, chunk in chunks(batches):
        placed = {name: place(values) for name, values in chunk.items()}
        if total is None:
            shapes = jax.eval_shape(
                lambda given: _states(config, where, params, given, more)[0],
                {name: values[0] for name, values in placed.items()},
            )
            whole_rows(shapes, where, "summed")
            total = {n: _empty(x.shape[-1]) for n, x in shapes.items()}
        total = _add(config, where, rules_now(), params, total, placed, more, count)
    return {n: _whole(found) for n, found in (total or {}).items()}


def chunks(
    batches: Iterable[Mapping[str, np.ndarray]],
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """(n, fields [AT_ONCE, B, ...], of which the first n are batches) for runs of equal shape."""
    held: list[Mapping[str, np.ndarray]] = []
    shape: Any = None
    for batch in batches:
        own = {name: np.shape(values) for name, values in batch.items()}
        if held and (own != shape or len(held) == AT_ONCE):
            yield len(held), _filled(held)
            held = []
        shape = own
        held.append(batch)
    if held:
        yield len(held), _filled(held)


def _filled(held: list[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    out = {}
    for name, first in held[0].items():
        out[name] = np.zeros((AT_ONCE, *np.shape(first)), np.asarray(first).dtype)
        for i, batch in enumerate(held):
            out[name][i] = batch[name]
    return out


def _states(
    config: ModelConfig, where: Look, params: Any, batch: Any, more: Any
) -> tuple[dict[int, Any], jax.Array]:
    return states_of(*spelt_out(config, params, where.sites), {**batch, **more}, where)


def _empty(width: int) -> Moments:
    return Moments(jnp.int32(0), jnp.zeros(width), jnp.zeros((width, width)))


@functools.partial(
    jax.jit, static_argnames=("config", "where", "rules"), donate_argnames=("total",)
)
def _add(
    config: ModelConfig,
    where: Look,
    rules: Any,
    params: Any,
    total: dict[int, Moments],
    chunk: Any,
    more: Any,
    count: jax.Array,
) -> dict[int, Moments]:
    """Goes through the first `count` batches of a chunk."""

    def one(i: jax.Array, total: dict[int, Moments]) -> dict[int, Moments]:
        batch = {name: values[i] for name, values in chunk.items()}
        states, mask = _states(config, where, params, batch, more)
        return {n: _added(total[n], x, mask) for n, x in states.items()}

    return jax.lax.fori_loop(0, count, one, total)


def _added(before: Moments, x: jax.Array, mask: jax.Array) -> Moments:
    """Adds states [B, T, D] where mask [B, T] holds; of the Gram matrix the upper half is right.

    Products of bfloat16 are exact in float32, in which they are summed.
    """
    x = jnp.where(mask[..., None], x, 0).reshape(-1, x.shape[-1])
    width, gram = x.shape[1], before.gram
    step = -(-width // _PANELS)
    for start in range(0, width, step):
        part = jax.lax.dot_general(
            x[:, start : start + step],
            x[:, start:],
            (((0,), (0,)), ((), ())),
            precision=jax.lax.Precision.HIGHEST,
            preferred_element_type=jnp.float32,
        )
        gram = gram.at[start : start + step, start:].add(part)
    count = before.count + jnp.sum(mask, dtype=jnp.int32)
    return Moments(count, before.sum + jnp.sum(x, axis=0, dtype=jnp.float32), gram)


def _whole(found: Moments) -> Moments:
    """Mirrors the upper half of the Gram matrix."""
    return found._replace(gram=jnp.triu(found.gram) + jnp.triu(found.gram, 1).T)
