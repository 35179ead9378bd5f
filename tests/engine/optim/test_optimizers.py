"""Optimizers by name: against optax's own, and what jaxlt adds to them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib

from jaxlt.engine.config import LINKS, OPTIMIZERS, OptimizerConfig
from jaxlt.engine.optim.optimizers import (
    DIRECTIONS,
    Rate,
    clip_by_norm,
    decayed_names,
    global_norm,
    make_optimizer,
    own_rates,
)
from jaxlt.errors import UserError

AXES = {
    "params/layers/mlp/kernel": ("layers", "embed", "mlp"),
    "params/layers/norm/scale": ("layers", "norm"),
    "modules/a/bias": (None,),
    "modules/a/down": ("routes", "embed", "bottleneck"),
}
SHAPES = {"embed": 6, "mlp": 8, "layers": 2, "routes": 3, "norm": 6, "bottleneck": 4, None: 5}
LR = jnp.float32(0.05)


def tree(seed, dtype=jnp.float32):
    rng = np.random.default_rng(seed)
    return {k: jnp.asarray(rng.normal(size=[SHAPES[a] for a in v]), dtype) for k, v in AXES.items()}


CHAIN = (("clip", (("max_delta", 0.5),)), ("scale_by_adam", (("b1", 0.9), ("b2", 0.99))))


def config_of(name, *args, **settings):
    """That of an optimizer; 'chain' needs one."""
    return OptimizerConfig(name, *args, **({"chain": CHAIN} if name == "chain" else {}), **settings)


def decays(params):
    return {k: k.endswith(("kernel", "down")) for k in params}


MATRIX = contrib.MuonDimensionNumbers(1, 2)
OPTAX = {
    "adamw": optax.adamw(0.05, 0.9, 0.99, 1e-8, weight_decay=0.1, mask=decays),
    "adam": optax.adam(0.05, 0.9, 0.99),
    "nadam": optax.nadam(0.05, 0.9, 0.99),
    "radam": optax.radam(0.05, 0.9, 0.99),
    "amsgrad": optax.amsgrad(0.05, 0.9, 0.99),
    "adamax": optax.adamax(0.05, 0.9, 0.99),
    "lion": optax.lion(0.05, 0.9, 0.99, weight_decay=0.1, mask=decays),
    "sgd": optax.sgd(0.05, momentum=0.9),
    "adagrad": optax.adagrad(0.05, eps=1e-8),
    "rmsprop": optax.rmsprop(0.05, decay=0.99, eps=1e-8),
    "chain": optax.chain(optax.clip(0.5), optax.adam(0.05, 0.9, 0.99)),
    "muon": contrib.muon(
        0.05,
        beta=0.9,
        adam_b2=0.99,
        consistent_rms=0.2,
        muon_weight_dimension_numbers={k: MATRIX if v else None for k, v in decays(AXES).items()},
    ),
}


def test_every_name_has_a_reference():
    assert set(OPTAX) | {"adafactor"} == set(OPTIMIZERS)
    assert set(OPTIMIZERS) == {"adafactor", "muon", "chain", *DIRECTIONS}


@pytest.mark.parametrize("name", sorted(OPTAX))
def test_matches_optax(name):
    decay = 0.1 if name in ("adamw", "lion") else 0.0
    ours = make_optimizer(config_of(name, 0.9, 0.99, weight_decay=decay), AXES)
    theirs = OPTAX[name]
    params = want = tree(0)
    state, their_state = ours.init(params), theirs.init(params)
    update, their_update = jax.jit(ours.update), jax.jit(theirs.update)
    for step in range(8):
        grads = tree(step + 1)
        params, state = update(grads, state, params, LR)
        moves, their_state = their_update(grads, their_state, want)
        want = jax.tree.map(np.add, want, moves)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), params, want)
    assert update._cache_size() == 1


SETTINGS = {
    "adaptive_grad_clip": {"clipping": 0.1},
    "clip": {"max_delta": 0.5},
    "clip_by_block_rms": {"threshold": 0.1},
    "ema": {"decay": 0.9},
    "trace": {"decay": 0.9, "nesterov": True},
}


@pytest.mark.slow
def test_each_link_takes_a_stacked_parameter_as_optax_takes_its_parts():
    kernel = "params/layers/mlp/kernel"
    start, grads = ({n: tree(seed)[n] for n in (kernel, "modules/a/bias")} for seed in (0, 1))

    def each(name, settings):
        config = OptimizerConfig("chain", chain=((name, tuple(settings.items())),))
        ours, theirs = make_optimizer(config, AXES), getattr(optax, name)(**settings)
        params, state = start, ours.init(start)
        logical = ours.state_axes(jax.eval_shape(lambda: start))
        for leaf, axes in zip(
            jax.tree.leaves(state), jax.tree.structure(state).flatten_up_to(logical), strict=True
        ):
            assert len(axes) == leaf.ndim and (axes[:1] == ("layers",)) == (leaf.shape[:1] == (2,))
        layers = {0: start[kernel][0], 1: start[kernel][1], "bias": start["modules/a/bias"]}
        alone = {0: grads[kernel][0], 1: grads[kernel][1], "bias": grads["modules/a/bias"]}
        memory = {k: theirs.init(v) for k, v in layers.items()}
        for _ in range(2):
            params, state = ours.update(grads, state, params, LR)
            for k, value in layers.items():
                step, memory[k] = theirs.update(alone[k], memory[k], value)
                layers[k] = value - LR * step
        want = {kernel: jnp.stack([layers[0], layers[1]]), "modules/a/bias": layers["bias"]}
        return params, want

    for name in LINKS:
        found, want = each(name, SETTINGS.get(name, {}))
        for key, value in want.items():
            np.testing.assert_allclose(found[key], value, rtol=1e-5, atol=1e-6, err_msg=name)
            assert np.any(value != start[key])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_axes_fit_the_state(name):
    optimizer = make_optimizer(config_of(name, min_factored=4), AXES)
    params = jax.eval_shape(lambda: tree(0))
    logical = optimizer.state_axes(params)

    def fits(leaf, axes):
        assert isinstance(axes, tuple)
        if leaf.shape != (1,):
            sizes = [n if a is None else SHAPES[a] for a, n in zip(axes, leaf.shape, strict=True)]
            assert list(leaf.shape) == sizes
        return leaf

    jax.tree.map(fits, jax.eval_shape(optimizer.init, params), logical)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_bfloat16_parameters(name):
    optimizer = make_optimizer(config_of(name), AXES)
    params = tree(0, jnp.bfloat16)
    state = optimizer.init(params)
    new, new_state = jax.jit(optimizer.update)(tree(1, jnp.bfloat16), state, params, LR)
    assert {v.dtype for v in new.values()} == {jnp.dtype(jnp.bfloat16)}
    for before, after in zip(jax.tree.leaves(state), jax.tree.leaves(new_state), strict=True):
        assert before.dtype == after.dtype and before.dtype in (jnp.float32, jnp.int32)
        assert before.shape == after.shape
    assert all(np.any(new[k] != params[k]) for k in params)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_nothing_to_train(name):
    optimizer = make_optimizer(config_of(name, clip_norm=1.0), {})
    state = optimizer.init({})
    new, _ = jax.jit(optimizer.update)({}, state, {}, LR)
    assert new == {} and global_norm({}) == 0.0
    jax.tree.map(lambda leaf, axes: None, state, optimizer.state_axes({}))


def test_state_dtype_is_for_first_moments():
    config = OptimizerConfig("adamw", state_dtype="bfloat16")
    optimizer = make_optimizer(config, AXES)
    exact = make_optimizer(OptimizerConfig("adamw"), AXES)
    params = want = tree(0)
    state, exact_state = optimizer.init(params), exact.init(params)
    update, exact_update = jax.jit(optimizer.update), jax.jit(exact.update)
    for step in range(3):
        params, state = update(tree(step), state, params, LR)
        want, exact_state = exact_update(tree(step), exact_state, want, LR)
    assert {v.dtype for v in state["mu"].values()} == {jnp.dtype(jnp.bfloat16)}
    assert {v.dtype for v in state["nu"].values()} == {jnp.dtype(jnp.float32)}
    # Three steps, each off by at most bfloat16's 2^-8 of a step of 0.05.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=3 * 0.05 * 2**-7), params, want)


def test_clipping():
    grads = tree(3)
    norm = float(np.sqrt(sum(float((np.float64(g) ** 2).sum()) for g in grads.values())))
    norm_of, clipped = jax.jit(global_norm), jax.jit(clip_by_norm)
    np.testing.assert_allclose(norm_of(grads), norm, rtol=1e-6)
    np.testing.assert_allclose(norm_of(clipped(grads, 0.5)), 0.5, rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, clipped(grads, norm * 2), grads)
    assert not np.any(clipped({"a": np.zeros(3, np.float32)}, 1.0)["a"])
    assert np.all(np.isnan(clipped({"a": np.float32([1, np.nan, 0])}, 1.0)["a"]))
    config = OptimizerConfig("sgd", momentum=0.0, clip_norm=0.5)
    optimizer = make_optimizer(config, AXES)
    params = tree(0)
    new, _ = jax.jit(optimizer.update)(grads, optimizer.init(params), params, LR)
    moved = {k: np.asarray(params[k]) - np.asarray(new[k]) for k in params}
    np.testing.assert_allclose(norm_of(moved), 0.5 * 0.05, rtol=1e-4)


@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_weight_decay_is_decoupled_and_spares_vectors(name):
    config = OptimizerConfig(name, weight_decay=0.1, weight_decay_exclude=("modules/.*/down",))
    optimizer = make_optimizer(config, AXES)
    params = tree(0)
    zeros = jax.tree.map(np.zeros_like, params)
    new, _ = jax.jit(optimizer.update)(zeros, optimizer.init(params), params, LR)
    for key, value in params.items():
        want = np.asarray(value) * (1 - 0.05 * 0.1) if key.endswith("kernel") else value
        np.testing.assert_allclose(new[key], want, rtol=1e-6)
    assert decayed_names(OptimizerConfig("adamw"), AXES) == {
        k for k, v in decays(AXES).items() if v
    }


@pytest.mark.parametrize("name", ["adamw", "adafactor", "sgd"])
def test_rates_are_those_of_the_names_that_patterns_match(name):
    """A parameter moves as in a run of its rate, its weight decay included."""
    config = OptimizerConfig(name, weight_decay=0.1, min_factored=4)
    rates = ((".*/(kernel|bias)", 2.0), ("modules/.*", 0.5), (".*/down", 8.0))
    factors = dict(zip(AXES, (2.0, 1.0, 2.0 * 0.5, 0.5 * 8.0), strict=True))
    own = make_optimizer(dataclasses.replace(config, rates=rates), AXES)
    plain = make_optimizer(config, AXES)
    start = tree(0)
    params, state = start, own.init(start)
    others = {f: (start, plain.init(start)) for f in factors.values()}
    for step in range(2):
        params, state = own.update(tree(step + 1), state, params, LR)
        for factor, (old, memory) in others.items():
            others[factor] = plain.update(tree(step + 1), memory, old, LR * factor)
    for key, factor in factors.items():
        np.testing.assert_array_equal(params[key], others[factor][0][key], err_msg=key)
    assert all(rate is LR for rate in own_rates({}, LR, AXES).values())  # nothing is multiplied


@pytest.mark.parametrize(
    "settings,text",
    [
        ({"name": "adafactr"}, "Did you mean 'adafactor'"),
        ({"b1": 1.0}, "OptimizerConfig.b1"),
        ({"clip_norm": 0.0}, "OptimizerConfig.clip_norm"),
        ({"clip_threshold": -1.0}, "OptimizerConfig.clip_threshold"),
        ({"weight_decay": -0.1}, "OptimizerConfig.weight_decay"),
        ({"name": "adam", "weight_decay": 0.1}, "adamw"),
        ({"state_dtype": "float16"}, "OptimizerConfig.state_dtype"),
        ({"name": "chain"}, "is 'chain' and OptimizerConfig.chain has 0 transforms"),
        ({"name": "muon", "chain": CHAIN}, "is 'muon' and OptimizerConfig.chain has 2 transforms"),
        (
            {"name": "chain", "chain": (("clip_by_global_norm", (("max_norm", 1.0),)),)},
            "has 'clip_by_global_norm', which is none of .* OptimizerConfig.clip_norm",
        ),
        ({"name": "chain", "chain": (("scale_by_adm", ()),)}, "Did you mean 'scale_by_adam'"),
        ({"rates": ((".*bias", -1.0),)}, "OptimizerConfig.rates gives '.*bias' the factor -1.0"),
    ],
)
def test_bad_settings(settings, text):
    with pytest.raises(UserError, match=text):
        OptimizerConfig(**settings)


def test_patterns_and_axes_that_do_not_fit():
    with pytest.raises(UserError, match="weight_decay_exclude"):
        make_optimizer(OptimizerConfig("adamw", weight_decay_exclude=("nothing",)), AXES)
    with pytest.raises(UserError, match=r"rates has.*Did you mean 'modules/a/bias'"):
        make_optimizer(OptimizerConfig("adamw", rates=(("module/a/bias", 2.0),)), AXES)
    for settings, text in (
        ((("nesterof", True),), r"optax's 'scale_by_adam' .*Did you mean 'nesterov'"),
        ((("mu_dtype", "float33"),), "gives optax's 'scale_by_adam' .*float33"),
    ):
        with pytest.raises(UserError, match=text):
            make_optimizer(OptimizerConfig("chain", chain=(("scale_by_adam", settings),)), AXES)
    with pytest.raises(UserError, match=r"rates: '\(' is no regex"):
        make_optimizer(OptimizerConfig(rates=(("(", 2.0),)), AXES)
    optimizer = make_optimizer(OptimizerConfig(), {"a": ("embed",)})
    with pytest.raises(ValueError, match="'a' of shape"):
        optimizer.init({"a": jnp.zeros((2, 2))})
    with pytest.raises(ValueError, match="'step'"):
        optimizer.state_axes(optimizer.init({"a": jnp.zeros(2)}))


@pytest.mark.parametrize("make", [optax.scale_by_adam, optax.scale_by_radam, optax.scale_by_lion])
def test_a_rate_is_to_optax_what_its_number_is(make):
    """1 - b is made in float64: of float32's 0.999 it would be off in the fifth digit."""
    rates = [Rate(np.float32(b), np.float32(1.0 - b)) for b in (0.9, 0.999)]
    params = {"a": jnp.arange(1.0, 5.0)}
    found = []
    for optimizer in (make(0.9, 0.999), make(*rates)):
        state = optimizer.init(params)
        for scale in (1.0, -0.3, 0.7):
            steps, state = optimizer.update({"a": scale * params["a"]}, state)
        found.append(np.asarray(steps["a"]))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-6)
    assert float(1 - rates[1]) == np.float32(0.001) != np.float32(1.0) - np.float32(0.999)
