"""Language-specific layers: which weight a row meets, in which layers, and how they start."""

import jax
import numpy as np
import pytest

from jaxlt.errors import UserError
from jaxlt.models.init import count, describe, draw
from jaxlt.modules.language_layer import LanguageLayer
from jaxlt.modules.site import plug
from tests.conftest import forward, make_batch, make_config, random_params

ATTENTION = ("query", "key", "value", "out")
SOURCE = plug(LanguageLayer, "source", key="source", routes=3, stacks="encoder", layers=[-1])
TARGET = plug(LanguageLayer, "target", key="target", routes=3, stacks="decoder")
BATCH = make_batch() | {
    "language": np.array([0, 1, 2, 1], np.int32),
    "target_language": np.array([2, 2, 0, 1], np.int32),
}


def swapped(flat, stack, layers, language):
    """The plain parameters with one language's MLP in those layers of a stack."""
    plain = {n: v.copy() for n, v in flat.items() if n.startswith("params/")}
    plug_name = "source" if stack == "encoder" else "target"
    for layer in layers:
        for name in ("wi_0", "wi_1", "wo"):
            bank = flat[f"modules/{stack}/layers/mlp/{name}/site/{plug_name}/kernel"]
            plain[f"params/{stack}/layers/mlp/{name}/kernel"][layer] = bank[layer, language]
    return plain


def test_each_row_meets_its_languages_layers():
    config = make_config(plugs=(SOURCE, TARGET))
    flat = random_params(config)
    found = forward(config, flat, BATCH)
    for row in range(4):
        source, target = int(BATCH["language"][row]), int(BATCH["target_language"][row])
        plain = swapped(flat, "encoder", [1], source)
        plain |= {
            n: v
            for n, v in swapped(flat, "decoder", [0, 1], target).items()
            if n.startswith("params/decoder/")
        }
        wanted = forward(make_config(), plain, BATCH)[row]
        np.testing.assert_allclose(found[row], wanted, atol=1e-4)


def test_the_seed_draws_all_languages_alike_and_differences_at_zero():
    for start in ("seed", "shared"):
        config = make_config(plugs=(plug(LanguageLayer, "mine", routes=3, start=start),))
        leaf = describe(config)[name := "modules/encoder/layers/mlp/wo/site/mine/kernel"]
        drawn = np.asarray(draw(leaf, name, jax.random.key(0)))
        assert drawn.shape == (2, 3, 24, 16) and np.any(drawn) == (start == "seed")
        np.testing.assert_array_equal(drawn, np.broadcast_to(drawn[:, :1], drawn.shape))
    assert np.any(drawn[0] != drawn[1]) or start == "shared"


def test_parameter_counts():
    def modules(**settings):
        config = make_config(plugs=(plug(LanguageLayer, "mine", routes=3, **settings),))
        return {n: v for n, v in describe(config).items() if n.startswith("modules/")}

    assert count(modules()) == 3 * 4 * (3 * 16 * 24)
    whole = modules(sites=(*LanguageLayer.places, *ATTENTION), stacks="encoder")
    assert count(whole) == 3 * 2 * (3 * 16 * 24 + 4 * 16 * 16)


@pytest.mark.parametrize(
    "settings, said", [({"start": "sed"}, "'seed'"), ({"sites": "embed"}, "no proj")]
)
def test_what_is_refused(settings, said):
    with pytest.raises(UserError, match=said):
        describe(make_config(plugs=(plug(LanguageLayer, "mine", routes=3, **settings),)))
