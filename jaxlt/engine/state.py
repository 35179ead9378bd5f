"""The state of a run, born sharded: what trains, what is frozen, the optimizer's memory.

Trees are flat: {'params/encoder/...': array, 'modules/...': array}.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxlt.engine.checkpoint.fingerprint import fingerprint_of, lanes_of
from jaxlt.engine.checkpoint.fit import explain
from jaxlt.engine.open import LOSSES, Auxiliary
from jaxlt.engine.optim.adafactor import UNUSED
from jaxlt.engine.optim.routes import RoutedOptimizer
from jaxlt.engine.partitioning import Rules, replicated, spec_for
from jaxlt.errors import UserError, nearest
from jaxlt.models.config import BiLSTMConfig, T5Config
from jaxlt.models.init import Leaf, describe, draw
from jaxlt.modules.fingerprints import Fingerprint
from jaxlt.modules.int8 import Int8, is_rounded, parts_of, reduced_axis, rounded
from jaxlt.modules.layout import is_scanned, layer_name, split_layer

Flat = dict[str, Any]
PART_BYTES = 2**29  # of a tensor that the host holds at a time, in float32
FROZEN_DTYPES = ("float32", "bfloat16", "float16", "int8")


class BaseSource(Protocol):
    """A backbone on disk, read tensor by tensor; canonical (unrolled) names, without 'params/'."""

    @property
    def origin(self) -> Mapping[str, str]: ...
    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]: ...

    def read_slice(self, name: str, index: tuple[slice, ...]) -> np.ndarray:
        """Returns one slice a dimension (step 1) of a tensor, in its stored float dtype."""
        ...


class ModuleValues(Protocol):
    """What plugs start from, where a library fills them (`jaxlt.inference.compose.Composed`)."""

    def values(self, base: Fingerprint) -> dict[str, np.ndarray]:
        """Returns values by flat name; raises UserError where they do not fit a backbone."""
        ...

    def told(self, base: Fingerprint) -> list[str]:
        """Says of each plug which modules it holds, and from where."""
        ...


class LossScale(flax.struct.PyTreeNode):
    """Dynamic loss scaling for float16: halved on overflow, doubled after enough good steps."""

    scale: Any  # float32 []
    good_steps: Any  # int32 []


class TrainState(flax.struct.PyTreeNode):
    """Everything a step reads and writes. `frozen` is only read."""

    step: Any  # int32 []
    trainable: Flat
    frozen: Flat
    optimizer: Any
    loss_scale: LossScale | None = None


def partition(
    names: Iterable[str], trainable: Iterable[str], frozen: Iterable[str] = ()
) -> tuple[list[str], list[str]]:
    """Splits flat names into (trainable, frozen) by regexes over whole names.

    A name trains if a trainable pattern matches it and no frozen one does. A pattern that matches
    nothing is an error: it would freeze or train something in silence.
    """
    names = list(names)

    def matching(patterns: Iterable[str], field: str) -> set[str]:
        found: set[str] = set()
        for pattern in patterns:
            try:
                hits = {n for n in names if re.fullmatch(pattern, n)}
            except re.error as err:
                raise UserError(f"TrainConfig.{field}: '{pattern}' is no regex: {err}.") from None
            if not hits:
                raise UserError(
                    f"TrainConfig.{field}: '{pattern}' matches no parameter. Patterns are regexes "
                    f"over whole names such as '{names[0]}' and '{names[-1]}'."
                    + nearest(pattern, names)
                )
            found |= hits
        return found

    chosen = matching(trainable, "trainable") - matching(frozen, "frozen")
    return [n for n in names if n in chosen], [n for n in names if n not in chosen]


@dataclasses.dataclass(frozen=True, eq=False)
class Layout:
    """Shapes, logical axes and shardings of everything a run holds, before any of it exists.

    One of itself alone is equal to it: what is compiled for a layout is found by it.
    """

    leaves: Mapping[str, Leaf]
    trainable: tuple[str, ...]
    frozen: tuple[str, ...]
    shardings: Mapping[str, NamedSharding]
    dtypes: Mapping[str, Any]
    mesh: Mesh
    rules: Rules

    def abstract(self, names: Iterable[str]) -> Flat:
        """Shape, dtype and sharding of each named parameter; of an Int8, of each of its parts."""
        return {n: self._abstract(n) for n in names}

    def _abstract(self, name: str) -> Any:
        leaf, sharding = self.leaves[name], self.shardings[name]
        if not self.in_int8(name):
            return jax.ShapeDtypeStruct(leaf.shape, self.dtypes[name], sharding=sharding)
        parts, axes = parts_of(name, leaf.shape), list(leaf.axes)
        axes[reduced_axis(name)] = None
        scale = NamedSharding(self.mesh, spec_for(parts.scale.shape, axes, self.rules, self.mesh))
        places = Int8(sharding, scale, replicated(self.mesh))
        return jax.tree.map(lambda a, s: a.update(sharding=s), parts, places)

    @property
    def frozen_model(self) -> tuple[str, ...]:
        """What is frozen of the model itself: a teacher is a loss's, and is read by it."""
        return tuple(n for n in self.frozen if not n.startswith(LOSSES))

    @property
    def trained_values(self) -> int:
        """How many numbers of the model train; those of losses are not the model's."""
        mine = (n for n in self.trainable if not n.startswith(LOSSES))
        return sum(math.prod(self.leaves[n].shape) for n in mine)

    def in_int8(self, name: str) -> bool:
        """Says whether a parameter is held as an Int8."""
        return self.dtypes[name] == jnp.int8


