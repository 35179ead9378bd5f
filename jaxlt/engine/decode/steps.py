"""The decoder a position at a time: its cache, and the logits of every hypothesis's next token."""

import dataclasses
import fnmatch
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxlt.models.bias import Step
from jaxlt.models.config import T5Config
from jaxlt.models.encoder import model_of
from jaxlt.models.init import unflatten
from jaxlt.models.layers import make_context
from jaxlt.models.t5 import logits_of
from jaxlt.modules.deltas import applied
from jaxlt.modules.int8 import Int8
from jaxlt.modules.layout import unstack

Cache = Any  # the collection `cache`: keys and values of self-attention, by layer


class Stepper:
    """A batch whose encoder has run, as a function from a token a hypothesis to the next logits.

    Rows are [B]; each has N hypotheses, which share the encoder's keys and values. Methods at the
    site `kv` see, at every step, all keys and values that the projections and their own sites made
    (a prefix stands before them each time): what they do to keys of earlier positions may depend
    on these keys, not on the states they were made of.
    """

    def __init__(
        self,
        config: T5Config,
        params: Mapping[str, jax.Array],
        batch: Mapping[str, jax.Array],
        length: int,
        hypotheses: int,
        unroll: bool = False,
    ):
        """config: without dropout or remat. params: flat, base, modules and deltas.

        length: tokens of a row at most.

        unroll: go through the decoder's layers one by one even if they are scanned.
        """
        flat = in_compute_dtype(config, applied(params, config.deltas))
        config = dataclasses.replace(config, deltas=())
        self._batch, self._ctx = batch, make_context(batch)
        memory: Any = model_of(config).apply(unflatten(flat), batch, self._ctx, method="encode")
        if unroll and config.scan_layers:
            config = dataclasses.replace(config, scan_layers=False)
            decoder = {n for n in flat if n.partition("/")[2].startswith("decoder/layers/")}
            rest = {n: v for n, v in flat.items() if n not in decoder}
            flat = rest | unstack({n: flat[n] for n in decoder})
        self._model, self._variables = model_of(config), unflatten(flat)
        self._memory, self.rows, self.hypotheses = memory, memory.shape[0], hypotheses
        begin = jnp.zeros((self.rows, hypotheses), jnp.int32)
        x = self._embed(begin)
        self.prompts = x.shape[1] - hypotheses  # soft prompts in front of a row
        self.length = self.prompts + length
        # All of this step but the encoder's keys and values is unused, and not computed.
        _, made = self._apply(x[:, self.prompts :], jnp.int32(0), None, {}, ["cache", "memory"])
        self._variables["memory"] = made["memory"]
        self._empty = jax.tree.map(jnp.zeros_like, made["cache"])
        self._prompted = x[:, : self.prompts]

    def start(self) -> Cache:
        """Returns the cache of a row without any token; soft prompts have gone through."""

        def prompt(i: jax.Array, cache: Cache) -> Cache:
            x = jax.lax.dynamic_slice_in_dim(self._prompted, i, 1, axis=1)
            x = jnp.broadcast_to(x, (self.rows, self.hypotheses, x.shape[-1]))
            return self._apply(x, i, None, cache, ["cache"])[1]["cache"]

        return (
            jax.lax.fori_loop(0, self.prompts, prompt, self._empty) if self.prompts else self._empty
        )

    def logits(
        self,
        tokens: jax.Array,
        position: jax.Array,
        cache: Cache,
        ancestry: jax.Array | None = None,
    ) -> tuple[jax.Array, Cache]:
        """tokens [B, N], the ones before `position` (0: pad) -> float32 logits [B, N, V], cache.

        ancestry: [B, N, length], for each hypothesis whose tokens it has at each earlier position;
        None where it has always been its own.
        """
        if ancestry is not None:
            ancestry = jnp.pad(ancestry, ((0, 0), (0, 0), (self.prompts, 0)))
        x = self._embed(tokens)[:, self.prompts :]
        hidden, new = self._apply(x, self.prompts + position, ancestry, cache, ["cache"])
        return logits_of(hidden), new["cache"]

    def _embed(self, tokens: jax.Array) -> Any:
        return self._model.apply(self._variables, tokens, self._ctx, method="embed_step")

    def _apply(
        self,
        x: jax.Array,
        position: jax.Array,
        ancestry: jax.Array | None,
        cache: Cache,
        mutable: list[str],
    ) -> tuple[Any, Any]:
        variables = self._variables | ({"cache": cache} if cache else {})
        step = Step(position, ancestry, self.length)
        return self._model.apply(
            variables, x, self._memory, self._batch, self._ctx, step, method="step", mutable=mutable
        )


def in_compute_dtype(config: T5Config, params: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Casts the weights that every use would cast, once: what is computed stays the same.

    A plug at the site `kernel` is given the weight as it is stored, so there nothing is cast.
    """
    ends = [site.rpartition("/")[2] for plug in config.plugs for site in plug.sites]
    plugged = any(fnmatch.fnmatchcase("kernel", end) for end in ends)
    if plugged or config.dtype == "float32":
        return dict(params)
    cast = lambda name: name.startswith("params/") and name.endswith("/kernel")  # noqa: E731
    held = {n for n, v in params.items() if isinstance(v, Int8)}  # in a quarter of the memory
    return {
        n: v.astype(config.compute_dtype) if cast(n) and n not in held else v
        for n, v in params.items()
    }
