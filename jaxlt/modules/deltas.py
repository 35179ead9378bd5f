"""Weight deltas: sets of leaves beside a backbone that are added to it before it is applied.

    F(x; theta0 + delta_1 + delta_2 + ...)         T5Config.deltas = [@lang/delta(), @task/delta()]

    deltas/<delta>/<parameter>/values              dense: the parameter's shape; sparse: [K]
    deltas/<delta>/<parameter>/indices             sparse: int32 [K], flat, into the stacked leaf
    deltas/<delta>/<parameter>/alpha               diff: DiffPruning's gates, the parameter's shape

A sparse delta belongs to stacked leaves whether or not the model is scanned, and writes their names
with dots ('encoder.layers.mlp.wo.kernel'), so that nobody takes [K] for layers. What trains is
chosen by TrainConfig.trainable ('deltas/lang/.*'), as ever; indices never train. An optimizer so
has state for the K entries alone, and what is outside a mask cannot move by decay or momentum.
Weight decay pulls a dense delta to zero, the weights to theta0; a sparse one's [K] is not decayed.

`applied` is a pure function of the flat tree, and differentiable in the values.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxlt.errors import UserError
from jaxlt.modules import diff_pruning
from jaxlt.modules.boxed import zeros
from jaxlt.modules.config import PREFIX, Delta
from jaxlt.modules.config import delta as delta
from jaxlt.modules.delta_files import INDICES, VALUES, Stored
from jaxlt.modules.fingerprints import Fingerprint
from jaxlt.modules.int8 import dense
from jaxlt.modules.layout import group_layers, split_layer, stack

ALPHA = "/alpha"
Flat = dict[str, Any]


class Declared(NamedTuple):
    """A leaf before it exists. `init` is an initialiser, or reads the leaf from a file."""

    shape: tuple[int, ...]
    axes: tuple[str | None, ...]
    init: Callable[..., Any]
    dtype: str | None  # where it is always the same, as of indices


_OPEN = jax.nn.initializers.constant(diff_pruning.ALPHA)


def declare(deltas: Iterable[Delta], leaves: Mapping[str, Any]) -> dict[str, Declared]:
    """Lists the leaves of deltas; `leaves` has the shape and axes of every 'params/...' leaf."""
    out: dict[str, Declared] = {}
    for item in deltas:
        counts = dict(item.counts)
        for param in item.targets(leaves):
            if item.kind == "sparse":
                out |= _declare_sparse(item, param, counts[param], leaves)
                continue
            shape, axes = tuple(leaves[param].shape), tuple(leaves[param].axes)
            name, layer = split_layer(param)
            init = Stored(item.file, name + VALUES, shape, layer) if item.file else zeros
            out[item.leaf(param)] = Declared(shape, axes, init, None)
            if item.kind == "diff":
                out[item.leaf(param, ALPHA)] = Declared(shape, axes, _OPEN, None)
    return out


def _declare_sparse(
    item: Delta, param: str, count: int, leaves: Mapping[str, Any]
) -> dict[str, Declared]:
    size = sum(math.prod(leaves[n].shape) for n in group_layers(leaves)[param])
    if count > size:
        raise UserError(
            f"Delta '{item.name}' changes {count} entries of '{param}', which has {size}: it is of "
            "a model of other sizes."
        )
    if item.file is None:
        raise UserError(f"Delta '{item.name}' is sparse: give the file of its mask as delta.file.")
    return {
        item.leaf(param, ending): Declared(
            (count,), (None,), Stored(item.file, param + ending, (count,)), dtype
        )
        for ending, dtype in ((INDICES, "int32"), (VALUES, None))
    }


def applied(flat: Mapping[str, Any], deltas: Iterable[Delta], key: Any = None) -> Flat:
    """The leaves of a model with its deltas -> those of the model alone, the deltas added.

    What is held in int8 and changed becomes float32 as a whole, all layers of it.

    key: of this step, where gates are drawn (diff in training).
    """
    out = {n: v for n, v in flat.items() if not n.startswith(PREFIX)}
    for item in deltas:
        for param, leaf in item.parts(flat).items():
            values = flat[leaf]
            if item.kind == "diff":
                alpha = flat[item.leaf(param, ALPHA)]
                values = values * diff_pruning.gates(alpha, key, leaf)
            values = values if item.scale == 1.0 else values * item.scale
            if item.kind == "sparse":
                out |= _scattered(out, param, flat[item.leaf(param, INDICES)], values)
            else:
                out[param] = dense(out[param]) + values
    return out


def _scattered(params: Flat, param: str, indices: jax.Array, values: jax.Array) -> Flat:
    """Adds values [K] at flat indices [K] of a stacked leaf, or of the layers that make it up."""
    if param in params:  # by one index an axis: a flat view of a sharded leaf would gather it
        whole = jnp.asarray(dense(params[param]))
        at = jnp.unravel_index(indices, whole.shape)
        whole = whole.astype(jnp.result_type(whole, values))
        return {param: whole.at[at].add(values, unique_indices=True)}
    out: Flat = {}
    for i, name in enumerate(group_layers(params)[param]):
        whole = jnp.asarray(dense(params[name]))
        local = indices - i * whole.size
        mine = (local >= 0) & (local < whole.size)
        line = whole.reshape(-1).astype(jnp.result_type(whole, values))
        line = line.at[jnp.where(mine, local, whole.size)].add(values, mode="drop")
        out[name] = line.reshape(whole.shape)
    return out


def has_penalty(deltas: Iterable[Delta]) -> bool:
    """Says whether the deltas add anything to the loss."""
    return any(item.l1 or (item.kind == "diff" and item.l0) for item in deltas)


def _magnitude(values: jax.Array) -> jax.Array:
    """The sum of |values|, whose gradient is 0 where a value is (that of jnp.abs is 1)."""
    return jnp.sum(values * jax.lax.stop_gradient(jnp.sign(values)))


def penalty(deltas: Iterable[Delta], trainable: Mapping[str, Any], total: int) -> jax.Array:
    """What the trainable deltas add to the loss; `total`: the number of the backbone's values."""
    cost = jnp.zeros((), jnp.float32)
    for item in deltas:
        if item.l1:
            sums = [_magnitude(trainable[n]) for n in item.parts(trainable).values()]
            cost += item.l1 / total * sum(sums)
        if item.kind == "diff" and item.l0:
            gates = item.parts(trainable, ALPHA).values()
            cost += item.l0 * sum(diff_pruning.expected_count(trainable[n]) for n in gates)
    return cost


