"""The numerics of T5X itself: its checkpoints, and what it computed from them, fp32 on CPU."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.convert.detect import open_base
from jaxlt.engine.decode import decoding
from jaxlt.engine.loss.losses import LossConfig
from jaxlt.engine.optim.optimizers import OptimizerConfig
from jaxlt.engine.partitioning import MeshConfig, make_mesh
from jaxlt.engine.state import make_state
from jaxlt.engine.step import Hyper, StepSpec, build, objective_of
from jaxlt.models.config import T5Config
from jaxlt.models.encoder import model_of
from jaxlt.models.init import describe, unflatten
from jaxlt.modules.layout import stack, unstack
from tests.convert.conftest import optimizer_state

pytestmark = pytest.mark.usefixtures("quick_compile")

FIELDS = ("encoder_input_tokens", "decoder_input_tokens", "decoder_target_tokens")


def relative(found, expected) -> float:
    """Largest difference over the largest expected value."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape
    return float(np.max(np.abs(found - expected)) / np.max(np.abs(expected)))


@pytest.fixture(scope="module")
def folder(shared_data):
    return shared_data / "t5x" / "byt5_tiny"


@pytest.fixture(scope="module")
def config(folder) -> T5Config:
    given = json.loads((folder / "config.json").read_text())
    return T5Config(
        vocab_rows=given["vocab_size"],
        emb_dim=given["emb_dim"],
        mlp_dim=given["mlp_dim"],
        num_heads=given["num_heads"],
        encoder_layers=given["num_encoder_layers"],
        decoder_layers=given["num_decoder_layers"],
        head_dim=given["head_dim"],
        mlp_activations=tuple(given["mlp_activations"]),
    )


@pytest.fixture(scope="module")
def expected(folder):
    with np.load(folder / "expected.npz", allow_pickle=False) as found:
        return dict(found)


@pytest.fixture(scope="module")
def batch(expected):
    weights = expected["decoder_loss_weights"].astype(np.float32)
    return {name: expected[name] for name in FIELDS} | {"decoder_loss_weights": weights}


@pytest.fixture(
    scope="module", params=["scanned", pytest.param("unrolled", marks=pytest.mark.slow)]
)
def spec(request, config) -> StepSpec:
    mesh_config = MeshConfig()
    return StepSpec(
        model=dataclasses.replace(config, scan_layers=request.param == "scanned"),
        loss=LossConfig(z_loss=1e-4, normalize="none"),  # T5X without a normaliser sums
        optimizer=OptimizerConfig("adafactor"),
        mesh=make_mesh(mesh_config, jax.devices()[:1]),
        rules=mesh_config.rules,
    )


@pytest.fixture(scope="module")
def bases(folder):
    return {form: open_base(str(folder / form)) for form in ("legacy", "orbax")}


@pytest.fixture(scope="module")
def base(spec, bases):
    """Either form in turn; they hold the same numbers (`test_both_forms_hold_the_same`)."""
    return bases["orbax" if spec.model.scan_layers else "legacy"]


@pytest.fixture(scope="module")
def state(spec, base):
    program = build(spec)
    return make_state(program.layout, program.optimizer, seed=0, base=base)


def t5x_memory(state, base, scanned: bool):
    """The checkpoint's optimizer state in the form of this run's."""
    found = optimizer_state(base)
    flat = {
        f"params/{name}/{slot}": value
        for name, slots in found.items()
        if name != "step"
        for slot, value in slots.items()
    }
    flat = stack(flat, np.stack) if scanned else flat
    memory = {}
    for name, slots in state.optimizer["param_states"].items():
        memory[name] = {}
        for slot, now in slots.items():
            value = flat[f"{name}/{slot}"]
            # a statistic that a parameter does not use is (1,) a layer in T5X, and (1,) once here
            value = value.reshape(-1)[:1] if now.shape == (1,) else value
            assert value.shape == now.shape, (name, slot)
            memory[name][slot] = jnp.asarray(value)
    return {"step": jnp.int32(found["step"]), "param_states": memory}


def test_both_forms_hold_the_same(bases):
    legacy, orbax = bases["legacy"], bases["orbax"]
    assert dict(legacy.shapes) == dict(orbax.shapes)
    for name in legacy.shapes:
        np.testing.assert_array_equal(legacy.read(name), orbax.read(name), err_msg=name)
    jax.tree.map(np.testing.assert_array_equal, optimizer_state(legacy), optimizer_state(orbax))


@pytest.mark.parametrize("form", ["legacy", "orbax"])
def test_names_and_shapes_are_the_checkpoints(config, bases, form):
    base = bases[form]
    leaves = describe(dataclasses.replace(config, scan_layers=False))
    ours = {n.removeprefix("params/"): leaf.shape for n, leaf in leaves.items()}
    assert ours == {n: tuple(s) for n, s in base.shapes.items()}


@pytest.mark.slow  # quick: the loss and the gradients of them, below
def test_logits(spec, state, batch, expected):
    logits = jax.jit(model_of(spec.model).apply)(unflatten(state.trainable), batch)
    assert logits.dtype == jnp.float32
    assert relative(logits, expected["logits"]) < 1e-5


def test_loss_and_gradients(spec, state, batch, expected):
    loss = lambda params: objective_of(spec)(params, batch)[0]  # noqa: E731
    value, grads = jax.jit(jax.value_and_grad(loss))(state.trainable)
    assert relative(value, expected["loss"]) < 1e-5
    found = unstack(grads)
    names = [n.removeprefix("grad:") for n in expected if n.startswith("grad:")]
    assert len(names) == 14
    for name in names:
        assert relative(found["params/" + name], expected["grad:" + name]) < 1e-4, name


@pytest.mark.slow  # its parts are quick: the gradients above, and test_adafactor's own step of T5X
def test_one_adafactor_step(spec, state, base, batch, expected):
    program = build(spec)
    memory = t5x_memory(state, base, spec.model.scan_layers)
    copy = jax.tree.map(jnp.array, state.replace(optimizer=memory))  # the step donates its state
    new, metrics = program.train(copy, batch, Hyper(jnp.float32(0.02), jnp.uint32(0)))
    assert relative(metrics["loss"], expected["loss"]) < 1e-5
    found = unstack(new.trainable)
    for name in (n.removeprefix("after_step:") for n in expected if n.startswith("after_step:")):
        assert relative(found["params/" + name], expected["after_step:" + name]) < 1e-5, name
    assert int(new.optimizer["step"]) == optimizer_state(base)["step"] + 1


def test_greedy_tokens(spec, state, batch, expected):
    length = expected["greedy"].shape[1]
    inputs = {"encoder_input_tokens": batch["encoder_input_tokens"]}
    found = decoding.greedy(spec.model, state.trainable, inputs, length)
    np.testing.assert_array_equal(found, expected["greedy"])
