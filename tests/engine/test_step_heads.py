"""A training step with heads: alike together and alone, on any mesh, in parts, in any form."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.engine.checkpoint.fingerprint import fingerprint, fingerprint_of
from jaxlt.engine.loss.losses import LossConfig
from jaxlt.engine.optim.optimizers import OptimizerConfig
from jaxlt.engine.partitioning import MeshConfig
from jaxlt.engine.state import base_fingerprint
from jaxlt.engine.step import build, objective_of
from jaxlt.models.encoder import loss_weights
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.layout import unstack
from jaxlt.modules.lora import LoRA
from jaxlt.modules.site import plug
from jaxlt.plan.aot import abstract_batch, compile_train
from tests.conftest import hyper, make_spec, place_batch, place_state
from tests.models.head_batches import (
    ALL,
    CHAINED,
    CLASSIFIER,
    PARSER,
    TAGGER,
    TWO,
    encoder,
    make_rows,
    params_of,
)

pytestmark = pytest.mark.usefixtures("quick_compile")

SGD, ADAM = OptimizerConfig("sgd"), OptimizerConfig("adamw")
TOKENS = LossConfig(normalize="tokens")


def spec_of(model, mesh=None, **changes):
    return make_spec(model, mesh, **({"loss": TOKENS, "optimizer": SGD} | changes))


def train(spec, batch, steps=2, rate=1e-2, flat=None):
    """Returns the last state and the metrics of each step."""
    program = build(spec)
    state, found = place_state(program, params_of(spec.model) if flat is None else flat), []
    placed = place_batch(program, batch)
    for _ in range(steps):
        state, metrics = program.train(state, placed, hyper(rate))
        found.append(jax.device_get(metrics))
    return state, found


def values(metrics, name):
    return np.array([float(m[name]) for m in metrics])


@functools.cache
def graded(heads):
    """(loss, sums), gradient of the summed loss of a model with these heads."""
    spec = spec_of(encoder(heads))
    return jax.jit(jax.value_and_grad(lambda p, b: objective_of(spec)(p, b), has_aux=True))


@pytest.mark.slow
def test_heads_together_are_each_alone_on_its_rows():
    heads = (CHAINED, *ALL[1:])
    batch = make_rows(len(heads) * 4, heads)
    flat = params_of(encoder(heads))
    (loss, sums), grads = graded(heads)(flat, batch)
    total, summed = 0.0, dict.fromkeys(grads, 0.0)
    for place, head in enumerate(heads):
        mine = batch["head"] == place
        rows = {n: v[mine] for n, v in batch.items()} | {"head": np.zeros(mine.sum(), np.int32)}
        own = {n: v for n, v in flat.items() if n in params_of(encoder((head,)))}
        (alone, its), its_grads = graded((head,))(own, rows)
        np.testing.assert_allclose(sums["row_nll"][mine], its["row_nll"], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(sums["row_correct"][mine], its["row_correct"])
        np.testing.assert_array_equal(sums["row_weight"][mine], its["row_weight"])
        total += float(alone)
        summed |= {n: summed[n] + np.asarray(g) for n, g in its_grads.items()}
    assert float(loss) == pytest.approx(total, rel=1e-5)
    for name, grad in grads.items():
        bound = 1e-5 * max(1.0, float(np.abs(grad).max()))
        np.testing.assert_allclose(grad, summed[name], atol=bound, rtol=0, err_msg=name)


def test_rows_that_fill_a_batch_weigh_nothing():
    batch = make_rows(8)
    filled = {n: v.copy() for n, v in batch.items()}
    for name, field in filled.items():
        field[6:] = 0  # as evaluation does
        if name in ("word_labels", "word_heads"):
            batch[name][6:] = -1
    flat = params_of(encoder())
    (loss, sums), grads = graded(TWO)(flat, filled)
    (expected, _), wanted = graded(TWO)(flat, batch)
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)
    assert not np.asarray(sums["row_weight"][6:]).any()
    assert not np.asarray(sums["row_nll"][6:]).any()
    assert not np.asarray(loss_weights(encoder(), filled))[6:].any()
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, wanted[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_head_learns():
    batch = make_rows(16, (CHAINED,))
    spec = spec_of(encoder((CHAINED,)), optimizer=ADAM)
    _, metrics = train(spec, batch, 40, 1e-2)
    assert values(metrics, "loss")[-1] < 0.5 * values(metrics, "loss")[0]
    assert values(metrics, "accuracy")[-1] > 0.7
    assert all(m["ok"] for m in metrics)
    assert metrics[0]["target_tokens"] == np.asarray(loss_weights(spec.model, batch)).sum()


@pytest.mark.slow
def test_all_heads_learn_together():
    batch = make_rows(64, ALL)
    program = build(spec_of(encoder(ALL), optimizer=ADAM))
    state, placed = place_state(program, params_of(encoder(ALL))), place_batch(program, batch)
    scores = []
    for steps in (0, 120):
        for _ in range(steps):
            state, _ = program.train(state, placed, hyper(1e-2))
        rows = jax.device_get(program.evaluate(state.trainable, placed))
        scores.append({n: [v[batch["head"] == i].sum() for i in range(len(ALL))]
                       for n, v in rows.items() if n.startswith("row_")})  # fmt: skip
    before, after = scores
    for head, first, last, right, weight in zip(
        ALL, before["row_nll"], *(after[f"row_{n}"] for n in ("nll", "correct", "weight")),
        strict=True,
    ):  # fmt: skip
        assert last < 0.5 * first, head
        assert head == PARSER or right > 0.7 * weight, head


@pytest.mark.slow
def test_eight_devices_are_as_one():
    heads = (CHAINED, *ALL[1:])  # each with dropout of its own
    model, batch = encoder(heads), make_rows(8, heads)
    _, one = train(spec_of(model), batch, 2)
    _, eight = train(spec_of(model, MeshConfig(data=2, fsdp=2, tensor=2)), batch, 2)
    for key in ("loss", "nll", "grad_norm", "accuracy", "target_tokens"):
        np.testing.assert_allclose(values(eight, key), values(one, key), rtol=2e-5)


@pytest.mark.slow
def test_languages_weigh_alike_whatever_labels_they_have():
    """The gradient of a batch is the sum of each language's own, as in runs of their own."""
    heads = tuple(dataclasses.replace(head, dropout=0.0) for head in (TAGGER, CLASSIFIER))
    batch, flat = make_rows(8, heads), params_of(encoder(heads))
    batch |= {"language": np.array([0, 0, 2, 2, 0, 2, 2, 2], np.int32)}
    loss = LossConfig(normalize="languages")
    state, (found,) = train(spec_of(encoder(heads), loss=loss, accumulate=2), batch, 1, rate=1.0)
    total, moved = 0.0, dict.fromkeys(flat, 0.0)
    for language in (0, 2):
        mine = batch["language"] == language
        rows = {n: np.where(mine.reshape(-1, *(1,) * (v.ndim - 1)), v, 0) for n, v in batch.items()}
        (summed, sums), grads = graded(heads)(flat, rows)
        total += float(summed / sums["weight_sum"])
        moved |= {n: moved[n] + np.asarray(g / sums["weight_sum"]) for n, g in grads.items()}
    assert found["loss"] == pytest.approx(total / 2, rel=1e-5)
    for name, change in moved.items():
        bound = 1e-5 * max(1.0, float(np.abs(flat[name]).max()))
        np.testing.assert_allclose(
            state.trainable[name], flat[name] - change, atol=bound, rtol=0, err_msg=name
        )