def with_penalty(
    deltas: Iterable[Delta],
    grads: Mapping[str, Any],
    trainable: Mapping[str, Any],
    frozen: Mapping[str, Any],
) -> tuple[Flat, jax.Array]:
    """Gradients with those of the penalty added, and the penalty."""
    backbone = [v for n, v in {**frozen, **trainable}.items() if n.startswith("params/")]
    total = sum(math.prod(v.shape) for v in backbone)
    cost, more = jax.value_and_grad(lambda p: penalty(deltas, p, total))(dict(trainable))
    return {n: g + more[n] for n, g in grads.items()}, cost


def changes(flat: Mapping[str, Any], item: Delta) -> Flat:
    """A delta of a flat tree as arrays under stacked parameter names, as `delta_files` keeps them.

    Gates of a 'diff' delta are multiplied in (those of evaluation); `scale` is not.
    """
    values = {p: flat[n] for p, n in item.parts(flat).items()}
    if item.kind == "sparse":
        out = {p + VALUES: v for p, v in values.items()}
        return out | {p + INDICES: flat[item.leaf(p, INDICES)] for p in values}
    if item.kind == "diff":
        gated = {p: flat[item.leaf(p, ALPHA)] for p in values}
        values = {p: v * diff_pruning.gates(gated[p]) for p, v in values.items()}
    return {p + VALUES: v for p, v in stack(values).items()}


def check_start(deltas: Iterable[Delta], backbone: Fingerprint) -> None:
    """Raises UserError where a delta's file was made on another backbone than this one.

    One made on an encoder-decoder fits the encoder alone, and the other way round.
    """
    for item in deltas:
        if item.start and not Fingerprint(item.start, dict(item.start_parts)).fits(backbone):
            raise UserError(
                f"Delta '{item.name}' ('{item.file}') was made on another backbone (content hash "
                f"{item.start}) than the one this run starts from ({backbone.whole}): theta + "
                "delta means something only where theta is the same. Give the INIT_FROM it was "
                "made on, or set delta.start = '' to add it all the same."
            )
