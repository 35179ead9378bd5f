"""Heads over states: shapes, masks, losses, and that each learns eight examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.data.vocabulary.alignment import align, join_words
from jaxlt.data.vocabulary.vocabularies import VocabularyConfig, open_vocabulary
from jaxlt.errors import UserError
from jaxlt.models.biaffine import ParserConfig, label_scores
from jaxlt.models.classifier import Classifier, ClassifierConfig, pool
from jaxlt.models.encoder import Encoder
from jaxlt.models.head import check_heads, find_head
from jaxlt.models.heads import Heads
from jaxlt.models.init import unflatten
from jaxlt.models.layers import make_context
from jaxlt.models.span_extractor import SpanConfig, Spans, best_span
from jaxlt.models.tagger import TaggerConfig, best_tags
from jaxlt.models.trees import best_trees
from tests.conftest import make_config, random_params
from tests.models.head_cases import STILL, fit, names, variables_of

pytestmark = pytest.mark.usefixtures("quick_compile")

HEADS = (
    TaggerConfig("pos", 4),
    TaggerConfig("ner", 5, crf=True),
    ParserConfig("deps", 3, arc_dim=16, label_dim=8),
    ClassifierConfig("topic", 3),
    ClassifierConfig("nli", 3, pair=True, hidden=16, pooling="first"),
    SpanConfig("qa"),
)
BY_NAME = {head.name: head for head in HEADS}


def problem(rows=8, tokens=14, words=6, width=12, seed=0):
    """Random states and a batch with every field; row 0 is full."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(8, tokens + 1, rows)
    lengths[0] = tokens
    counts = rng.integers(2, words + 1, rows)
    first = np.full((rows, words), -1, np.int32)
    for row in range(rows):
        places = rng.choice(lengths[row], counts[row], replace=False)
        first[row, : counts[row]] = np.sort(places)
    at = np.arange(tokens)
    real = at < lengths[:, None]
    split = rng.integers(2, 6, rows)[:, None]
    mask = first >= 0
    heads = best_trees(rng.normal(size=(rows, words + 1, words + 1)), counts)
    span = np.sort(rng.integers(2, 8, (rows, 2)), 1)
    batch = {
        "encoder_input_tokens": np.where(real, rng.integers(3, 40, real.shape), 0),
        "word_first": first,
        "word_labels": np.where(mask, rng.integers(0, 3, mask.shape), -1),
        "word_heads": heads,
        "sentence": np.where(real, np.where(at < split, 1, 2), 0),
        "label": rng.integers(0, 3, rows),
        "context": (real & (at > 1)),
        "span": span,
    }
    batch = {name: value.astype(np.int32) for name, value in batch.items()}
    return rng.normal(size=(rows, tokens, width)).astype(np.float32), batch


def made(heads=HEADS, **sizes):
    """A problem, the heads over it, and their variables."""
    states, batch = problem(**sizes)
    model = Heads(heads)
    return (
        states,
        batch,
        model,
        variables_of(lambda: model.init(jax.random.key(0), states, batch, STILL)),
    )


def still(head):
    """The same head without dropout."""
    return type(head)(**(vars(head) | {"dropout": 0.0}))


def padded(states, batch, more=7, words=3):
    """The same with more padding, of rubbish where nothing may look."""
    wide = np.full((states.shape[0], states.shape[1] + more, states.shape[2]), np.nan, np.float32)
    wide[:, : states.shape[1]] = states
    wide[:, : states.shape[1]][batch["encoder_input_tokens"] == 0] = np.nan
    out = {"label": batch["label"], "span": batch["span"]}
    fill = {"word_first": -1, "word_labels": 2, "word_heads": 1, "encoder_input_tokens": 0}
    for name in set(batch) - set(out):
        width = words if name.startswith("word") else more
        out[name] = np.pad(batch[name], ((0, 0), (0, width)), constant_values=fill.get(name, 1))
    return wide, out


