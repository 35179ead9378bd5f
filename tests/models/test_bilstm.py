"""The BiLSTM against plain loops, its masks, and that it learns with heads on top."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.errors import UserError
from jaxlt.models.biaffine import ParserConfig
from jaxlt.models.bilstm import BiLSTM, CharacterFilters, Lstm, open_gates
from jaxlt.models.config import BiLSTMConfig
from jaxlt.models.heads import Heads
from jaxlt.models.tagger import TaggerConfig
from jaxlt.models.trees import best_trees
from tests.models.head_cases import STILL, fit, live, names, variables_of

pytestmark = pytest.mark.usefixtures("quick_compile")

SMALL = {"word_dim": 8, "char_dim": 6, "char_units": 8, "units": 12, "layers": 2}


def config_of(**changes):
    return BiLSTMConfig(**({"word_rows": 30, "char_rows": 20} | SMALL | changes))


def problem(rows=8, words=6, chars=7, seed=0):
    """A batch of words, their characters, labels and trees; row 0 is full."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(2, words + 1, rows)
    counts[0] = words
    mask = np.arange(words) < counts[:, None]
    spelt = np.arange(chars) < rng.integers(1, chars + 1, (rows, words, 1))
    batch = {
        "words": np.where(mask, rng.integers(1, 30, mask.shape), 0),
        "chars": np.where(mask[..., None] & spelt, rng.integers(1, 20, spelt.shape), 0),
        "word_labels": np.where(mask, rng.integers(0, 3, mask.shape), -1),
        "word_heads": best_trees(rng.normal(size=(rows, words + 1, words + 1)), counts),
    }
    return {name: value.astype(np.int32) for name, value in batch.items()}


def made(config, batch, drawn=False):
    model = BiLSTM(config)
    return model, variables_of(
        lambda: model.init(jax.random.key(0), batch, STILL, method="encode"), drawn=drawn
    )


def plain_lstm(x, kernel, recurrent, bias):
    """x: [T, D] -> states [T, H], one step at a time."""
    sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    memory = shown = np.zeros(len(recurrent))
    out = []
    for step in x:
        write, keep, value, read = np.split(step @ kernel + shown @ recurrent + bias, 4)
        memory = sigmoid(keep) * memory + sigmoid(write) * np.tanh(value)
        shown = sigmoid(read) * np.tanh(memory)
        out.append(shown)
    return np.array(out)


def test_lstm_against_a_loop():
    rng = np.random.default_rng(0)
    x, lengths = rng.normal(size=(3, 5, 4)).astype(np.float32), [5, 2, 0]
    mask = np.arange(5) < np.array(lengths)[:, None]
    model = Lstm(6, jnp.float32)
    variables = variables_of(lambda: model.init(jax.random.key(0), x, mask))
    states, last = jax.jit(model.apply)(variables, x, mask)
    p = variables["params"]
    ahead, back = (
        [np.float64(p[f"{way}_{part}"]) for part in ("input", "recurrent", "bias")]
        for way in ("forward", "backward")
    )
    for row, n in enumerate(lengths):
        wanted = np.zeros((5, 12))
        if n:
            wanted[:n, :6] = plain_lstm(x[row, :n], *ahead)
            wanted[:n, 6:] = plain_lstm(x[row, :n][::-1], *back)[::-1]
        np.testing.assert_allclose(states[row], wanted, atol=1e-5)
        ends = np.concatenate([wanted[n - 1, :6], wanted[0, 6:]]) if n else np.zeros(12)
        np.testing.assert_allclose(last[row], ends, atol=1e-5)


def test_filters_against_a_loop():
    rng = np.random.default_rng(0)
    lengths = [5, 2, 1, 0]
    mask = np.arange(5) < np.array(lengths)[:, None]
    x = np.where(mask[..., None], rng.normal(size=(4, 5, 3)), 0).astype(np.float32)
    model = CharacterFilters(7, jnp.float32)
    variables = variables_of(lambda: model.init(jax.random.key(0), x, mask))
    kernel = np.asarray(variables["params"]["kernel"]).reshape(3, 3, 7)
    found = model.apply(variables, x, mask)
    for row, n in enumerate(lengths):
        wide = np.pad(x[row, :n], ((1, 1), (0, 0)))
        each = [np.einsum("ck,ckf->f", wide[i : i + 3], kernel) for i in range(n)]
        np.testing.assert_allclose(found[row], np.max([*each, np.zeros(7)], axis=0), atol=1e-5)


