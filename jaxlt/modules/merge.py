"""Modules merged into a plain backbone that any reader of T5 loads, and taken out of it again.

    params = merged(flat, config.plugs, config.deltas)         # 'params/...' alone
    params = merged(flat, config.plugs, slots={"lang": 3})     # of a bank the slot of one language
    params = merged(flat, config.plugs, inverse=True)          # what was merged is taken out

LoRA, (IA)^3 and norm scales change what a weight of the backbone can change, so their outputs stay
the same; weight deltas are added. Other methods say why they cannot be merged. Flat trees are those
of the engine, of stacked or of single layers.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxlt.errors import UserError
from jaxlt.modules.deltas import PREFIX, Delta, applied
from jaxlt.modules.routing import ALL
from jaxlt.modules.site import Plug, owner

Flat = dict[str, Any]

# The weights of the backbone behind a Site that is no projection's own: by the Site's name, the
# modules beside it that may be meant.
_BESIDE = {
    "mlp_inner": ("wo",),
    "attn_norm": ("pre_attention_layer_norm", "pre_self_attention_layer_norm"),
    "cross_attn_norm": ("pre_cross_attention_layer_norm",),
    "mlp_norm": ("pre_mlp_layer_norm",),
    "final_norm": ("encoder_norm", "decoder_norm"),
}


def merged(
    flat: Mapping[str, Any],
    plugs: Iterable[Plug],
    deltas: Iterable[Delta] = (),
    slots: Mapping[str, int] | None = None,
    inverse: bool = False,
) -> Flat:
    """Returns the leaves of the backbone alone, with all plugs and deltas merged into them.

    slots: for each bank by plug name, the slot that is meant; the average of all where the plug's
    key is 'all'. inverse: takes out instead, in the opposite order.
    """
    params = {n: v for n, v in flat.items() if n.startswith("params/")}
    deltas, plugs = tuple(deltas), list(plugs)
    if deltas and inverse:
        raise UserError("Weight deltas are taken out with delta.scale = -1.")
    if deltas:
        params = applied(
            {**params, **{n: v for n, v in flat.items() if n.startswith(PREFIX)}}, deltas
        )
    for p in reversed(plugs) if inverse else plugs:
        if p.parallel and sum(q.parallel == p.parallel for q in plugs) > 1:
            raise UserError(
                f"Plug '{p.name}' stands in parallel with others ('{p.parallel}'), whose changes "
                "are added up: merge one after the other with plug.parallel = None."
            )
        params |= _one(p, flat, params, (slots or {}).get(p.name), inverse)
    return params


def _one(p: Plug, flat: Mapping[str, Any], params: Flat, slot: int | None, inverse: bool) -> Flat:
    """The leaves of the backbone that one plug changes."""
    sites: dict[str, dict[str, Any]] = {}
    for name, value in flat.items():
        if owner(name) == p.name:
            site, _, weight = name.partition(f"/{p.name}/")
            sites.setdefault(site, {})[weight] = value
    out: Flat = {}
    for site, weights in sites.items():
        base = _base_of(p, site, params)
        stacked = "/layers/" in f"{site}/"
        for choice in _choices(p, weights, slot, stacked):
            new = p.method.merge(dict(p.settings), site.rpartition("/")[2], base, choice, inverse)
            for leaf, value in new.items():
                value = _where_it_works(p, value, base[leaf], site, stacked)
                name = f"{_home(p, site, params)}/{leaf}"
                share = value / p.routes if p.key == ALL else value
                out[name] = out[name] + share if p.key == ALL and name in out else share
    return {n: jnp.asarray(v, params[n].dtype) for n, v in out.items()}


def _choices(
    p: Plug, weights: Mapping[str, Any], slot: int | None, stacked: bool
) -> list[dict[str, Any]]:
    """The weights without their routes axis: of one slot, or of each where all count."""
    if not p.routes:
        return [dict(weights)]
    if p.key == ALL:
        chosen = list(range(p.routes))
    elif slot is None:
        raise UserError(
            f"Plug '{p.name}' is a bank of {p.routes}, one of which a row goes through: a plain "
            f"backbone can hold one. Say which (--modules {p.name}=LANGUAGE)."
        )
    else:
        chosen = [slot]
    axis = int(stacked)
    return [
        {n: jax.lax.index_in_dim(jnp.asarray(v), i, axis, False) for n, v in weights.items()}
        for i in chosen
    ]


def _home(p: Plug, site: str, params: Flat) -> str:
    """The module of the backbone whose weights stand behind a Site."""
    above, _, last = site.replace("modules/", "params/", 1).rpartition("/")
    candidates = [above] if last == "site" else [f"{above}/{c}" for c in _BESIDE.get(last, ())]
    for candidate in candidates:
        if any(f"{candidate}/{leaf}" in params for leaf in ("kernel", "scale")):
            return candidate
    raise UserError(
        f"Plug '{p.name}' ({p.method.__name__}) stands at '{site}', behind which the backbone has "
        "no weight: it cannot be merged."
    )


def _base_of(p: Plug, site: str, params: Flat) -> dict[str, Any]:
    if p.method.unmergeable is not None:
        raise UserError(
            f"Plug '{p.name}' ({p.method.__name__}) cannot be merged into a backbone: "
            f"{p.method.unmergeable}. Keep it in a library (`jaxlt modules save`)."
        )
    home = _home(p, site, params)
    leaves = ("kernel", "bias", "scale")
    return {leaf: params[f"{home}/{leaf}"] for leaf in leaves if f"{home}/{leaf}" in params}


def _where_it_works(p: Plug, new: Any, old: Any, site: str, stacked: bool) -> Any:
    """`new` in the layers that a plug works in, `old` in the others."""
    if p.layers is None and not p.leave_out:
        return new
    if stacked:
        works = jnp.asarray([p.works_in(i, len(old)) for i in range(len(old))])
        return jnp.where(works.reshape(-1, *(1,) * (old.ndim - 1)), new, old)
    raise UserError(
        f"Plug '{p.name}' leaves layers out ('{site}'): merge it in the stacked form of the leaves."
    )
