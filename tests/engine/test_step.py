"""One training step: the same on every mesh and accumulation, and what it leaves alone."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.engine.loss.losses import LossConfig
from jaxlt.engine.optim.optimizers import OptimizerConfig
from jaxlt.engine.partitioning import MeshConfig
from jaxlt.engine.step import abstract_state, build, mesh_context, objective_of
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.site import plug
from tests.conftest import (
    forward,
    hyper,
    make_batch,
    make_config,
    make_mlm_batch,
    make_spec,
    place_batch,
    place_state,
    random_params,
)

pytestmark = pytest.mark.usefixtures("quick_compile")

CONFIG = make_config(encoder_layers=1, decoder_layers=1)
# Of which there is less to compile: most tests take it, above all those that drop out.
ENCODER = make_config(encoder_layers=1, decoder_layers=0)
DROPPING = dataclasses.replace(ENCODER, dropout=0.1)
FLAT, BATCH, MASKED = random_params(ENCODER), make_batch(8), make_mlm_batch(8)
ADAMW, SGD = OptimizerConfig("adamw", weight_decay=0.1), OptimizerConfig("sgd")
MUON = OptimizerConfig("muon", momentum=0.95, weight_decay=0.1)
MESHES = {
    "tensor": MeshConfig(data=1, tensor=8),
    "mixed": MeshConfig(data=2, fsdp=2, tensor=2),
    "replicas": MeshConfig(replica=2, data=2, fsdp=2),
}


def begun(spec):
    """Returns (program, its first state, a batch for its model)."""
    program = build(spec)
    batch = place_batch(program, BATCH if spec.model.decoder_layers else MASKED)
    return program, place_state(program, random_params(spec.model)), batch


def train(spec, steps=3):
    """Returns the last state and the metrics of each step."""
    program, state, batch = begun(spec)
    found = []
    for _ in range(steps):
        state, metrics = program.train(state, batch, hyper())
        found.append(jax.device_get(metrics))
    return state, found


def values(metrics, name):
    return np.array([float(m[name]) for m in metrics])


def unchanged(found, wanted):
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        np.testing.assert_array_equal(np.asarray(found[name]), np.asarray(value), err_msg=name)


@functools.cache
def alone(name="adafactor", model=ENCODER):
    """Three steps on one device by this optimizer."""
    given = {
        "adafactor": {},
        "adamw": {"optimizer": ADAMW, "skip_nonfinite": True},
        "sgd": {"optimizer": SGD},
        "muon": {"optimizer": MUON},
    }
    return train(make_spec(model, **given[name]))


def test_it_learns_and_reports():
    _, metrics = alone("sgd", CONFIG)
    losses = values(metrics, "loss")
    assert losses[-1] < losses[0]
    assert values(metrics, "target_tokens").tolist() == [BATCH["decoder_loss_weights"].sum()] * 3
    assert all(m["ok"] for m in metrics)
    assert np.all((values(metrics, "accuracy") >= 0) & (values(metrics, "accuracy") <= 1))
    assert np.all(values(metrics, "nll") < losses)  # without the z-loss


SLOW = [("tensor", "adafactor"), ("mixed", "adamw"), ("replicas", "adamw")]
BOTH_DROPPING = dataclasses.replace(CONFIG, dropout=0.1)


@pytest.mark.parametrize(
    "mesh, name, model",
    [
        ("mixed", "adafactor", ENCODER),
        pytest.param("mixed", "muon", ENCODER, marks=pytest.mark.slow),
        *(pytest.param(*case, BOTH_DROPPING, marks=pytest.mark.slow) for case in SLOW),
    ],
    ids=["mixed", "mixed-muon", *("-".join(case) for case in SLOW)],
)
def test_eight_devices_give_the_losses_of_one(mesh, name, model):
    optimizer = {"adafactor": OptimizerConfig(), "adamw": ADAMW, "muon": MUON}[name]
    state, metrics = train(make_spec(model, MESHES[mesh], optimizer=optimizer))
    _, wanted = alone(name, model)
    for key in ("loss", "nll", "grad_norm"):
        np.testing.assert_allclose(values(metrics, key), values(wanted, key), rtol=1e-5)
    kernel = state.trainable["params/encoder/layers/mlp/wo/kernel"]
    split = MESHES[mesh].fsdp * MESHES[mesh].tensor
    arrays = [kernel]
    if name == "muon":
        arrays.append(state.optimizer["params/encoder/layers/mlp/wo/kernel"]["0_mu"])
    for array in arrays:
        assert {s.data.size for s in array.addressable_shards} == {kernel.size // split}


@pytest.mark.slow
def test_chunked_loss_on_eight_devices():
    loss = LossConfig(chunk_bytes=4 * 40 * 3)
    _, metrics = train(make_spec(ENCODER, MESHES["mixed"], loss=loss))
    np.testing.assert_allclose(values(metrics, "loss"), values(alone()[1], "loss"), rtol=1e-5)


@pytest.fixture(scope="module")
def once():
    """Two steps that drop out, on one device and all at once."""
    return train(make_spec(DROPPING, optimizer=SGD), 2)


def test_accumulation_changes_nothing(once):
    four = train(make_spec(DROPPING, optimizer=SGD, accumulate=4), 2)
    for key in ("loss", "nll", "accuracy", "grad_norm", "target_tokens"):
        np.testing.assert_allclose(values(four[1], key), values(once[1], key), rtol=1e-5)
    for name, value in once[0].trainable.items():
        bound = 1e-5 * float(np.abs(value).max())
        np.testing.assert_allclose(four[0].trainable[name], value, atol=bound, rtol=0, err_msg=name)


def test_so_many_rows_a_device_are_as_many_parts():
    def lowered(**changes):
        program = build(make_spec(ENCODER, optimizer=SGD, **changes))
        state, batch = abstract_state(program), place_batch(program, MASKED)
        with mesh_context(program.spec.mesh, program.spec.rules):
            text = program.jitted.lower(
                state.replace(frozen={}), state.frozen, batch, program.complete(hyper())
            )
        return text.as_text()

    bound = lowered(rows_per_device=2)
    assert "tensor<4x2x9xi32>" in bound and bound == lowered(accumulate=4)


@pytest.mark.slow
def test_accumulation_on_a_mesh(once):
    spec = make_spec(DROPPING, MeshConfig(data=2, fsdp=2), optimizer=SGD, accumulate=2)
    np.testing.assert_allclose(
        values(train(spec, 2)[1], "loss"), values(once[1], "loss"), rtol=1e-5
    )


PARTIAL = {"optimizer": ADAMW, "trainable": ("params/encoder/.*",), "frozen": (".*norm.*",)}


def test_frozen_parameters_stay_and_have_no_memory():
    state, _ = train(make_spec(ENCODER, **PARTIAL), 2)
    names = {n for n in FLAT if n.startswith("params/encoder/") and "norm" not in n}
    assert set(state.trainable) == set(state.optimizer["mu"]) == set(state.optimizer["nu"]) == names
    unchanged(state.frozen, {n: v for n, v in FLAT.items() if n not in names})
    assert all(np.any(np.asarray(v) != FLAT[n]) for n, v in state.trainable.items())


@pytest.mark.slow
def test_frozen_parameters_may_be_bfloat16():
    spec = make_spec(ENCODER, trainable=("params/encoder/.*",), frozen_dtype="bfloat16")
    state, metrics = train(spec, 2)
    assert {v.dtype for v in state.frozen.values()} == {jnp.dtype("bfloat16")}
    assert {v.dtype for v in state.trainable.values()} == {jnp.dtype("float32")}
    assert np.all(np.isfinite(values(metrics, "loss")))


@pytest.fixture(scope="module")
def skipping():
    return build(make_spec(ENCODER, optimizer=ADAMW, skip_nonfinite=True))


def poisoned(program):
    weights = MASKED["encoder_loss_weights"].copy()
    weights[2, 1] = np.nan
    return place_batch(program, MASKED | {"encoder_loss_weights": weights})


def test_a_step_that_is_not_finite_is_skipped(skipping):
    state, good = place_state(skipping, FLAT), place_batch(skipping, MASKED)
    state, _ = skipping.train(state, good, hyper())
    before = jax.device_get((state.trainable, state.optimizer))
    state, metrics = skipping.train(state, poisoned(skipping), hyper())
    assert not metrics["ok"] and int(state.step) == 2
    jax.tree.map(
        np.testing.assert_array_equal, jax.device_get((state.trainable, state.optimizer)), before
    )
    state, metrics = skipping.train(state, good, hyper())
    assert metrics["ok"] and np.isfinite(metrics["loss"])
    assert np.any(
        np.asarray(state.trainable["params/mlm_head/kernel"]) != before[0]["params/mlm_head/kernel"]
    )


def test_without_skipping_it_is_reported():
    program = build(make_spec(ENCODER))
    _, metrics = program.train(place_state(program, FLAT), poisoned(program), hyper())
    assert not metrics["ok"] and not np.isfinite(metrics["loss"])


def test_one_compilation_for_all_rates_and_seeds():
    program, state, batch = begun(make_spec(DROPPING, optimizer=SGD))
    again = make_spec(dataclasses.replace(ENCODER, dropout=0.1), optimizer=SGD)
    assert program is build(again)  # equal specs share a program
    losses = []
    for rate, seed in ((0.0, 0), (0.0, 1), (0.0, 2), (0.1, 3)):
        state = state.replace(step=jax.device_put(jnp.int32(0), state.step.sharding))
        state, metrics = program.train(state, batch, hyper(rate, seed))
        losses.append(float(metrics["loss"]))
    assert program.jitted._cache_size() == 1
    assert len(set(losses)) == 4  # the seed is the dropout's


def test_dropout_differs_from_step_to_step():
    program, state, batch = begun(make_spec(DROPPING, optimizer=SGD))
    state, first = program.train(state, batch, hyper(0.0))
    unchanged(state.trainable, random_params(DROPPING))
    assert float(program.train(state, batch, hyper(0.0))[1]["loss"]) != float(first["loss"])


def test_the_state_is_donated_but_not_its_frozen_part():
    program, state, batch = begun(make_spec(ENCODER, **PARTIAL))
    new, _ = program.train(state, batch, hyper())
    assert all(v.is_deleted() for v in state.trainable.values())
    assert not any(v.is_deleted() for v in new.frozen.values())
    assert new.frozen == state.frozen


def test_evaluation_by_row():
    program, flat = build(make_spec(BOTH_DROPPING)), random_params(CONFIG)
    found = jax.device_get(program.evaluate(flat, place_batch(program, BATCH)))
    logits = np.float64(forward(CONFIG, flat, BATCH))  # without dropout
    peak = logits.max(-1, keepdims=True)
    log_z = np.log(np.exp(logits - peak).sum(-1)) + peak[..., 0]
    target = np.take_along_axis(logits, BATCH["decoder_target_tokens"][..., None], -1)[..., 0]
    weights = BATCH["decoder_loss_weights"]
    np.testing.assert_allclose(found["row_nll"], ((log_z - target) * weights).sum(-1), rtol=1e-5)
    right = (logits.argmax(-1) == BATCH["decoder_target_tokens"]) * weights
    np.testing.assert_array_equal(found["row_correct"], right.sum(-1))
    np.testing.assert_array_equal(found["row_weight"], weights.sum(-1))
    np.testing.assert_array_equal(found["language"], BATCH["language"])
    np.testing.assert_array_equal(found["target_bytes"], BATCH["target_bytes"])


def test_an_encoder_alone_trains():
    _, metrics = alone()
    assert np.all(np.diff(values(metrics, "loss")) < 0)


HALF = make_spec(dataclasses.replace(ENCODER, dtype="float16"), optimizer=ADAMW)


def test_float16_halves_its_scale_on_overflow():
    half, state, batch = begun(HALF)
    huge = state.loss_scale.replace(scale=jax.device_put(jnp.float32(2.0**60), state.step.sharding))
    state, metrics = half.train(state.replace(loss_scale=huge), batch, hyper())
    assert not metrics["ok"]
    assert float(metrics["loss_scale"]) == 2.0**60
    assert float(state.loss_scale.scale) == 2.0**59 and int(state.loss_scale.good_steps) == 0
    unchanged(state.trainable, random_params(ENCODER))


def test_float16_trains_as_float32_does():
    half, state, batch = begun(HALF)
    losses = []
    for _ in range(3):
        state, metrics = half.train(state, batch, hyper())
        losses.append(float(metrics["loss"]))
        assert metrics["ok"]
    np.testing.assert_allclose(losses, values(alone("adamw")[1], "loss"), rtol=0.01)
    assert int(state.loss_scale.good_steps) == 3


def test_float16_doubles_its_scale_after_many_good_steps():
    half, state, batch = begun(HALF)
    put = lambda x: jax.device_put(x, state.step.sharding)  # noqa: E731
    nearly = state.loss_scale.replace(good_steps=put(jnp.int32(1999)), scale=put(jnp.float32(64)))
    state, _ = half.train(state.replace(loss_scale=nearly), batch, hyper())
    assert float(state.loss_scale.scale) == 128 and int(state.loss_scale.good_steps) == 0


@pytest.mark.slow
def test_the_training_loss_is_differentiated_forward():
    """Of scanned and recomputed layers with modules, its logits in chunks: along any direction."""
    plugs = (plug(Bottleneck, "lang", key="source", routes=3),)
    model = make_config(encoder_layers=1, decoder_layers=0, plugs=plugs, remat="full")
    spec = make_spec(model, loss=LossConfig(chunk_bytes=4000))
    flat, batch = random_params(model), make_mlm_batch()
    along = {n: np.cos(np.arange(v.size)).reshape(v.shape).astype(v.dtype) for n, v in flat.items()}
    loss = lambda params: objective_of(spec)(params, batch)[0]  # noqa: E731

    @jax.jit
    def every_way(params, changes):
        value, linear = jax.linearize(loss, params)
        forward = jax.jvp(loss, (params,), (changes,))
        again, slopes = jax.value_and_grad(loss)(params)
        backward = sum(jnp.vdot(slopes[n], d) for n, d in changes.items())
        return (value, linear(changes)), forward, (again, backward)

    for found in (ways := every_way(flat, along)):
        np.testing.assert_allclose(found, ways[-1], rtol=1e-4)
