"""Logits at the places of targets alone: the same sums and gradients as at all places."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.engine.config import LossConfig, MeshConfig
from jaxlt.engine.step import build, mesh_context
from jaxlt.models.traced import given
from tests.conftest import make_config, make_mlm_batch, make_spec, place_batch, random_params

pytestmark = pytest.mark.usefixtures("quick_compile")

BATCH = make_mlm_batch(rows=8)
# Targets are at places 1, 4 and 7, where the row is that long; the rest have no weight.
PLACES = {"encoder_target_places": np.tile(np.array([1, 4, 7, 8], np.int32), (8, 1))}
MESH = MeshConfig(data=2, fsdp=2, tensor=2)


def found(spec, batch):
    """Gradients and sums of a step, and the sums a row of an evaluation."""
    program = build(spec)
    flat = {
        n: jax.device_put(v, program.layout.shardings[n])
        for n, v in random_params(spec.model).items()
    }
    placed = place_batch(program, batch)

    @jax.jit
    def run(flat, batch):
        objective, key = program.objective, jax.random.key(0)
        with given(program.values):
            step = objective.gradients(flat, {}, batch, (), key, jnp.float32(1))
            return step, objective.rows(flat, batch)

    with mesh_context(spec.mesh, spec.rules):
        return jax.device_get(run(flat, placed))


@pytest.mark.parametrize(
    "model, changes",
    [
        ({"tie_logits": True}, {"accumulate": 2, "loss": LossConfig(normalize="languages")}),
        pytest.param(
            {}, {"mesh": MESH, "loss": LossConfig(chunk_bytes=640)}, marks=pytest.mark.slow
        ),
        pytest.param(
            {"remat": "full"},
            {"mesh": MeshConfig(data=2, fsdp=2), "collectives": "hand"},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["tied, in parts, by language", "sharded in chunks", "by hand"],
)
def test_named_places_change_nothing(model, changes):
    spec = make_spec(make_config(encoder_layers=1, decoder_layers=0, **model), **changes)
    wanted, got = found(spec, BATCH), found(spec, BATCH | PLACES)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert wanted[1]["row_nll"].min() > 0 and wanted[0][1]["weight_sum"] > 16


def test_logits_are_of_the_places_alone():
    program = build(make_spec(make_config(encoder_layers=1, decoder_layers=0)))
    flat = random_params(program.spec.model)
    with given(program.values):
        traced = [str(jax.make_jaxpr(program.objective)(flat, b)) for b in (BATCH, BATCH | PLACES)]
    assert ["f32[8,9,40]" in text for text in traced] == [True, False]
    assert ["f32[8,4,40]" in text for text in traced] == [False, True]
