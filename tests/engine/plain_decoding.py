"""The plain forms that decoding with a cache is compared to: whole forward passes, Python loops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxlt.engine.decode.steps import Stepper
from jaxlt.models.encoder import model_of
from jaxlt.models.init import unflatten
from jaxlt.models.layers import make_context


@functools.cache
def _apply(config):
    model = model_of(config)
    return jax.jit(lambda params, batch: model.apply(unflatten(params), batch, make_context(batch)))


def log_p_of(config, params, row, prefixes, length):
    """Log-probabilities [N, V] after each of N prefixes of one row (fields [1, ...]), no cache."""
    n = len(prefixes)
    fields = {name: np.repeat(v, n, axis=0) for name, v in row.items()}
    shifted = np.zeros((n, length), np.int32)  # what follows is hidden by causality
    for i, prefix in enumerate(prefixes):
        shifted[i, 1 : len(prefix) + 1] = prefix[: length - 1]
    logits = np.asarray(_apply(config)(params, fields | {"decoder_input_tokens": shifted}))
    here = logits[np.arange(n), [len(p) for p in prefixes]].astype(np.float64)
    here -= here.max(-1, keepdims=True)
    return here - np.log(np.exp(here).sum(-1, keepdims=True))


def padded(tokens, length):
    return list(tokens) + [0] * (length - len(tokens))


def rows_of(batch):
    return [{n: v[i : i + 1] for n, v in batch.items()} for i in range(len(batch["language"]))]


def plain_greedy(config, params, batch, length, end=1, forced=(), allowed=None):
    """[B, length], one row at a time, the prefix grown by its best next token until the end.

    forced: tokens to begin with. allowed(tokens so far) -> ids that may follow, or None for all.
    """
    out = []
    for row in rows_of(batch):
        tokens = list(forced)
        while len(tokens) < length and end not in tokens[len(forced) :]:
            log_p = log_p_of(config, params, row, [tokens], length)[0]
            if allowed is not None:
                keep = allowed(tokens[len(forced) :])
                log_p = np.where(np.isin(np.arange(len(log_p)), keep), log_p, -np.inf)
            tokens.append(int(np.argmax(log_p)))
        out.append(padded(tokens, length))
    return np.array(out)


def plain_beam(config, params, batch, length, beams, alpha, end=1, forced=(), allowed=None):
    """[(tokens, score)] of every row, all that a beam search that never stops early ranks."""
    penalty = lambda n: ((5 + n) / 6) ** alpha  # noqa: E731
    score = lambda option: -option[1]  # noqa: E731
    out = []
    for row in rows_of(batch):
        live, ended = [(list(forced), 0.0)], []
        for i in range(len(forced), length):
            log_p = log_p_of(config, params, row, [t for t, _ in live], length)
            options = []
            for (tokens, so_far), values in zip(live, log_p, strict=True):
                ids = range(len(values))
                if allowed is not None:
                    ids = allowed(tokens[len(forced) :])
                options += [([*tokens, int(v)], so_far + values[v]) for v in ids]
            options = sorted(options, key=score)[: 2 * beams]
            ended += [(t, s / penalty(i + 1)) for t, s in options if t[-1] == end]
            live = [o for o in options if o[0][-1] != end][:beams]
            if not live:
                break
        live = [(t, s / penalty(length)) for t, s in live]
        out.append([(padded(t, length), s) for t, s in sorted(ended, key=score) + live])
    return out


@functools.partial(jax.jit, static_argnames=("config", "unroll"))
def stepped_logits(config, params, batch, unroll=False):
    """Logits [B, T, V] for `decoder_input_tokens` [B, T], a step with the cache at a time.

    What a teacher-forced pass gives, by the way that decoding goes.
    """
    inputs = jnp.asarray(batch["decoder_input_tokens"])
    stepper = Stepper(config, params, batch, inputs.shape[1], 1, unroll)

    def step(cache, given):
        tokens, i = given
        logits, cache = stepper.logits(tokens[:, None], i, cache)
        return cache, logits[:, 0]

    _, logits = jax.lax.scan(step, stepper.start(), (inputs.T, jnp.arange(inputs.shape[1])))
    return logits.swapaxes(0, 1)
