"""Cross-entropy over large vocabularies, as T5X defines it, without holding the logits.

In: `hidden` [B, T, D] (what the network has before its logits), the logits' `kernel` [D, V] (or the
embedding [V, D] with `transposed=True`), `targets` [B, T] int and `weights` [B, T] float.
Out: `(loss_sum, sums)`: the float32 scalar to differentiate, and a dict for reporting, which
carries no gradient: `nll_sum`, `z_sum`, `weight_sum`, `correct_sum` (scalars), `row_nll` and
`row_correct` [B].

    loss = sum(weights * (smoothed cross-entropy - its least value + z_loss * log(Z) ** 2))

Two forms give the same numbers. `cross_entropy_plain` holds float32 logits [B, T, V].
`cross_entropy_chunked` walks over the length and holds the logits of one chunk at a time.
`cross_entropy` picks one by the size that the logits would have.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from jaxlt.engine.config import LossConfig
from jaxlt.errors import UserError
from jaxlt.models.traced import now
from jaxlt.modules.weight_product import weight_product

Array = jax.Array


def normalizer(config: LossConfig, weights: Array, batch_rows: int) -> Array:
    """Returns the float32 scalar that the summed loss is divided by.

    weights [B, T]; batch_rows: rows of the global batch. Weights that sum to zero give 1, so that a
    batch without targets has loss 0 rather than NaN.
    """
    if config.normalize == "tokens":
        total = jnp.sum(weights, dtype=jnp.float32)
        return jnp.where(total > 0, total, 1.0)
    if config.normalize == "sequences":
        return jnp.float32(batch_rows)
    if config.normalize in ("none", "languages"):  # those of `by_language` are in the weights
        return jnp.float32(1.0)
    return jnp.float32(config.normalize)


def by_language(weights: Array, language: Array) -> tuple[Array, Array]:
    """Divides weights by their language's sum: (weights [B, T], number of languages with any).

    language: [B], or [B, T] where rows hold several.
    """
    own, count = language_sums(weights, language)
    return weights.astype(jnp.float32) / (own if language.ndim == 2 else own[:, None]), count


def language_sums(weights: Array, language: Array) -> tuple[Array, Array]:
    """Sums weights [B, T] by language: (the sum of each one's own, like `language`; how many).

    language: [B] or [B, T]. A language without any weight has 1, and is not counted.
    """
    if language.shape not in (weights.shape, weights.shape[:1]):
        raise UserError(
            "LossConfig.normalize = 'languages' needs the language of each row, or of each target: "
            f"the batch's language is {list(language.shape)}, its targets {list(weights.shape)}."
        )
    weights = weights.astype(jnp.float32)
    each = weights if language.ndim == 2 else jnp.sum(weights, axis=-1)
    ids = language.reshape(-1)
    _, place = jnp.unique(ids, size=ids.size, return_inverse=True)
    sums = jnp.zeros(ids.size, jnp.float32).at[place].add(each.reshape(-1))
    return jnp.where(sums > 0, sums, 1.0)[place].reshape(language.shape), jnp.sum(sums > 0)


def _logits(hidden: Array, kernel: Array, transposed: bool) -> Array:
    """hidden [..., D] times kernel -> float32 logits [..., V]."""
    if not transposed:
        return weight_product(hidden, kernel, jnp.float32)
    return jnp.einsum("...d,vd->...v", hidden, kernel, preferred_element_type=jnp.float32)


class Extras(NamedTuple):
    """What is added to the cross-entropy, as numbers or float32 scalars; None without smoothing.

    low: the probability of each wrong entry; slope: how much more than that the target has;
    entropy: that of the smoothed target.
    """

    z_loss: Any
    slope: Any = None
    low: Any = None
    entropy: Any = None


PLAIN = Extras(0.0)


def extras_of(config: LossConfig, vocab: int) -> Extras:
    """Returns those of a config over a vocabulary of so many entries."""
    if config.label_smoothing == 0.0:
        return Extras(now(config.z_loss))
    smoothed = now(config.label_smoothing)  # a compiled step is given what `smoothing` makes of it
    if isinstance(smoothed, float):
        smoothed = smoothing(smoothed, vocab)
    return Extras(now(config.z_loss), *(smoothed[i] for i in range(3)))


def smoothing(label_smoothing: float, vocab: int) -> np.ndarray:
    """Returns float32 [3]: slope, low and entropy as `Extras` has them."""
    high = 1.0 - label_smoothing
    low = label_smoothing / (vocab - 1)
    entropy = -(high * math.log(high) + (vocab - 1) * low * math.log(low + 1e-20))
    return np.array([1.0 - label_smoothing - low, low, entropy], np.float32)


def hits(targets: Array, vocab: int) -> Array:
    """targets [...] -> bool [..., V]. Unlike a gather, this partitions over the vocabulary."""
    return (
        jax.lax.broadcasted_iota(targets.dtype, (*targets.shape, vocab), targets.ndim)
        == (targets[..., None])
    )


def _token_losses(
    logits: Array, targets: Array, extras: Extras
) -> tuple[dict[str, Array], Array, Array]:
    """float32 logits [..., V], targets [...] -> (terms, exps [..., V], log_z [...]).

    terms holds arrays like targets: `loss` (all included), `nll`, `z`, `correct` (the target's
    logit is the largest; ties count). exps are exp(logits - max).
    """
    vocab = logits.shape[-1]
    peak = jax.lax.stop_gradient(jnp.max(logits, axis=-1))
    exps = jnp.exp(logits - peak[..., None])
    log_sum = jnp.log(jnp.sum(exps, axis=-1))
    target = jnp.sum(jnp.where(hits(targets, vocab), logits, 0.0), axis=-1)
    nll = log_sum - (target - peak)
    log_z = log_sum + peak
    z = extras.z_loss * jnp.square(log_z)
    loss = nll + z
    if extras.slope is not None:
        others = jnp.sum(logits, axis=-1) - vocab * target
        loss = loss - extras.low * others - extras.entropy
    terms = {"loss": loss, "nll": nll, "z": z, "correct": (target >= peak).astype(jnp.float32)}
    return terms, exps, log_z


def sums_of(
    terms: dict[str, Array], weights: Array, counted: Array
) -> tuple[Array, dict[str, Array]]:
    """Terms and weights [B, T] -> (loss_sum, the sums for reporting, by weights of their own)."""
    fixed = jax.lax.stop_gradient((terms, counted))
    rows = {k: jnp.sum(v * fixed[1], axis=-1) for k, v in fixed[0].items()}
    sums = {f"{k}_sum": jnp.sum(rows[k]) for k in ("nll", "z", "correct")}
    sums["weight_sum"] = jnp.sum(fixed[1])
    sums |= {"row_nll": rows["nll"], "row_correct": rows["correct"]}
    return jnp.sum(terms["loss"] * weights), sums


def cross_entropy_plain(
    hidden: Array,
    kernel: Array,
    targets: Array,
    weights: Array,
    *,
    counted: Array | None = None,
    extras: Extras = PLAIN,
    transposed: bool = False,
) -> tuple[Array, dict[str, Array]]:
    """The loss by way of float32 logits [B, T, V]; see the module for shapes and results."""
    logits = _logits(hidden, kernel, transposed)
    terms, _, _ = _token_losses(logits, targets, extras)
    return sums_of(terms, *both(weights, counted))


def both(weights: Array, counted: Array | None) -> tuple[Array, Array]:
    """The weights of the loss and those of what is reported, float32."""
    return (
        weights.astype(jnp.float32),
        (weights if counted is None else counted).astype(jnp.float32),
    )


@dataclasses.dataclass(frozen=True)
class _Settings:
    """What is fixed while tracing the chunked loss."""

    transposed: bool
    chunk: int
    shards: int


def _split(x: Array, s: _Settings) -> Array:
    """[B, T, ...] -> [chunks, shards, tokens, ...], T padded with zeros to a multiple of the chunk.

    The shard axis is the outer part of B, so a batch sharded over its rows stays where it is.
    """
    batch, length, *rest = x.shape
    chunks = -(-length // s.chunk)
    x = jnp.pad(x, ((0, 0), (0, chunks * s.chunk - length)) + ((0, 0),) * len(rest))
    x = x.reshape(s.shards, batch // s.shards, chunks, s.chunk, *rest)
    x = jnp.moveaxis(x, 2, 0)
    return x.reshape(chunks, s.shards, batch // s.shards * s.chunk, *rest)


def _join(x: Array, s: _Settings, batch: int, length: int) -> Array:
    """The inverse of `_split`: [chunks, shards, tokens, ...] -> [B, T, ...]."""
    chunks, _, _, *rest = x.shape
    x = x.reshape(chunks, s.shards, batch // s.shards, s.chunk, *rest)
    x = jnp.moveaxis(x, 0, 2).reshape(batch, chunks * s.chunk, *rest)
    return x[:, :length]


def _walk(
    s: _Settings,
    hidden: Array,
    kernel: Array,
    targets: Array,
    weights: Array,
    extras: Extras,
    want: tuple[bool, bool],
) -> tuple[dict[str, Array], Array | None, Array | None]:
    """Scans the chunks -> (terms [B, T], d loss_sum / d hidden, d loss_sum / d kernel).

    want = (hidden's gradient, kernel's gradient): what is not wanted is not computed (None). Both
    are float32. They are made in the same pass as the loss, since the sum's cotangent is one scalar
    that can multiply them later: a pass back that recomputed the logits would cost a fourth matmul.
    """
    batch, length = targets.shape
    vocab = kernel.shape[0 if s.transposed else 1]
    # bfloat16 has float32's range; float16 would lose small entries, so its products are float32.
    narrow = hidden.dtype == kernel.dtype == jnp.bfloat16
    to_hidden, to_kernel = (
        ("nmv,vd->nmd", "nmv,nmd->nvd") if s.transposed else ("nmv,dv->nmd", "nmd,nmv->ndv")
    )

    product = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)

    def step(total: Array | None, chunk: tuple[Array, Array, Array]) -> tuple[Any, Any]:
        h, t, w = chunk
        logits = _logits(h, kernel, s.transposed)
        terms, exps, log_z = _token_losses(logits, t, extras)
        if not any(want):
            return total, (terms, None)
        gain = w * (1.0 + 2.0 * extras.z_loss * log_z) / jnp.sum(exps, axis=-1)
        slope = exps * gain[..., None] - jnp.where(hits(t, vocab), right(w, extras)[..., None], 0.0)
        if extras.slope is not None:
            slope = slope - (w * extras.low)[..., None]
        slope = slope.astype(jnp.bfloat16) if narrow else slope
        d_hidden = product(to_hidden, slope, kernel) if want[0] else None
        if total is not None:
            operands = (slope, h) if s.transposed else (h, slope)
            total = total + product(to_kernel, *operands)
        return total, (terms, d_hidden)

    # One accumulator a shard: adding over shards inside the loop would be an all-reduce each chunk.
    total = jnp.zeros((s.shards, *kernel.shape), jnp.float32) if want[1] else None
    chunks = (_split(hidden, s), _split(targets, s), _split(weights, s))
    total, (terms, d_hidden) = jax.lax.scan(step, total, chunks)
    terms = {k: _join(v, s, batch, length) for k, v in terms.items()}
    d_hidden = _join(d_hidden, s, batch, length) if want[0] else None
    return terms, d_hidden, None if total is None else jnp.sum(total, axis=0)


def right(weights: Array, extras: Extras) -> Array:
    """How far the target's own probability is asked for: all of it, but for what is smoothed."""
    return weights if extras.slope is None else weights * extras.slope


def with_gradients(walk: Callable[..., tuple[dict[str, Array], Any, Any]]) -> Callable[..., Any]:
    """Makes a loss of a walk that has its gradients beside it.

    walk(s, hidden, kernel, targets, weights, extras, want) -> (terms, d_hidden, d_kernel), of which
    it makes what `want` asks for; loss(s, hidden, kernel, targets, weights, counted, extras) ->
    (loss_sum, sums), to be differentiated. `s` is what is fixed while tracing.
    """

    @functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
    def loss(
        s: Any,
        hidden: Array,
        kernel: Array,
        targets: Array,
        weights: Array,
        counted: Array,
        extras: Extras,
    ) -> tuple[Array, dict[str, Array]]:
        terms, _, _ = walk(s, hidden, kernel, targets, weights, extras, (False, False))
        return sums_of(terms, weights, counted)

    def changed(s: Any, given: Any, changes: Any) -> tuple[Any, Any]:
        # What is not differentiated (a frozen kernel) has a SymbolicZero for its change.
        hidden, kernel, targets, weights, counted, extras = given
        d_hidden, d_kernel, _, d_weights = (
            None if isinstance(change, SymbolicZero) else change for change in changes[:4]
        )
        want = (d_hidden is not None, d_kernel is not None)
        terms, to_hidden, to_kernel = walk(s, hidden, kernel, targets, weights, extras, want)
        out = sums_of(terms, weights, counted)
        slopes = ((to_hidden, d_hidden), (to_kernel, d_kernel), (terms["loss"], d_weights))
        change = sum(
            (jnp.sum(slope * by.astype(jnp.float32)) for slope, by in slopes if by is not None),
            jnp.float32(0.0),
        )
        return out, (change, jax.tree.map(jnp.zeros_like, out[1]))

    loss.defjvp(changed, symbolic_zeros=True)
    return loss


_chunked = with_gradients(_walk)


def cross_entropy_chunked(
    hidden: Array,
    kernel: Array,
    targets: Array,
    weights: Array,
    *,
    chunk: int,
    counted: Array | None = None,
    batch_shards: int = 1,
    extras: Extras = PLAIN,
    transposed: bool = False,
) -> tuple[Array, dict[str, Array]]:
    """The same results as `cross_entropy_plain`, with the logits of B x `chunk` tokens at a time.

    batch_shards: over how many devices the rows are sharded; their parts of the kernel's gradient
    are then added once at the end. Where the kernel (or hidden) is not differentiated, its gradient
    is neither computed nor held. Rows that batch_shards does not divide are treated as unsharded.
    """
    batch, length = targets.shape
    shards = batch_shards if batch % batch_shards == 0 else 1
    chunk = max(1, min(chunk, length))
    settings = _Settings(transposed, chunk, shards)
    return _chunked(settings, hidden, kernel, targets, *both(weights, counted), extras)


def chunk_length(
    config: LossConfig, batch: int, length: int, vocab: int, batch_shards: int = 1
) -> int:
    """Positions a chunk, so that a device's logits fit `config.chunk_bytes`; 0: no chunking.

    Lengths are evened out, so that the last chunk holds little padding.
    """
    position = 4 * vocab * -(-batch // batch_shards)
    if position * length <= config.chunk_bytes:
        return 0
    chunks = -(-length // max(1, config.chunk_bytes // position))
    return -(-length // chunks)


def cross_entropy(
    config: LossConfig,
    hidden: Array,
    kernel: Array,
    targets: Array,
    weights: Array,
    *,
    counted: Array | None = None,
    transposed: bool = False,
    batch_shards: int = 1,
    vocab_shards: int = 1,
) -> tuple[Array, dict[str, Array]]:
    """The loss by the form that `config.chunk_bytes` asks for; not yet normalised.

    hidden [B, T, D], kernel [D, V] ([V, D] if transposed), targets and weights [B, T], B the global
    rows. counted [B, T]: the weights of what is reported, where they are not those of the loss.
    batch_shards and vocab_shards: devices that share the rows and the vocabulary.
    """
    batch, length = targets.shape
    vocab = kernel.shape[0 if transposed else 1]
    chunk = chunk_length(config, batch, length, -(-vocab // vocab_shards), batch_shards)
    extras = extras_of(config, vocab)
    common: dict[str, Any] = {"counted": counted, "extras": extras, "transposed": transposed}
    if not chunk:
        return cross_entropy_plain(hidden, kernel, targets, weights, **common)
    return cross_entropy_chunked(
        hidden, kernel, targets, weights, chunk=chunk, batch_shards=batch_shards, **common
    )
