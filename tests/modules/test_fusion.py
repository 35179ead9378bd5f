"""Fusion and ensembles of several modules, and weights by layer and row."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.errors import UserError
from jaxlt.models.encoder import model_of
from jaxlt.models.init import describe, draw, unflatten
from jaxlt.models.layers import make_context
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.ensemble import Ensemble
from jaxlt.modules.fusion import Fusion, bank_of
from jaxlt.modules.routing import Ids, Route
from jaxlt.modules.site import Site, plug
from tests.conftest import forward, make_batch, make_config, random_params

LANG = plug(Bottleneck, "lang", reduction_factor=4, sites=["mlp_out"])
BATCH = make_batch()
ENCODER = {"decoder_layers": 0}
X, Y = np.random.default_rng(0).normal(size=(2, 2, 5, 16)).astype(np.float32)


def fused(method=Fusion, **settings):
    return plug(method, "fused", inner=LANG, count=3, sites=["mlp_out"], **settings)


def output(plugs, flat):
    return forward(make_config(plugs=plugs, **ENCODER), flat, BATCH)


@pytest.fixture(scope="module")
def alone():
    """Three modules, each trained alone."""

    def modules(seed):
        flat = random_params(make_config(plugs=(LANG,), **ENCODER), seed)
        return {n: v for n, v in flat.items() if n.startswith("modules/")}

    return [modules(seed) for seed in range(3)]


@pytest.fixture(scope="module")
def base():
    return random_params(make_config(**ENCODER))


def start(plugs):
    """Modules as they are drawn."""
    leaves = describe(make_config(plugs=plugs, **ENCODER))
    key = jax.random.key(0)
    return {n: draw(leaf, n, key) for n, leaf in leaves.items() if n.startswith("modules/")}


@pytest.mark.parametrize("method", [Fusion, Ensemble])
def test_a_new_fusion_of_equal_modules_is_that_module(method, alone, base):
    plugs = (fused(method),)
    bank = bank_of("fused", "lang", [alone[0]] * 3)
    flat = base | start(plugs)
    assert set(bank) < set(flat) and all(flat[n].shape == v.shape for n, v in bank.items())
    np.testing.assert_allclose(
        output(plugs, flat | bank), output((LANG,), base | alone[0]), atol=1e-4
    )


def test_members_are_drawn_each_on_its_own():
    down = np.asarray(start((fused(),))["modules/encoder/layers/mlp_out/fused/lang/down"])
    assert down.shape == (2, 3, 16, 4)
    assert np.abs(down[0, 0] - down[0, 1]).max() > 0.01
    np.testing.assert_allclose(down.std(), 16**-0.5, rtol=0.15)  # fan-in of one, not of three


def test_fusion_is_attention_over_the_outputs():
    site = Site("encoder/mlp_out", (fused(temperature=2.0),))
    variables = jax.tree.map(
        lambda b: np.random.default_rng(1).normal(size=b.value.shape).astype(np.float32),
        site.init(jax.random.key(0), Y, X),
        is_leaf=lambda b: hasattr(b, "names"),
    )
    found = site.apply(variables, Y, X)
    own = variables["modules"]["fused"]
    inner = Site("encoder/mlp_out", (LANG,))
    each = np.stack(
        [
            inner.apply({"modules": {"lang": jax.tree.map(lambda a, n=n: a[n], own["lang"])}}, Y, X)
            - Y
            for n in range(3)
        ]
    )
    query = Y @ own["query"]
    scores = np.stack([np.sum(query * (c @ own["keys"].T), -1) for c in each], -1) / 2.0
    shares = np.asarray(jax.nn.softmax(scores, -1))
    values = np.stack([c @ own["values"] for c in each], -1)
    np.testing.assert_allclose(
        found, Y + np.sum(values * shares[:, :, None], -1), rtol=2e-4, atol=1e-3
    )


def test_an_ensemble_weighs_by_layer(alone, base):
    plugs = (fused(Ensemble),)
    flat = base | start(plugs) | bank_of("fused", "lang", alone)
    logits = np.random.default_rng(2).normal(size=(2, 3)).astype(np.float32)
    flat["modules/encoder/layers/mlp_out/fused/logits"] = logits
    # By hand: the modules of each layer joined into one, with the up-projections scaled.
    shares = np.asarray(jax.nn.softmax(logits, -1))
    wide = {}
    for name in alone[0]:
        parts = [
            m[name] * (shares[:, n, None, None] if name.endswith("/up") else 1)
            for n, m in enumerate(alone)
        ]
        wide[name] = np.concatenate(parts, axis=-2 if name.endswith("/up") else -1)
    joined = dataclasses.replace(LANG, settings=(("reduction_factor", 16 / 12),))
    np.testing.assert_allclose(output(plugs, flat), output((joined,), base | wide), atol=1e-4)


def test_given_weights_by_layer_and_row_equal_a_loop(alone, base):
    """Several modules a row, with weights of its own for every layer and row (EMEA's form)."""
    banked = dataclasses.replace(LANG, key="source", routes=3)
    bank = {n: np.stack([m[n] for m in alone], axis=1) for n in alone[0]}
    rng = np.random.default_rng(4)
    index = np.array([[0, 1], [2, 1], [1, 0], [2, 2]], np.int32)
    weights = rng.dirichlet(np.ones(2), size=(2, 4)).astype(np.float32)  # [L, B, N]
    route = Route(jnp.asarray(index), jnp.asarray(weights))
    model, ctx = model_of(make_config(plugs=(banked,), **ENCODER)), make_context(BATCH)
    ctx = ctx.replace(ids=Ids({"source": route}))
    found = jax.jit(lambda f: model.apply(unflatten(f), BATCH, ctx))(base | bank)
    for row in range(4):
        wide = {}
        for name in alone[0]:
            scale = lambda n: weights[:, row, n, None, None] if name.endswith("/up") else 1  # noqa: E731, B023
            parts = [alone[index[row, n]][name] * scale(n) for n in range(2)]
            wide[name] = np.concatenate(parts, axis=-2 if name.endswith("/up") else -1)
        joined = dataclasses.replace(LANG, settings=(("reduction_factor", 2.0),))
        np.testing.assert_allclose(found[row], output((joined,), base | wide)[row], atol=1e-4)


def test_all_gives_the_plain_average(alone, base):
    banked = dataclasses.replace(LANG, key="all", routes=3)
    bank = {n: np.stack([m[n] for m in alone], axis=1) for n in alone[0]}
    plugs = (fused(Ensemble),)
    even = base | start(plugs) | bank_of("fused", "lang", alone)
    np.testing.assert_allclose(output((banked,), base | bank), output(plugs, even), atol=1e-4)


def test_what_cannot_be_fused(alone):
    with pytest.raises(UserError, match="a plug without routes"):
        describe(make_config(plugs=(plug(Fusion, "fused", count=3),)))
    with pytest.raises(UserError, match="do not hold the same weights"):
        bank_of("fused", "lang", [alone[0], {}])
    with pytest.raises(UserError, match="no weight of a plug 'task'"):
        bank_of("fused", "task", alone)
