"""The contract: a backbone names its Sites, a Method plugs in there; nothing else knows methods.

    y = Site(place="encoder/mlp_out", plugs=config.plugs, name="mlp_out")(y, x, ids)

applies every plug whose `sites` match the place, in the order of the list (order is composition).
A method's weights live in the collection `modules`, so the base tree (`params`) is the same with
and without plugs.
"""

import dataclasses
import itertools
from collections.abc import Collection, Iterable, Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlt.errors import UserError, check_one_of, nearest
from jaxlt.modules.boxed import Axes, Boxed, Init, zeros
from jaxlt.modules.config import Plug
from jaxlt.modules.config import plug as plug
from jaxlt.modules.products import routed_matmul
from jaxlt.modules.routing import ALL, Bank, Ids, Route, select, values_of
from jaxlt.modules.weight_product import weight_product

Weights = Mapping[str, jax.Array]
SITES = (
    "embed",  # token embeddings; x = None
    "unembed",  # the last hidden states, before the logits; x = None
    "query key value out wi_0 wi_1 wo",  # a projection's output; x = its input
    "mlp_inner",  # what goes into `wo`, the product of a gated MLP's gates; x = the MLP's input
    "attn_norm cross_attn_norm mlp_norm final_norm",  # a norm's output; x = its input
    "attn_out cross_attn_out mlp_out",  # a sublayer's output after dropout; x = its residual input
    "kv",  # (k, v, bias description); x = the attention's input
    "weights",  # an attention's, [B, H, Q, K], before dropout; x = None
    "kernel",  # y = the weight itself
    "block_out",  # the residual stream after a block; x = the block's input
)

_SITE_ENDS = ("site", "kv", "_out", "embed", "_inner", "_norm")  # how the models name their Sites


