"""NICE: its inverse undoes it, and its one set of weights serves all the places that are asked."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxlt.errors import UserError
from jaxlt.models.init import count, describe
from jaxlt.modules.nice import Nice
from jaxlt.modules.routing import routes_of
from jaxlt.modules.site import Home, Site, plug
from tests.conftest import forward, make_batch, make_config, random_params, random_variables

NAMES = ("f_down", "f_up", "g_down", "g_up")


def weights(routes=0):
    """Random weights for a width of 32 (halves of 16, m = 8)."""
    rng = np.random.default_rng(1)
    shapes = [(16, 8), (8, 16)] * 2
    lead = (routes,) if routes else ()
    return {
        n: (rng.normal(size=lead + s) * 0.3).astype(np.float32)
        for n, s in zip(NAMES, shapes, strict=True)
    }


@pytest.mark.parametrize("routes", [0, 3])
def test_the_inverse_undoes_it(routes):
    y = np.random.default_rng(0).normal(size=(4, 5, 32)).astype(np.float32)
    ids = routes_of({"language": np.array([2, 0, 1, 2], np.int32)})
    bank = {"routes": routes, "key": "source"} if routes else {}
    variables = {"modules": weights(routes)}
    there = Nice(place="decoder/embed", **bank).apply(variables, y, None, ids)
    back = Nice(place="decoder/unembed", **bank).apply(variables, there, None, ids)
    assert np.abs(there - y).max() > 0.1
    np.testing.assert_allclose(back, y, atol=1e-6)


def test_an_odd_width():
    with pytest.raises(UserError, match="halves; 15 is odd"):
        describe(make_config(emb_dim=15, plugs=(plug(Nice, "mine"),)))


@pytest.mark.parametrize(
    "changes, sites",
    [
        ({}, ("embed", "unembed")),
        ({}, ("encoder/embed", "decoder/unembed")),
        ({"decoder_layers": 0}, ("embed", "unembed")),
    ],
)
def test_one_set_of_weights(changes, sites):
    leaves = describe(make_config(**changes, plugs=(plug(Nice, "mine", sites=sites),)))
    modules = {n: leaf for n, leaf in leaves.items() if n.startswith("modules/")}
    assert set(modules) == {f"modules/embedding_site/mine/{n}" for n in NAMES}
    assert count(modules) == 2 * 16 * (16 // 4)  # 2 m D, m = D / (2 rf)


def test_sites_say_where_it_goes_and_where_its_inverse_goes():
    """Three in one model, each of the same weights while the others' are zeros: the identity."""
    sites = ("encoder/embed", "decoder/embed", "decoder/unembed")
    plugs = tuple(plug(Nice, f"at_{n}", sites=sites[:n]) for n in (1, 2, 3))
    config = make_config(plugs=plugs)
    flat, batch = random_params(config), make_batch()
    modules = [n for n in flat if n.startswith("modules/")]

    def logits(name):
        values = {n: flat[n.replace(n.split("/")[-2], "at_1")] for n in modules}
        return forward(config, flat | {n: v * (f"/{name}/" in n) for n, v in values.items()}, batch)

    outcomes = [logits(p.name) for p in plugs]
    for i, one in enumerate(outcomes):
        for other in outcomes[:i]:
            assert np.abs(one - other).max() > 1e-3


def test_two_sites_with_one_home_give_back_what_went_in():
    """The inverse at one Site undoes what the forward did at another, by the same weights."""
    config = make_config(decoder_layers=0, plugs=(plug(Nice, "mine"),))
    home = jax.tree.map(lambda v: 0.3 * v, random_variables(config)["modules"]["embedding_site"])

    class Both(nn.Module):
        def setup(self):
            self.embedding_site = shared = Home()
            self.first = Site("encoder/embed", config.plugs, home=shared)
            self.last = Site("encoder/unembed", config.plugs, home=shared)

        def __call__(self, y):
            return self.last(self.first(y))

    y = np.random.default_rng(0).normal(size=(2, 3, 16)).astype(np.float32)
    back = Both().apply({"modules": {"embedding_site": home}}, y)
    assert np.abs(Site("encoder/embed", config.plugs).apply({"modules": home}, y) - y).max() > 0.1
    np.testing.assert_allclose(back, y, atol=1e-6)
