"""Random parameters of a small T5 under canonical names."""

from collections.abc import Callable

import numpy as np
import pytest

Params = dict[str, np.ndarray]


def t5_shapes(
    rows: int = 40,
    dim: int = 12,
    mlp: int = 20,
    heads: int = 3,
    head_dim: int = 8,
    layers: tuple[int, int] = (3, 2),
    per_layer: bool = False,
    tied: bool = False,
) -> dict[str, tuple[int, ...]]:
    """Returns canonical name -> shape, in T5X's order of names."""
    joined = heads * head_dim
    out: dict[str, tuple[int, ...]] = {"token_embedder/embedding": (rows, dim)}
    parts = {
        "encoder": {"attention": "pre_attention_layer_norm"},
        "decoder": {
            "self_attention": "pre_self_attention_layer_norm",
            "encoder_decoder_attention": "pre_cross_attention_layer_norm",
        },
    }
    for (stack, attentions), depth in zip(parts.items(), layers, strict=True):
        for i in range(depth):
            layer = f"{stack}/layers_{i}"
            for attention, norm in attentions.items():
                out |= {
                    f"{layer}/{attention}/{p}/kernel": (dim, joined)
                    for p in ("query", "key", "value")
                }
                out[f"{layer}/{attention}/out/kernel"] = (joined, dim)
                out[f"{layer}/{norm}/scale"] = (dim,)
            out |= {f"{layer}/mlp/{p}/kernel": (dim, mlp) for p in ("wi_0", "wi_1")}
            out[f"{layer}/mlp/wo/kernel"] = (mlp, dim)
            out[f"{layer}/pre_mlp_layer_norm/scale"] = (dim,)
            if per_layer:
                out[f"{layer}/relpos_bias/rel_embedding"] = (heads, 32)
        if depth:
            out[f"{stack}/{stack}_norm/scale"] = (dim,)
            if not per_layer:
                out[f"{stack}/relpos_bias/rel_embedding"] = (heads, 32)
    if layers[1] and not tied:
        out["decoder/logits_dense/kernel"] = (dim, rows)
    return dict(sorted(out.items()))


@pytest.fixture(scope="session")
def shapes_of() -> Callable[..., dict[str, tuple[int, ...]]]:
    """`t5_shapes`, which builds the names and shapes of a T5."""
    return t5_shapes


@pytest.fixture(scope="session")
def params_of() -> Callable[..., Params]:
    """A function with `t5_shapes`'s arguments (and dtype) that returns random parameters."""

    def make(dtype: str = "float32", **sizes: object) -> Params:
        rng = np.random.default_rng(7)
        shapes = t5_shapes(**sizes)  # type: ignore[arg-type]
        return {n: rng.standard_normal(s).astype(np.dtype(dtype)) for n, s in shapes.items()}

    return make


def same(source, params: Params) -> None:
    """Asserts that a base has these names, shapes, dtypes and values, whole and in slices."""
    assert set(source.shapes) == set(params)
    for name, value in params.items():
        read = source.read(name)
        assert source.shapes[name] == read.shape == value.shape
        assert read.dtype == value.dtype
        np.testing.assert_array_equal(read, value, err_msg=name)
        index = tuple(slice(n // 3, n // 3 + 2) for n in value.shape)
        np.testing.assert_array_equal(source.read_slice(name, index), value[index])


def optimizer_state(source) -> dict:
    """T5X's Adafactor state in a checkpoint: {'step': 3, canonical name: {'v_row': array, ...}}."""

    def value(leaf):
        return leaf.read() if hasattr(leaf, "read") else leaf

    out: dict = {"step": int(value(source.tree["state/step"]))}
    for key, leaf in source.tree.items():
        if key.startswith("state/param_states/") and leaf is not None:
            name, _, part = key.removeprefix("state/param_states/").rpartition("/")
            assert name in source.shapes
            out.setdefault(name, {})[part] = leaf.read()
    return out
