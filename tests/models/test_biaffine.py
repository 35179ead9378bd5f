"""The biaffine parser against plain loops (test_heads: its masks, and that it learns)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.errors import UserError
from jaxlt.models.biaffine import Parse, Parser, ParserConfig, label_scores
from jaxlt.models.head_parts import NEVER
from jaxlt.models.trees import best_trees
from tests.models.head_cases import STILL, names, variables_of

CONFIG = ParserConfig("deps", labels=3, arc_dim=12, label_dim=6)


def loss_of(parse, heads, labels):
    """The loss, and the sums, of a parse."""
    return CONFIG.loss(parse, {"word_heads": heads, "word_labels": labels})


def problem(rows=8, words=6, width=10, seed=0):
    """States of words, lengths, and random trees with labels."""
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(rows, words, width)).astype(np.float32)
    lengths = rng.integers(1, words + 1, rows)
    lengths[0] = words
    heads = best_trees(rng.normal(size=(rows, words + 1, words + 1)), lengths)
    labels = np.where(heads >= 0, rng.integers(0, 3, heads.shape), -1).astype(np.int32)
    return states, np.arange(words) < lengths[:, None], heads, labels


def parser_of(states, mask, dtype=jnp.float32, zero=False):
    model = Parser(CONFIG, dtype)
    variables = variables_of(lambda: model.init(jax.random.key(0), states, mask, STILL))
    if not zero:  # bilinear forms start at zero: give the tests something to see
        for name in ("arc_kernel", "label_kernel"):
            shape = variables["params"][name].shape
            noise = np.random.default_rng(1).normal(size=shape)
            variables["params"][name] = jnp.asarray(noise, jnp.float32)
    return model, variables


def test_parameters():
    states, mask, _, _ = problem()
    _, variables = parser_of(states, mask, zero=True)
    mlps = ("arc_head", "arc_dependent", "label_head", "label_dependent")
    own = {"root", "arc_kernel", "label_kernel"}
    assert names(variables["params"]) == own | {
        f"{m}/{w}" for m in mlps for w in ("kernel", "bias")
    }
    assert variables["params"]["label_kernel"].shape == (7, 3, 7)


def test_scores_against_loops():
    states, mask, heads, _ = problem(rows=3)
    model, variables = parser_of(states, mask)
    parse = jax.jit(lambda v: model.apply(v, states, mask, STILL))(variables)
    p = jax.tree.map(np.float64, variables["params"])

    def mlp(name, x):
        h = x @ p[name]["kernel"] + p[name]["bias"]
        return np.where(h > 0, h, 0.1 * h)

    labels = label_scores(parse, heads)
    assert parse.arcs.shape == (3, 7, 7) and labels.shape == (3, 6, 3)
    for row in range(3):
        real = np.where(mask[row][:, None], states[row], 0)
        nodes = np.concatenate([p["root"][None], real])
        one = lambda x: np.append(x, 1.0)  # noqa: E731
        for d in range(7):
            for h in range(7):
                wanted = one(mlp("arc_dependent", nodes[d])) @ p["arc_kernel"]
                wanted = wanted @ mlp("arc_head", nodes[h])
                there = h != d and (h == 0 or mask[row, h - 1])
                np.testing.assert_allclose(
                    parse.arcs[row, h, d], wanted if there else NEVER, rtol=1e-4, atol=1e-4
                )
        for word in np.nonzero(mask[row])[0]:
            head = one(mlp("label_head", nodes[heads[row, word]]))
            wanted = one(mlp("label_dependent", nodes[word + 1])) @ p["label_kernel"].swapaxes(0, 1)
            np.testing.assert_allclose(labels[row, word], wanted @ head, rtol=1e-4, atol=1e-4)


def test_loss_of_known_scores():
    arcs = np.zeros((1, 4, 4), np.float32)
    mask = np.array([[True, True, True]])
    zeros = jnp.zeros((1, 4, 2)), jnp.zeros((1, 3, 2)), jnp.zeros((3, 5, 3))
    arcs[0, 0, 1], arcs[0, 1, 2] = 50, 50
    parse = Parse(jnp.asarray(arcs), jnp.asarray(mask), *zeros)
    loss, sums = loss_of(parse, np.array([[0, 1, -1]]), np.array([[0, -1, 2]]))
    np.testing.assert_allclose(loss, np.log(5), rtol=1e-5)  # one label among five, no arc in doubt
    assert sums["weight_sum"] == 2 and sums["row_heads_correct"][0] == 2
    loss, sums = loss_of(parse, np.array([[3, 1, -1]]), np.array([[0, 4, 2]]))
    np.testing.assert_allclose(loss, 50 + 2 * np.log(5), rtol=1e-5)
    assert sums["row_heads_correct"][0] == 1 and sums["correct_sum"] == 0


def test_bfloat16_scores_are_float32():
    states, mask, heads, labels = problem()
    model, variables = parser_of(states, mask, dtype=jnp.bfloat16)

    def run(model):
        return jax.jit(lambda v: model.apply(v, states, mask, STILL))(variables)

    parse, plain = run(model), run(Parser(CONFIG))
    assert parse.arcs.dtype == label_scores(parse, heads).dtype == jnp.float32
    allowed = np.asarray(plain.arcs) > NEVER
    np.testing.assert_allclose(
        np.asarray(parse.arcs)[allowed], np.asarray(plain.arcs)[allowed], rtol=0.1, atol=1.0
    )
    assert np.isfinite(loss_of(parse, heads, labels)[0])


def test_bad_settings():
    with pytest.raises(UserError, match=r"ParserConfig\.arc_dim is at least 1"):
        ParserConfig("deps", 3, arc_dim=0)
    with pytest.raises(UserError, match=r"below 1, not 1\.0"):
        ParserConfig("deps", 3, dropout=1.0)