def make_layout(
    config: T5Config,
    mesh: Mesh,
    rules: Rules,
    trainable: Iterable[str] = (".*",),
    frozen: Iterable[str] = (),
    frozen_dtype: str | None = None,
    losses: tuple[Auxiliary, ...] = (),
) -> Layout:
    """Plans the state of a model: nothing is allocated.

    frozen_dtype: of what is frozen; 'int8' is for a backbone's matrices, all else stays float32.
    losses: those beside the main one, whose own parameters are in the state too.
    """
    if frozen_dtype not in (None, *FROZEN_DTYPES):
        raise UserError(
            f"TrainConfig.frozen_dtype is None or one of {', '.join(FROZEN_DTYPES)}, not "
            f"'{frozen_dtype}'.{nearest(frozen_dtype, FROZEN_DTYPES)}"
        )
    if frozen_dtype == "int8" and isinstance(config, BiLSTMConfig):
        raise UserError(
            "TrainConfig.frozen_dtype = 'int8' is for the backbones of T5Config; a BiLSTM is small:"
            " give 'bfloat16' or leave it out."
        )
    leaves = describe(config)
    trains, rests = partition(leaves, trainable, frozen)
    trains = [n for n in trains if leaves[n].dtype is None]  # indices are nothing to train
    rests = [n for n in leaves if n not in set(trains)]
    for one in losses:
        own = {f"{LOSSES}{one.name}/{n}": leaf for n, leaf in one.leaves(config).items()}
        leaves |= own
        (trains if one.trains else rests).extend(own)
    specs = {n: spec_for(leaf.shape, leaf.axes, rules, mesh) for n, leaf in leaves.items()}
    shardings = {n: NamedSharding(mesh, spec) for n, spec in specs.items()}
    held = {n: frozen_dtype for n in rests}
    if frozen_dtype == "int8":
        held = {n: "int8" for n in rests if is_rounded(n, leaves[n].axes)}
    dtypes = {n: jnp.dtype(leaf.dtype or held.get(n) or jnp.float32) for n, leaf in leaves.items()}
    return Layout(leaves, tuple(trains), tuple(rests), shardings, dtypes, mesh, rules)


def optimizer_abstract(layout: Layout, optimizer: RoutedOptimizer) -> Any:
    """The optimizer's state as shapes with shardings: factored ones are sharded too."""
    params: Flat = {
        n: jax.ShapeDtypeStruct(a.shape, a.dtype)
        for n, a in layout.abstract(layout.trainable).items()
    }

    def placed(leaf: Any, axes: tuple[str | None, ...]) -> jax.ShapeDtypeStruct:
        names = [None if axis == UNUSED else axis for axis in axes]
        spec = spec_for(leaf.shape, names, layout.rules, layout.mesh)
        return leaf.update(sharding=NamedSharding(layout.mesh, spec))

    shapes = jax.eval_shape(optimizer.init, params)
    return jax.tree.map(placed, shapes, optimizer.state_axes(params))


def draw_params(layout: Layout, names: Iterable[str], seed: int) -> Flat:
    """Draws the named parameters, each on the devices that will hold it."""
    key = jax.random.key(seed)

    def drawn(name: str) -> Any:
        dtype = jnp.float32 if layout.in_int8(name) else layout.dtypes[name]
        value = draw(layout.leaves[name], name, key, dtype, layout.shardings[name])
        return _rounded(layout, name, value) if layout.in_int8(name) else value

    return {n: drawn(n) for n in names}