class Method(nn.Module):
    """A way to add to or change what flows through a Site: (y, x, ids) -> y, same shape.

    With `routes` > 0 every weight is a bank with a leading axis of that many slots and `key` names
    the route that picks among them ('source', 'target', 'task', or 'all' for an average of all).
    """

    routes: int = 0
    key: str | None = None
    dtype: Any = jnp.float32
    routing: str = "auto"  # how a bank is multiplied: see `products.routed_matmul`
    place: str = ""  # of the Site: 'decoder/unembed'

    shared = False  # whether one set of weights serves all the model's embedding Sites
    combines = False  # whether it handles a route of several slots itself (a prefix does)
    lengthens = False  # whether what comes out has more positions than what went in
    # Why no weight of a backbone can do what the method does; None where `merge` says which does.
    unmergeable: ClassVar[str | None] = "no weight of the backbone does what it does"

    def parameter(self, name: str, init: Init, shape: tuple[int, ...], axes: Axes) -> Bank:
        """Makes (or reads) a weight as it is stored: [*shape], or [routes, *shape]; float32.

        A bank may come back as a Slice, where a step has cut it down to the slots it needs.
        """
        if self.routes:
            shape, axes = (self.routes, *shape), ("routes", *axes)

        def make() -> Any:
            return Boxed(init(self.make_rng("params"), shape, jnp.float32), axes, init=init)

        return self.variable("modules", name, make).value

    def weight(
        self, name: str, init: Init, shape: tuple[int, ...], axes: Axes, ids: Ids | None
    ) -> jax.Array:
        """A weight, routed: `shape`, [B, *shape] or [B, T, *shape]; in the compute dtype."""
        bank = self.parameter(name, init, shape, axes)
        if self.routes:
            return select(values_of(bank), self.slots(bank, ids)).astype(self.dtype)
        return values_of(bank).astype(self.dtype)

    def vector(
        self, name: str, init: Init, width: int, axis: str | None, ids: Ids | None
    ) -> jax.Array:
        """A routed vector that broadcasts against [B, T, width]: [width], or [B, 1 or T, width]."""
        value = self.weight(name, init, (width,), (axis,), ids)
        return value[:, None] if value.ndim == 2 else value

    def dense(
        self, name: str, x: jax.Array, init: Init, features: int, axes: Axes, ids: Ids | None
    ) -> jax.Array:
        """x [B, T, I] times a routed weight [I, features] -> [B, T, features]."""
        return self.product(x, self.parameter(name, init, (x.shape[-1], features), axes), ids)

    def product(
        self, x: jax.Array, bank: Bank, ids: Ids | None, transposed: bool = False
    ) -> jax.Array:
        """x [B, T, I] times a weight as it is stored, [I, O] or [R, I, O] -> [B, T, O].

        transposed: the weight is [O, I] or [R, O, I].
        """
        weight = values_of(bank).astype(self.dtype)
        weight = jnp.swapaxes(weight, -1, -2) if transposed else weight
        if not self.routes:
            return weight_product(x, weight)
        return routed_matmul(x, weight, self.slots(bank, ids), self.routing)

    def row_weight(
        self, name: str, init: Init, shape: tuple[int, ...], axes: Axes, ids: Ids | None
    ) -> jax.Array:
        """A weight that whole rows share: `shape` or [B, *shape]; several slots a row are mixed."""
        value = self.weight(name, init, shape, axes, ids)
        if not self.routes:
            return value
        route, lead = self.route(ids), value.ndim - len(shape)
        if route.weights is not None and route.weights.ndim == lead == 2:
            mix = route.weights.astype(value.dtype)
            return jnp.einsum("bn,bn...->b...", mix, value)
        if lead > 1:
            raise UserError(
                f"Plug '{self.name}' ({type(self).__name__}) serves whole rows: it is routed by "
                f"row, not by token, and outside of the layers its weights are the same for all "
                f"layers. Pack texts of one language together, or leave packing off."
            )
        return value

    def gated(self, gate: jax.Array, new: Any, old: Any) -> Any:
        """`new` where `gate` (a bool) holds, else `old`; a method that changes shapes has its own.

        Called after `__call__`, in layers of a scan some of which the plug leaves out.
        """
        return jax.tree.map(lambda a, b: jnp.where(gate, a, b), new, old)

    @classmethod
    def merge(
        cls, settings: Mapping[str, Any], site: str, base: Weights, weights: Weights, inverse: bool
    ) -> dict[str, jax.Array]:
        """Returns the backbone's weights with the method's own merged in, or taken out.

        site: name of the Site ('site' at a projection). base: 'kernel' [(L,) I, O] and 'bias', or a
        norm's 'scale', as the backbone has them; weights: the method's, without routes.
        """
        raise TypeError(f"{cls.__name__} says it can be merged, and has no way to do it.")

    def slots(self, bank: Bank, ids: Ids | None) -> jax.Array:
        """Indices into a bank as it stands, [], [B] or [B, T]."""
        return self.route(ids).within(bank)

    def route(self, ids: Ids | None) -> Route:
        """Returns the route this method follows; a missing one is an error with what is there."""
        if not ids or self.key is None or self.key not in ids:
            have = ", ".join(sorted(ids)) if ids else "none"
            raise UserError(
                f"Plug '{self.name}' routes by '{self.key}', which the batch does not carry "
                f"(routes at hand: {have}).{nearest(str(self.key), ids or ())}"
            )
        return ids[self.key]

    def check(self, setting: str, choices: Collection[str]) -> None:
        """Raises UserError for a value that a setting does not have."""
        check_one_of(f"{type(self).__name__}.{setting}", getattr(self, setting), choices)

    @classmethod
    def own_settings(cls) -> set[str]:
        """Names of the method's fields beyond those that every method has."""
        common = {f.name for f in dataclasses.fields(Method)}
        return {f.name for f in dataclasses.fields(cls)} - common

    def __call__(self, y: Any, x: Any = None, ids: Ids | None = None) -> Any:
        """Returns y, added to or changed."""
        raise TypeError(f"{type(self).__name__} has to define __call__(y, x, ids).")


