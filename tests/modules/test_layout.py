"""Scanned and unrolled names: every way there and back loses nothing."""

import numpy as np

from jaxlt.modules import layout


def flat(layers=12):
    rng = np.random.default_rng(0)
    out = {
        f"params/encoder/layers_{i}/mlp/wo/kernel": rng.normal(size=(3, 2)) for i in range(layers)
    }
    out["params/token_embedder/embedding"] = rng.normal(size=(5, 2))
    return out


def test_round_trip_from_both_sides():
    unrolled = flat()
    scanned = layout.stack(unrolled, np.stack)
    assert set(scanned) == {
        "params/encoder/layers/mlp/wo/kernel",
        "params/token_embedder/embedding",
    }
    back = layout.unstack(scanned)
    assert set(back) == set(unrolled)
    for name in unrolled:
        np.testing.assert_array_equal(back[name], unrolled[name])


def test_layers_are_stacked_by_number_not_by_spelling():
    unrolled = flat(12)
    scanned = layout.stack(dict(sorted(unrolled.items())), np.stack)[
        "params/encoder/layers/mlp/wo/kernel"
    ]
    for i in range(12):
        np.testing.assert_array_equal(
            scanned[i], unrolled[f"params/encoder/layers_{i}/mlp/wo/kernel"]
        )


def test_names():
    assert layout.split_layer("encoder/layers_11/mlp") == ("encoder/layers/mlp", 11)
    assert layout.split_layer("encoder/encoder_norm/scale") == ("encoder/encoder_norm/scale", None)
    assert layout.layer_name("layers/wo", 3) == "layers_3/wo"
    assert layout.is_scanned("params/decoder/layers/mlp/wo/kernel")
    assert not layout.is_scanned("params/decoder/layers_0/mlp/wo/kernel")
    assert not layout.is_scanned("params/decoder/sublayers/kernel")
