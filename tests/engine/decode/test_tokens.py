"""Decoding among some tokens alone."""

import numpy as np
import pytest

from jaxlt.engine.decode.decoding import DecodingConfig, decode, greedy
from jaxlt.engine.decode.tokens import among
from jaxlt.errors import UserError
from tests.conftest import make_batch, make_config, random_params
from tests.engine.plain_decoding import plain_greedy

pytestmark = pytest.mark.usefixtures("quick_compile")

CONFIG, LENGTH = make_config(), 6
SETS = [[5, 9, 11, 30, 31], list(range(20, 29))]


@pytest.fixture(scope="module")
def params():
    return random_params(CONFIG)


@pytest.fixture(scope="module")
def inputs():
    batch = make_batch(6)
    return {n: batch[n] for n in ("encoder_input_tokens", "language")}


def test_rows_have_tokens_of_their_sets_alone(params, inputs):
    which = np.array([0, 1, 1, 0, 1, 0], np.int32)
    fields = inputs | {"label_set": which}
    found = decode(CONFIG, params, fields, DecodingConfig(LENGTH), among(SETS)).tokens[:, 0]
    for s in (0, 1):
        allowed = lambda tokens, s=s: sorted([1, *SETS[s]])  # noqa: E731
        wanted = plain_greedy(CONFIG, params, inputs, LENGTH, allowed=allowed)
        np.testing.assert_array_equal(found[which == s], wanted[which == s])
    decoding = DecodingConfig(LENGTH, method="beam", beams=3, returns=3)
    beams = decode(CONFIG, params, fields, decoding, among(SETS)).tokens
    for s in (0, 1):
        assert set(np.unique(beams[which == s])) <= {0, 1, *SETS[s]}


def test_all_tokens_are_no_constraint(params, inputs):
    every = among([np.arange(1, CONFIG.vocab_rows)])
    found = decode(CONFIG, params, inputs, DecodingConfig(LENGTH), every).tokens[:, 0]
    free = greedy(CONFIG, params, inputs, LENGTH)
    np.testing.assert_array_equal(found, free)


def test_what_cannot_be_a_set():
    for sets, told in (([], "at least one"), ([[]], "has 0 tokens"), ([[0, 4]], "no padding")):
        with pytest.raises(UserError, match=told):
            among(sets)
