"""Plugs in some layers alone: what the others compute, and that nothing goes back below them."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from jaxlt.engine.partitioning import MeshConfig
from jaxlt.engine.step import build
from jaxlt.models.encoder import model_of
from jaxlt.models.init import describe, unflatten
from jaxlt.models.layers import make_context
from jaxlt.models.stack import lowest_layer
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.layout import unstack
from jaxlt.modules.prefix import Prefix
from jaxlt.modules.site import plug
from jaxlt.modules.soft_prompt import SoftPrompt
from tests.conftest import (
    forward,
    hyper,
    make_batch,
    make_config,
    make_spec,
    place_batch,
    place_state,
    random_params,
)

pytestmark = pytest.mark.usefixtures("quick_compile")

BATCH = make_batch()
WEIGHT = np.random.default_rng(2).normal(size=(4, 9, 40)).astype(np.float32)
DEEP = {"encoder_layers": 3, "decoder_layers": 3}
ROUTED = {"key": "source", "routes": 3, "reduction_factor": 4}


def upper(**changes):
    """Modules in the upper layers of both stacks, a bank and a prefix."""
    plugs = (
        plug(Bottleneck, "lang", layers=(1, 2), **ROUTED),
        plug(Prefix, "seen", length=2, layers=(-1,)),
    )
    return make_config(**(DEEP | {"plugs": plugs} | changes))


def parts(flat):
    modules = {n: v for n, v in flat.items() if n.startswith("modules/")}
    return modules, {n: v for n, v in flat.items() if n not in modules}


def loss_of(config, mutable=()):
    """(modules, base) -> (loss, logits); collecting something makes a stack run as one scan."""
    model, ctx = model_of(config), make_context(BATCH, jax.random.key(5))

    def loss(modules, base):
        variables = unflatten({**base, **modules})
        if mutable:
            logits, _ = model.apply(variables, BATCH, ctx, mutable=list(mutable))
        else:
            logits = model.apply(variables, BATCH, ctx)
        return jnp.sum(logits * WEIGHT[:, : logits.shape[1]]), logits

    return loss


def outcome(config, flat, mutable=()):
    """Logits and gradients of the modules, by unrolled name."""
    run = jax.jit(jax.grad(loss_of(config, mutable), has_aux=True))
    grads, logits = jax.device_get(run(*parts(flat)))
    return logits, unstack(grads)


def close(found, wanted):
    np.testing.assert_allclose(found[0], wanted[0], atol=1e-5 * np.abs(wanted[0]).max(), rtol=0)
    assert set(found[1]) == set(wanted[1])
    for name, value in wanted[1].items():
        bound = 1e-5 * max(float(np.abs(value).max()), 1e-3)
        np.testing.assert_allclose(found[1][name], value, atol=bound, rtol=0, err_msg=name)


def work(jaxpr):
    """Floating-point operations of the products in a traced program, loops counted as they run."""
    total = 0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            (left, _), _ = eqn.params["dimension_numbers"]
            inner = np.prod([eqn.invars[0].aval.shape[i] for i in left], dtype=int)
            total += 2 * int(inner) * int(np.prod(eqn.outvars[0].aval.shape, dtype=int))
        times = eqn.params.get("length", 1) if eqn.primitive.name == "scan" else 1
        total += times * sum(work(sub) for sub in jaxprs_in_params(eqn.params))
    return total


def traced(config, function):
    leaves = describe(config)
    shapes = {n: jax.ShapeDtypeStruct(leaf.shape, jnp.float32) for n, leaf in leaves.items()}
    return work(jax.make_jaxpr(function)(*parts(shapes)).jaxpr)


def step_work(config):
    """Products of a gradient with respect to the modules alone, and of the forward pass in it."""
    return traced(config, jax.grad(loss_of(config), has_aux=True))


def forward_work(config):
    return traced(config, loss_of(config))


@pytest.fixture(scope="module")
def flat():
    return random_params(upper())


ALONE = {"decoder_layers": 0}
STACKS = {"encoder": ALONE, "both": {}}


@functools.cache
def gated(stacks, dropout):
    """As one scan, in which every layer has the plugs and gates close some."""
    config = upper(dropout=dropout, **STACKS[stacks])
    return outcome(config, random_params(config), mutable=("captured",))


@pytest.mark.parametrize(
    "stacks, changes",
    [
        ("encoder", {}),
        pytest.param("both", {}, marks=pytest.mark.slow),
        pytest.param("both", {"remat": "full"}, marks=pytest.mark.slow),
        pytest.param("both", {"scan_layers": False}, marks=pytest.mark.slow),
        pytest.param("both", {"scan_layers": False, "remat": "full"}, marks=pytest.mark.slow),
    ],
    ids=["encoder", "two scans", "remat", "unrolled", "unrolled remat"],
)
def test_values_and_gradients_are_those_of_gates(stacks, changes):
    dropout = 0.2 if stacks == "both" else 0.0
    config = upper(dropout=dropout, **STACKS[stacks], **changes)
    flat = random_params(upper(**STACKS[stacks]))
    given = flat if config.scan_layers else unstack(flat)
    logits, grads = outcome(config, given)
    close((logits, grads), gated(stacks, dropout))
    for name, value in grads.items():
        works = "layers_2/" in name or ("layers_1/" in name and "/lang/" in name)
        assert np.any(value) == works, name


def test_parameters_are_those_of_plugs_in_all_layers():
    everywhere = tuple(dataclasses.replace(p, layers=None) for p in upper().plugs)
    assert describe(upper()) == describe(upper(plugs=everywhere))


@pytest.mark.parametrize("per_layer", [False, True], ids=["mt5", "umt5"])
def test_nothing_goes_back_below_the_lowest_module(per_layer):
    """Two modules on top of eight layers go back through as much as in a network of two layers."""

    def backward(layers, count):
        lang = plug(Bottleneck, "lang", reduction_factor=4, layers=layers)
        sizes = {"encoder_layers": count, "decoder_layers": 0, "relpos_per_layer": per_layer}
        config = make_config(**sizes, plugs=(lang,))
        return step_work(config) - forward_work(config)

    two = backward(None, 2)
    assert backward((6, 7), 8) == two
    assert backward(None, 8) > 2 * two


@pytest.mark.slow
def test_the_compiled_program_shows_it():
    """XLA counts a loop's body once, so layers are spelt out here."""

    def flops(layers):
        plugs = (plug(Bottleneck, "lang", reduction_factor=4, layers=layers),)
        config = make_config(**DEEP, scan_layers=False, plugs=plugs)
        given = parts(random_params(make_config(**DEEP, plugs=plugs)))
        given = tuple(unstack(part) for part in given)
        grad = jax.jit(jax.grad(loss_of(config), has_aux=True))
        return grad.lower(*given).compile().cost_analysis()["flops"]

    assert flops((2,)) < 0.8 * flops(None)


