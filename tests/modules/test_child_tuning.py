"""ChildTuning's gradient masks: shares, scaling, and layers that are scanned or not."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.engine.config import OptimizerConfig, TrainConfig
from jaxlt.engine.optim.transforms import ChildTuning
from jaxlt.engine.step import build
from jaxlt.errors import UserError
from jaxlt.modules.child_tuning import add_squares, masked
from tests.conftest import (
    hyper,
    make_config,
    make_mlm_batch,
    make_spec,
    place_batch,
    place_state,
    random_params,
)

pytestmark = pytest.mark.usefixtures("quick_compile")


def test_kept_entries_are_divided_by_their_share():
    grads = {"params/a": jnp.full((100, 100), 3.0), "params/b": jnp.ones(5, jnp.bfloat16)}
    found = masked(grads, 0.3, jax.random.key(0))
    kept = np.asarray(found["params/a"])
    np.testing.assert_allclose(np.unique(kept), [0.0, 10.0], rtol=1e-6)
    assert abs(np.mean(kept > 0) - 0.3) < 5 * np.sqrt(0.21 / kept.size)
    assert found["params/b"].dtype == jnp.bfloat16
    assert np.any(kept != masked(grads, 0.3, jax.random.key(1))["params/a"])
    np.testing.assert_array_equal(masked(grads, 1.0, jax.random.key(0))["params/a"], 3.0)


def test_scanned_layers_are_masked_as_unrolled_ones():
    values = jnp.ones((2, 6, 4))
    whole = masked({"params/encoder/layers/w": values}, 0.5, jax.random.key(0))
    apart = masked(
        {f"params/encoder/layers_{i}/w": values[i] for i in (0, 1)}, 0.5, jax.random.key(0)
    )
    for i in (0, 1):
        np.testing.assert_array_equal(
            whole["params/encoder/layers/w"][i], apart[f"params/encoder/layers_{i}/w"]
        )


def test_squares_add_up_in_float32():
    total = {"a": jnp.ones(3)}
    found = add_squares(total, {"a": jnp.asarray([1, -2, 3], jnp.bfloat16)})
    np.testing.assert_array_equal(found["a"], [2, 5, 10])
    assert found["a"].dtype == jnp.float32


@pytest.mark.parametrize("keep", [0.0, -1.0, 1.5])
def test_a_share_is_a_share(keep):
    with pytest.raises(UserError, match=r"TrainConfig\.child_tuning is"):
        TrainConfig(1, child_tuning=keep)
    TrainConfig(1)
    TrainConfig(1, child_tuning=0.3)


@pytest.mark.slow
def test_child_tuning_masks_the_gradients_of_a_step():
    given = {"trainable": ("params/encoder/.*",), "optimizer": OptimizerConfig("sgd")}
    spec, moved = make_spec(make_config(decoder_layers=0), **given), {}
    for keep in (None, 0.3):
        transforms = () if keep is None else (ChildTuning(keep),)
        program = build(dataclasses.replace(spec, transforms=transforms))
        state = place_state(program, random_params(spec.model))
        before = {n: np.asarray(v) for n, v in state.trainable.items()}
        state, _ = program.train(state, place_batch(program, make_mlm_batch()), hyper(1.0))
        kernels = [n for n in before if n.endswith("kernel")]
        moved[keep] = np.mean(
            np.concatenate([(np.asarray(state.trainable[n]) != before[n]).ravel() for n in kernels])
        )
    assert moved[None] > 0.95 and 0.25 < moved[0.3] < 0.35