def test_parameters_and_outputs():
    states, batch, model, variables = made()
    params = variables["params"]
    assert {n.split("/")[0] for n in names(params)} == set(BY_NAME)
    assert names(params["ner"]) == {"logits/kernel", "logits/bias", "start", "transitions", "end"}
    assert names(params["topic"]) == {"logits/kernel", "logits/bias"}
    assert params["nli"]["hidden"]["kernel"].shape == (48, 16)
    outputs = jax.jit(lambda v: model.apply(v, states, batch, STILL))(variables)
    assert set(outputs) == set(BY_NAME)
    assert outputs["pos"].logits.shape == (8, 6, 4) and outputs["pos"].chain is None
    assert outputs["ner"].chain.transitions.shape == (5, 5)
    assert outputs["deps"].arcs.shape == (8, 7, 7)
    assert outputs["topic"].shape == outputs["nli"].shape == (8, 3)
    assert outputs["qa"].start.shape == (8, 14)
    alone = jax.jit(lambda v: model.apply(v, states, batch, STILL, only="nli"))(variables)
    assert list(alone) == ["nli"]
    np.testing.assert_allclose(alone["nli"], outputs["nli"], atol=1e-6)


def losses(heads, model, params, states, batch, ctx):
    """({head: loss}, {head: sums}), with gradients by `grads` below."""
    outputs = model.apply({"params": params}, states, batch, ctx)
    found = {head.name: head.loss(outputs[head.name], batch) for head in heads}
    return {n: loss for n, (loss, _) in found.items()}, {n: sums for n, (_, sums) in found.items()}


def test_padding_changes_nothing():
    heads = tuple(map(still, HEADS))
    states, batch, model, variables = made(heads)
    wide, more = padded(states, batch)
    noise = {
        path: jnp.asarray(np.random.default_rng(1).normal(size=value.shape), jnp.float32)
        for path, value in jax.tree_util.tree_leaves_with_path(variables["params"])
    }
    params = jax.tree.unflatten(jax.tree.structure(variables["params"]), list(noise.values()))

    @jax.jit
    def run(params, states, batch):
        def loss(params):
            by_head, sums = losses(heads, model, params, states, batch, STILL)
            return sum(by_head.values()), (by_head, sums)

        return jax.grad(loss, has_aux=True)(params)

    small, large = run(params, states, batch), run(params, wide, more)
    for name, head in BY_NAME.items():
        assert small[1][1][name]["weight_sum"] == head.weights(batch).sum()
        near = 2e-4 if name == "deps" else 1e-4
        for a, b in zip(
            *(jax.tree.leaves((g[name], by[name], s[name])) for g, (by, s) in (small, large)),
            strict=True,
        ):
            np.testing.assert_allclose(a, b, rtol=near, atol=near, err_msg=name)


def test_each_learns_eight_examples():
    heads = tuple(map(still, HEADS))
    states, batch, model, variables = made(heads, width=64)

    def loss(params):
        by_head, sums = losses(heads, model, params, states, batch, STILL)
        return sum(by_head[n] / sums[n]["weight_sum"] for n in sums), sums

    params, (_, before), (_, after) = fit(loss, variables["params"], 200, 0.05)
    for name, sums in after.items():
        assert sums["nll_sum"] < 0.3 * before[name]["nll_sum"], name
        assert sums["correct_sum"] >= 0.97 * sums["weight_sum"], name
        assert sums["row_correct"].shape == sums["row_weight"].shape == (8,)
    parse = model.apply({"params": params}, states, batch, STILL, only="deps")["deps"]
    heads_found = best_trees(np.asarray(parse.arcs), (batch["word_first"] >= 0).sum(1))
    np.testing.assert_array_equal(heads_found, batch["word_heads"])


def test_a_chain_learns_what_words_do_not_say():
    """Labels alternate, and the words say nothing: only the chain can know."""
    head = TaggerConfig("t", 2, crf=True, dropout=0.0)
    model, rng = Heads((head,)), np.random.default_rng(0)
    states = np.zeros((8, 7, 4), np.float32)
    labels = (np.arange(7) + rng.integers(0, 2, (8, 1))) % 2
    states[:, 0, 0] = labels[:, 0]  # but the first
    batch = {"words": np.ones((8, 7), np.int32), "word_labels": labels.astype(np.int32)}
    variables = variables_of(lambda: model.init(jax.random.key(0), states, batch, STILL))

    def loss(params):
        tags = model.apply({"params": params}, states, batch, STILL)["t"]
        return head.loss(tags, batch)

    params, _, _ = fit(loss, variables["params"], 100, 0.1)
    tags = jax.jit(lambda p: model.apply({"params": p}, states, batch, STILL)["t"])(params)
    np.testing.assert_array_equal(best_tags(tags), labels)


