"""Relative buckets against T5's formula in whole numbers, the bias that is added, and attention."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.models.attention import AWAY, local_start, relative_buckets
from jaxlt.models.bias import MASKED, Bias, Step


def bucket(relative: int, bidirectional: bool, buckets: int, max_distance: int) -> int:
    """T5's bucket of one distance, in whole numbers: no logarithm, so nothing rounds.

    Bucket exact + k holds distances from exact * (max_distance / exact) ** (k / (buckets - exact)).
    """
    start, distance = 0, -relative
    if bidirectional:
        buckets //= 2
        start = buckets if distance < 0 else 0
        distance = abs(distance)
    distance = max(distance, 0)
    exact = buckets // 2
    if distance < exact:
        return start + distance
    span, k = buckets - exact, 0
    while k < span - 1 and (
        distance**span * exact ** (k + 1) >= exact**span * max_distance ** (k + 1)
    ):
        k += 1
    return start + exact + k


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("buckets, max_distance", [(32, 128), (16, 64), (32, 256)])
def test_buckets(bidirectional, buckets, max_distance):
    distances = np.arange(-700, 701)
    found = relative_buckets(distances, bidirectional, buckets, max_distance)
    wanted = [bucket(int(d), bidirectional, buckets, max_distance) for d in distances]
    np.testing.assert_array_equal(found, wanted)
    assert found.max() < buckets


@pytest.mark.parametrize("heads", [1, 2, 3, 4, 6, 12])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_heads_begin_by_looking_at_what_is_near(heads, bidirectional):
    """By place, as the table's users read it: bias[h, key - query], near places alone."""
    table = local_start(heads, 32, bidirectional)
    places = np.arange(-7, 8 if bidirectional else 1)  # each has a bucket of its own
    found = table[:, relative_buckets(places, bidirectional, 32, 128)]
    for head in range(heads):
        reach = head // 4 + 1
        for place, value in zip(places.tolist(), found[head].tolist(), strict=True):
            back = -place
            wanted = {
                0: -2 * abs(back - reach) / reach if back >= 0 else AWAY,
                1: -2 * abs(place - reach) / reach if place >= 0 else AWAY,
                2: -abs(place) / reach,
                3: 0,
            }[head % 4]
            if head % 4 == 1 and not bidirectional:
                wanted = -abs(back - 2 * reach) / reach
            assert value == pytest.approx(wanted), (head, place)
    assert local_start(4, 8, True)[0].tolist() == [-2, 0, -2, -4, *[AWAY] * 4]


def test_bias_is_what_a_loop_says():
    rng = np.random.default_rng(0)
    b, h, n = 2, 2, 5
    table = rng.normal(size=(h, n, n)).astype(np.float32)
    valid = np.array([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]], bool)
    segments = np.array([[1, 1, 2, 2, 0], [1, 2, 2, 0, 0]])
    bias = Bias(jnp.asarray(table), valid, valid, segments, segments, causal=True)
    found = np.asarray(bias.materialise(n, n))
    for i in range(b):
        for q in range(n):
            for k in range(n):
                sees = valid[i, q] and valid[i, k] and segments[i, q] == segments[i, k] and k <= q
                wanted = table[:, q, k] + (0 if sees else np.float32(MASKED))
                np.testing.assert_array_equal(found[i, :, q, k], wanted)


def test_bias_of_nothing_and_of_a_prefix():
    assert Bias().materialise(3, 4) is None
    padded = Bias(key_valid=jnp.array([[True, False]]), prefix=2).materialise(3, 2)
    np.testing.assert_array_equal(padded[0, 0, 0], [0, 0, 0, MASKED])
    assert Bias(causal=True).materialise(2, 3).dtype == jnp.float32


def test_buckets_are_constants_of_the_program():
    """Lengths are static, so the buckets are computed while tracing and not on the device."""
    traced = jax.make_jaxpr(
        lambda t: jnp.take(t, relative_buckets(np.arange(9), True, 8, 20), axis=1)
    )
    assert "log" not in str(traced(jnp.zeros((2, 8))))


def test_a_hypothesis_sees_its_own_past():
    """Two hypotheses at position 2 of 4; key t * 2 + j is that of hypothesis j at position t."""
    ancestry = jnp.array([[[0, 1, 0, 0], [0, 0, 0, 0]]])  # what is beyond the past says nothing
    see = Step(jnp.int32(2), ancestry, 4).visible(2)
    np.testing.assert_array_equal(
        see[0].astype(int), [[1, 0, 0, 1, 1, 0, 0, 0], [1, 0, 1, 0, 0, 1, 0, 0]]
    )
    alone = Step(jnp.int32(1), None, 3).visible(1)
    np.testing.assert_array_equal(alone, [[[True, True, False]]])
    bias = Bias(causal=True, step=Step(jnp.int32(2), ancestry, 4)).materialise(2, 8)
    np.testing.assert_array_equal(bias[:, 0] == 0, see)
