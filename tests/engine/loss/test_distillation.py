"""Distillation: what is followed, by hand; the teacher's place in a run; what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.engine.config import LossConfig
from jaxlt.engine.loop import program_of
from jaxlt.engine.loss.distillation import Distillation, divergence
from jaxlt.engine.step import build, mesh_context, objective_of
from jaxlt.errors import UserError
from jaxlt.inference.predictor import open_predictor
from jaxlt.models.config import BiLSTMConfig
from jaxlt.models.tagger import TaggerConfig
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.site import plug
from tests.conftest import (
    forward,
    make_batch,
    make_config,
    make_mlm_batch,
    make_spec,
    random_params,
)
from tests.engine.jobs import assert_identical, content, logged, run, small_job

pytestmark = pytest.mark.usefixtures("quick_compile")

SMALL = make_config(encoder_layers=1, decoder_layers=0)
START = "losses/distillation/params/"
LARGE = make_config(encoder_layers=2, decoder_layers=0, mlp_dim=40)


def job(steps=3, sizes=None, **distilled):
    given = small_job(steps, every=3, model=sizes)
    auxiliary = (Distillation(0.5, **distilled),) if distilled else ()
    return dataclasses.replace(given, loss=LossConfig(auxiliary=auxiliary))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """The folder of a larger run of an encoder, and its parameters."""
    folder = tmp_path_factory.mktemp("teacher")
    sizes = {"encoder_layers": 2, "mlp_dim": 40}
    state = run(job(1, sizes), folder).state
    return str(folder), {n: np.asarray(v) for n, v in state.trainable.items()}


def divergence_by_hand(ours, theirs, temperature):
    p, q = (x / temperature for x in (np.float64(theirs), np.float64(ours)))
    p, q = (x - np.log(np.exp(x).sum(-1, keepdims=True)) for x in (p, q))
    return temperature**2 * (np.exp(p) * (p - q)).sum(-1)


def test_divergence():
    ours, theirs = np.random.default_rng(0).normal(size=(2, 3, 4, 11)).astype(np.float32)
    found, agree = divergence(jnp.array(ours), jnp.array(theirs), 2.0)
    np.testing.assert_allclose(found, divergence_by_hand(ours, theirs, 2.0), rtol=1e-4)
    np.testing.assert_array_equal(agree, ours.argmax(-1) == theirs.argmax(-1))
    assert np.all(found > 0) and not np.any(divergence(jnp.array(ours), jnp.array(ours), 1.0)[0])


def sums_of(loss, model, params, batch):
    """What the objective tells of the losses beside the main one."""
    spec = make_spec(model, loss=loss)
    objective = objective_of(spec)
    with mesh_context(spec.mesh, spec.rules):
        call = jax.jit(lambda p: objective.gradients(p, {}, batch, (), None, jnp.float32(1)))
        grads, sums = jax.device_get(call(params))
    assert not any(np.any(value) for name, value in grads.items() if name.startswith(START))
    return {n.partition("/")[2]: v for n, v in sums.items() if n.startswith("distillation/")}, grads


def taught(flat):
    return {f"losses/distillation/{name}": value for name, value in flat.items()}


@pytest.mark.slow
def test_logits_are_followed_at_targets():
    """In one piece, and in chunks of the length where logits are made at targets alone."""
    batch, own, theirs = make_mlm_batch(4), random_params(SMALL), random_params(LARGE, seed=1)
    weights = batch["encoder_loss_weights"]
    logits = [forward(*pair, batch) for pair in ((SMALL, own), (LARGE, theirs))]
    wanted = (divergence_by_hand(*logits, 2.0) * weights).sum()
    agree = ((logits[0].argmax(-1) == logits[1].argmax(-1)) * weights).sum()
    one = Distillation(0.5, teacher="t", temperature=2.0, model=LARGE)
    places = {"encoder_target_places": np.tile(np.int32([1, 4, 7]), (4, 1))}
    whole, slopes = sums_of(LossConfig(auxiliary=(one,)), SMALL, own | taught(theirs), batch)
    few = LossConfig(auxiliary=(one,), chunk_bytes=2 * 4 * 4 * 40 * 2)  # logits of two places
    short = sums_of(few, SMALL, own | taught(theirs), batch | places)
    for sums, grads in ((whole, slopes), short):
        np.testing.assert_allclose(sums["sum"], wanted, rtol=1e-4)
        assert sums["agree"] == agree and sums["weight_sum"] == weights.sum()
        for name in own:
            np.testing.assert_allclose(grads[name], slopes[name], rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_states_are_followed_at_tokens():
    """Those of the encoder, of a student with a decoder or with heads."""
    batch, teacher = make_batch(4), dataclasses.replace(LARGE, decoder_layers=1)
    student = make_config(encoder_layers=1, decoder_layers=1)
    theirs = {n: v for n, v in random_params(LARGE, seed=1).items() if "mlm_head" not in n}
    own, there = random_params(student), batch["encoder_input_tokens"] > 0
    states = [
        forward(model, flat, batch, method="encode")
        for model, flat in ((student, own), (LARGE, theirs))
    ]
    wanted = (np.square(states[0] - states[1]).mean(-1) * there).sum()
    one = Distillation(teacher="t", of="states", model=teacher)
    found, _ = sums_of(LossConfig(auxiliary=(one,)), student, own | taught(theirs), batch)
    np.testing.assert_allclose(found["sum"], wanted, rtol=1e-4)
    assert found["weight_sum"] == there.sum()
    tagged = dataclasses.replace(SMALL, heads=(TaggerConfig("tags", labels=4),))
    build(make_spec(tagged, loss=LossConfig(auxiliary=(one,))))


@pytest.mark.slow
def test_a_run_follows_a_run(teacher, tmp_path):
    folder, params = teacher
    given = {"teacher": folder, "model": LARGE}
    whole = run(job(**given), tmp_path / "whole")
    assert whole.state.frozen.keys() == taught(params).keys()
    for name, value in taught(params).items():
        np.testing.assert_array_equal(whole.state.frozen[name], value, err_msg=name)
    assert not any(name.startswith("losses/") for name in whole.state.trainable)
    assert program_of(job(**given)).layout.frozen_model == ()  # to be opened it needs no base
    assert logged(tmp_path / "whole")[-1]["distillation"] > 0
    run(job(2, **given), tmp_path / "parts")
    assert not (tmp_path / "parts" / "base").exists()  # the teacher stays where it is
    assert_identical(content(run(job(**given), tmp_path / "parts")), content(whole))
    predictor = open_predictor(job(), program_of(job(teacher="gone")), tmp_path / "whole")
    assert predictor.params.keys() == whole.state.trainable.keys()
    other = {"teacher": str(tmp_path / "whole"), "model": None}
    with pytest.raises(UserError, match=r"teacher of Distillation\) is not what .* trained on"):
        run(job(4, **other), tmp_path / "parts")


def test_what_is_refused(tmp_path):
    of_states = Distillation(teacher="t", of="states")
    for settings, text in (
        ({}, "Distillation.teacher is not set"),
        ({"teacher": "t", "of": "logit"}, "Did you mean 'logits'"),
        ({"teacher": "t", "temperature": 0.0}, "Distillation.temperature is 0.0"),
    ):
        with pytest.raises(UserError, match=text):
            Distillation(**settings)
    wider = make_config(vocab_rows=50, emb_dim=32, decoder_layers=0)
    tagged = dataclasses.replace(SMALL, heads=(TaggerConfig("tags", labels=4),))
    for model, one, text in (
        (BiLSTMConfig(word_rows=9, char_rows=9), of_states, "this model is a BiLSTM"),
        (tagged, Distillation(teacher="t"), "this model has heads: set Distillation.of"),
        (SMALL, Distillation(teacher="t", model=wider), "vocab_rows is 50 of the teacher and 40"),
        (SMALL, dataclasses.replace(of_states, model=wider), "emb_dim is 32 of the teacher"),
        (SMALL, Distillation(teacher="t", model=make_config()), "same is_encoder"),
    ):
        with pytest.raises(UserError, match=text):
            build(make_spec(model, loss=LossConfig(auxiliary=(one,))))
    with pytest.raises(UserError, match=r"Distillation.teacher: '.*nowhere' is neither a jaxlt"):
        run(job(teacher=str(tmp_path / "nowhere")), tmp_path / "a")


@pytest.mark.slow
def test_a_teacher_of_other_sizes_or_with_modules(teacher, tmp_path):
    with pytest.raises(UserError, match=r"'encoder/layers_0/mlp/w.*but \[.*T5Config.mlp_dim = 40"):
        run(job(teacher=teacher[0]), tmp_path / "a")
    plugs = {"plugs": (plug(Bottleneck, "lang", reduction_factor=2, sites="mlp_out"),)}
    run(job(1, plugs), tmp_path / "plugged")
    with pytest.raises(UserError, match=r"trained modules or deltas .'trainable/modules/"):
        run(job(teacher=str(tmp_path / "plugged")), tmp_path / "b")
