"""Mean squared gradients over batches, against gradients taken one batch at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.data.rows.batches import ArrayBatches
from jaxlt.engine.loss.losses import LossConfig, normalizer
from jaxlt.engine.step import build, objective_of
from jaxlt.inference.states import gradient_scores
from jaxlt.inference.states.gradient_scores import mean_squared_gradients
from tests.conftest import (
    make_config,
    make_mlm_batch,
    make_spec,
    place_batch,
    place_state,
    random_params,
)
from tests.engine import jobs

pytestmark = pytest.mark.usefixtures("quick_compile")
WO = "params/encoder/layers/mlp/wo/kernel"
NAMES = (WO, "params/token_embedder/embedding")


@pytest.mark.slow
def test_scores_are_the_mean_of_squared_gradients():
    spec = make_spec()
    program, data = build(spec), jobs.data()
    state = place_state(program, random_params(spec.model))
    params = {**state.frozen, **state.trainable}
    found = mean_squared_gradients(program, params, data, NAMES, 3)
    assert set(found) == set(NAMES)

    @jax.jit
    def gradient(part, rest, batch):
        def loss(chosen):
            weights = batch["decoder_loss_weights"]
            summed, _ = objective_of(spec)({**rest, **chosen}, batch)
            return summed / normalizer(spec.loss, weights, weights.shape[0])

        return jax.grad(loss)(part)

    part = {n: params[n] for n in NAMES}
    rest = {n: v for n, v in params.items() if n not in part}
    sums = {n: np.zeros(v.shape) for n, v in part.items()}
    for step in range(3):
        batch = place_batch(program, data.rows(step, 0, data.batch_size))
        for name, g in gradient(part, rest, batch).items():
            sums[name] += np.square(np.asarray(g, np.float64))
    for name in NAMES:
        assert found[name].dtype == jnp.float32 and np.all(np.asarray(found[name]) >= 0)
        np.testing.assert_allclose(found[name], sums[name] / 3, rtol=1e-4, atol=1e-9)
    assert all(not v.is_deleted() for v in params.values())


def test_each_language_by_its_own_weights_in_parts_and_compiled_once():
    """Languages are normalised and a batch is split as in training; a second pass is the same."""
    model = make_config(encoder_layers=1, decoder_layers=0)
    spec = make_spec(model, loss=LossConfig(normalize="languages"), accumulate=2)
    program, params = build(spec), random_params(model)
    source = ArrayBatches(make_mlm_batch(8), 4, shuffle=False, languages=jobs.LANGUAGES)
    first, second = (mean_squared_gradients(program, params, source, [WO], 2) for _ in range(2))
    np.testing.assert_array_equal(first[WO], second[WO])
    assert gradient_scores._adder(spec, (WO,))._cache_size() == 1

    gradient = jax.jit(jax.grad(lambda p, batch: objective_of(spec)(p, batch)[0]))
    wanted = np.zeros(params[WO].shape)
    for step in range(2):
        rows = source.rows(step, 0, 4) | {"row": np.arange(4)}
        summed = np.zeros(params[WO].shape)
        for language in set(rows["language"].tolist()):
            weights = rows["encoder_loss_weights"] * (rows["language"] == language)[:, None]
            own = gradient(params, rows | {"encoder_loss_weights": weights})[WO]
            summed += np.asarray(own, np.float64) / weights.sum()
        wanted += np.square(summed) / 2
    np.testing.assert_allclose(first[WO], wanted, rtol=1e-4, atol=1e-9)
