"""One set of layers, run in every way: scanned, unrolled, rematerialised."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.errors import UserError
from jaxlt.models.config import REMAT
from jaxlt.models.encoder import model_of
from jaxlt.models.init import unflatten
from jaxlt.models.layers import make_context
from jaxlt.models.stack import POLICIES
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.layout import unstack
from jaxlt.modules.site import plug
from tests.conftest import make_batch, make_config, random_params

pytestmark = pytest.mark.usefixtures("quick_compile")

BATCH = make_batch()
PLUGS = (plug(Bottleneck, "lang", key="source", routes=3, reduction_factor=4),)


def outcome(config, flat):
    """Logits, and gradients of their product with fixed random numbers, by unrolled name."""
    weight = np.random.default_rng(2).normal(size=(4, 9, 40)).astype(np.float32)
    model, ctx = model_of(config), make_context(BATCH, jax.random.key(5))

    def loss(flat):
        logits = model.apply(unflatten(flat), BATCH, ctx)
        return jnp.sum(logits * weight[:, : logits.shape[1]]), logits

    (_, logits), grads = jax.device_get(jax.jit(jax.value_and_grad(loss, has_aux=True))(flat))
    return logits, unstack(grads)


def close(found, wanted, tolerance=1e-5):
    """Within `tolerance` of the largest value of each array."""
    np.testing.assert_allclose(
        found[0], wanted[0], atol=tolerance * np.abs(wanted[0]).max(), rtol=0
    )
    assert set(found[1]) == set(wanted[1])
    for name, value in wanted[1].items():
        bound = tolerance * max(float(np.abs(value).max()), 1e-3)
        np.testing.assert_allclose(found[1][name], value, atol=bound, rtol=0, err_msg=name)
        assert np.any(value), name


# umT5's biases and a bank: of an encoder every time, of both stacks and dropout among slow tests.
ENCODER = {"relpos_per_layer": True, "plugs": PLUGS, "decoder_layers": 0}
BOTH = ENCODER | {"encoder_layers": 1, "decoder_layers": 2, "dropout": 0.3}


def test_scanned_equals_unrolled():
    flat = random_params(make_config(**ENCODER))
    scanned = outcome(make_config(**ENCODER), flat)
    close(scanned, outcome(make_config(scan_layers=False, **ENCODER), unstack(flat)))


def test_policies_are_those_of_the_config():
    assert {"none", *POLICIES} == set(REMAT)


@pytest.fixture(scope="module")
def flat():
    return random_params(make_config(**BOTH))


@pytest.fixture(scope="module")
def scanned(flat):
    """The outcome of scanned layers, nothing of which is computed again."""
    return outcome(make_config(**BOTH), flat)


@pytest.mark.slow
@pytest.mark.parametrize(
    "policy, scan", [("full", True), ("dots", True), ("dots_all", True), ("full", False)]
)
def test_remat_changes_nothing(flat, scanned, policy, scan):
    config = make_config(remat=policy, scan_layers=scan, **BOTH)
    close(outcome(config, flat if scan else unstack(flat)), scanned)


def test_remat_recomputes():
    """The policy reaches the program: a full one runs the forward products of a layer again."""
    flat = random_params(make_config(decoder_layers=0))

    def products(remat):
        model = model_of(make_config(remat=remat, decoder_layers=0))
        loss = lambda f: jnp.sum(model.apply(unflatten(f), BATCH))  # noqa: E731
        return str(jax.make_jaxpr(jax.grad(loss))(flat)).count("dot_general")

    assert products("full") > products("dots_all") == products("none")


def test_rows_longer_than_the_absolute_positions_are_refused():
    config = make_config(positions="absolute", max_positions=8)  # the inputs have 9
    with pytest.raises(UserError, match=r"9 positions .* T5Config.max_positions = 8"):
        jax.eval_shape(lambda: model_of(config).init(jax.random.key(0), BATCH))
