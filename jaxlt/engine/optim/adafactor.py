"""Adafactor (Shazeer and Stern, 2018), step for step as T5X computes it, over flat dicts.

In: parameters and gradients {name: array} with the logical axes of each, {name: (axis, ...)}.
State: {'step': int32 scalar, 'param_states': {name: {'m', 'v', 'v_row', 'v_col'}}}, float32, with
T5X's names and shapes. A parameter with two dimensions of at least `min_factored` keeps only means
of its squared gradients: `v_row` over its largest dimension, `v_col` over the second largest, and
the rest is [1]; any other keeps `v` whole. `m` stays [1]: there is no momentum.

Of OptimizerConfig it reads
    decay_rate, step_offset: the second moment's decay at step t is 1 - (t + 1)^-decay_rate, t being
        counted from step_offset
    clip_threshold: the largest root mean square of an update (None: any)
    parameter_scale: updates are multiplied by the parameter's root mean square, at least eps2
    eps1: added to squared gradients
    weight_decay: the part of a parameter taken away each step, times the learning rate

Axes named 'layers', 'routes' or 'members' only stack parameters. Factoring, the clipping of the
update and the parameter's scale are each layer's, route's or member's own, so that stacked layers
move as unstacked ones do.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlt.engine.config import OptimizerConfig
from jaxlt.models.traced import now

Array = jax.Array
Axes = tuple[str | None, ...]
Moments = dict[str, Array]

STACKED_AXES = ("layers", "routes", "members")
UNUSED = "unused"  # the axis of a [1] that holds nothing


class Factoring(NamedTuple):
    """How one parameter is treated: dimensions of one unstacked unit, and the two factored ones.

    inner: the dimensions that means are taken over; row and col: the second largest and the largest
    of them (v_row loses col, v_col loses row), or None where the parameter is not factored.
    """

    inner: tuple[int, ...]
    row: int | None
    col: int | None


def factoring(shape: tuple[int, ...], axes: Axes, min_factored: int) -> Factoring:
    """Returns that of a parameter of this shape and these logical axes."""
    inner = tuple(i for i, axis in enumerate(axes) if axis not in STACKED_AXES)
    # A stable sort: of two equal dimensions the later counts as the larger, as T5X has it.
    by_size = [inner[i] for i in np.argsort([shape[i] for i in inner], kind="stable")]
    if len(inner) < 2 or shape[by_size[-2]] < min_factored:
        return Factoring(inner, None, None)
    return Factoring(inner, by_size[-2], by_size[-1])


def _moments_of(dims: tuple[Any, ...], how: Factoring, unused: Any) -> dict[str, tuple[Any, ...]]:
    """What each moment has of a parameter's dimensions (sizes, or axes): factored, all but one.

    Those that are not used have one dimension, `unused`.
    """
    out = dict.fromkeys(("m", "v", "v_row", "v_col"), (unused,))
    if how.row is None or how.col is None:
        return out | {"v": dims}
    for key, gone in (("v_row", how.col), ("v_col", how.row)):
        out[key] = tuple(d for i, d in enumerate(dims) if i != gone)
    return out


def init_moments(shape: tuple[int, ...], how: Factoring) -> Moments:
    """Returns the zero state of one parameter."""
    return {k: jnp.zeros(s, jnp.float32) for k, s in _moments_of(shape, how, 1).items()}


def _root_mean_square(x: Array, over: tuple[int, ...]) -> Array:
    return jnp.sqrt(jnp.mean(x * x, axis=over, keepdims=True))


def _precondition(
    grad: Array, moments: Moments, how: Factoring, decay: Array, eps1: float
) -> tuple[Array, Moments]:
    """float32 gradient -> (gradient over the root of its running second moment, new state)."""
    squares = grad * grad + eps1
    if how.row is None or how.col is None:
        v = decay * moments["v"] + (1.0 - decay) * squares
        return grad * v**-0.5, moments | {"v": v}
    rows = decay * moments["v_row"] + (1.0 - decay) * jnp.mean(squares, axis=how.col)
    cols = decay * moments["v_col"] + (1.0 - decay) * jnp.mean(squares, axis=how.row)
    row_in_rows = how.row - (how.col < how.row)
    row_factor = (rows / jnp.mean(rows, axis=row_in_rows, keepdims=True)) ** -0.5
    step = grad * jnp.expand_dims(row_factor, how.col) * jnp.expand_dims(cols**-0.5, how.row)
    return step, moments | {"v_row": rows, "v_col": cols}


def init(
    config: OptimizerConfig, axes: Mapping[str, Axes], params: Mapping[str, Array]
) -> dict[str, Any]:
    """Returns the state before the first step."""
    moments = {
        k: init_moments(p.shape, factoring(p.shape, axes[k], config.min_factored))
        for k, p in params.items()
    }
    return {"step": jnp.zeros((), jnp.int32), "param_states": moments}


def update(
    config: OptimizerConfig,
    axes: Mapping[str, Axes],
    decayed: frozenset[str],
    grads: Mapping[str, Array],
    state: dict[str, Any],
    params: Mapping[str, Array],
    lr: Mapping[str, Array],
) -> tuple[dict[str, Array], dict[str, Any]]:
    """One step -> (new parameters in their own dtypes, new state).

    decayed: names that weight decay applies to; lr: float32 scalars, each parameter's own.
    """
    t = (state["step"] - config.step_offset).astype(jnp.float32) + 1.0
    decay = 1.0 - t ** (-config.decay_rate)
    new_params, new_moments = {}, {}
    for name, param in params.items():
        how = factoring(param.shape, axes[name], config.min_factored)
        old = param.astype(jnp.float32)
        step, new_moments[name] = _precondition(
            grads[name].astype(jnp.float32), state["param_states"][name], how, decay, config.eps1
        )
        if config.clip_threshold is not None:
            step = step / jnp.maximum(
                1.0, _root_mean_square(step, how.inner) / config.clip_threshold
            )
        size = lr[name]
        if config.parameter_scale:
            size = size * jnp.maximum(_root_mean_square(old, how.inner), config.eps2)
        new = old - size * step
        if config.weight_decay and name in decayed:
            new = new - lr[name] * now(config.weight_decay) * old
        new_params[name] = new.astype(param.dtype)
    return new_params, {"step": state["step"] + 1, "param_states": new_moments}


def state_axes(config: OptimizerConfig, axes: Mapping[str, Axes], params: Mapping[str, Any]) -> Any:
    """Returns the logical axes of each array of the state; of params the shapes are read.

    Those of the [1] that are not used are (UNUSED,), which no mesh axis ever shards.
    """
    moments = {}
    for name, param in params.items():
        how = factoring(tuple(param.shape), axes[name], config.min_factored)
        moments[name] = _moments_of(axes[name], how, UNUSED)
    return {"step": (), "param_states": moments}
