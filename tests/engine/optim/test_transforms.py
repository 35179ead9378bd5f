"""Transforms of gradients: surgery against its plain form, masks, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.config import load
from jaxlt.engine.config import LossConfig, MeshConfig, OptimizerConfig, TrainConfig
from jaxlt.engine.loop import transforms_of
from jaxlt.engine.open import Parts
from jaxlt.engine.optim.transforms import ChildTuning, PCGrad, VocabularyRows
from jaxlt.engine.step import build, mesh_context, objective_of
from jaxlt.errors import UserError
from tests.conftest import (
    forward,
    hyper,
    make_config,
    make_mlm_batch,
    make_spec,
    place_batch,
    place_state,
    random_params,
)

pytestmark = pytest.mark.usefixtures("quick_compile")

MODEL = make_config(decoder_layers=0)
SGD = OptimizerConfig("sgd", momentum=0.0)
BATCH = make_mlm_batch(8) | {"language": np.int32([0, 1, 1, 2, 4, 4, 0, 5])}


def plain_surgery(grads, key):
    """PCGrad as its paper writes it: grads [K, N] -> [N]."""
    total = np.zeros(grads.shape[1])
    for own, each in enumerate(jax.random.split(key, len(grads))):
        changed = grads[own].copy()
        for other in np.asarray(jax.random.permutation(each, len(grads))):
            along = changed @ grads[other]
            if other != own and along < 0:
                changed -= along / (grads[other] @ grads[other]) * grads[other]
        total += changed
    return total


def test_surgery_is_that_of_the_paper():
    surgery = jax.jit(lambda grads, key: PCGrad()(grads, key, {}))
    for seed in range(5):
        grads = np.random.default_rng(seed).normal(size=(4, 6))
        key = jax.random.key(seed)
        given = {"a": jnp.float32(grads[:, :2]).reshape(4, 2, 1), "b": jnp.float32(grads[:, 2:])}
        found = surgery(given, key)
        flat = np.concatenate([np.ravel(found["a"]), found["b"]])
        np.testing.assert_allclose(flat, plain_surgery(grads, key), atol=1e-5)
        assert found["a"].shape == (2, 1)
    apart = {"a": jnp.eye(4).at[3].set(0.0)}  # at odds are none, and one language has no row
    np.testing.assert_array_equal(PCGrad()(apart, jax.random.key(0), {})["a"], [1, 1, 1, 0])


@pytest.mark.parametrize(
    "normalize, accumulate",
    [("tokens", 2), pytest.param("languages", 1, marks=pytest.mark.slow)],
)
def test_gradients_of_languages_add_up(normalize, accumulate):
    spec = make_spec(MODEL, loss=LossConfig(normalize=normalize), accumulate=accumulate)
    apart = make_spec(MODEL, loss=spec.loss, accumulate=accumulate, transforms=(PCGrad(groups=3),))
    flat, key = random_params(MODEL), jax.random.key(0)

    def grads(spec):
        objective = objective_of(spec)
        with mesh_context(spec.mesh, spec.rules):
            call = jax.jit(lambda p: objective.gradients(p, {}, BATCH, (), key, jnp.float32(1)))
            return call(flat)

    (want, sums), (parts, again) = grads(spec), grads(apart)
    for name, value in want.items():
        assert parts[name].shape == (3, *value.shape)
        np.testing.assert_allclose(parts[name].sum(0), value, rtol=1e-4, atol=1e-6)
    for name, value in sums.items():
        np.testing.assert_allclose(again[name], value, rtol=1e-5, err_msg=name)
    used = "params/token_embedder/embedding"
    only = np.unique(BATCH["encoder_input_tokens"][[0, 6]])  # language 0 is the first group
    assert not np.any(np.delete(parts[used][0], only, axis=0))


def stepped(mesh=None, batch=BATCH, **spec):
    program = build(make_spec(MODEL, mesh, optimizer=SGD, **spec))
    state = place_state(program, random_params(MODEL))
    state, metrics = program.train(state, place_batch(program, batch), hyper(1.0))
    return jax.device_get(state.trainable), jax.device_get(metrics)


@pytest.mark.slow
def test_surgery_is_the_same_on_a_mesh():
    mesh = MeshConfig(data=2, fsdp=2, tensor=2)
    batch = BATCH | {"encoder_target_tokens": BATCH["encoder_target_tokens"].copy()}
    batch |= {"encoder_input_tokens": np.tile(BATCH["encoder_input_tokens"][:1], (8, 1))}
    guess = forward(MODEL, random_params(MODEL), batch).argmax(-1)
    batch["encoder_target_tokens"][:4] = np.where(guess[:4] > 0, guess[:4], 1)  # others want others
    (alone, told), (spread, again) = (
        stepped(where, batch, transforms=(PCGrad(),)) for where in (None, mesh)
    )
    np.testing.assert_allclose(told["grad_norm"], again["grad_norm"], rtol=1e-4)
    for name, value in alone.items():
        np.testing.assert_allclose(spread[name], value, rtol=1e-3, atol=1e-5, err_msg=name)
    plain, _ = stepped(None, batch)
    assert any(np.any(np.abs(plain[n] - v) > 1e-4) for n, v in alone.items())


def test_rows_of_the_vocabulary_move_alone():
    start, name = random_params(MODEL), "params/token_embedder/embedding"
    after, _ = stepped(transforms=(VocabularyRows(10, 20),))
    moved = np.any(after[name] != start[name], axis=1)
    assert moved[10:20].any() and not moved[:10].any() and not moved[20:].any()
    kernel = next(n for n in after if n.endswith("wo/kernel"))
    assert np.any(after[kernel] != start[kernel])


@pytest.mark.parametrize(
    "spec, text",
    [
        ({"transforms": (ChildTuning(), PCGrad())}, "PCGrad in place 2: .* comes first"),
        ({"transforms": (VocabularyRows(90, 40),)}, "no entries of a vocabulary of"),
        (
            {"transforms": (VocabularyRows(1),), "optimizer": OptimizerConfig(weight_decay=0.1)},
            "OptimizerConfig.weight_decay = 0.1 would move",
        ),
        ({"transforms": (VocabularyRows(1),), "trainable": (".*/wo/kernel",)}, "nothing that"),
        ({"transforms": (PCGrad("objectives"),)}, "the run has no other"),
    ],
)
def test_what_a_step_cannot_have(spec, text):
    with pytest.raises(UserError, match=text):
        build(make_spec(MODEL, **spec))


def test_settings_and_the_old_name():
    for bad in (lambda: ChildTuning(0.0), lambda: PCGrad("rows"), lambda: PCGrad(groups=1)):
        with pytest.raises(UserError):
            bad()
    surgery, rows, old = PCGrad(groups=2), VocabularyRows(5), ChildTuning(0.5)
    assert surgery.parts == Parts("languages", 2) and rows.parts is None
    given = TrainConfig(1, child_tuning=0.5, transforms=(surgery, rows))
    assert transforms_of(given) == (surgery, old, rows)
    assert transforms_of(TrainConfig(1, child_tuning=0.5)) == (old,)
    said = ["WORKDIR=w", "TEXT=t", "BATCH_SIZE=4", "VocabularyRows.first=5", "PCGrad.groups=2"]
    listed = "TrainConfig.transforms=[@PCGrad(), @VocabularyRows()]"
    run = load(["models/tiny.gin", "runs/pretrain.gin"], [*said, listed])
    assert run.train.transforms == (surgery, rows)
    with pytest.raises(UserError, match="@PCGrad"):
        load(["models/tiny.gin", "runs/pretrain.gin"], [*said[:3], "TrainConfig.transforms=[3]"])
