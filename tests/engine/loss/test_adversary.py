"""A language adversary: its classifier, what the network hears of it, and its place in a run."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.engine.checkpoint.checkpoints import Checkpoints
from jaxlt.engine.config import LossConfig
from jaxlt.engine.loop import program_of
from jaxlt.engine.loss.adversary import Adversary
from jaxlt.engine.step import build, mesh_context, objective_of, without_losses
from jaxlt.errors import UserError
from jaxlt.inference.predictor import open_predictor
from jaxlt.models.config import BiLSTMConfig
from jaxlt.models.encoder import model_of
from jaxlt.models.init import unflatten
from jaxlt.models.layers import make_context
from tests.conftest import make_config, make_mlm_batch, make_spec, random_params
from tests.engine.jobs import assert_identical, content, logged, run, small_job

pytestmark = pytest.mark.usefixtures("quick_compile")

MODEL = make_config(encoder_layers=1, decoder_layers=0)
KERNEL, BIAS = "losses/adversary/kernel", "losses/adversary/bias"
NOISE = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
PARAMS = random_params(MODEL)
FLAT = PARAMS | {KERNEL: NOISE, BIAS: np.float32([0.1, 0.0, -0.2])}
OPTIMIZER = {
    "weight_decay": 0.1,
    "weight_decay_exclude": (KERNEL,),
    "rates": (("losses/adversary/.*", 2.0),),
}
BATCH = make_mlm_batch(6)
BATCH["encoder_input_tokens"][5] = 0  # a row without a token has no language to tell


def gradients(reversal, batch=BATCH):
    """What a step descends with an adversary of weight 2."""
    one = Adversary(2.0, languages=3, reversal=reversal)
    spec = make_spec(MODEL, loss=LossConfig(auxiliary=(one,)))
    objective = objective_of(spec)
    with mesh_context(spec.mesh, spec.rules):
        call = jax.jit(lambda p: objective.gradients(p, {}, batch, (), None, jnp.float32(1)))
        return jax.device_get(call(FLAT))


def plain(flat):
    """The mean cross-entropy of a classifier that the network helps; how many rows are right."""
    params = unflatten({n: flat[n] for n in PARAMS})
    states = model_of(MODEL).apply(params, BATCH, make_context(BATCH), method="encode")
    mask = (BATCH["encoder_input_tokens"] > 0)[:5, :, None]
    logits = jnp.sum(states[:5] * mask, 1) / mask.sum(1) @ flat[KERNEL] + flat[BIAS]
    language = BATCH["language"][:5]
    each = -jax.nn.log_softmax(logits)[np.arange(5), language]
    return jnp.mean(each), jnp.sum(logits.argmax(1) == language)


@pytest.mark.slow
def test_the_classifier_descends_and_the_network_ascends():
    (loss, right), slope = jax.jit(jax.value_and_grad(plain, has_aux=True))(FLAT)
    (silent, _), (found, sums) = gradients(0.0), gradients(0.5)
    assert sums["adversary/weight_sum"] == 5 and sums["adversary/correct"] == right
    np.testing.assert_allclose(sums["adversary/sum"] / 5, loss, rtol=1e-5)
    for name, value in found.items():
        wanted = 2.0 * slope[name] if name in (KERNEL, BIAS) else -2.0 * 0.5 * slope[name]
        others = 0.0 if name in (KERNEL, BIAS) else silent[name]
        np.testing.assert_allclose(value, others + wanted, rtol=1e-3, atol=1e-6, err_msg=name)
    assert np.any(slope["params/encoder/layers/mlp/wi_0/kernel"])


def of_job(steps=3, languages=3, **mesh):
    """A run whose backbone is frozen, but for its MLPs: the adversary trains in any case."""
    given = {"trainable": (".*/mlp/.*",), "mesh": mesh, "optimizer": OPTIMIZER}
    loss = LossConfig(auxiliary=(Adversary(languages=languages),))
    return dataclasses.replace(small_job(steps, every=2, **given), loss=loss)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A run of three steps in one go, and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    return run(of_job(), folder), folder


class Crash(Exception):
    """Ends a run."""


class Dying:
    name = "dev"

    def __call__(self, program, params):
        assert params.keys() == PARAMS.keys()  # evaluators hear nothing of the adversary
        raise Crash


@pytest.mark.slow
def test_a_killed_run_goes_on_and_what_is_trained_has_no_adversary(ran, tmp_path):
    whole, folder = ran
    with pytest.raises(Crash):  # after step 3; saved is step 2
        run(of_job(), tmp_path, evaluators=[Dying()])
    assert Checkpoints(tmp_path).steps() == [2]
    assert_identical(content(run(of_job(), tmp_path)), content(whole))
    assert np.any(np.asarray(whole.state.trainable[BIAS])) and KERNEL in whole.state.optimizer["mu"]
    assert logged(folder)[-1]["adversary"] < 2.0
    predictor = open_predictor(of_job(), program_of(of_job()), folder)
    assert predictor.params.keys() == PARAMS.keys()
    assert predictor.trained == whole.program.layout.trained_values == 3 * 16 * 24


@pytest.mark.slow
def test_two_devices_share_it(ran, tmp_path):
    whole, _ = ran
    shared = run(of_job(fsdp=2, data=1), tmp_path, devices=2)
    for kernel in (shared.state.trainable[KERNEL], shared.state.optimizer["mu"][KERNEL]):
        assert kernel.addressable_shards[1].data.shape == (8, 3)
    for name, value in content(whole).items():
        np.testing.assert_allclose(content(shared)[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


def test_what_is_trained_needs_no_name_of_the_adversary_in_its_optimizer():
    leaves = without_losses(program_of(of_job())).layout.leaves
    assert leaves.keys() == PARAMS.keys()


def test_what_is_refused(tmp_path):
    words = BiLSTMConfig(word_rows=9, char_rows=9)
    adversary = LossConfig(auxiliary=(Adversary(languages=3),))
    for settings, text in (
        ({}, "Adversary.languages is at least 2, not 0"),
        ({"languages": 3, "reversal": -1.0}, "Adversary.reversal is at least 0"),
    ):
        with pytest.raises(UserError, match=text):
            Adversary(**settings)
    with pytest.raises(UserError, match="a BiLSTM reads words"):
        build(make_spec(words, loss=adversary))
    with pytest.raises(UserError, match=r"Adversary.languages is 2, .* 3 \(aa, bb, cc\)"):
        run(of_job(languages=2), tmp_path)
    tokens = BATCH["encoder_input_tokens"]
    for changes, text in (
        ({"language": tokens}, "one a token"),
        ({"encoder_segment_ids": tokens}, "packed"),
    ):
        with pytest.raises(UserError, match=text):
            gradients(1.0, BATCH | changes)
