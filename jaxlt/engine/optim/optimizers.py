"""Optimizers by name, over flat dicts of parameters.

    optimizer = make_optimizer(OptimizerConfig("adafactor"), axes)     # axes: {name: logical axes}
    state = optimizer.init(params)                                     # params: {name: array}
    params, state = optimizer.update(grads, state, params, lr)         # lr: float32 scalar array
    logical = optimizer.state_axes(params)                             # abstract arrays will do

The state is a nested dict of float32 arrays and int32 counters, whatever the parameters' dtype. The
learning rate is an array, so runs that differ in it share a compilation. `state_axes` gives a tree
with a tuple of logical axes for each array, to shard the state at its birth; since tuples are trees
themselves, walk both with `jax.tree.map(lambda leaf, axes: ..., state, logical)`, the state first.
"""

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import optax

from jaxlt.engine.config import OptimizerConfig
from jaxlt.engine.optim import adafactor, composed
from jaxlt.engine.optim.adafactor import STACKED_AXES, Axes
from jaxlt.errors import UserError, nearest
from jaxlt.models.traced import now

Array = jax.Array
Params = dict[str, Array]
Rates = Mapping[str, Array]  # a float32 scalar each
State = dict[str, Any]


class Rate(flax.struct.PyTreeNode):
    """A decay b as a program takes it: `1 - b` was made in float64, then rounded once."""

    value: Any  # float32 []
    rest: Any  # float32 [], 1 - b

    def __rsub__(self, one: float) -> Any:
        return self.rest if one == 1 else one - self.value

    def __mul__(self, other: Any) -> Any:
        return self.value * other

    __rmul__ = __mul__

    def __pow__(self, exponent: Any) -> Any:
        return self.value**exponent


class Optimizer(NamedTuple):
    """Three pure functions; init and update may be traced, and state_axes reads shapes alone.

    init(params) -> state; update(grads, state, params, lr) -> (params, state); state_axes(params)
    -> the state's tree of logical axes. (It takes parameters and not the state: factored states of
    a matrix and of its transpose have the same shapes and different axes.)
    """

    init: Callable[[Params], State]
    update: Callable[[Params, State, Params, Any], tuple[Params, State]]
    state_axes: Callable[[Params], Any]


# Each gives the direction of descent without the learning rate; its state is one named tuple. b1
# and b2 are numbers, or what stands for them in a compiled step (`Rate`).
DIRECTIONS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "adamw": lambda c, b1, b2: optax.scale_by_adam(b1, b2, c.eps),
    "adam": lambda c, b1, b2: optax.scale_by_adam(b1, b2, c.eps),
    "nadam": lambda c, b1, b2: optax.scale_by_adam(b1, b2, c.eps, nesterov=True),
    "radam": lambda c, b1, b2: optax.scale_by_radam(b1, b2, c.eps),
    "amsgrad": lambda c, b1, b2: optax.scale_by_amsgrad(b1, b2, c.eps),
    "adamax": lambda c, b1, b2: optax.scale_by_adamax(b1, b2, c.eps),
    "lion": lambda c, b1, b2: optax.scale_by_lion(b1, b2),
    "sgd": lambda c, b1, b2: optax.trace(c.momentum),
    "adagrad": lambda c, b1, b2: optax.scale_by_rss(eps=c.eps),
    "rmsprop": lambda c, b1, b2: optax.scale_by_rms(b2, c.eps),
}


def global_norm(grads: Mapping[str, Array]) -> Array:
    """Returns the float32 Euclidean norm of all gradients together; 0 where there are none."""
    squares = [jnp.sum(jnp.square(g.astype(jnp.float32))) for g in grads.values()]
    return jnp.sqrt(sum(squares, start=jnp.zeros((), jnp.float32)))


def clip_by_norm(grads: Params, limit: Any) -> Params:
    """Scales float32 gradients so that their global norm is at most `limit`.

    A norm that is not finite makes all of them NaN, where the training loop can see it.
    """
    scale = jnp.minimum(1.0, limit / jnp.maximum(global_norm(grads), jnp.finfo(jnp.float32).tiny))
    return {k: g * scale for k, g in grads.items()}


def _matching(pattern: str, field: str, names: Iterable[str]) -> set[str]:
    """Returns the names that a pattern of a field matches in full; raises where it matches none."""
    names = list(names)
    try:
        hits = {name for name in names if re.fullmatch(pattern, name)}
    except re.error as err:
        raise UserError(f"OptimizerConfig.{field}: '{pattern}' is no regex: {err}.") from None
    if names and not hits:
        raise UserError(
            f"OptimizerConfig.{field} has the pattern '{pattern}', which matches no trainable "
            f"parameter in full.{nearest(pattern, names)}"
        )
    return hits


def decayed_names(config: OptimizerConfig, axes: Mapping[str, Axes]) -> frozenset[str]:
    """Returns the names of the parameters that weight decay applies to."""
    excluded: set[str] = set()
    for pattern in config.weight_decay_exclude:
        excluded |= _matching(pattern, "weight_decay_exclude", axes)
    matrices = {
        name for name, dims in axes.items() if len([d for d in dims if d not in STACKED_AXES]) > 1
    }
    return frozenset(matrices - excluded)


def rate_factors(config: OptimizerConfig, names: Iterable[str]) -> dict[str, list[float]]:
    """Returns the factors of a parameter's learning rate, by name, where `config.rates` has any."""
    names, factors = list(names), dict[str, list[float]]()
    for pattern, factor in config.rates:
        for name in _matching(pattern, "rates", names):
            factors.setdefault(name, []).append(factor)
    return factors