def test_a_frozen_encoder_under_modules_of_the_decoder_is_not_gone_back_through():
    """Two encoder layers more cost a step their forward pass and nothing else."""
    plugs = (plug(Bottleneck, "lang", stacks=["decoder"]),)
    small = make_config(plugs=plugs)
    large = make_config(plugs=plugs, encoder_layers=4)
    assert step_work(large) - step_work(small) == forward_work(large) - forward_work(small)


def test_where_the_lowest_module_is():
    lang, task = plug(Bottleneck, "lang", layers=(-2, 3)), plug(Bottleneck, "task", leave_out=(0,))
    assert lowest_layer((lang,), "encoder", 6) == 3
    assert lowest_layer((lang, task), "encoder", 6) == 1
    only = plug(Bottleneck, "deep", layers=(4,), sites=["decoder/mlp_out"])
    assert lowest_layer((only,), "decoder", 6) == 4
    assert lowest_layer((only,), "encoder", 6) == 0
    prompt = plug(SoftPrompt, "prompt")  # in no layer
    assert lowest_layer((lang, prompt), "encoder", 6) == 3
    assert lowest_layer((), "encoder", 6) == 0


def test_leave_out_is_a_model_with_the_module_elsewhere_only():
    """MAD-X 2.0 leaves out the last layer: there an inert module does the same."""
    config = make_config(plugs=(plug(Bottleneck, "lang", leave_out=(-1,), **ROUTED),), **ALONE)
    whole = make_config(plugs=(plug(Bottleneck, "lang", **ROUTED),), **ALONE)
    flat = random_params(config)
    inert = {n: v.copy() for n, v in flat.items()}
    for name in inert:
        if name.endswith("/lang/up"):
            inert[name][-1] = 0
    logits, grads = outcome(config, flat)
    wanted = forward(whole, inert, BATCH, jax.random.key(5))
    np.testing.assert_allclose(logits, wanted, atol=1e-5)
    for name, grad in grads.items():
        assert np.any(grad) == ("layers_0" in name), name


@pytest.mark.slow
def test_eight_devices_equal_one(flat):
    batch = make_batch(8)

    def steps(mesh):
        program = build(make_spec(upper(dropout=0.1), mesh, trainable=("modules/.*",)))
        state = place_state(program, flat)
        for _ in range(2):
            state, metrics = program.train(state, place_batch(program, batch), hyper(0.01))
        return float(metrics["loss"]), jax.device_get(state.trainable)

    one, eight = steps(None), steps(MeshConfig(data=2, fsdp=2, tensor=2))
    np.testing.assert_allclose(eight[0], one[0], rtol=1e-5)
    for name, value in one[1].items():
        bound = 1e-4 * max(float(np.abs(value).max()), 1e-3)
        np.testing.assert_allclose(eight[1][name], value, atol=bound, rtol=0, err_msg=name)