@pytest.mark.slow
def test_accumulation_changes_nothing():
    model, batch = encoder(), make_rows(8)  # heads have dropout of their own
    once = train(spec_of(model), batch)
    twice = train(spec_of(model, accumulate=2), batch)
    for key in ("loss", "nll", "accuracy", "grad_norm", "target_tokens"):
        np.testing.assert_allclose(values(twice[1], key), values(once[1], key), rtol=1e-5)
    for name, value in once[0].trainable.items():
        bound = 1e-5 * float(np.abs(value).max())
        np.testing.assert_allclose(
            twice[0].trainable[name], value, atol=bound, rtol=0, err_msg=name
        )


@pytest.mark.slow
def test_spelt_out_layers_are_the_scanned_ones():
    batch, model = make_rows(8), encoder(encoder_layers=2)
    flat = params_of(model)
    _, scanned = train(spec_of(model), batch, 2, flat=flat)
    unrolled = dataclasses.replace(model, scan_layers=False)
    _, spelt = train(spec_of(unrolled), batch, 2, flat=unstack(flat))
    np.testing.assert_allclose(values(spelt, "loss"), values(scanned, "loss"), rtol=1e-5)


@pytest.mark.slow
def test_bfloat16_keeps_scores_and_losses_in_float32():
    batch = make_rows(8)
    _, exact = train(spec_of(encoder()), batch, 1)
    _, rough = train(spec_of(encoder(dtype="bfloat16")), batch, 1)
    assert values(rough, "loss") == pytest.approx(values(exact, "loss"), rel=0.05)
    assert rough[0]["loss"].dtype == np.float32 and rough[0]["ok"]