def test_unknown_labels_weigh_nothing():
    states, batch, model, variables = made()
    outputs = jax.jit(lambda v: model.apply(v, states, batch, STILL))(variables)
    none = batch | {
        "word_labels": np.full_like(batch["word_labels"], -1),
        "word_heads": np.full_like(batch["word_heads"], -1),
        "label": np.full_like(batch["label"], -1),
        "span": batch["span"] - np.array([100, 0]),
    }
    lose = jax.jit(
        lambda b, shares=None: {n: h.loss(outputs[n], b, shares) for n, h in BY_NAME.items()}
    )
    shares = np.linspace(0.5, 2.0, 8, dtype=np.float32)
    of_none, of_batch, of_shares = lose(none), lose(batch), lose(batch, shares)
    for name, head in BY_NAME.items():
        loss, sums = of_none[name]
        assert loss == sums["weight_sum"] == sums["correct_sum"] == 0
        assert not head.weights(none).any()
        whole, sums = of_batch[name]
        assert sums["weight_sum"] > 0
        shared, same = of_shares[name]
        np.testing.assert_allclose(whole, sums["row_nll"].sum(), rtol=1e-5)
        np.testing.assert_allclose(shared, (shares * sums["row_nll"]).sum(), rtol=1e-5)
        np.testing.assert_allclose(same["nll_sum"], sums["nll_sum"], rtol=1e-5)


def test_only_the_own_head_has_a_gradient():
    states, batch, model, variables = made()
    states = states + 0.1

    def loss(params, states):
        tags = model.apply({"params": params}, states, batch, STILL, only="pos")["pos"]
        return BY_NAME["pos"].loss(tags, batch)[0]

    params, by_state = jax.jit(jax.grad(loss, argnums=(0, 1)))(variables["params"], states)
    for name, tree in params.items():
        assert all(np.any(g) == (name == "pos") for g in jax.tree.leaves(tree)), name
    firsts = np.zeros(states.shape[:2], bool)
    rows, words = np.nonzero(batch["word_first"] >= 0)
    firsts[rows, batch["word_first"][rows, words]] = True
    np.testing.assert_array_equal(np.any(np.asarray(by_state) != 0, axis=-1), firsts)


def test_pooling():
    states = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    mask = np.array([[False, True, True, False, True], [False] * 5])
    np.testing.assert_allclose(pool(states, mask, "mean")[0], states[0, mask[0]].mean(0), atol=1e-6)
    np.testing.assert_array_equal(pool(states, mask, "first")[0], states[0, 1])
    assert not pool(states, mask, "mean")[1].any() and not pool(states, mask, "first")[1].any()
    many = jnp.full((1, 2000, 1), 1.0, jnp.bfloat16)
    assert pool(many, jnp.ones((1, 2000), bool), "mean") == 1.0


def test_a_pair_may_be_two_texts_side_by_side():
    config = ClassifierConfig("nli", 3, pair=True)
    states = np.random.default_rng(0).normal(size=(4, 9, 6)).astype(np.float32)
    sentences = np.tile([1, 1, 1, 0, 2, 2, 2, 2, 0], (4, 1))
    model = Classifier(config)
    variables = variables_of(lambda: model.init(jax.random.key(0), states, sentences, STILL))
    logits = model.apply(variables, states, sentences, STILL)
    order = [4, 5, 6, 7, 8, 0, 1, 2, 3]
    moved = model.apply(variables, states[:, order], sentences[:, order], STILL)
    np.testing.assert_allclose(moved, logits, atol=1e-5)
    loss, sums = BY_NAME["topic"].loss(logits, {"label": np.array([0, 1, -1, 2])})
    assert loss > 0 and sums["weight_sum"] == 3


@pytest.mark.parametrize("max_length", [1, 3, 50])
def test_best_span(max_length):
    rng = np.random.default_rng(0)
    start, end = rng.normal(size=(2, 20, 9)).astype(np.float32)
    start[:, :2] = end[:, :2] = start[:, 8:] = end[:, 8:] = -1e9
    found, scores = best_span(Spans(jnp.asarray(start), jnp.asarray(end)), max_length)
    for row in range(20):
        wanted = max(
            start[row, i] + end[row, j] for i in range(9) for j in range(i, min(9, i + max_length))
        )
        i, j = (int(x) for x in found[row])
        assert 2 <= i <= j < 8 and j - i < max_length
        np.testing.assert_allclose([scores[row], start[row, i] + end[row, j]], wanted, rtol=1e-6)
    with pytest.raises(UserError, match="at least 1 token"):
        best_span(Spans(start, end), 0)


