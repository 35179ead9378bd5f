"""Hard-concrete gates against their definition, and their expected number against draws."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxlt.modules.diff_pruning import ALPHA, expected_count, gates


def test_gates_are_what_the_formula_says():
    alpha = jnp.asarray([-6.0, -1.0, 0.0, 0.7, ALPHA])
    s = 1 / (1 + np.exp(-np.asarray(alpha)))
    np.testing.assert_allclose(gates(alpha), np.clip(3 * s - 1.5, 0, 1), rtol=1e-6)
    assert gates(alpha)[0] == 0 and gates(alpha)[-1] == 1


def test_drawn_gates_are_open_as_often_as_expected():
    alpha = jnp.full((2, 40000), 0.5)
    z = np.asarray(gates(alpha, jax.random.key(0), "deltas/d/encoder/layers/w/values"))
    assert z.min() == 0.0 and z.max() == 1.0
    share = float(expected_count(alpha)) / alpha.size
    assert abs(np.mean(z > 0) - share) < 5 * np.sqrt(share * (1 - share) / alpha.size)


def test_gates_pass_gradients_to_alpha_and_the_penalty_closes_them():
    alpha = jnp.asarray([0.1, 2.0])
    grad = jax.grad(lambda a: jnp.sum(gates(a)))(alpha)
    assert grad[0] > 0 and grad[1] == 0  # clipped at 1
    assert np.all(np.asarray(jax.grad(expected_count)(alpha)) > 0)


def test_scanned_layers_draw_what_unrolled_ones_draw():
    alpha, key = jnp.zeros((3, 4, 5)), jax.random.key(1)
    whole = gates(alpha, key, "deltas/d/encoder/layers/w/values")
    for i in range(3):
        one = gates(alpha[i], key, f"deltas/d/encoder/layers_{i}/w/values")
        np.testing.assert_array_equal(whole[i], one)
    assert np.any(whole[0] != whole[1])
