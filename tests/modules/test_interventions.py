"""Interventions against plain numpy, where they act, and how their constants are given."""

import jax
import numpy as np
import pytest

from jaxlt.errors import UserError
from jaxlt.inference.states.capture import capture
from jaxlt.models.init import unflatten
from jaxlt.modules.interventions import Ablate, MeanShift, Project, filled
from jaxlt.modules.routing import Ids, Route
from jaxlt.modules.site import Site, plug
from tests.conftest import make_batch, make_config, random_params

RNG = np.random.default_rng(0)
Y = RNG.normal(size=(3, 5, 16)).astype(np.float32)
MEAN = RNG.normal(size=(2, 16)).astype(np.float32)
BASIS = np.linalg.qr(RNG.normal(size=(2, 16, 4)))[0].astype(np.float32)
INDEX = np.array([1, 0, 1], np.int32)
BATCH = make_batch()


def applied(p, weights, ids=None):
    site = Site("encoder/block_out", (p,))
    variables = {"modules": {p.name: weights}}
    return np.asarray(jax.jit(lambda: site.apply(variables, Y, Y, ids))())


def test_projection_onto_the_subspace_of_each_rows_language():
    routed = plug(Project, "onto", rank=4, key="source", routes=2)
    found = applied(routed, {"mean": MEAN, "basis": BASIS}, Ids({"source": Route(INDEX)}))
    for row, slot in enumerate(INDEX):
        mean, basis = MEAN[slot], BASIS[slot]
        wanted = (Y[row] - mean) @ basis @ basis.T + mean
        np.testing.assert_allclose(found[row], wanted, atol=1e-5)
        np.testing.assert_allclose(  # what lies in it stays
            applied(plug(Project, "onto", rank=4), {"mean": mean, "basis": basis})[row],
            wanted,
            atol=1e-5,
        )


def test_mean_shift_from_source_to_target():
    ids = Ids({"source": Route(INDEX), "target": Route(1 - INDEX)})
    away = plug(MeanShift, "away", scale=-1.0, key="source", routes=2)
    toward = plug(MeanShift, "toward", key="target", routes=2)
    site = Site("encoder/block_out", (away, toward))
    variables = {"modules": {"away": {"mean": MEAN}, "toward": {"mean": MEAN}}}
    found = jax.jit(lambda: site.apply(variables, Y, Y, ids))()
    wanted = Y + (MEAN[1 - INDEX] - MEAN[INDEX])[:, None]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_ablation_silences_neurons():
    keep = np.ones(16, np.float32)
    keep[[3, 7]] = 0
    found = applied(plug(Ablate, "quiet", sites=["block_out"]), {"keep": keep})
    np.testing.assert_array_equal(found, Y * keep)


def test_an_ablated_neuron_of_the_mlp_is_one_whose_weights_are_zero():
    config = make_config(plugs=(plug(Ablate, "quiet", layers=[1]),), decoder_layers=0)
    flat = random_params(config)
    keep = np.ones(24, np.float32)
    keep[5] = 0
    states = capture(config, flat | filled(flat, "quiet", {"keep": keep}), BATCH)
    silent = {n: v.copy() for n, v in flat.items() if n.startswith("params/")}
    silent["params/encoder/layers/mlp/wo/kernel"][1, 5] = 0
    wanted = capture(make_config(decoder_layers=0), silent, BATCH)
    for place, value in wanted.items():
        np.testing.assert_allclose(states[place], value, atol=1e-5)


def test_constants_fit_or_say_what_is_wrong():
    config = make_config(plugs=(plug(Project, "onto", rank=4, key="source", routes=3),))
    flat = random_params(config)
    name = "modules/encoder/layers/block_out/onto/mean"
    assert unflatten(flat)["modules"]["encoder"]["layers"]["block_out"]["onto"]
    whole = RNG.normal(size=(2, 3, 16)).astype(np.float32)
    for given in (whole, whole[0], whole[0, 0]):
        out = filled(flat, "onto", {"mean": given})
        assert len(out) == 2
        np.testing.assert_array_equal(out[name], np.broadcast_to(given, (2, 3, 16)))
    with pytest.raises(UserError, match=r"is \[15\], which does not fit"):
        filled(flat, "onto", {"mean": np.zeros(15)})
    with pytest.raises(UserError, match=r"no constant 'means'.*Did you mean 'mean'"):
        filled(flat, "onto", {"means": np.zeros(16)})
    with pytest.raises(UserError, match="it is not plugged in"):
        filled(flat, "into", {"mean": np.zeros(16)})
