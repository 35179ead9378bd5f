"""Captured states are those of the network, whatever way its layers are run."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxlt.engine.config import DEFAULT_RULES, MeshConfig
from jaxlt.engine.partitioning import make_mesh
from jaxlt.engine.step import mesh_context
from jaxlt.errors import UserError
from jaxlt.inference.states.capture import capture
from jaxlt.models.encoder import model_of
from jaxlt.models.init import unflatten
from jaxlt.models.layers import make_context
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.layout import unstack
from jaxlt.modules.site import plug
from tests.conftest import make_batch, make_config, random_params

pytestmark = pytest.mark.usefixtures("quick_compile")

BATCH = make_batch()
CONFIG = make_config(
    encoder_layers=3, plugs=(plug(Bottleneck, "lang", key="source", routes=3, layers=[2]),)
)
PLACES = ["block_out", "embed", "unembed", "encoder/mlp/wo", "encoder/attention/kv", "mlp_inner"]


@pytest.fixture(scope="module")
def flat():
    return random_params(CONFIG)


@pytest.fixture(scope="module")
def states(flat):
    return jax.device_get(capture(CONFIG, flat, BATCH, PLACES))


def test_places_and_shapes(states):
    shapes = {place: jax.tree.map(np.shape, value) for place, value in states.items()}
    assert shapes == {
        "encoder/block_out": (3, 4, 9, 16),
        "decoder/block_out": (2, 4, 7, 16),
        "encoder/embed": (4, 9, 16),
        "decoder/embed": (4, 7, 16),
        "decoder/unembed": (4, 7, 16),
        "encoder/mlp/wo": (3, 4, 9, 16),
        "encoder/mlp_inner": (3, 4, 9, 24),
        "decoder/mlp_inner": (2, 4, 7, 24),
        "encoder/attention/kv": ((3, 4, 9, 2, 8), (3, 4, 9, 2, 8)),
    }


def test_they_are_the_networks_own(flat, states):
    """The last block's output, normalised, is what the encoder gives."""
    model = model_of(CONFIG)
    memory = model.apply(unflatten(flat), BATCH, make_context(BATCH), method="encode")
    last = states["encoder/block_out"][-1]
    normed = last / np.sqrt(np.mean(last**2, -1, keepdims=True) + CONFIG.norm_eps)
    np.testing.assert_allclose(
        normed * flat["params/encoder/encoder_norm/scale"], memory, atol=1e-5
    )
    table = flat["params/token_embedder/embedding"]
    np.testing.assert_array_equal(states["encoder/embed"], table[BATCH["encoder_input_tokens"]])


@pytest.mark.parametrize(
    "changes",
    [{"scan_layers": False}, pytest.param({"remat": "full"}, marks=pytest.mark.slow)],
    ids=["unrolled", "remat"],
)
def test_however_the_layers_are_run(flat, states, changes):
    config = dataclasses.replace(CONFIG, **changes)
    found = capture(config, flat if config.scan_layers else unstack(flat), BATCH, PLACES)
    assert set(found) == set(states)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, dict(states))


def test_an_encoder_alone_and_no_site():
    config = make_config(decoder_layers=0)
    flat = random_params(config)
    found = capture(config, flat, {"encoder_input_tokens": BATCH["encoder_input_tokens"]})
    assert found["encoder/block_out"].shape == (2, 4, 9, 16)
    with pytest.raises(UserError, match=r"no site matches \['nowhere'\]"):
        capture(config, flat, BATCH, ["nowhere"])


def test_it_knows_the_rules_that_it_is_called_under():
    """Also the second time: under other rules of the same mesh it is another program."""
    config = make_config(encoder_layers=1, decoder_layers=0)
    given = {"encoder_input_tokens": BATCH["encoder_input_tokens"]}
    flat, mesh = random_params(config), make_mesh(MeshConfig(), jax.devices()[:2])
    rows = ("batch", "lookup")
    whole = tuple((name, None if name in rows else axes) for name, axes in DEFAULT_RULES)
    for rules, split in ((whole, False), (DEFAULT_RULES, True)):
        with mesh_context(mesh, rules):
            found = capture(config, flat, given, ["embed"])["encoder/embed"]
        assert found.sharding.is_fully_replicated != split
