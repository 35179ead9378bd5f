"""Golden names and shapes of T5X's trees, and how parameters are drawn."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxlt.models.attention import local_start
from jaxlt.models.config import T5Config
from jaxlt.models.init import describe, draw
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.layout import unstack
from jaxlt.modules.site import plug
from tests.conftest import make_config


def golden(cfg: T5Config) -> dict[str, tuple[int, ...]]:
    """T5X's tree, written down by hand."""
    d, f, j = cfg.emb_dim, cfg.mlp_dim, cfg.num_heads * cfg.head_dim
    attention = {"query": (d, j), "key": (d, j), "value": (d, j), "out": (j, d)}
    table = (cfg.num_heads, 32)
    tree = {
        "token_embedder/embedding": (cfg.vocab_rows, d),
        "encoder/encoder_norm/scale": (d,),
        "decoder/decoder_norm/scale": (d,),
        "decoder/logits_dense/kernel": (d, cfg.vocab_rows),
    }
    parts = {
        "encoder": (cfg.encoder_layers, {"attention": "pre_attention_layer_norm"}),
        "decoder": (
            cfg.decoder_layers,
            {
                "self_attention": "pre_self_attention_layer_norm",
                "encoder_decoder_attention": "pre_cross_attention_layer_norm",
            },
        ),
    }
    for stack, (layers, sublayers) in parts.items():
        if not cfg.relpos_per_layer:
            tree[f"{stack}/relpos_bias/rel_embedding"] = table
        for i in range(layers):
            at = f"{stack}/layers_{i}"
            for name, norm in sublayers.items():
                tree[f"{at}/{norm}/scale"] = (d,)
                tree |= {f"{at}/{name}/{k}/kernel": shape for k, shape in attention.items()}
            tree[f"{at}/pre_mlp_layer_norm/scale"] = (d,)
            tree[f"{at}/mlp/wi_0/kernel"] = tree[f"{at}/mlp/wi_1/kernel"] = (d, f)
            tree[f"{at}/mlp/wo/kernel"] = (f, d)
            if cfg.relpos_per_layer:
                tree[f"{at}/relpos_bias/rel_embedding"] = table
    return {f"params/{name}": shape for name, shape in tree.items()}


BYT5_TINY = T5Config(384, 128, 160, 3, 3, 2, head_dim=8)


@pytest.mark.parametrize("umt5", [False, True])
@pytest.mark.parametrize("cfg", [make_config(), BYT5_TINY], ids=["tiny", "byt5_tiny"])
def test_golden_names_and_shapes(cfg, umt5):
    cfg = dataclasses.replace(cfg, relpos_per_layer=umt5)
    wanted = golden(cfg)
    unrolled = describe(dataclasses.replace(cfg, scan_layers=False))
    assert {n: leaf.shape for n, leaf in unrolled.items()} == wanted
    scanned = {n: np.zeros(leaf.shape, np.int8) for n, leaf in describe(cfg).items()}
    assert {n: a.shape for n, a in unstack(scanned).items()} == wanted
    for leaf in [*unrolled.values(), *describe(cfg).values()]:
        assert len(leaf.axes) == len(leaf.shape)


def drawn(seed=3, **changes):
    leaves, key = describe(make_config(**({"decoder_layers": 0} | changes))), jax.random.key(seed)
    return jax.device_get({name: draw(leaf, name, key) for name, leaf in leaves.items()})


def same(a, b):
    assert set(a) == set(b)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.fixture(scope="module")
def scanned():
    return drawn(relpos_per_layer=True)


def test_values_do_not_depend_on_scan(scanned):
    same(unstack(scanned), drawn(relpos_per_layer=True, scan_layers=False))


@pytest.mark.parametrize("per_layer", [True, False])
def test_a_local_start_is_that_of_every_table(per_layer):
    both = {"relpos_per_layer": per_layer, "decoder_layers": 2}
    changes = both | {"relpos_start": "local", "embedding_std": 0.05}
    scanned = drawn(**changes)
    same(unstack(scanned), drawn(**changes, scan_layers=False))
    tables = {n: v for n, v in unstack(scanned).items() if n.endswith("rel_embedding")}
    assert len(tables) == (4 if per_layer else 2)
    for name, value in tables.items():
        np.testing.assert_array_equal(value, local_start(2, 32, "/encoder/" in name), err_msg=name)
    plain = drawn(**both)
    embedding = "params/token_embedder/embedding"
    np.testing.assert_allclose(scanned[embedding], 0.05 * plain[embedding], rtol=1e-6)
    rest = {n for n in plain if "rel_embedding" not in n and n != embedding}
    same({n: scanned[n] for n in rest}, {n: plain[n] for n in rest})


def test_values_do_not_depend_on_plugs(scanned):
    plugs = (plug(Bottleneck, "lang", key="source", routes=4), plug(Bottleneck, "task"))
    with_plugs = drawn(relpos_per_layer=True, plugs=plugs)
    same({n: v for n, v in with_plugs.items() if n.startswith("params/")}, scanned)


def test_values_do_not_depend_on_the_size_of_a_bank():
    def bank(slots):
        found = drawn(plugs=(plug(Bottleneck, "lang", key="source", routes=slots),))
        return {n: np.asarray(v) for n, v in found.items() if n.startswith("modules/")}

    small, large = bank(2), bank(5)
    same(small, {n: v[:, :2] for n, v in large.items()})
    down = large["modules/encoder/layers/mlp_out/lang/down"]
    assert down.shape == (2, 5, 16, 1)
    assert len({v.tobytes() for v in down.reshape(10, 16)}) == 10  # every slot is its own draw


def test_layers_and_seeds_differ(scanned):
    kernel = scanned["params/encoder/layers/mlp/wo/kernel"]
    assert not np.array_equal(kernel[0], kernel[1])
    other = drawn(seed=4, relpos_per_layer=True)["params/encoder/layers/mlp/wo/kernel"]
    assert not np.array_equal(kernel, other)


def test_scales_are_t5s():
    layer = "params/encoder/layers/"
    wanted = {
        "params/token_embedder/embedding": 1.0,
        layer + "attention/query/kernel": (128 * 32) ** -0.5,
        layer + "attention/key/kernel": 128**-0.5,
        layer + "mlp/wo/kernel": 96**-0.5,
        "params/decoder/logits_dense/kernel": 128**-0.5,
    }
    leaves = describe(T5Config(300, 128, 96, 4, 2, 2, head_dim=32))
    for name, std in wanted.items():
        value = draw(leaves[name], name, jax.random.key(0))
        assert value.dtype == jax.numpy.float32
        assert float(np.std(value)) == pytest.approx(std, rel=0.05), name
    norm = "params/encoder/encoder_norm/scale"
    assert np.all(draw(leaves[norm], norm, jax.random.key(0)) == 1)
