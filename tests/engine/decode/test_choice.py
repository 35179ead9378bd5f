"""The next token: cut-offs against a sort, draws against their probabilities, ties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.engine.decode.choice import best_of, drawn, filtered, keys_of, top_of


def kept_by_sorting(logits, top_k, top_p):
    """Which tokens stay, by the textbook."""
    order = np.argsort(-logits, kind="stable")
    if top_k:
        order = order[:top_k]
    p = np.exp(logits[order] - logits.max())
    p /= p.sum()
    before = np.cumsum(p) - p
    return set(order[before < top_p].tolist()) if top_p < 1 else set(order.tolist())


@pytest.mark.parametrize("top_k, top_p", [(0, 1.0), (5, 1.0), (0, 0.7), (20, 0.5), (3, 0.05)])
@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
def test_filters(top_k, top_p, temperature):
    logits = np.random.default_rng(0).normal(size=(3, 2, 200)).astype(np.float32) * 3
    found = np.asarray(
        filtered(jnp.asarray(logits), temperature, top_k, top_p if top_p < 1 else None)
    )
    for values, kept in zip(logits.reshape(-1, 200), found.reshape(-1, 200), strict=True):
        wanted = kept_by_sorting(values.astype(np.float64) / temperature, top_k, top_p)
        assert set(np.flatnonzero(np.isfinite(kept)).tolist()) == wanted
        at = sorted(wanted)
        np.testing.assert_allclose(kept[at], values[at] / temperature, rtol=1e-6)


def test_draws_follow_the_probabilities():
    logits = np.log(np.array([0.5, 0.3, 0.2, 1e-30], np.float32))
    keys = keys_of(0, jnp.arange(2000), 2)
    found = np.asarray(drawn(jnp.broadcast_to(logits, (2000, 2, 4)), keys, jnp.int32(3)))
    np.testing.assert_allclose(
        np.bincount(found.ravel(), minlength=4) / 4000, np.exp(logits), atol=0.03
    )
    other = np.asarray(drawn(jnp.broadcast_to(logits, (2000, 2, 4)), keys, jnp.int32(4)))
    assert (found != other).mean() > 0.5
    assert (found[:, 0] != found[:, 1]).mean() > 0.5


def test_best_is_the_first_of_equals():
    values = np.random.default_rng(0).integers(0, 4, (50, 3, 9)).astype(np.float32)
    values[0] = -np.inf
    np.testing.assert_array_equal(best_of(jnp.asarray(values)), values.argmax(-1))
    assert best_of(jnp.full((1, 4), jnp.nan)).tolist() == [3]


@pytest.mark.parametrize("size", [100, 4096, 32_128, 5_001])
def test_top_equals_top_k(size):
    rng = np.random.default_rng(size)
    plain = rng.normal(size=(4, size)).astype(np.float32)
    tied = rng.integers(0, 50, (4, size)).astype(np.float32)
    few = np.where(rng.random((4, size)) < 0.002, plain, -np.inf).astype(np.float32)
    for values in (plain, tied, few):
        found, wanted = top_of(jnp.asarray(values), 8), jax.lax.top_k(jnp.asarray(values), 8)
        np.testing.assert_array_equal(found[0], wanted[0])
        real = np.isfinite(wanted[0])
        np.testing.assert_array_equal(np.asarray(found[1])[real], np.asarray(wanted[1])[real])
        assert np.all((np.asarray(found[1]) >= 0) & (np.asarray(found[1]) < size + 128))
