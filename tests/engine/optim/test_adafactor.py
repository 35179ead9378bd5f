"""Adafactor against T5X's own step and the paper's formula; stacked layers against unstacked."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import serialization
from flax.traverse_util import flatten_dict

from jaxlt.engine.config import OptimizerConfig
from jaxlt.engine.optim import adafactor

NAMED = {"scale": ("embed",), "embedding": ("vocab", "embed"), "rel_embedding": ("heads", "relpos")}


def read_t5x(folder):
    """T5X's legacy checkpoint: {'target/...' or 'state/...': array}."""
    tensorstore = pytest.importorskip("tensorstore")

    def leaf(value):
        if not (isinstance(value, dict) and "driver" in value):
            return value
        path = str(folder / value["kvstore"]["path"])
        spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": path}}
        return tensorstore.open(spec, open=True).result().read().result()

    tree = serialization.msgpack_restore((folder / "checkpoint").read_bytes())["optimizer"]
    is_leaf = lambda _, v: not isinstance(v, dict) or "driver" in v  # noqa: E731
    return {k: leaf(v) for k, v in flatten_dict(tree, sep="/", is_leaf=is_leaf).items()}


def logical_axes(name, array):
    """Any axes will do that are not stacked ones."""
    return NAMED.get(name.rsplit("/", 1)[-1], ("embed", "mlp"))[: np.ndim(array)]


def t5x_example(shared_data):
    """Returns (params, grads, state, parameters after T5X's step) of the sample."""
    root = shared_data / "t5x" / "byt5_tiny"
    stored = read_t5x(root / "legacy" / "checkpoint_4")
    expected = np.load(root / "expected.npz", allow_pickle=False)
    grads = {k[5:]: expected[k] for k in expected if k.startswith("grad:")}
    after = {k[11:]: expected[k] for k in expected if k.startswith("after_step:")}
    params = {k[7:]: v for k, v in stored.items() if k.startswith("target/")}
    slots = {
        name: {s: stored[f"state/param_states/{name}/{s}"] for s in ("m", "v", "v_row", "v_col")}
        for name in params
    }
    return params, grads, {"step": np.int32(stored["state/step"]), "param_states": slots}, after


def test_matches_t5x_step(shared_data):
    params, grads, state, after = t5x_example(shared_data)
    # The sample holds some of the gradients only; factored and unfactored ones are among them.
    names = sorted(set(grads) & set(after))
    assert len(names) >= 10
    params = {n: params[n] for n in names}
    state["param_states"] = {n: state["param_states"][n] for n in names}
    axes = {n: logical_axes(n, p) for n, p in params.items()}
    settings = OptimizerConfig()
    fresh = jax.eval_shape(lambda: adafactor.init(settings, axes, params))
    shapes = jax.tree.map(lambda x: np.shape(x), state, is_leaf=lambda x: not isinstance(x, dict))
    assert jax.tree.map(lambda x: x.shape, fresh) == shapes  # T5X's state is ours, array by array
    assert {s["v"].shape == (1,) for s in state["param_states"].values()} == {True, False}
    step = jax.jit(
        lambda g, s, p, lr: adafactor.update(
            settings, axes, frozenset(), g, s, p, dict.fromkeys(p, lr)
        )
    )
    new, new_state = step({n: grads[n] for n in names}, state, params, np.float32(0.02))
    assert int(new_state["step"]) == 5
    for name in names:
        assert np.abs(new[name] - after[name]).max() <= 1e-6 * np.abs(after[name]).max(), name
        # The sharper question: the movement itself, against the largest of its array.
        moved, want = new[name] - params[name], after[name] - params[name]
        assert np.abs(moved - want).max() <= 2e-5 * np.abs(want).max(), name
        # Entry by entry the stored step carries T5X's own rounding (up to 2.6e-5 of an entry), so
        # there the same step in float64 is the judge.
        exact, _ = paper_step(
            params[name],
            grads[name],
            state["param_states"][name],
            4,
            np.float64(np.float32(0.02)),
            128,
        )
        error = np.abs(new[name] - exact) / np.maximum(np.abs(exact), 1e-3)
        assert error.max() <= 1e-5, name


def paper_step(param, grad, slots, step, lr, min_factored):
    """The algorithm of the paper for one unstacked array of at most two dimensions, in float64."""
    param, grad = np.float64(param), np.float64(grad)
    decay = 1.0 - (step + 1.0) ** -0.8
    squares = grad**2 + 1e-30
    slots = {k: np.float64(v) for k, v in slots.items()}
    if grad.ndim == 2 and min(grad.shape) >= min_factored:
        small, large = np.argsort(grad.shape, kind="stable")
        slots["v_row"] = decay * slots["v_row"] + (1 - decay) * squares.mean(large)
        slots["v_col"] = decay * slots["v_col"] + (1 - decay) * squares.mean(small)
        second = np.outer(slots["v_row"], slots["v_col"]) / slots["v_row"].mean()
        update = grad / np.sqrt(second if small == 0 else second.T)
    else:
        slots["v"] = decay * slots["v"] + (1 - decay) * squares
        update = grad / np.sqrt(slots["v"])
    update /= max(1.0, np.sqrt((update**2).mean()))
    return param - lr * max(np.sqrt((param**2).mean()), 1e-3) * update, slots


