"""Decoding with a cache against loops in Python over whole forward passes."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxlt.engine.config import DEFAULT_RULES
from jaxlt.engine.decode import decoding
from jaxlt.engine.decode.decoding import DecodingConfig, decode, greedy
from jaxlt.engine.partitioning import MeshConfig, make_mesh, place_rows
from jaxlt.engine.step import mesh_context
from jaxlt.errors import UserError
from jaxlt.models.encoder import model_of
from jaxlt.models.init import unflatten
from jaxlt.models.layers import make_context
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.layout import unstack
from jaxlt.modules.lora import LoRA
from jaxlt.modules.nice import Nice
from jaxlt.modules.prefix import Prefix
from jaxlt.modules.site import plug
from jaxlt.modules.soft_prompt import SoftPrompt
from tests.conftest import make_batch, make_config, random_params
from tests.engine.plain_decoding import (
    log_p_of,
    plain_beam,
    plain_greedy,
    rows_of,
    stepped_logits,
)

pytestmark = pytest.mark.usefixtures("quick_compile")

ROUTED = {"key": "source", "routes": 3}
PLUGS = (
    plug(Bottleneck, "lang", reduction_factor=4, **ROUTED),
    plug(Prefix, "prefix", length=2, **ROUTED),
    plug(SoftPrompt, "prompt", length=3, stacks=("encoder", "decoder"), **ROUTED),
    plug(Nice, "nice", **ROUTED),
    plug(LoRA, "lora", sites=("key", "value", "out", "kernel")[:3], layers=(-1,), **ROUTED),
)
CONFIG = make_config(plugs=PLUGS, encoder_layers=1, decoder_layers=1)
LENGTH = 8


def ending(params):
    """The same with an end of sequence that is sometimes the best."""
    kernel = "params/decoder/logits_dense/kernel"
    out = params | {kernel: params[kernel].copy()}
    out[kernel][:, 1] *= 2.5
    return out


@pytest.fixture(scope="module")
def params():
    return ending(random_params(CONFIG))


@pytest.fixture(scope="module")
def inputs():
    batch = make_batch(6)
    return {n: batch[n] for n in ("encoder_input_tokens", "language")}


@pytest.fixture(scope="module")
def found(params, inputs):
    return greedy(CONFIG, params, inputs, LENGTH)


def test_greedy_equals_the_loop(params, inputs, found):
    np.testing.assert_array_equal(found, plain_greedy(CONFIG, params, inputs, LENGTH))
    ends = (found == 1).any(-1)
    assert ends.any() and not ends.all()
    assert found.dtype == np.int32


def test_rows_do_not_meet(params, inputs, found):
    order = np.array([3, 1, 5, 0, 2, 4])
    shuffled = {n: v[order] for n, v in inputs.items()}
    np.testing.assert_array_equal(greedy(CONFIG, params, shuffled, LENGTH), found[order])


VARIANTS = {
    "absolute": {"positions": "absolute", "max_positions": 16, "plugs": PLUGS},
    "per_layer": {"relpos_per_layer": True, "logit_scale": 0.3},
    "tied": {"tie_logits": True},
    "post_norm": {"norm_place": "post", "norm": "layer", "bias": True},
}


# Quick ones go layer by layer in test_greedy_equals_the_loop.
@pytest.mark.parametrize(
    "changes, unrolls",
    [
        ({"plugs": PLUGS}, (False,)),
        pytest.param({"plugs": PLUGS}, (True,), marks=pytest.mark.slow),
        *(pytest.param(one, (False, True), marks=pytest.mark.slow) for one in VARIANTS.values()),
    ],
    ids=["relative", "relative, layer by layer", *VARIANTS],
)
def test_steps_equal_teacher_forcing(changes, unrolls):
    config, batch = make_config(**changes), make_batch(targets=4)
    del batch["decoder_target_tokens"]
    params = random_params(config)
    apply = jax.jit(model_of(config).apply)
    wanted = np.asarray(apply(unflatten(params), batch, make_context(batch)))
    close = lambda values: np.testing.assert_allclose(  # noqa: E731
        values, wanted, atol=1e-5 * np.abs(wanted).max(), rtol=0
    )
    for unroll in unrolls:
        close(stepped_logits(config, params, batch, unroll))


@pytest.mark.slow
def test_unrolled_steps_equal_scanned_ones():
    config, batch = make_config(plugs=PLUGS), make_batch()
    params = random_params(config)
    wanted = np.asarray(stepped_logits(config, params, batch))
    unrolled = dataclasses.replace(config, scan_layers=False)
    found = stepped_logits(unrolled, unstack(params), batch)
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max(), rtol=0)


@pytest.mark.slow
def test_low_precision_steps_stay_near():
    config, batch = make_config(dtype="bfloat16", plugs=PLUGS[:2]), make_batch()
    del batch["decoder_target_tokens"]
    params = random_params(config)
    wanted = np.asarray(
        jax.jit(model_of(config).apply)(unflatten(params), batch, make_context(batch))
    )
    found = stepped_logits(config, params, batch)
    assert found.dtype == np.float32
    assert np.abs(found - wanted).max() < 0.03 * np.abs(wanted).max()


@pytest.mark.parametrize(
    "alpha", [0.6, *(pytest.param(a, marks=pytest.mark.slow) for a in (0.0, -1.0))]
)
def test_beams_equal_the_loop(params, inputs, alpha):
    decoding = DecodingConfig(LENGTH, method="beam", beams=3, returns=3, length_penalty=alpha)
    tokens, scores = decode(CONFIG, params, inputs, decoding)
    wanted = plain_beam(CONFIG, params, inputs, LENGTH, 3, alpha)
    for row, best in enumerate(wanted):
        assert [t for t, _ in best[:3]] == tokens[row].tolist(), row
        np.testing.assert_allclose(scores[row], [s for _, s in best[:3]], rtol=2e-5)


@pytest.mark.slow
def test_stopping_early_changes_nothing(params, inputs):
    decoding = DecodingConfig(LENGTH, method="beam", beams=3, returns=3)
    one = dataclasses.replace(decoding, returns=1)
    wanted = decode(CONFIG, params, inputs, decoding)
    found = decode(CONFIG, params, inputs, one)
    np.testing.assert_array_equal(found.tokens[:, 0], wanted.tokens[:, 0])


@pytest.mark.slow
def test_one_beam_is_greedy(params, inputs, found):
    tokens, _ = decode(CONFIG, params, inputs, DecodingConfig(LENGTH, method="beam", beams=1))
    ended = (found == 1).any(-1)  # until one ends, a second best may end earlier
    same = [np.array_equal(t[0], f) or 1 in t[0] for t, f in zip(tokens, found, strict=True)]
    assert all(same) and ended.any()


def test_scores_are_of_what_was_chosen(params, inputs, found):
    tokens, scores = decode(CONFIG, params, inputs, DecodingConfig(LENGTH))
    np.testing.assert_array_equal(tokens[:, 0], found)
    for row, one in enumerate(rows_of(inputs)):
        text = found[row].tolist()
        text = text[: text.index(1) + 1] if 1 in text else text
        log_p = [
            log_p_of(CONFIG, params, one, [text[:i]], LENGTH)[0, token]
            for i, token in enumerate(text)
        ]
        np.testing.assert_allclose(scores[row, 0], sum(log_p), rtol=1e-5)


def test_draws_are_a_rows_own(params, inputs):
    decoding = DecodingConfig(LENGTH, method="sample", returns=3, top_k=20, top_p=0.95, seed=5)
    rows = {"row": np.arange(10, 16, dtype=np.int32)}
    together = decode(CONFIG, params, inputs | rows, decoding)
    order = np.array([4, 1, 1, 0, 5, 2])
    mixed = {n: v[order] for n, v in (inputs | rows).items()}
    np.testing.assert_array_equal(
        decode(CONFIG, params, mixed, decoding).tokens, together.tokens[order]
    )
    assert len({tuple(t) for t in together.tokens.reshape(-1, LENGTH)}) > 12


@pytest.mark.parametrize("method", ["sample", "beam"])
def test_other_numbers_compile_nothing_and_count(params, inputs, method):
    """By the same programs as the tests of draws and of beams."""
    of = {
        "sample": ({"top_k": 20, "top_p": 0.95}, {"seed": 0}, {"temperature": 3.0}, {"top_p": 0.5}),
        "beam": ({"beams": 3}, {"length_penalty": 0.0}, {"length_penalty": -4.0}),
    }
    first, *others = of[method]
    plain = DecodingConfig(
        LENGTH, method=method, returns=3, **({"seed": 5} | first if method == "sample" else first)
    )
    wanted = decode(CONFIG, params, inputs, plain)
    before = decoding._decode._cache_size()
    for changes in others:
        found = decode(CONFIG, params, inputs, dataclasses.replace(plain, **changes))
        assert not np.array_equal(found.scores, wanted.scores), changes
    again = dataclasses.replace(CONFIG, dropout=0.3)
    np.testing.assert_array_equal(decode(again, params, inputs, plain).tokens, wanted.tokens)
    assert decoding._decode._cache_size() == before


@pytest.mark.slow
def test_cold_draws_are_greedy(params, inputs, found):
    cold = DecodingConfig(LENGTH, method="sample", returns=2, temperature=1e-4)
    for n in range(2):
        np.testing.assert_array_equal(decode(CONFIG, params, inputs, cold).tokens[:, n], found)


@pytest.mark.slow
def test_a_mesh_decodes_the_same(params, inputs, found):
    given = {n: np.concatenate([v, v[:2]]) for n, v in inputs.items()}
    config = MeshConfig(data=2, fsdp=2, tensor=2)
    mesh = make_mesh(config, jax.devices())
    beams = DecodingConfig(LENGTH, method="beam", beams=3)
    wanted = decode(CONFIG, params, given, beams)
    batch = place_rows([(0, given)], 8, mesh)
    with mesh_context(mesh, config.rules):
        np.testing.assert_array_equal(greedy(CONFIG, params, batch, LENGTH)[:6], found)
        np.testing.assert_array_equal(decode(CONFIG, params, batch, beams).tokens, wanted.tokens)


def test_what_cannot_be_decoded():
    fields = {"encoder_input_tokens": np.ones((1, 2), np.int32)}
    with pytest.raises(UserError, match="decoder_layers is 0"):
        greedy(make_config(decoder_layers=0), {}, fields, 4)
    with pytest.raises(UserError, match="max_positions = 3"):
        greedy(make_config(positions="absolute", max_positions=3), {}, fields, 4)
    with pytest.raises(UserError, match="too short for 4 forced tokens"):
        forced = {"decoder_prefix_tokens": np.ones((1, 4), np.int32)}
        greedy(make_config(), {}, fields | forced, 4)
    for given, message in (
        ({"method": "beams"}, "Did you mean 'beam'"),
        ({"returns": 2}, "method 'greedy' has 1 to return"),
        ({"method": "beam", "returns": 5}, "raise beams"),
        ({"temperature": 0.0}, "temperature is above 0"),
        ({"top_p": 0.0}, "top_p above 0"),
        ({"length": 0}, "length is at least 1"),
    ):
        with pytest.raises(UserError, match=message):
            DecodingConfig(**given)


@pytest.mark.slow
def test_each_set_of_rules_is_compiled_for():
    """The answers are the same; what was compiled under other rules is not taken again."""
    config = make_config(encoder_layers=1, decoder_layers=1)
    flat, mesh = random_params(config), make_mesh(MeshConfig(), jax.devices()[:2])
    batch = {"encoder_input_tokens": make_batch()["encoder_input_tokens"]}
    whole = tuple((name, None if name == "batch" else axes) for name, axes in DEFAULT_RULES)
    before, found = decoding._decode._cache_size(), []
    for rules in (whole, DEFAULT_RULES, whole):
        with mesh_context(mesh, rules):
            found.append(greedy(config, flat, batch, 4))
    assert decoding._decode._cache_size() == before + 2
    for tokens in found[1:]:
        np.testing.assert_array_equal(tokens, found[0])
