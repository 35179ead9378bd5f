"""Directions composed of optax's transforms, leaf by leaf: Muon, and chains that gin names.

    OptimizerConfig("muon", momentum=0.95)
    OptimizerConfig("chain", chain=(("clip", (("max_delta", 1.0),)), ("scale_by_adam", ())))

A transform is mapped over the axes of a leaf that only stack ('layers', 'routes', 'members'), so
that stacked layers move as unrolled ones do, and slots of a bank as modules of their own; it never
sees two parameters at once. Muon (`optax.contrib.muon`) is for the matrices within the network;
vectors, tables of embeddings and of positions, logits and heads go by its Adam. Its steps are
scaled to the size of AdamW's (0.2 times the root of the longer side), so that learning rates and
weight decay are AdamW's too.

    state   {parameter: {'0_mu': [stacked axes ..., the rest ...], '0_count': [stacked ...], ...}}
"""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from jaxlt.engine.config import OptimizerConfig
from jaxlt.engine.optim.adafactor import STACKED_AXES, Axes
from jaxlt.errors import UserError, nearest

Array = jax.Array
Flat = dict[str, Any]
FIRST_MOMENTS = ("mu", "trace", "ema")  # kept in OptimizerConfig.state_dtype
TABLES = ("vocab", "relpos_heads", None)  # axes of what is looked up, and of logits


def transforms(config: OptimizerConfig) -> list[optax.GradientTransformation]:
    """Makes the links of a chain; raises UserError where optax does not take their settings."""
    return [_link(name, dict(settings)) for name, settings in config.chain]


def _link(name: str, settings: Flat) -> optax.GradientTransformation:
    make = getattr(optax, name)
    try:
        return make(**settings)
    except (TypeError, ValueError) as error:
        known = list(inspect.signature(make).parameters)
        unknown = next((key for key in settings if key not in known), "")
        raise UserError(
            f"OptimizerConfig.chain gives optax's '{name}' {settings}, which it does not take: "
            f"{error}. It has {', '.join(known)}.{nearest(unknown, known) if unknown else ''}"
        ) from None


def is_muons(name: str, axes: Axes) -> bool:
    """Whether a leaf is a matrix within the network."""
    inner = axes[_stacked(axes) :]
    return len(inner) == 2 and not name.startswith("heads/") and not set(inner) & set(TABLES)


def init(config: OptimizerConfig, axes: Mapping[str, Axes], params: Flat) -> dict[str, Flat]:
    """The state before the first step."""

    def begin(name: str, param: Any) -> Flat:
        stacked = _stacked(axes[name])
        unit = param.shape[stacked:]
        make = _transform(config, name, axes[name], unit, config.b1, config.b2).init
        return _mapped(lambda p: _stored(config, make(p)), stacked)(param.astype(jnp.float32))

    return {name: begin(name, param) for name, param in params.items()}


def directions(
    config: OptimizerConfig,
    axes: Mapping[str, Axes],
    betas: tuple[Any, Any],
    grads: Flat,
    state: dict[str, Flat],
    params: Flat,
) -> tuple[Flat, dict[str, Flat]]:
    """float32 gradients and parameters -> (what to subtract at a rate of 1, the new state)."""
    found = {
        name: _direction(config, name, axes[name], betas, grads[name], state[name], param)
        for name, param in params.items()
    }
    return {n: step for n, (step, _) in found.items()}, {n: kept for n, (_, kept) in found.items()}


def _direction(
    config: OptimizerConfig,
    name: str,
    axes: Axes,
    betas: tuple[Any, Any],
    grad: Array,
    state: Flat,
    param: Array,
) -> tuple[Array, Flat]:
    stacked = _stacked(axes)
    unit = jax.ShapeDtypeStruct(param.shape[stacked:], param.dtype)
    transform = _transform(config, name, axes, unit.shape, *betas)
    like = jax.eval_shape(transform.init, unit)

    def one(grad: Array, old: Flat, param: Array) -> tuple[Array, Flat]:
        arrays = [old[key].astype(a.dtype) for key, a in _named(like).items()]
        before = jax.tree.unflatten(jax.tree.structure(like), arrays)
        step, after = transform.update(grad, before, param)
        return step, _stored(config, after)

    return _mapped(one, stacked)(grad, state, param)


def state_axes(config: OptimizerConfig, axes: Mapping[str, Axes], params: Flat) -> dict[str, Any]:
    """The logical axes of each array: the leaf's where it has its shape, else those that stack."""
    out = {}
    shapes = jax.eval_shape(lambda p: init(config, axes, p), params)
    for name, param in params.items():
        front = axes[name][: _stacked(axes[name])]
        out[name] = {
            key: tuple(axes[name])
            if a.shape == param.shape
            else (*front, *(None,) * (a.ndim - len(front)))
            for key, a in shapes[name].items()
        }
    return out


def _stacked(axes: Axes) -> int:
    """How many axes stack; they are the first."""
    return sum(axis in STACKED_AXES for axis in axes)


def _transform(
    config: OptimizerConfig, name: str, axes: Axes, shape: tuple[int, ...], b1: Any, b2: Any
) -> optax.GradientTransformation:
    """That of one unit of a leaf, of this shape."""
    if config.name == "chain":
        return optax.chain(*transforms(config))
    if not is_muons(name, axes):
        return optax.chain(optax.scale_by_adam(b1, b2, config.eps, nesterov=True))
    direction = contrib.scale_by_muon(
        beta=config.momentum,
        eps=config.eps,
        weight_dimension_numbers=contrib.MuonDimensionNumbers(),
    )
    return optax.chain(direction, optax.scale(0.2 * math.sqrt(max(shape))))


def _stored(config: OptimizerConfig, state: Any) -> Flat:
    return {
        key: value.astype(config.state_dtype) if key.partition("_")[2] in FIRST_MOMENTS else value
        for key, value in _named(state).items()
    }


def _named(state: Any) -> Flat:
    """A state of optax by the paths of its arrays: {'0_count': ..., '0_mu': ...}."""
    paths, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="_"): leaf for path, leaf in paths}


def _mapped(function: Callable[..., Any], times: int) -> Callable[..., Any]:
    for _ in range(times):
        function = jax.vmap(function)
    return function
