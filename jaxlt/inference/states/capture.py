"""What flows inside of a model: arrays of its sites, states of its layers, gradients of a loss.

    states = capture(config, params, batch, ["encoder/block_out"])["encoder/block_out"]
    pooled = hidden(config, params, batch, look(config, batch, [0, -1]), "mean")[2]    # [B, D]

Layers are spelt out one by one, so that only what is asked for is computed and kept. Sharded
parameters are worked on under their mesh and rules (`jaxlt.engine.step.mesh_context`).
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlt.engine.batch_checks import check_routes, slots_of
from jaxlt.engine.objective import Objective
from jaxlt.errors import UserError, check_one_of, nearest
from jaxlt.models.config import BiLSTMConfig, ModelConfig, T5Config
from jaxlt.models.encoder import model_of
from jaxlt.models.head_parts import token_mask, words_of
from jaxlt.models.init import flatten, unflatten
from jaxlt.models.layers import make_context
from jaxlt.modules.deltas import applied
from jaxlt.modules.interventions import Capture
from jaxlt.modules.layout import unstack
from jaxlt.modules.placement import rules_now
from jaxlt.modules.site import SITES, plug

_NAME = "captured_states"
STATES = "block_out"
Flat = Mapping[str, jax.Array]
Batch = Mapping[str, Any]


def capture(
    config: T5Config, params: Flat, batch: Batch, sites: Iterable[str] = (STATES,)
) -> dict[str, Any]:
    """Returns what flows through sites, after all plugs, without dropout: place -> array.

    params: flat, base and modules. sites: patterns as a plug has them. A place in the layers comes
    as [L, B, T, D] ('encoder/block_out'), one outside as [B, T, D] ('encoder/embed'); `kv` as a
    pair (k, v), each [L, B, K, H, d]; `weights` [L, B, H, Q, K]. Without fields of a decoder it is
    the encoder alone. Padding is in it, as are soft prompts, which stand in front.
    """
    sites = tuple(sites)
    check_routes(batch, slots_of(config))
    states = _capture(config, sites, rules_now(), dict(params), dict(batch))
    if not states:
        known = ", ".join(" ".join(SITES).split())
        raise UserError(f"Nothing to capture: no site matches {list(sites)} (sites are: {known}).")
    return states


@functools.partial(jax.jit, static_argnames=("config", "sites", "rules"))
def _capture(
    config: T5Config, sites: tuple[str, ...], rules: tuple[Any, ...], params: Any, batch: Any
) -> dict[str, Any]:
    seen: dict[str, dict[int, Any]] = {}
    for (place, layer), value in captured(*spelt_out(config, params, sites), batch).items():
        seen.setdefault(place, {})[layer] = value
    join = lambda *layers: jnp.stack(layers)  # noqa: E731
    return {
        place: layers[0]
        if 0 in layers
        else jax.tree.map(join, *(layers[n] for n in sorted(layers)))
        for place, layers in seen.items()
    }


def spelt_out(
    config: ModelConfig, params: Flat, sites: tuple[str, ...]
) -> tuple[ModelConfig, dict[str, Any]]:
    """The same model, its deltas added and its layers one by one, whose sites are captured."""
    if isinstance(config, BiLSTMConfig):
        return config, dict(params)
    flat = applied(params, config.deltas)
    plugs = (*config.plugs, plug(Capture, _NAME, sites=sites))
    changed = dataclasses.replace(config, plugs=plugs, deltas=(), scan_layers=False)
    return changed, unstack(flat) if config.scan_layers else flat


def _collected(config: ModelConfig, flat: Flat, batch: Batch) -> dict[str, Any]:
    """What is captured of `spelt_out`, by its flat name in the collection."""
    model, ctx = model_of(config), make_context(batch)
    alone = "encode" if config.heads or isinstance(config, BiLSTMConfig) else "hidden"
    whole = config.is_encoder or "decoder_input_tokens" in batch
    method = alone if whole else "encode"
    _, state = model.apply(unflatten(flat), batch, ctx, method=method, mutable=["captured"])
    return flatten({"captured": state.get("captured", {})})


def _key(name: str) -> tuple[str, int]:
    """'.../encoder:mlp_out@1' -> ('encoder/mlp_out', 1)."""
    place, _, layer = name.rpartition("/")[2].partition("@")
    return place.replace(":", "/"), int(layer)


def captured(config: ModelConfig, flat: Flat, batch: Batch) -> dict[tuple[str, int], Any]:
    """What is captured of `spelt_out`, by place and layer: 0 outside of the layers, else 1 to L."""
    return {_key(name): value for name, value in _collected(config, flat, batch).items()}


class Look(NamedTuple):
    """A site of a stack in some layers: 0 the embeddings, n what the n-th block makes of them."""

    stack: str
    site: str
    layers: tuple[int, ...]
    words: bool = False  # at the first token of each word rather than at every token

    @property
    def sites(self) -> tuple[str, ...]:
        """Patterns of a plug that meets it."""
        return (f"{self.stack}/embed", f"{self.stack}/*{self.site}")

    def choose(self, found: Mapping[tuple[str, int], Any]) -> dict[int, tuple[str, int]]:
        """The key of each layer among what was captured."""
        places = {p for p, n in found if n and (p.endswith(f"/{self.site}"))}
        if len(places) > 1:
            several = ", ".join(p.removeprefix(f"{self.stack}/") for p in sorted(places))
            raise UserError(f"The {self.stack} has more than one site '{self.site}': {several}.")
        if not places:
            known = " ".join(SITES).split()
            raise UserError(
                f"The layers of the {self.stack} have no site '{self.site}'."
                f"{nearest(self.site, known)} Sites are: {', '.join(known)}."
            )
        return {n: (min(places) if n else f"{self.stack}/embed", n) for n in self.layers}


def look(
    config: ModelConfig,
    batch: Batch,
    layers: Iterable[int] | int | None = None,
    *,
    stack: str = "encoder",
    site: str = STATES,
    words: bool = False,
) -> Look:
    """Makes a Look that fits a model and the fields of a batch.

    layers: None for all; negative numbers count from the end: of 12 layers, -1 is 12. site: a place
    in the layers, such as 'mlp_inner' (neurons) or 'self_attention/weights'; only states have a 0.
    """
    check_one_of("A stack", stack, ("encoder", "decoder"))
    if isinstance(config, BiLSTMConfig):
        count, known = config.layers, ("encoder", STATES)
        if (stack, site) != known:
            raise UserError(f"A BiLSTM has the states of its encoder alone, not {stack}/{site}.")
    else:
        count = config.layers_of(stack)
    if not count:
        raise UserError("The model is an encoder alone: it has no layers of a decoder.")
    if stack == "decoder" and "decoder_input_tokens" not in batch:
        raise UserError(
            "States of the decoder need what it reads, decoder_input_tokens, and the batch has no "
            f"such field.{nearest('decoder_input_tokens', batch)}"
        )
    if words and stack == "decoder":
        raise UserError("Words are those of the encoder's input (word_first), not the decoder's.")
    first = 0 if site == STATES else 1
    chosen = (layers,) if isinstance(layers, int) else layers
    numbers = list(range(first, count + 1)) if chosen is None else [int(n) for n in chosen]
    for n in numbers:
        if not first <= (n if n >= 0 else n + count + 1) <= count:
            what = "0, the embeddings," if first == 0 else "1"
            raise UserError(
                f"The {stack} has no layer {n} of '{site}': its layers are {what} to {count}."
            )
    return Look(stack, site, tuple(n if n >= 0 else n + count + 1 for n in numbers), words)


def positions(batch: Batch, stack: str) -> jax.Array:
    """Returns [B, T] bool: what a stack reads that is no padding; none in rows without text."""
    read = token_mask(batch)
    if stack == "encoder":
        return read
    if "decoder_target_tokens" in batch:
        own = batch["decoder_target_tokens"] > 0
    else:  # it begins with a 0 of its own
        own = jax.lax.cummax((batch["decoder_input_tokens"] > 0).astype(jnp.int32), 1, True) > 0
        own = own.at[:, 0].set(True)
    return own & jnp.any(read, axis=1, keepdims=True)


def states_of(
    config: ModelConfig, flat: Flat, batch: Batch, where: Look
) -> tuple[dict[int, Any], jax.Array]:
    """({layer: states [B, T, D]} of `spelt_out`, which positions are text [B, T]); or of words.

    Soft prompts are left out. What is not [B, T, D] comes as it is.
    """
    found, mask = captured(config, flat, batch), positions(batch, where.stack)
    width = mask.shape[1]
    out = {n: found[key] for n, key in where.choose(found).items()}
    out = {n: x[:, -width:] if getattr(x, "ndim", 0) == 3 else x for n, x in out.items()}
    if not where.words:
        return out, mask
    whole_rows(out, where, "taken at words")
    pairs = {n: words_of(x, batch) for n, x in out.items()}
    return {n: x for n, (x, _) in pairs.items()}, next(iter(pairs.values()))[1]


def whole_rows(states: Mapping[int, Any], where: Look, what: str) -> None:
    """Raises UserError where there is no vector a position."""
    if any(getattr(x, "ndim", 0) != 3 for x in states.values()):
        raise UserError(
            f"What flows through '{where.site}' cannot be {what}: it is no vector a position, "
            "[B, T, D]. Ask for it as it is, or for another site, such as block_out or mlp_inner."
        )


def hidden(
    config: ModelConfig, params: Flat, batch: Batch, where: Look, reduce: str | None = None
) -> dict[int, Any]:
    """Returns {layer: [B, T, D]}, padding included, or by 'mean' [B, D] float32, without it."""
    check_one_of("reduce", str(reduce), ("None", "mean"))
    return _hidden(config, where, reduce, rules_now(), dict(params), dict(batch))


@functools.partial(jax.jit, static_argnames=("config", "where", "reduce", "rules"))
def _hidden(
    config: ModelConfig, where: Look, reduce: str | None, rules: Any, params: Any, batch: Any
) -> dict[int, Any]:
    states, mask = states_of(*spelt_out(config, params, where.sites), batch, where)
    if reduce is None:
        return states
    whole_rows(states, where, "pooled")
    count = jnp.maximum(jnp.sum(mask, axis=1, dtype=jnp.float32), 1)[:, None]
    return {
        n: jnp.sum(jnp.where(mask[..., None], x, 0), axis=1, dtype=jnp.float32) / count
        for n, x in states.items()
    }


def gradients(objective: Objective, params: Flat, batch: Batch, where: Look) -> dict[int, Any]:
    """{layer: [B, T, D]}: how an objective's summed loss changes with what flows there.

    Without dropout. batch: with the fields of training.
    """
    return _gradients(objective, where, rules_now(), dict(params), dict(batch))


@functools.partial(jax.jit, static_argnames=("objective", "where", "rules"))
def _gradients(
    objective: Objective, where: Look, rules: Any, params: Any, batch: Any
) -> dict[int, Any]:
    config, flat = spelt_out(objective.model, params, where.sites)
    shapes = jax.eval_shape(lambda: _collected(config, flat, batch))
    names = {_key(name): name for name in shapes}
    wanted = {n: names[key] for n, key in where.choose(names).items()}
    looking = dataclasses.replace(objective, model=config)

    def loss(shifts: dict[int, jax.Array]) -> jax.Array:
        added = {wanted[n].replace("captured/", "shifts/", 1): v for n, v in shifts.items()}
        return looking({**flat, **added}, batch)[0]

    zeros = {n: jnp.zeros(shapes[name].shape, shapes[name].dtype) for n, name in wanted.items()}
    out, width = jax.grad(loss)(zeros), positions(batch, where.stack).shape[1]
    return {n: x[:, -width:] if x.ndim == 3 else x for n, x in out.items()}


def on_host(states: Mapping[int, Any], rows: int) -> dict[int, Any]:
    """The first rows of what came from the devices, as numpy arrays."""
    return {n: jax.tree.map(lambda a: np.asarray(a)[:rows], x) for n, x in states.items()}