@pytest.mark.parametrize("chars", ["lstm", "cnn"])
def test_padding_changes_nothing(chars):
    batch, ctx = problem(), live(8)
    model, variables = made(config_of(chars=chars, word_dropout=0.3, layers=1), batch)
    wide = {
        "words": np.pad(batch["words"], ((0, 0), (0, 5))),
        "chars": np.pad(batch["chars"], ((0, 0), (0, 5), (0, 9))),
    }
    encode = jax.jit(lambda b, ctx: model.apply(variables, b, ctx, method="encode"))
    small, large = encode(batch, ctx), encode(wide, ctx)
    assert small.shape == (8, 6, 24)
    np.testing.assert_allclose(small, large[:, :6], atol=1e-6)
    assert not np.asarray(large)[wide["words"] == 0].any()
    turned = {name: value[::-1] for name, value in batch.items()}  # a row's mask is its own
    found = encode(turned, ctx.replace(rows=jnp.arange(8)[::-1]))
    np.testing.assert_allclose(found, np.asarray(small)[::-1], atol=1e-6)
    other = encode(batch, ctx.replace(rows=jnp.arange(8) + 8))
    assert np.abs(np.asarray(other) - np.asarray(small)).max() > 0.01


def test_parameters():
    batch = problem()
    flat = names(made(config_of(), batch)[1]["params"])
    lstm = {f"{way}_{p}" for way in ("forward", "backward") for p in ("input", "recurrent", "bias")}
    assert flat == {"word_embedder/embedding", "char_embedder/embedding"} | {
        f"{place}/{part}" for place in ("char_lstm", "lstm_0", "lstm_1") for part in lstm
    }
    words = names(made(config_of(char_rows=0), batch)[1]["params"])
    assert not [n for n in words if n.startswith("char")]
    chars = names(made(config_of(word_rows=0, chars="cnn"), batch)[1]["params"])
    assert not [n for n in chars if n.startswith("word")] and "char_filters/kernel" in chars
    drawn = made(config_of(), batch, drawn=True)[1]["params"]
    square = drawn["lstm_0"]["forward_recurrent"]
    np.testing.assert_allclose(square @ square.T, np.eye(12), atol=1e-5)
    assert 0.2 < np.std(drawn["word_embedder"]["embedding"]) < 0.4
    np.testing.assert_array_equal(drawn["lstm_0"]["forward_bias"][12:24], 1)
    np.testing.assert_array_equal(open_gates(None, (8,), jnp.float32), [0, 0, 1, 1, 0, 0, 0, 0])


@pytest.mark.slow
def test_words_of_200_characters():
    batch = problem(rows=2, words=3, chars=200)
    model, variables = made(config_of(), batch)
    grads = jax.jit(
        jax.grad(lambda v: jnp.sum(model.apply(v, batch, STILL, method="encode") ** 2))
    )(variables)
    assert all(np.isfinite(g).all() and np.any(g) for g in jax.tree.leaves(grads))


def test_row_zero_of_a_table_is_not_learned():
    batch = problem()
    model, variables = made(config_of(layers=1), batch)
    square = jax.jit(
        jax.grad(lambda v: jnp.sum(model.apply(v, batch, STILL, method="encode") ** 2))
    )
    grads = square(variables)["params"]
    for table in ("word_embedder", "char_embedder"):
        assert not grads[table]["embedding"][0].any() and grads[table]["embedding"].any()


@pytest.mark.slow
@pytest.mark.parametrize("chars", ["lstm", "cnn"])
def test_it_learns_with_heads_on_top(chars):
    batch = problem()
    config = config_of(chars=chars, dropout=0.0, word_dropout=0.0, dtype="float32")
    model, variables = made(config, batch)
    heads = (
        TaggerConfig("pos", 3, crf=True, dropout=0.0),
        ParserConfig("deps", 3, arc_dim=16, label_dim=8, dropout=0.0),
    )
    top = Heads(heads)
    states = jnp.zeros((8, 6, config.width))
    params = {
        "base": variables["params"],
        "heads": variables_of(lambda: top.init(jax.random.key(0), states, batch, STILL))["params"],
    }

    def loss(params):
        states = model.apply({"params": params["base"]}, batch, STILL, method="encode")
        outputs = top.apply({"params": params["heads"]}, states, batch, STILL)
        both = {head.name: head.loss(outputs[head.name], batch) for head in heads}
        return sum(b[0] for b in both.values()) / 40, {n: b[1] for n, b in both.items()}

    _, (first, _), (last, sums) = fit(loss, params, 120, 0.02)
    assert last < 0.1 * first
    for name in ("pos", "deps"):
        assert sums[name]["correct_sum"] >= 0.97 * sums[name]["weight_sum"], name


def test_bfloat16_follows_float32():
    batch = problem()
    _, variables = made(config_of(layers=1), batch)

    def encode(dtype):
        model = BiLSTM(config_of(dtype=dtype, layers=1))
        return jax.jit(lambda v: model.apply(v, batch, STILL, method="encode"))(variables)

    exact, rough = encode("float32"), encode("bfloat16")
    assert rough.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(rough), exact, atol=0.03)


def test_bad_settings():
    for changes, said in (
        ({"chars": "cn"}, "Did you mean 'cnn'"),
        ({"char_units": 7}, "char_units is even"),
        ({"units": 0}, "units is at least 1"),
        ({"word_dropout": 1.0}, "word_dropout is at least 0"),
        ({"word_rows": 0, "char_rows": 0}, "nothing to read"),
    ):
        with pytest.raises(UserError, match=said):
            config_of(**changes)