UNITS = {"wide": (6, 9), "tall": (9, 6), "square": (5, 5), "thin": (3, 20), "scale": (12,)}


def test_stacked_equals_unstacked_and_the_paper():
    """Layers and routes of very different scales, five steps, factored and not."""
    rng = np.random.default_rng(0)
    layers, routes = 3, 2
    settings = OptimizerConfig(min_factored=4)
    scales = 10.0 ** rng.uniform(-5, 1, (layers, routes))
    axes, stacked, single = {}, {}, {}
    for name, shape in UNITS.items():
        axes[name] = ("layers", "routes", *("embed", "mlp")[: len(shape)])
        stacked[name] = np.float32(rng.normal(size=(layers, routes, *shape)))
        stacked[name] *= scales.reshape(layers, routes, *(1,) * len(shape))
        for index in np.ndindex(layers, routes):
            single[name, index] = stacked[name][index]
    state = adafactor.init(settings, axes, {k: jnp.asarray(v) for k, v in stacked.items()})
    how = lambda p: adafactor.factoring(p.shape, ("e", "m")[: p.ndim], 4)  # noqa: E731
    slots = {key: adafactor.init_moments(p.shape, how(p)) for key, p in single.items()}
    update = jax.jit(functools.partial(adafactor.update, settings, axes, frozenset()))
    for t in range(5):
        grads = {n: np.float32(rng.normal(size=p.shape) * 10.0 ** rng.uniform(-4, 2, p.shape))
                 for n, p in stacked.items()}  # fmt: skip
        stacked, state = update(grads, state, stacked, dict.fromkeys(stacked, np.float32(0.1)))
        now = jax.device_get(stacked)
        for (name, index), param in single.items():
            key = name, index
            single[key], slots[key] = paper_step(param, grads[name][index], slots[key], t, 0.1, 4)
            np.testing.assert_allclose(
                now[name][index], single[key], rtol=2e-5, atol=2e-5 * np.abs(single[key]).max()
            )
    assert state["param_states"]["wide"]["v_row"].shape == (layers, routes, 6)
    assert state["param_states"]["tall"]["v_col"].shape == (layers, routes, 9)
    assert state["param_states"]["thin"]["v"].shape == (layers, routes, 3, 20)


@pytest.mark.parametrize(
    "shape,axes,row,col",
    [
        ((128, 384), ("embed", "mlp"), ("embed",), ("mlp",)),
        ((384, 128), ("mlp", "embed"), ("embed",), ("mlp",)),
        ((128, 128), ("embed", "heads"), ("embed",), ("heads",)),
        ((4, 128, 384), ("layers", "embed", "mlp"), ("layers", "embed"), ("layers", "mlp")),
        ((384, 4, 128), ("mlp", "layers", "embed"), ("layers", "embed"), ("mlp", "layers")),
    ],
)
def test_axes_follow_the_shapes(shape, axes, row, col):
    params = {"w": jnp.zeros(shape)}
    settings = OptimizerConfig()
    logical = adafactor.state_axes(settings, {"w": axes}, params)["param_states"]["w"]
    state = adafactor.init(settings, {"w": axes}, params)["param_states"]["w"]
    assert (logical["v_row"], logical["v_col"]) == (row, col)
    assert logical["v"] == logical["m"] == (adafactor.UNUSED,)
    sizes = dict(zip(axes, shape, strict=True))
    for key, named in logical.items():
        assert state[key].shape == tuple(sizes.get(a, 1) for a in named)


def test_unfactored_axes():
    params = {"w": jnp.zeros((3, 127, 900)), "s": jnp.zeros((3, 500))}
    axes = {"w": ("layers", "embed", "mlp"), "s": ("layers", "norm")}
    logical = adafactor.state_axes(OptimizerConfig(), axes, params)["param_states"]
    assert logical["w"]["v"] == axes["w"] and logical["s"]["v"] == axes["s"]
    assert logical["w"]["v_row"] == (adafactor.UNUSED,)


def test_bfloat16_parameters_keep_float32_state():
    params = {"w": jnp.ones((8, 8), jnp.bfloat16)}
    axes = {"w": ("embed", "mlp")}
    settings = OptimizerConfig(min_factored=4)
    state = adafactor.init(settings, axes, params)
    update = jax.jit(functools.partial(adafactor.update, settings, axes, frozenset()))
    new, state = update(params, state, params, {"w": jnp.float32(0.5)})
    assert new["w"].dtype == jnp.bfloat16 and float(new["w"][0, 0]) == 0.5
    assert state["param_states"]["w"]["v_row"].dtype == jnp.float32
