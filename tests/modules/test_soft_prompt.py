"""Soft prompts: they equal rows that begin with those embeddings."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.errors import UserError
from jaxlt.models.encoder import model_of
from jaxlt.models.init import describe
from jaxlt.modules.site import plug
from jaxlt.modules.soft_prompt import SoftPrompt
from tests.conftest import forward, make_batch, make_config, make_mlm_batch, random_params

TOKENS = np.array([7, 30, 12], np.int32)
PLUG = plug(SoftPrompt, "task", length=3)
PROMPT = "modules/encoder_embed/task/prompt"


def in_front(tokens, value=TOKENS):
    return np.concatenate([np.broadcast_to(value, (len(tokens), len(value))), tokens], axis=1)


def both(changes, side="encoder"):
    """A config with a prompt made of real embeddings, its parameters, and the plain config's."""
    prompts = plug(SoftPrompt, "task", length=3, sites=[f"{side}/embed"])
    config = make_config(plugs=(prompts,), **changes)
    flat = random_params(config)
    table = flat["params/token_embedder/embedding"]
    flat[f"modules/{side}_embed/task/prompt"] = table[TOKENS]
    plain = {n: v for n, v in flat.items() if n.startswith("params/")}
    return config, flat, dataclasses.replace(config, plugs=()), plain


def test_k_d_parameters_and_only_before_the_encoder():
    config = make_config(plugs=(PLUG,))
    shapes = {n: leaf.shape for n, leaf in describe(config).items() if "modules" in n}
    assert shapes == {PROMPT: (3, 16)}


def test_equals_tokens_in_front_of_the_input():
    config, flat, plain_config, plain = both({"relpos_per_layer": True})
    batch = make_batch()
    longer = batch | {"encoder_input_tokens": in_front(batch["encoder_input_tokens"])}
    wanted = forward(plain_config, plain, longer)
    np.testing.assert_allclose(forward(config, flat, batch), wanted, atol=1e-5)


@pytest.mark.slow
def test_equals_tokens_in_front_of_the_decoder():
    config, flat, plain_config, plain = both({}, "decoder")
    batch = make_batch()
    longer = batch | {
        "decoder_input_tokens": in_front(batch["decoder_input_tokens"]),
        "decoder_target_tokens": in_front(batch["decoder_target_tokens"]),
    }
    wanted = forward(plain_config, plain, longer)[:, 3:]
    np.testing.assert_allclose(forward(config, flat, batch), wanted, atol=1e-5)


def test_an_encoder_alone_gives_logits_for_the_text_alone():
    config, flat, plain_config, plain = both({"decoder_layers": 0, "positions": "absolute"})
    batch = make_mlm_batch()
    longer = batch | {"encoder_input_tokens": in_front(batch["encoder_input_tokens"])}
    found, wanted = forward(config, flat, batch), forward(plain_config, plain, longer)
    assert found.shape == (4, 9, 40)
    np.testing.assert_allclose(found, wanted[:, 3:], atol=1e-5)


def test_packed_rows_are_refused():
    config = make_config(plugs=(PLUG,))
    tokens = make_batch()["encoder_input_tokens"]
    packed = make_batch() | {"encoder_segment_ids": jnp.ones_like(tokens)}
    with pytest.raises(UserError, match="packed"):
        jax.eval_shape(lambda: model_of(config).init(jax.random.key(0), packed))