def _rounded(layout: Layout, name: str, value: jax.Array) -> Int8:
    """A leaf of floats, or one layer of it, in int8 and sharded as it will be held."""
    places = jax.tree.map(lambda a: a.sharding, layout.abstract([name])[name])
    layered = value.ndim == len(layout.leaves[name].shape)
    if not layered:
        places = jax.tree.map(_of_a_layer, places)
    return _rounder(layered and is_scanned(name), reduced_axis(name), places)(value)


@functools.lru_cache(maxsize=64)
def _rounder(layered: bool, axis: int, places: Int8) -> Callable[[jax.Array], Int8]:
    def convert(value: jax.Array) -> Int8:
        return rounded(value, axis, lanes_of(value, layered))

    return jax.jit(convert, out_shardings=places)


def _check_base(base: BaseSource, wanted: Mapping[str, tuple[int, ...]], encoder: bool) -> None:
    """Raises UserError where a base does not fit: names the parameter and the binding."""
    where = base.origin.get("path", "the base")
    for name, shape in wanted.items():
        if name not in base.shapes:
            if name.split("/")[0] in ("encoder", "decoder", "token_embedder"):
                raise UserError(
                    f"{where} has no parameter '{name}' {list(shape)}, which this T5Config asks "
                    f"for.{nearest(name, base.shapes)} Compare T5Config.encoder_layers, "
                    "decoder_layers, relpos_per_layer and tie_logits with the checkpoint's."
                )
        elif tuple(base.shapes[name]) != tuple(shape):
            raise UserError(f"{where}: {explain(name, tuple(base.shapes[name]), tuple(shape))}")
    extra = sorted(set(base.shapes) - set(wanted))
    extra = [n for n in extra if not (encoder and n.startswith("decoder/"))]
    extra = [n for n in extra if not n.startswith("mlm_head/")]
    if extra:
        layers = [n for n in extra if split_layer(n)[1] is not None]
        hint = f"T5Config.{layers[0].split('/')[0]}_layers is too small." if layers else ""
        raise UserError(
            f"{where} holds {len(extra)} parameter(s) that this T5Config has no place for, such as "
            f"'{extra[0]}' {list(base.shapes[extra[0]])}. {hint}"
        )


def load_base(
    layout: Layout, base: BaseSource, encoder: bool, names: Iterable[str] | None = None
) -> Flat:
    """Streams a base (or the named parameters of it) into sharded arrays, tensor by tensor.

    Returns those that the base holds. The whole base has to fit the layout, whatever is read.

    A scanned leaf is made on the devices and filled layer by layer, so that the host holds one
    layer's tensor at a time.
    """
    targets = [n for n in layout.leaves if n.startswith("params/")]
    units: dict[str, list[str]] = {}
    wanted: dict[str, tuple[int, ...]] = {}
    for full in targets:
        name, shape = full.removeprefix("params/"), layout.leaves[full].shape
        scanned = is_scanned(name)
        units[full] = [layer_name(name, i) for i in range(shape[0])] if scanned else [name]
        wanted |= {unit: shape[1:] if scanned else shape for unit in units[full]}
    _check_base(base, wanted, encoder)
    out: Flat = {}
    chosen = set(targets if names is None else names)
    for full in targets:
        if full not in chosen or units[full][0] not in base.shapes:
            continue
        if is_scanned(full):
            made = _stacked(layout, full, units[full], base)
        else:
            made = _unit(layout, full, units[full][0], base)
        out[full] = jax.block_until_ready(made)
    return out


@functools.lru_cache(maxsize=64)
def _filler(sharding: NamedSharding, rank: int) -> tuple[Any, Any]:
    """(zeros(shape, dtype), insert(whole, part, first)) of arrays that stay on this sharding."""
    zeros = jax.jit(jnp.zeros, static_argnums=(0, 1), out_shardings=sharding)

    def insert(whole: jax.Array, part: jax.Array, first: jax.Array) -> jax.Array:
        return jax.lax.dynamic_update_slice(whole, part, (first, *(0,) * (rank - 1)))

    return zeros, jax.jit(insert, donate_argnums=0, out_shardings=sharding)


def _of_a_layer(sharding: NamedSharding) -> NamedSharding:
    return NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[1:]))


def _stacked(layout: Layout, name: str, units: list[str], base: BaseSource) -> Any:
    """A scanned leaf [L, ...], made on the devices and filled with one layer after the other."""
    parts, tree = jax.tree.flatten(layout.abstract([name])[name])
    fillers = [_filler(part.sharding, len(part.shape)) for part in parts]
    made = [zeros(part.shape, part.dtype) for (zeros, _), part in zip(fillers, parts, strict=True)]
    for i, unit in enumerate(units):
        layer = jax.tree.leaves(_unit(layout, name, unit, base))
        filled = zip(fillers, made, layer, strict=True)
        made = [insert(whole, part[None], i) for (_, insert), whole, part in filled]
    return jax.tree.unflatten(tree, made)


