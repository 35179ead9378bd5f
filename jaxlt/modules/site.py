"""The contract: a backbone names its Sites, a Method plugs in there; nothing else knows methods.

    y = Site(place="encoder/mlp_out", plugs=config.plugs, name="mlp_out")(y, x, ids)

applies every plug whose `sites` match the place, in the order of the list (order is composition).
A method's weights live in the collection `modules`, so the base tree (`params`) is the same with
and without plugs.
"""

import dataclasses
import fnmatch
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlt.errors import UserError, nearest
from jaxlt.modules.boxed import boxed
from jaxlt.modules.routing import Ids, Route, select

SITES = (
    "embed",  # token embeddings; x = None
    "unembed",  # the last hidden states, before the logits; x = None
    "query key value out wi_0 wi_1 wo",  # a projection's output; x = its input
    "attn_out cross_attn_out mlp_out",  # a sublayer's output after dropout; x = its residual input
    "kv",  # (k, v, bias description); x = the attention's input
    "kernel",  # y = the weight itself
    "block_out",  # the residual stream after a block; x = the block's input
)

_SITE_ENDS = ("site", "kv", "_out", "embed")  # how the models name their Sites


class Method(nn.Module):
    """A way to add to or change what flows through a Site: (y, x, ids) -> y, same shape.

    With `routes` > 0 every weight is a bank with a leading axis of that many slots and `key` names
    the route that picks among them ('source', 'target' or 'task').
    """

    routes: int = 0
    key: str | None = None
    dtype: Any = jnp.float32

    def weight(
        self,
        name: str,
        init: Callable[..., jax.Array],
        shape: tuple[int, ...],
        axes: tuple[str | None, ...],
        ids: Ids | None,
    ) -> jax.Array:
        """Makes (or reads) a weight and routes it.

        Returns `shape`, or [B, *shape] when routed by example; in the compute dtype. The parameter
        itself is [*shape], or [routes, *shape] for a bank, always float32.
        """
        if self.routes:
            shape, axes = (self.routes, *shape), ("routes", *axes)
        make = boxed(init, axes)
        bank = self.variable(
            "modules", name, lambda: make(self.make_rng("params"), shape, jnp.float32)
        ).value
        if self.routes:
            bank = select(bank, self.route(ids))
        return bank.astype(self.dtype)

    def route(self, ids: Ids | None) -> Route:
        """Returns the route this method follows; a missing one is an error with what is there."""
        if not ids or self.key is None or self.key not in ids:
            have = ", ".join(sorted(ids)) if ids else "none"
            raise UserError(
                f"Plug '{self.name}' routes by '{self.key}', which the batch does not carry "
                f"(routes at hand: {have}).{nearest(str(self.key), ids or ())}"
            )
        return ids[self.key]

    def __call__(self, y: Any, x: Any = None, ids: Ids | None = None) -> Any:
        """Returns y, added to or changed."""
        raise TypeError(f"{type(self).__name__} has to define __call__(y, x, ids).")


@dataclasses.dataclass(frozen=True)
class Plug:
    """A method and the sites it plugs into.

    `sites` are patterns over places such as 'encoder/mlp_out' or 'decoder/self_attention/query':
    a bare name matches that site everywhere, 'encoder/*' and the like match by path.
    """

    name: str
    method: type[Method]
    sites: tuple[str, ...] = ("mlp_out",)
    stacks: tuple[str, ...] = ("encoder", "decoder")
    key: str | None = None
    routes: int = 0
    settings: tuple[tuple[str, Any], ...] = ()

    def matches(self, place: str) -> bool:
        """Says whether this plug belongs at `place` ('encoder/mlp_out')."""
        stack, _, rest = place.partition("/")
        return stack in self.stacks and any(
            fnmatch.fnmatchcase(candidate, pattern)
            for pattern in self.sites
            for candidate in (place, rest, rest.rsplit("/", 1)[-1])
        )


def plug(
    method: type[Method],
    name: str,
    *,
    sites: Iterable[str] | str | None = None,
    stacks: Iterable[str] | str = ("encoder", "decoder"),
    key: str | None = None,
    routes: int = 0,
    **settings: Any,
) -> Plug:
    """Makes a Plug: `plug(Bottleneck, "lang", reduction_factor=16, key="source", routes=8)`.

    Where it goes defaults to the method's own `places`; `settings` are the method's own fields.
    """
    own = {f.name for f in dataclasses.fields(method)} - {
        f.name for f in dataclasses.fields(Method)
    }
    for setting in settings:
        if setting not in own:
            raise UserError(
                f"{method.__name__} has no setting '{setting}' (it has: {', '.join(sorted(own))})."
                + nearest(setting, own)
            )
    if routes and key is None:
        key = "source"
    if key is not None and not routes:
        raise UserError(f"Plug '{name}' routes by '{key}' but has routes = 0: say how many slots.")
    sites = getattr(method, "places", ("mlp_out",)) if sites is None else sites
    as_tuple = lambda value: (value,) if isinstance(value, str) else tuple(value)  # noqa: E731
    frozen = tuple(sorted((k, tuple(v) if isinstance(v, list) else v) for k, v in settings.items()))
    return Plug(name, method, as_tuple(sites), as_tuple(stacks), key, routes, frozen)


class Site(nn.Module):
    """A named place in a layer: applies the plugs that match it, in order."""

    place: str
    plugs: tuple[Plug, ...] = ()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, y: Any, x: Any = None, ids: Ids | None = None) -> Any:
        """(y, x, ids) -> y; returns y itself where nothing plugs in."""
        for p in self.plugs:
            if p.matches(self.place):
                method = p.method(
                    name=p.name, routes=p.routes, key=p.key, dtype=self.dtype, **dict(p.settings)
                )
                y = method(y, x, ids)
        return y


def unplugged(plugs: tuple[Plug, ...], module_names: Iterable[str]) -> None:
    """Raises UserError for a plug that met no site.

    `module_names` are the flat names of the model's `modules` collection.
    """
    # A plug's name stands right after its Site's; elsewhere in a path it is a layer or a weight.
    met = {
        part
        for name in module_names
        for site, part in itertools.pairwise(name.split("/"))
        if site.endswith(_SITE_ENDS)
    }
    for p in plugs:
        if p.name not in met:
            sites = " ".join(SITES).split()
            hints = "".join(nearest(s.rsplit("/", 1)[-1], sites) for s in p.sites)
            raise UserError(
                f"Plug '{p.name}' ({p.method.__name__}) meets no site: none of {list(p.sites)} is "
                f"in the {' or '.join(p.stacks)} of this backbone. "
                f"Sites are: {', '.join(sites)}.{hints}"
            )
