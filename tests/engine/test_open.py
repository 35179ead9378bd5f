"""Losses beside the main one: what they are, how they are weighed, told, added up and refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.config import load
from jaxlt.engine.config import LossConfig
from jaxlt.engine.loss.adversary import Adversary
from jaxlt.engine.loss.alignment import Alignment
from jaxlt.engine.loss.contrastive import Contrastive
from jaxlt.engine.open import Auxiliary
from jaxlt.engine.optim.transforms import PCGrad
from jaxlt.engine.step import build, mesh_context, objective_of
from jaxlt.errors import UserError
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.site import plug
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

MODEL = make_config()
FLAT, KEY, ONE = random_params(MODEL), jax.random.key(0), jnp.float32(1)
PAIRS = make_batch(8) | {
    "language": np.int32([0, 1] * 4),
    "target_language": np.int32([2] * 7 + [1]),
}


@dataclasses.dataclass(frozen=True)
class Smallness(Auxiliary):
    """A user's own: the mean square of the encoder's norm, once a row."""

    def __call__(self, network, params, batch, key):
        rows = jnp.float32(len(batch["language"]))
        size = jnp.mean(jnp.square(params["params/encoder/encoder_norm/scale"]))
        return rows * size, {"weight_sum": rows}


@dataclasses.dataclass(frozen=True)
class Weightless(Auxiliary):
    def __call__(self, network, params, batch, key):
        return jnp.float32(1.0), {"weights_sum": jnp.float32(1.0)}


def vectors(tokens):
    """Sentence vectors by numpy of a plain pass of the encoder."""
    states = forward(MODEL, FLAT, PAIRS | {"encoder_input_tokens": tokens}, method="encode")
    mask = tokens > 0
    mean = np.stack([s[m].mean(0) for s, m in zip(np.asarray(states), mask, strict=True)])
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def gradients(loss, batch=PAIRS, **spec):
    made = make_spec(MODEL, loss=loss, **spec)
    objective = objective_of(made)
    with mesh_context(made.mesh, made.rules):
        call = jax.jit(lambda p: objective.gradients(p, {}, batch, (), KEY, ONE))
        return jax.device_get(call(FLAT))


@pytest.mark.slow
def test_alignment_and_contrastive_are_what_they_say():
    a, b = (vectors(PAIRS[n]) for n in ("encoder_input_tokens", "decoder_target_tokens"))
    pair = PAIRS["language"] != PAIRS["target_language"]
    assert pair.sum() == 7
    spec = make_spec(MODEL, loss=LossConfig(auxiliary=(Alignment(), Contrastive(temperature=0.1))))
    _, metrics = stepped(spec)
    np.testing.assert_allclose(metrics["alignment"], (1 - (a * b).sum(1))[pair].mean(), rtol=1e-4)
    scores = (a @ b.T / 0.1)[pair][:, pair]
    each = [np.log(np.exp(s).sum(1)) - np.diag(s) for s in (scores, scores.T)]
    np.testing.assert_allclose(metrics["contrastive"], np.mean(each), rtol=1e-3)
    right = np.mean([s.argmax(1) == np.arange(7) for s in (scores, scores.T)])
    np.testing.assert_allclose(metrics["contrastive/correct"], right, rtol=1e-5)


def stepped(spec, batch=PAIRS):
    program = build(spec)
    state = place_state(program, FLAT)
    state, metrics = program.train(state, place_batch(program, batch), hyper(1e-2))
    return jax.device_get(state.trainable), jax.device_get(metrics)


@pytest.mark.slow
def test_weights_and_parts():
    plain, sums = gradients(LossConfig())
    both, told = gradients(LossConfig(auxiliary=(Smallness(2.0),)))
    name = "params/encoder/encoder_norm/scale"
    want = plain[name] + 2.0 * 2 * FLAT[name] / FLAT[name].size
    np.testing.assert_allclose(both[name], want, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        both["params/token_embedder/embedding"],
        plain["params/token_embedder/embedding"],
        rtol=1e-4,
        atol=1e-6,
    )
    assert sums["loss_sum"] == pytest.approx(float(told["loss_sum"]))
    two = LossConfig(auxiliary=(Alignment(0.5), Smallness(2.0)))
    whole, told = gradients(two)
    halves, again = gradients(two, accumulate=2)
    parts, _ = gradients(two, transforms=(PCGrad("objectives"),))
    assert told["alignment/weight_sum"] == again["alignment/weight_sum"] == 7
    for leaf, value in whole.items():
        np.testing.assert_allclose(halves[leaf], value, rtol=1e-3, atol=1e-5, err_msg=leaf)
        assert parts[leaf].shape == (3, *value.shape)
        np.testing.assert_allclose(parts[leaf].sum(0), value, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(parts[leaf][0], plain[leaf], rtol=1e-3, atol=1e-5)


def test_weights_are_swept_in_one_compilation():
    """Of losses with parameters of their own too, which lie in one layout."""
    one, two = (
        build(
            make_spec(MODEL, loss=LossConfig(auxiliary=(Smallness(w), Adversary(w, languages=3))))
        )
        for w in (1.0, 3.0)
    )
    assert one.layout is two.layout and "losses/adversary/bias" in one.layout.trainable
    assert one.jitted is two.jitted and one.values != two.values
    assert build(make_spec(MODEL)).jitted is not one.jitted


def test_what_is_refused():
    routed = make_config(plugs=(plug(Bottleneck, "lang", key="source", routes=3),))
    for loss, model, text in (
        (Alignment(), make_config(decoder_layers=0), "Alignment compares .* no decoder"),
        (Contrastive(), routed, "the plug 'lang' has slots by the language"),
    ):
        with pytest.raises(UserError, match=text):
            build(make_spec(model, loss=LossConfig(auxiliary=(loss,))))
    for batch, loss, text in (
        (PAIRS, Weightless(), "Weightless returned no 'weight_sum' .* 'weights_sum'"),
        (make_batch(8), Alignment(), "target_language"),
        (PAIRS | {"encoder_segment_ids": PAIRS["encoder_input_tokens"]}, Alignment(), "packed"),
    ):
        with pytest.raises(UserError, match=text):
            gradients(LossConfig(auxiliary=(loss,)), batch)
    for bad in (
        lambda: Alignment(-1.0),
        lambda: Contrastive(temperature=0.0),
        lambda: LossConfig(auxiliary=(Alignment(), Alignment(2.0))),
    ):
        with pytest.raises(UserError):
            bad()


def test_from_gin():
    said = ["WORKDIR=w", "TEXT=t", "BATCH_SIZE=4", "Alignment.weight=0.5"]
    listed = "LossConfig.auxiliary=[@Alignment(), @Contrastive()]"
    run = load(["models/tiny.gin", "runs/pretrain.gin"], [*said, listed])
    assert run.loss.auxiliary == (Alignment(0.5), Contrastive())