PLUGS = (
    plug(Bottleneck, "lang", key="source", routes=3, reduction_factor=2),
    plug(LoRA, "task", rank=2, sites=("query", "value")),
)


def test_modules_train_beneath_heads_and_a_frozen_backbone_and_absent_languages_stay():
    model = encoder((TAGGER,), plugs=PLUGS)
    batch = make_rows(8, (TAGGER,)) | {"language": np.array([0, 2] * 4, np.int32)}
    flat = params_of(model)
    spec = spec_of(model, trainable=("heads/.*", "modules/.*"), optimizer=ADAM)
    state, metrics = train(spec, batch, 3)
    assert values(metrics, "loss")[-1] < values(metrics, "loss")[0]
    for name, value in state.trainable.items():
        now, before = np.asarray(value), flat[name]
        if name.startswith("modules/") and "/lang/" in name:
            np.testing.assert_array_equal(now[:, 1], before[:, 1], err_msg=name)
            assert (now[:, [0, 2]] != before[:, [0, 2]]).any(), name
        else:
            assert name.startswith(("heads/", "modules/")) and (now != before).any(), name
    for name, value in state.frozen.items():
        np.testing.assert_array_equal(np.asarray(value), flat[name])
    plain = params_of(dataclasses.replace(model, heads=(), plugs=()))
    assert plain.keys() - state.frozen.keys() == {"params/mlm_head/kernel"}
    assert base_fingerprint(state) == fingerprint_of(plain)
    assert fingerprint_of(plain).whole != fingerprint(plain)


def test_heads_drop_out_where_the_backbone_does_not():
    batch, key = make_rows(8, (CLASSIFIER,)), jax.random.key(3)
    quiet = dataclasses.replace(CLASSIFIER, dropout=0.0)

    def lost(head, key):
        spec = spec_of(encoder((head,)))
        run = jax.jit(lambda p, b, k: objective_of(spec)(p, b, k)[0])
        return float(run(params_of(spec.model), batch, key))

    assert lost(quiet, key) == lost(CLASSIFIER, None) != lost(CLASSIFIER, key)


@pytest.mark.slow
def test_a_step_is_compiled_for_the_fields_of_its_source():
    heads = (TAGGER, CLASSIFIER)
    program, rows = build(spec_of(encoder(heads))), make_rows(8, heads)
    fields = {n: (v.shape[1:], v.dtype) for n, v in rows.items() if n != "language"}
    batch = abstract_batch(program, 8, 9, 0, fields)
    real = place_batch(program, rows)
    assert {n: (s.shape, s.dtype) for n, s in batch.items()} == {
        n: (v.shape, v.dtype) for n, v in real.items()
    }
    assert compile_train(program, batch).memory_analysis().temp_size_in_bytes > 0


def test_an_evaluation_knows_each_rows_weight():
    batch = make_rows(8)
    program = build(spec_of(encoder()))
    state = place_state(program, params_of(encoder()))
    found = jax.device_get(
        program.evaluate({**state.trainable, **state.frozen}, place_batch(program, batch))
    )
    weights = np.asarray(loss_weights(encoder(), batch)).sum(1)
    np.testing.assert_array_equal(found["row_weight"], weights)
    assert (found["row_correct"] <= found["row_weight"]).all() and found["row_nll"].min() > 0
    np.testing.assert_array_equal(found["language"], batch["language"])
    assert jnp.isfinite(found["row_nll"]).all()