def own_rates(
    factors: Mapping[str, Iterable[float]], lr: Array, names: Iterable[str]
) -> dict[str, Array]:
    """Returns the learning rate of each parameter; lr: float32 scalar, that of all others."""
    rates = dict.fromkeys(names, lr)
    for name in rates:  # in one order, so that every process compiles the same program
        rates[name] = functools.reduce(lambda rate, f: rate * now(f), factors.get(name, ()), lr)
    return rates


def _float32(tree: Mapping[str, Array]) -> Params:
    return {k: v.astype(jnp.float32) for k, v in tree.items()}


def _check(axes: Mapping[str, Axes], params: Mapping[str, Array]) -> None:
    """Raises if a parameter has no logical axes, or not one a dimension."""
    for name, param in params.items():
        shape = getattr(param, "shape", None)
        if name not in axes or shape is None or len(axes[name]) != len(shape):
            raise ValueError(
                f"The parameter '{name}' of shape {shape} needs one logical axis (or None) "
                f"a dimension; given: {axes.get(name)}."
            )


def _adafactor(
    config: OptimizerConfig, axes: Mapping[str, Axes], decayed: frozenset[str]
) -> Optimizer:
    return Optimizer(
        functools.partial(adafactor.init, config, axes),
        functools.partial(adafactor.update, config, axes, decayed),
        functools.partial(adafactor.state_axes, config, axes),
    )


def _moved(
    config: OptimizerConfig, decayed: frozenset[str], steps: Params, params: Params, lr: Rates
) -> Params:
    """Parameters, in their own dtypes, after float32 steps that are subtracted times the rate."""
    new = {}
    for name, step in steps.items():
        old = params[name].astype(jnp.float32)
        if config.weight_decay and name in decayed:
            step = step + now(config.weight_decay) * old
        new[name] = (old - lr[name] * step).astype(params[name].dtype)
    return new


def _composed(
    config: OptimizerConfig, axes: Mapping[str, Axes], decayed: frozenset[str]
) -> Optimizer:
    composed.transforms(config)  # what optax does not take is said before anything is read

    def update(grads: Params, state: State, params: Params, lr: Rates) -> tuple[Params, State]:
        betas = (now(config.b1), now(config.b2))
        steps, new_state = composed.directions(
            config, axes, betas, _float32(grads), state, _float32(params)
        )
        return _moved(config, decayed, steps, params, lr), new_state

    return Optimizer(
        functools.partial(composed.init, config, axes),
        update,
        functools.partial(composed.state_axes, config, axes),
    )


def _from_optax(
    config: OptimizerConfig, axes: Mapping[str, Axes], decayed: frozenset[str]
) -> Optimizer:
    make = functools.partial(DIRECTIONS[config.name], config)
    begin = make(config.b1, config.b2).init
    kind = type(jax.eval_shape(begin, {}))

    def stored(state: Any) -> State:
        """The named tuple as a dict, with first moments in the dtype they are kept in."""
        out = dict(state._asdict())
        for key in composed.FIRST_MOMENTS:
            if key in out:
                out[key] = {k: v.astype(config.state_dtype) for k, v in out[key].items()}
        return out

    def init(params: Params) -> State:
        return stored(begin(_float32(params)))

    def update(grads: Params, state: State, params: Params, lr: Rates) -> tuple[Params, State]:
        wide = {k: _float32(v) if k in composed.FIRST_MOMENTS else v for k, v in state.items()}
        old = _float32(params)
        direction = make(now(config.b1), now(config.b2))
        steps, new_state = direction.update(_float32(grads), kind(**wide), old)
        return _moved(config, decayed, steps, params, lr), stored(new_state)

    def state_axes(params: Params) -> Any:
        return {
            k: {name: tuple(axes[name]) for name in v} if isinstance(v, dict) else ()
            for k, v in jax.eval_shape(init, params).items()
        }

    return Optimizer(init, update, state_axes)


def make_optimizer(
    config: OptimizerConfig, axes: Mapping[str, Axes], among: Mapping[str, Axes] | None = None
) -> Optimizer:
    """Returns the optimizer of the trainable parameters; axes: {name: logical axes}.

    Only what is trainable belongs in `axes`, params and grads: nothing else gets state. `lr` of
    update is a float32 scalar; parameters come back in their own dtypes. among: the axes of all
    trainable parameters, where `axes` are only a part of them: patterns are matched with all.
    """
    decayed = decayed_names(config, axes if among is None else among)
    factors = rate_factors(config, axes if among is None else among)
    own = {"adafactor": _adafactor, "muon": _composed, "chain": _composed}
    inner = own.get(config.name, _from_optax)(config, axes, decayed)

    def init(params: Params) -> State:
        _check(axes, params)
        return inner.init(params)

    def update(grads: Params, state: State, params: Params, lr: Array) -> tuple[Params, State]:
        _check(axes, params)
        if config.clip_norm is not None:
            grads = clip_by_norm(_float32(grads), now(config.clip_norm))
        rates = own_rates(factors, jnp.asarray(lr, jnp.float32), params)
        return inner.update(grads, state, params, rates)

    def state_axes(params: Params) -> Any:
        _check(axes, params)
        return inner.state_axes(params)

    return Optimizer(init, update, state_axes)