def _unit(layout: Layout, name: str, unit: str, base: BaseSource) -> Any:
    """A leaf that is not scanned, or one layer of one that is, from the tensor `unit` of a base."""
    shape, sharding = layout.leaves[name].shape, layout.shardings[name]
    if is_scanned(name):
        shape, sharding = shape[1:], _of_a_layer(sharding)
    dtype = jnp.dtype(jnp.float32) if layout.in_int8(name) else layout.dtypes[name]
    value = _in_parts(unit, base, shape, dtype, sharding)
    return _rounded(layout, name, value) if layout.in_int8(name) else value


def _in_parts(
    name: str, base: BaseSource, shape: tuple[int, ...], dtype: Any, sharding: NamedSharding
) -> jax.Array:
    """One tensor onto its devices; a large one in runs of rows, so that the host holds no more."""
    rows = max(1, int(PART_BYTES // (4 * math.prod(shape[1:]))))
    if rows >= shape[0]:
        return _put(name, base, 0, shape, dtype, sharding)
    zeros, insert = _filler(sharding, len(shape))
    whole, spec = zeros(shape, dtype), PartitionSpec(None, *sharding.spec[1:])
    for first in range(0, shape[0], rows):
        part = (min(rows, shape[0] - first), *shape[1:])
        piece = _put(name, base, first, part, dtype, NamedSharding(sharding.mesh, spec))
        whole = jax.block_until_ready(insert(whole, piece, first))
    return whole


def _put(
    name: str,
    base: BaseSource,
    first: int,
    shape: tuple[int, ...],
    dtype: Any,
    sharding: NamedSharding,
) -> jax.Array:
    """Rows [first, first + shape[0]) of a tensor onto their devices; each shard is read once."""
    read: dict[tuple[tuple[int, int], ...], np.ndarray] = {}

    def shard(index: Any) -> np.ndarray:
        bounds = tuple(i.indices(n)[:2] for i, n in zip(index, shape, strict=True))
        if bounds not in read:
            (low, high), *rest = bounds
            slices = (slice(first + low, first + high), *(slice(*b) for b in rest))
            value = np.ascontiguousarray(base.read_slice(name, slices))
            read[bounds] = value.astype(dtype, copy=False)
        return read[bounds]

    return jax.make_array_from_callback(shape, sharding, shard)


def make_state(
    layout: Layout,
    optimizer: RoutedOptimizer,
    seed: int,
    base: BaseSource | None = None,
    *,
    encoder: bool = False,
    loss_scaling: bool = False,
    on_drawn: Callable[[list[str]], None] | None = None,
) -> TrainState:
    """Makes the state at step 0: the base where given, everything else drawn by name from `seed`.

    on_drawn hears which parameters a given base did not hold (a head, the modules).
    """
    held = load_base(layout, base, encoder) if base is not None else {}
    missing = [n for n in layout.leaves if n not in held]
    if base is not None and on_drawn is not None and missing:
        on_drawn(missing)
    params = held | draw_params(layout, missing, seed)
    trainable = {n: params[n] for n in layout.trainable}
    frozen = {n: params[n] for n in layout.frozen}
    memory = _memory(layout, optimizer)(trainable)
    return TrainState(
        step=jax.device_put(jnp.int32(0), replicated(layout.mesh)),
        trainable=trainable,
        frozen=frozen,
        optimizer=memory,
        loss_scale=new_loss_scale(layout.mesh) if loss_scaling else None,
    )


@functools.lru_cache(maxsize=16)
def _memory(layout: Layout, optimizer: RoutedOptimizer) -> Callable[[Flat], Any]:
    """The compiled start of an optimizer's state, sharded."""
    out = jax.tree.map(lambda a: a.sharding, optimizer_abstract(layout, optimizer))
    return jax.jit(optimizer.init, out_shardings=out)


def new_loss_scale(mesh: Mesh) -> LossScale:
    """Loss scaling at its start: 2^15, no good steps yet."""
    put = lambda x: jax.device_put(x, replicated(mesh))  # noqa: E731
    return LossScale(put(jnp.float32(2.0**15)), put(jnp.int32(0)))


def base_fingerprint(state: TrainState) -> Fingerprint:
    """Content hashes of the backbone in a state (`params`, not `modules` nor heads)."""
    flat = {**state.frozen, **state.trainable}
    mine = {n: v for n, v in flat.items() if n.startswith("params/")}
    return fingerprint_of(mine)
