"""Greedy decoding against a loop in Python over whole forward passes."""

import jax
import numpy as np
import pytest

from jaxlt.engine.decoding import greedy
from jaxlt.errors import UserError
from jaxlt.models.encoder import model_of
from jaxlt.models.init import unflatten
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.site import plug
from tests.conftest import make_batch, make_config, random_params

pytestmark = pytest.mark.usefixtures("quick_compile")

PLUGS = (plug(Bottleneck, "lang", key="source", routes=3, reduction_factor=4),)
CONFIG = make_config(plugs=PLUGS)
LENGTH = 8


@pytest.fixture(scope="module")
def params():
    return random_params(CONFIG)


@pytest.fixture(scope="module")
def inputs():
    batch = make_batch(6)
    return {n: batch[n] for n in ("encoder_input_tokens", "language")}


def loop(params, inputs, length):
    """One row at a time, the prefix grown by its best next token, until the end of sequence."""
    apply, variables = jax.jit(model_of(CONFIG).apply), unflatten(params)
    rows = []
    for i in range(len(inputs["language"])):
        one = {n: v[i : i + 1] for n, v in inputs.items()}
        tokens = []
        while len(tokens) < length and 1 not in tokens:
            padded = np.zeros((1, length), np.int32)  # what follows is hidden by causality
            padded[0, 1 : len(tokens) + 1] = tokens
            logits = apply(variables, one | {"decoder_input_tokens": padded})
            tokens.append(int(np.argmax(logits[0, len(tokens)])))
        rows.append(tokens + [0] * (length - len(tokens)))
    return np.array(rows)


def test_greedy_equals_the_loop(params, inputs):
    kernel = "params/decoder/logits_dense/kernel"
    ending = dict(params)
    ending[kernel] = params[kernel].copy()
    ending[kernel][:, 1] *= 2.5  # an end of sequence that is sometimes the best
    found = greedy(CONFIG, ending, inputs, LENGTH)
    np.testing.assert_array_equal(found, loop(ending, inputs, LENGTH))
    ends = (found == 1).any(-1)
    assert ends.any() and not ends.all()
    assert found.dtype == np.int32


def test_rows_do_not_meet(params, inputs):
    together = greedy(CONFIG, params, inputs, LENGTH)
    order = np.array([3, 1, 5, 0, 2, 4])
    shuffled = {n: v[order] for n, v in inputs.items()}
    np.testing.assert_array_equal(greedy(CONFIG, params, shuffled, LENGTH), together[order])


def test_an_encoder_cannot_decode():
    config = make_config(decoder_layers=0)
    with pytest.raises(UserError, match="decoder_layers is 0"):
        greedy(config, {}, {"encoder_input_tokens": np.ones((1, 2), np.int32)}, 4)