class Site(nn.Module):
    """A named place in a layer: applies the plugs that match it, in order."""

    place: str
    plugs: tuple[Plug, ...] = ()
    dtype: Any = jnp.float32
    layers: int = 0  # of the stack that the site is in; 0 outside of the layers
    home: "Home | None" = None  # where weights live that this Site shares with others

    @nn.compact
    def __call__(self, y: Any, x: Any = None, ids: Ids | None = None) -> Any:
        """(y, x, ids) -> y; returns y itself where nothing plugs in."""
        here = [p for p in self.plugs if p.matches(self.place)]
        for _, group in itertools.groupby(
            enumerate(here), lambda pair: pair[1].parallel or pair[0]
        ):
            before = y
            for n, (_, p) in enumerate(group):
                after = self.apply_plug(p, before, x, ids)
                y = after if n == 0 else jax.tree.map(lambda a, b, c: a + b - c, y, after, before)
        return y

    def apply_plug(self, p: Plug, y: Any, x: Any, ids: Ids | None) -> Any:
        """One plug: over one slot or several, in the layers it works in."""
        if p.key == ALL:
            rows = jax.tree.leaves(y)[0].shape[0]
            index = jnp.broadcast_to(jnp.arange(p.routes), (rows, p.routes))
            even = jnp.full(index.shape, 1.0 / p.routes, jnp.float32)
            ids = (ids or Ids({})).with_route(ALL, Route(index, even))
        if p.method.shared and self.home is not None:
            return self.home(p, self.place, self.dtype, y, x, ids)
        method = method_of(p, self.place, self.dtype)
        new = method(y, x, ids) if method.combines else per_slot(method, y, x, ids)
        only = ids[p.key].layer if ids is not None and p.key and p.key in ids else None
        if ids is not None and only is not None:
            here = 0 if ids.layer is None else ids.layer + 1
            new = method.gated(jnp.asarray(here == only), new, y)
        works = [p.works_in(i, self.layers) for i in range(self.layers)]
        if all(works) or ids is None or ids.layer is None:
            return new
        if isinstance(ids.layer, int):  # unrolled: what is left out is never part of the program
            return new if works[ids.layer] else y
        return method.gated(jnp.asarray(works)[ids.layer], new, y)


class Home(nn.Module):
    """Weights that several Sites share, where a method has one set for all of them (NICE)."""

    @nn.compact
    def __call__(self, p: Plug, place: str, dtype: Any, y: Any, x: Any, ids: Ids | None) -> Any:
        """Applies a plug as it stands at `place`: (y, x, ids) -> y."""
        return per_slot(method_of(p, place, dtype), y, x, ids)


def method_of(p: Plug, place: str, dtype: Any) -> Method:
    """Makes a plug's method, in a module that is being called."""
    common = {"routes": p.routes, "key": p.key, "routing": p.routing, "dtype": dtype}
    return p.method(name=p.name, place=place, **common, **dict(p.settings))


def per_slot(method: Method, y: Any, x: Any, ids: Ids | None) -> Any:
    """Applies a method by its route.

    With N slots a row the batch is repeated N times and the outputs added up by their weights.
    """
    route = ids[method.key] if ids and method.key and method.key in ids else None
    if ids is None or route is None or route.weights is None:
        return method(y, x, ids)
    (rows, count), weights = route.index.shape, route.weights
    repeat = lambda tree: jax.tree.map(lambda a: jnp.repeat(a, count, axis=0), tree)  # noqa: E731
    out = method(repeat(y), repeat(x), ids.with_route(str(method.key), route.spread()))

    def weigh(a: jax.Array) -> jax.Array:
        a = a.reshape(rows, count, *a.shape[1:])
        return jnp.sum(a * weights.astype(a.dtype).reshape(rows, count, *(1,) * (a.ndim - 2)), 1)

    return jax.tree.map(weigh, out)


def owner(name: str) -> str | None:
    """Returns the plug that a flat name of `modules` belongs to, or None.

    'modules/encoder/layers/mlp_out/lang/down' -> 'lang': a plug's name stands right after its
    Site's; elsewhere in a path it is a layer or a weight.
    """
    pairs = itertools.pairwise(name.split("/"))
    return next((part for site, part in pairs if site.endswith(_SITE_ENDS)), None)


class Probe(Method):
    """Changes nothing, and has a weight: where it is shows which sites a plug meets."""

    @nn.compact
    def __call__(self, y: Any, x: Any = None, ids: Ids | None = None) -> Any:
        """y -> y."""
        self.parameter("met", zeros, (), ())
        return y


def as_probe(p: Plug) -> Plug:
    """A Probe at a plug's sites."""
    return dataclasses.replace(p, method=Probe, settings=(), routes=0, key=None, parallel=None)


def unplugged(plugs: tuple[Plug, ...], module_names: Iterable[str]) -> None:
    """Raises UserError for a plug that met no site.

    `module_names` are the flat names of the model's `modules` collection.
    """
    met = {owner(name) for name in module_names}
    for p in plugs:
        if p.name not in met:
            sites = " ".join(SITES).split()
            hints = "".join(nearest(s.rsplit("/", 1)[-1], sites) for s in p.sites)
            raise UserError(
                f"Plug '{p.name}' ({p.method.__name__}) meets no site: none of {list(p.sites)} is "
                f"in the {' or '.join(p.stacks)} of this backbone. "
                f"Sites are: {', '.join(sites)}.{hints}"
            )
