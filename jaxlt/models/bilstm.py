"""A bidirectional LSTM over words made of characters: the baseline, learned from scratch.

    states = BiLSTM(config).apply(variables, batch, ctx, method="encode")    # [B, W, 2 * units]

Fields of a batch: `words` [B, W] int32 and `chars` [B, W, C] int32, 0 for none. The heads are those
of every encoder (`jaxlt.models.heads`); the states are of words, so there is no `word_first`.
Padding, of words or of characters, changes nothing.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlt.models.config import BiLSTMConfig
from jaxlt.models.heads import Heads, Outputs
from jaxlt.models.layers import Context, Dropout, fan_in_normal
from jaxlt.modules.boxed import param, zeros
from jaxlt.modules.interventions import watched

embedding_normal = nn.initializers.normal(0.3)
orthogonal = nn.initializers.orthogonal()


def open_gates(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """A bias [4H] whose forget gate starts open: at 1, and the rest at 0."""
    del key
    units = shape[0] // 4
    return jnp.zeros(shape, dtype).at[units : 2 * units].set(1)


class Table(nn.Module):
    """Embeddings whose row 0 is read as zeros."""

    rows: int
    width: int
    dtype: Any

    @nn.compact
    def __call__(self, ids: jax.Array) -> jax.Array:
        """[...] int32 -> [..., width]."""
        shape = (self.rows, self.width)
        table = param(self, "embedding", embedding_normal, ("vocab", "embed"), shape)
        found = jnp.take(table, ids, axis=0, mode="clip")
        return jnp.where((ids > 0)[..., None], found, 0).astype(self.dtype)


class Lstm(nn.Module):
    """Both directions of an LSTM in one scan."""

    units: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """x: [N, T, D], mask: [N, T] -> (states [N, T, 2H], last states [N, 2H]).

        Where the mask is off, a direction passes by: its memory stays, and the state there is 0.
        The last states are the forward one's at the last position and the backward one's at the
        first.
        """
        gates, recurrents, masks = [], [], []
        for name in ("forward", "backward"):
            weights = self.weights(name, x.shape[-1])
            gate = jnp.swapaxes(x @ weights[0] + weights[2], 0, 1)
            gates.append(gate if name == "forward" else gate[::-1])
            masks.append(mask.T if name == "forward" else mask.T[::-1])
            recurrents.append(weights[1])

        def step(carry: Any, inputs: Any) -> tuple[Any, Any]:
            both = [
                _cell(state, gate, valid, recurrent)
                for state, gate, valid, recurrent in zip(carry, *inputs, recurrents, strict=True)
            ]
            shown = [jnp.where(v[:, None], s[1], 0) for s, v in zip(both, inputs[1], strict=True)]
            return both, shown

        none = jnp.zeros((len(x), self.units), jnp.float32)
        start = [(none, none.astype(self.dtype))] * 2
        last, (ahead, back) = jax.lax.scan(step, start, (gates, masks))
        states = jnp.concatenate([ahead, back[::-1]], axis=-1)
        return jnp.swapaxes(states, 0, 1), jnp.concatenate([last[0][1], last[1][1]], axis=-1)

    def weights(self, name: str, width: int) -> tuple[jax.Array, ...]:
        """A direction's weights: input [D, 4H], recurrent [H, 4H], bias [4H]."""
        size = 4 * self.units
        parts: tuple[tuple[Any, ...], ...] = (
            ("input", fan_in_normal, ("embed", None), (width, size)),
            ("recurrent", orthogonal, (None, None), (self.units, size)),
            ("bias", open_gates, (None,), (size,)),
        )
        weights = (param(self, f"{name}_{part}", *how) for part, *how in parts)
        return tuple(w.astype(self.dtype) for w in weights)


def _cell(
    state: tuple[jax.Array, jax.Array], gate: jax.Array, valid: jax.Array, recurrent: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """(memory, state) [N, H] each, gate [N, 4H], valid [N] -> the next (memory, state)."""
    memory, shown = state
    total = gate + shown @ recurrent
    write, keep, value, read = jnp.split(total.astype(jnp.float32), 4, axis=-1)
    new = nn.sigmoid(keep) * memory + nn.sigmoid(write) * jnp.tanh(value)
    out = (nn.sigmoid(read) * jnp.tanh(new)).astype(shown.dtype)
    valid = valid[:, None]
    return jnp.where(valid, new, memory), jnp.where(valid, out, shown)


class CharacterFilters(nn.Module):
    """Filters over three characters, the largest answer of each."""

    filters: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """x: [N, C, K], zero where mask [N, C] is off -> [N, filters]."""
        wide = jnp.pad(x, ((0, 0), (1, 1), (0, 0)))
        seen = jnp.concatenate([wide[:, :-2], wide[:, 1:-1], wide[:, 2:]], axis=-1)
        shape = (seen.shape[-1], self.filters)
        kernel = param(self, "kernel", fan_in_normal, ("embed", None), shape)
        bias = param(self, "bias", zeros, (None,), shape[1:])
        answer = nn.relu(seen @ kernel.astype(self.dtype) + bias.astype(self.dtype))
        return jnp.max(jnp.where(mask[..., None], answer, 0), axis=1)  # relu: 0 is the least


class BiLSTM(nn.Module):
    """Words and their characters through layers of bidirectional LSTMs."""

    config: BiLSTMConfig

    def setup(self) -> None:
        self.heads = Heads(self.config.heads, self.config.compute_dtype)

    def outputs(
        self, batch: Mapping[str, jax.Array], ctx: Context, only: str | None = None
    ) -> Outputs:
        """Returns what each head says, or the one that `only` names."""
        return self.heads(self.encode(batch, ctx), batch, ctx, only)

    def __call__(self, batch: Mapping[str, jax.Array], ctx: Context) -> Outputs:
        """Returns what each head says."""
        return self.outputs(batch, ctx)

    @nn.compact
    def encode(self, batch: Mapping[str, jax.Array], ctx: Context) -> jax.Array:
        """Encodes `words` [B, W] and `chars` [B, W, C] -> [B, W, 2 * units], 0 at padding."""
        cfg, words = self.config, batch["words"]
        mask, parts = words > 0, []
        if cfg.word_rows:
            table = Table(cfg.word_rows, cfg.word_dim, cfg.compute_dtype, name="word_embedder")
            drop = Dropout(cfg.word_dropout, words=True, name="word_dropout")
            parts.append(drop(table(words), ctx))
        if cfg.char_rows:
            parts.append(self.spelling(batch["chars"]))
        x = watched(self, "encoder/embed", 0, jnp.concatenate(parts, axis=-1))
        for i in range(cfg.layers):
            x = Dropout(cfg.dropout, name=f"dropout_{i}")(x, ctx)
            x, _ = Lstm(cfg.units, cfg.compute_dtype, name=f"lstm_{i}")(x, mask)
            x = watched(self, "encoder/block_out", i + 1, x)
        return x

    def spelling(self, chars: jax.Array) -> jax.Array:
        """[B, W, C] -> [B, W, char_units]: each word by its characters."""
        cfg = self.config
        flat = chars.reshape(-1, chars.shape[-1])
        table = Table(cfg.char_rows, cfg.char_dim, cfg.compute_dtype, name="char_embedder")
        if cfg.chars == "cnn":
            found = CharacterFilters(cfg.char_units, cfg.compute_dtype, name="char_filters")(
                table(flat), flat > 0
            )
        else:
            lstm = Lstm(cfg.char_units // 2, cfg.compute_dtype, name="char_lstm")
            found = lstm(table(flat), flat > 0)[1]
        return found.reshape(*chars.shape[:2], cfg.char_units)