def test_a_span_is_right_where_both_ends_are():
    logits = jnp.asarray(np.eye(5, dtype=np.float32)[[1, 2, 3]] * 50)
    gold = np.array([[1, 1], [2, 3], [3, -1]])
    loss, sums = BY_NAME["qa"].loss(Spans(logits, logits), {"span": gold})
    np.testing.assert_allclose(loss, 25, rtol=1e-5)
    np.testing.assert_array_equal(sums["row_correct"], [1, 0, 0])
    assert sums["weight_sum"] == 2


@pytest.mark.slow
def test_over_an_encoder_of_bytes_with_words_of_200_bytes():
    """Gradients reach the backbone; each word is read at its first byte."""
    words = [["a", "ж" * 100, "b"], ["ab" * 100, "."]]
    vocabulary = open_vocabulary(VocabularyConfig())
    aligned = [align(vocabulary, *join_words(sentence)) for sentence in words]
    longest = max(len(a.ids) for a in aligned)
    tokens, first = np.zeros((2, longest), np.int32), np.full((2, 3), -1, np.int32)
    for row, a in enumerate(aligned):
        tokens[row, : len(a.ids)], first[row, : len(a.first)] = a.ids, a.first
    np.testing.assert_array_equal(first, [[0, 2, 203], [0, 201, -1]])
    labels = np.array([[0, 1, 0], [1, 2, -1]], np.int32)
    config = make_config(vocab_rows=260, decoder_layers=0)
    heads = (TaggerConfig("pos", 3), ParserConfig("deps", 3, arc_dim=8, label_dim=4))
    batch = {"encoder_input_tokens": tokens, "word_first": first, "word_labels": labels}
    batch["word_heads"] = np.array([[2, 0, 2], [0, 1, -1]], np.int32)
    encoder, model, ctx = Encoder(config), Heads(heads), make_context(batch)
    states = np.zeros((2, longest, 16), np.float32)
    head_params = variables_of(lambda: model.init(jax.random.key(0), states, batch, ctx))["params"]
    backbone = unflatten(random_params(config))["params"]

    @jax.jit
    @jax.value_and_grad
    def loss(params):
        states = encoder.apply({"params": params["backbone"]}, batch, ctx, method="encode")
        outputs = model.apply({"params": params["heads"]}, states, batch, ctx)
        return sum(head.loss(outputs[head.name], batch)[0] for head in heads)

    params = {"backbone": backbone, "heads": head_params}
    before, grads = loss(params)
    assert np.any(grads["backbone"]["token_embedder"]["embedding"])
    for _ in range(40):
        params = jax.tree.map(lambda p, g: p - 0.05 * jnp.clip(g, -1, 1), params, grads)
        after, grads = loss(params)
    assert after < 0.7 * before
    states = encoder.apply({"params": params["backbone"]}, batch, ctx, method="encode")
    parse = model.apply({"params": params["heads"]}, states, batch, ctx, only="deps")["deps"]
    found = best_trees(np.asarray(parse.arcs), (first >= 0).sum(1))
    assert label_scores(parse, found).shape == (2, 3, 3)


def test_bad_settings():
    with pytest.raises(UserError, match="Did you mean 'mean'"):
        ClassifierConfig("c", 2, pooling="meen")
    with pytest.raises(UserError, match=r"TaggerConfig\.labels is at least 1"):
        TaggerConfig("t", 0)
    with pytest.raises(UserError, match=r"SpanConfig\.dropout"):
        SpanConfig("s", dropout=1.0)
    with pytest.raises(UserError, match="0 or more"):
        ClassifierConfig("c", 2, hidden=-1)
    with pytest.raises(UserError, match=r"no head 'poss'.*Did you mean 'pos'"):
        find_head(HEADS, "poss")
    with pytest.raises(UserError, match="share a name"):
        check_heads((HEADS[0], HEADS[0]), "T5Config")
    assert find_head(HEADS, "qa") is HEADS[-1] and find_head(HEADS, None) is None
