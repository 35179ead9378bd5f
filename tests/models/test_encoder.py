"""The stack as an encoder alone: masked language modelling, halves of models, BERT shapes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.models.encoder import Encoder, model_of, target_fields
from jaxlt.models.init import describe, unflatten
from jaxlt.models.layers import make_context
from jaxlt.models.t5 import T5
from tests.conftest import (
    make_batch,
    make_config,
    make_mlm_batch,
    random_params,
    random_variables,
)

BATCH = make_mlm_batch()
BERT = {
    "decoder_layers": 0,
    "norm": "layer",
    "norm_place": "post",
    "norm_eps": 1e-12,
    "bias": True,
    "positions": "absolute",
    "max_positions": 16,
    "logit_scale": 8**-0.5,
    "tie_logits": True,
    "mlp_activations": ("gelu_exact",),
}


def test_model_of():
    assert isinstance(model_of(make_config()), T5)
    assert isinstance(model_of(make_config(decoder_layers=0)), Encoder)
    assert target_fields(make_config())[0] == "decoder_target_tokens"
    assert target_fields(make_config(decoder_layers=0))[1] == "encoder_loss_weights"


def test_its_parameters_are_half_of_the_whole_and_a_head():
    whole, half = describe(make_config()), describe(make_config(decoder_layers=0))
    own = set(half) - set(whole)
    assert own == {"params/mlm_head/kernel"}
    assert all(half[n].shape == whole[n].shape for n in set(half) & set(whole))
    assert {n for n in whole if not n.startswith("params/decoder/")} == set(half) - own


def test_it_encodes_as_the_whole_does():
    whole, batch = random_variables(make_config()), make_batch()
    ctx = make_context(batch)

    def encode(config, variables):
        model = model_of(config)
        return jax.jit(lambda v: model.apply(v, batch, ctx, method="encode"))(variables)

    wanted = encode(make_config(), whole)
    params = {n: v for n, v in whole["params"].items() if n != "decoder"}
    params["mlm_head"] = {"kernel": jnp.zeros((16, 40))}
    config = make_config(decoder_layers=0)
    np.testing.assert_array_equal(encode(config, {"params": params}), wanted)


@pytest.mark.parametrize("changes", [{"decoder_layers": 0}, BERT], ids=["t5", "bert"])
def test_masked_language_modelling_learns(changes):
    config = make_config(**changes)
    flat = random_params(config)
    tokens, weights = BATCH["encoder_target_tokens"], BATCH["encoder_loss_weights"]
    model, ctx = model_of(config), make_context(BATCH)

    @jax.jit
    @jax.value_and_grad
    def loss(flat):
        logits = model.apply(unflatten(flat), BATCH, ctx)
        assert logits.shape == (*tokens.shape, 40) and logits.dtype == jnp.float32
        nll = -jnp.take_along_axis(jax.nn.log_softmax(logits), tokens[..., None], -1)[..., 0]
        return jnp.sum(nll * weights) / weights.sum()

    first, grads = loss(flat)
    for name, grad in grads.items():
        assert np.all(np.isfinite(grad)), name
        if not name.endswith("key/bias"):  # a key's bias moves all logits of a query alike
            assert np.any(np.abs(grad) > 0), name
    for _ in range(20):
        grads = jax.device_get(loss(flat)[1])
        flat = {n: v - 0.1 * np.clip(grads[n], -1, 1) for n, v in flat.items()}
    assert loss(flat)[0] < 0.9 * first


def test_bert_has_its_norms_where_bert_has_them():
    names = set(describe(make_config(**BERT)))
    assert "params/encoder/embedding_norm/bias" in names
    assert "params/encoder/positions/embedding" in names
    assert "params/encoder/layers/attention/query/bias" in names
    assert "params/encoder/layers/mlp/wi/kernel" in names
    assert not [n for n in names if "encoder_norm" in n or "relpos" in n or "head" in n]


def test_bert_layer_is_normalised_last():
    """After a norm with scale 1 and bias 0, every position has mean 0 and variance 1."""
    config = make_config(**BERT)
    flat = random_params(config)
    flat = {n: np.ones_like(v) if n.endswith("scale") else v for n, v in flat.items()}
    flat = {n: np.zeros_like(v) if n.endswith("norm/bias") else v for n, v in flat.items()}
    model, ctx = model_of(config), make_context(BATCH)
    states = jax.jit(lambda v: model.apply(v, BATCH, ctx, method="encode"))(unflatten(flat))
    np.testing.assert_allclose(np.mean(states, -1), 0, atol=1e-5)
    np.testing.assert_allclose(np.var(states, -1), 1, atol=1e-4)
