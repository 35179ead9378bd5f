"""States, moments, gradients and interventions of a trained model, beside plain references."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.engine.config import MeshConfig
from jaxlt.engine.decode.config import DecodingConfig
from jaxlt.engine.loop import program_of
from jaxlt.engine.objective import Objective
from jaxlt.errors import UserError
from jaxlt.inference.predictor import Predictor
from jaxlt.inference.states import moments as moments_file
from jaxlt.models.bias import Bias
from jaxlt.models.config import BiLSTMConfig
from jaxlt.models.encoder import model_of
from jaxlt.models.init import unflatten
from jaxlt.models.layers import make_context
from jaxlt.models.stack import Block
from jaxlt.models.tagger import TaggerConfig
from jaxlt.modules.fingerprints import Fingerprint
from jaxlt.modules.interventions import Ablate, MeanShift, Project
from jaxlt.modules.layout import unstack
from jaxlt.modules.lora import LoRA
from jaxlt.modules.site import Method, plug
from tests.conftest import make_batch, make_mlm_batch, random_params
from tests.engine import jobs

pytestmark = pytest.mark.usefixtures("quick_compile")

BATCH = make_batch()
READ = {name: BATCH[name] for name in ("encoder_input_tokens", "language")}
RNG = np.random.default_rng(1)


def opened(model=None, devices=1, config=None, **mesh):
    job = dataclasses.replace(jobs.job(model=model or {}), mesh=MeshConfig(**mesh))
    job = job if config is None else dataclasses.replace(job, model=config)
    program = program_of(job, jax.devices()[:devices])
    flat = random_params(job.model)
    params = {n: jax.device_put(v, program.layout.shardings[n]) for n, v in flat.items()}
    return Predictor(program, params, 0, 0, (), Fingerprint(""))


@pytest.fixture(scope="module")
def trained():
    return opened()


def by_hand(predictor, batch):
    """The encoder's residual stream, block by block: the plain modules, each applied on its own."""
    config, flat = predictor.config, unstack(jax.device_get(predictor.params))
    tokens = batch["encoder_input_tokens"]
    ctx, valid = make_context(batch), jnp.asarray(tokens > 0)
    model = model_of(config).bind(unflatten(predictor.params))
    bias = Bias(query_valid=valid, key_valid=valid)
    bias = bias.replace(table=relative_table(model, tokens.shape[1]))
    states = [flat["params/token_embedder/embedding"][tokens]]
    for i in range(config.encoder_layers):
        start = f"params/encoder/layers_{i}/"
        own = {n.removeprefix(start): v for n, v in flat.items() if n.startswith(start)}
        block = Block(config, "encoder", parent=None)
        x, _ = block.apply({"params": unflatten(own)}, states[-1], i, bias, ctx)
        states.append(np.asarray(x))
    return states


def relative_table(model, width):
    from jaxlt.models.attention import relative_buckets

    cfg = model.config
    table = model.variables["params"]["encoder"]["relpos_bias"]["rel_embedding"]
    far = np.arange(width)[None] - np.arange(width)[:, None]
    return table[:, relative_buckets(far, True, cfg.relpos_buckets, cfg.relpos_max_distance)]


def test_states_are_those_of_the_blocks_one_after_the_other(trained):
    wanted = by_hand(trained, READ)
    found = trained.hidden(READ)  # no fields of a decoder
    assert list(found) == [0, 1, 2]
    for n, x in found.items():
        np.testing.assert_allclose(x, wanted[n], atol=1e-5)
    assert list(trained.hidden(READ, -1)) == [2]
    means = trained.hidden(READ, [1], "mean")[1]
    for row, tokens in enumerate(READ["encoder_input_tokens"]):
        own = wanted[1][row, : (tokens > 0).sum()]
        np.testing.assert_allclose(means[row], own.mean(0), atol=1e-5)


@pytest.mark.slow
def test_the_decoder_words_neurons_and_attention(trained):
    normed = trained.hidden(BATCH, -1, stack="decoder")[2]
    memory = model_of(trained.config).apply(
        unflatten(trained.params), BATCH, make_context(BATCH), method="hidden"
    )
    scale = trained.params["params/decoder/decoder_norm/scale"]
    normed = normed / np.sqrt(np.mean(normed**2, -1, keepdims=True) + trained.config.norm_eps)
    np.testing.assert_allclose(normed * scale, memory.states, atol=1e-5)
    mean = trained.hidden(BATCH, 1, "mean", stack="decoder")[1]
    one, width = trained.hidden(BATCH, 1, stack="decoder")[1], BATCH["decoder_target_tokens"] > 0
    np.testing.assert_allclose(mean[0], one[0][width[0]].mean(0), atol=1e-5)
    first = np.array([[0, 2, -1], [0, 1, 3], [1, 2, 3], [0, -1, -1]], np.int32)
    words = trained.hidden({**READ, "word_first": first}, 2, words=True)[2]
    whole = trained.hidden(READ, 2)[2]
    np.testing.assert_allclose(words[1], whole[1, [0, 1, 3]], atol=1e-6)
    pooled = trained.hidden({**READ, "word_first": first}, 2, "mean", words=True)[2]
    np.testing.assert_allclose(pooled[0], whole[0, [0, 2]].mean(0), atol=1e-6)
    assert trained.hidden(READ, [2], site="mlp_inner")[2].shape == (4, 9, 24)
    weights = trained.hidden(READ, [1], site="attention/weights")[1]
    assert weights.shape == (4, 2, 9, 9)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    assert np.all(weights[..., READ["encoder_input_tokens"][0] == 0][0, :, 0] < 1e-6)


def test_a_bilstm_has_states_too():
    config = BiLSTMConfig(20, 10, 6, 4, 8, units=5, heads=(TaggerConfig("pos", labels=3),))
    predictor = opened(config=config)
    words = np.array([[3, 4, 5], [6, 0, 0]], np.int32)
    batch = {"words": words, "chars": RNG.integers(1, 9, (2, 3, 4)).astype(np.int32)}
    found = predictor.hidden(batch)
    assert {n: x.shape for n, x in found.items()} == {0: (2, 3, 14), 1: (2, 3, 10), 2: (2, 3, 10)}
    model, variables = model_of(config), unflatten(predictor.params)
    last = model.apply(variables, batch, make_context(batch), method="encode")
    np.testing.assert_allclose(found[2], last, atol=1e-6)
    np.testing.assert_allclose(predictor.hidden(batch, 2, "mean")[2][1], last[1, 0], atol=1e-6)
    assert int(predictor.moments([batch], 1)[1].count) == 4
    with pytest.raises(UserError, match=r"'quiet' \(Ablate\) cannot be plugged into a BiLSTM"):
        predictor.with_plugs(plug(Ablate, "quiet"))
    # Gradients of the embedded words, added up by word, are those of their table.
    asked = batch | {"word_labels": np.array([[0, 2, 1], [1, -1, -1]], np.int32)}
    asked |= {"language": np.zeros(2, np.int32), "head": np.zeros(2, np.int32)}
    spec, table = predictor.program.spec, "params/word_embedder/embedding"
    objective = Objective(spec.model, spec.loss, spec.mesh, spec.rules)
    loss = lambda rows: objective({**predictor.params, table: rows}, asked)[0]  # noqa: E731
    wanted = jax.jit(jax.grad(loss))(predictor.params[table])
    found = predictor.gradients(asked)
    by_word = np.zeros_like(wanted)
    np.add.at(by_word, words, found[0][..., : config.word_dim])
    np.testing.assert_allclose(by_word[1:], wanted[1:], rtol=1e-4, atol=1e-6)
    assert found[2].shape == (2, 3, 10) and np.abs(found[2][1, 1:]).max() == 0
    with pytest.raises(UserError, match="states of its encoder alone, not encoder/mlp_inner"):
        predictor.hidden(batch, site="mlp_inner")


@pytest.mark.parametrize("devices", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_moments_are_those_of_the_captured_states(devices, monkeypatch):
    """Also over several calls of the loop, widths of batches, and rows that no mesh divides."""
    monkeypatch.setattr(moments_file, "AT_ONCE", 2)
    predictor = opened(devices=devices)
    batches = [make_batch(rows=3, inputs=i, seed=i) for i in (9, 9, 9, 6)]
    batches = [{"encoder_input_tokens": b["encoder_input_tokens"]} for b in batches]
    sizes = moments_file._add._cache_size()
    found = predictor.moments(iter(batches), [0, 2])
    assert moments_file._add._cache_size() == sizes + 2  # one a width
    for n, m in found.items():
        states = [predictor.hidden(b, n)[n][b["encoder_input_tokens"] > 0] for b in batches]
        x = np.concatenate(states).astype(np.float64)
        assert int(m.count) == len(x)
        np.testing.assert_allclose(m.sum, x.sum(0), rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(m.gram, x.T @ x, rtol=1e-5, atol=1e-3)
        np.testing.assert_allclose(m.covariance, np.cov(x.T, bias=True), rtol=1e-3, atol=1e-4)


def test_only_what_is_asked_for_is_computed(trained):
    """One layer of eight: no array of all layers, and nothing above it."""
    deep = opened({"encoder_layers": 8, "decoder_layers": 0})
    from jaxlt.inference.states import capture

    where = capture.look(deep.config, READ, [2])
    lowered = capture._hidden.lower(
        deep.config,
        where,
        None,
        (),
        dict(deep.params),
        {k: jnp.asarray(v) for k, v in READ.items()},
    )
    text = lowered.compile().as_text()
    assert "f32[8,4,9,16]" not in text and "f32[4,9,16]" in text
    assert lowered.compile().cost_analysis()["flops"] < 3 / 8 * flops_of_all(deep)


def flops_of_all(predictor):
    model, batch = model_of(predictor.config), {k: jnp.asarray(v) for k, v in READ.items()}
    config = dataclasses.replace(predictor.config, scan_layers=False)
    model = model_of(config)

    def forward(params):
        return model.apply(unflatten(unstack(params)), batch, make_context(batch), method="encode")

    return jax.jit(forward).lower(dict(predictor.params)).compile().cost_analysis()["flops"]


@pytest.fixture(scope="module")
def ablated(trained):
    """(the model with five sets of neurons to leave out of each layer, what each set keeps)."""
    keep = np.ones((2, 5, 24), np.float32)
    for slot in range(5):
        keep[:, slot, 3 * slot : 3 * slot + 3] = 0
    quiet = plug(Ablate, "quiet", key="set", routes=5, stacks="encoder")
    return trained.with_plugs(quiet, values={"quiet": {"keep": keep}}), keep


def test_ablated_neurons_are_zeroed_weights_and_slots_are_one_program(trained, ablated):
    edited, keep = ablated
    found = [edited.at("set", slot).score(BATCH)["row_nll"] for slot in range(5)]
    assert edited.program.evaluated._cache_size() == 1
    by_layer = [edited.at("set", 2, layer=n).score(BATCH)["row_nll"] for n in (1, 2)]
    assert edited.program.evaluated._cache_size() == 2  # another field
    name = "params/encoder/layers/mlp/wo/kernel"
    for slot in range(5):
        params = dict(trained.params)
        params[name] = params[name].at[:, 3 * slot : 3 * slot + 3].set(0)
        wanted = dataclasses.replace(trained, params=params).score(BATCH)["row_nll"]
        np.testing.assert_allclose(found[slot], wanted, rtol=1e-5)
        alone = trained.with_plugs(
            plug(Ablate, "quiet", stacks="encoder"), values={"quiet": {"keep": keep[:, slot]}}
        )
        np.testing.assert_allclose(found[slot], alone.score(BATCH)["row_nll"], rtol=1e-5)
    for n, nll in enumerate(by_layer):
        params = dict(trained.params)
        params[name] = params[name].at[n, 6:9].set(0)
        wanted = dataclasses.replace(trained, params=params).score(BATCH)["row_nll"]
        np.testing.assert_allclose(nll, wanted, rtol=1e-5)
    with pytest.raises(UserError, match=r"key 'set'.*5 has no slot"):
        edited.at("set", 5)
    with pytest.raises(UserError, match=r"No plug goes by the key 'sets'.*'set'"):
        edited.at("sets", 0)
    with pytest.raises(UserError, match="cannot work in layer 3 alone"):
        edited.at("set", 0, layer=3)


@pytest.mark.slow
def test_a_set_of_neurons_is_left_out_of_decoding_too(ablated):
    rows = [np.array([5, 6, 1], np.int32), np.array([7, 1], np.int32)]
    loud = ablated[0].at("set", 0).decode_best(rows, 6, decoding=DecodingConfig(6))
    assert len(loud) == 2


def test_projections_by_language_and_layer_are_states_projected_by_hand(trained):
    """Two languages' subspaces x three layers, embeddings among them, in one bank."""
    mean = RNG.normal(size=(2, 16)).astype(np.float32)
    basis = np.linalg.qr(RNG.normal(size=(2, 16, 4)))[0].astype(np.float32)
    sites = ("embed", "block_out")
    onto = plug(Project, "onto", rank=4, key="of", routes=2, sites=sites, stacks="encoder")
    edited = trained.with_plugs(onto, values={"onto": {"mean": mean, "basis": basis}})
    plain = trained.hidden(READ)
    for slot, layer in ((0, 0), (1, 0), (1, 1), (0, 2)):
        found = edited.at("of", slot, layer=layer).hidden(READ)
        v = basis[slot]
        wanted = (plain[layer] - mean[slot]) @ v @ v.T + mean[slot]
        np.testing.assert_allclose(found[layer], wanted, atol=1e-4)
        for n in range(layer):
            np.testing.assert_allclose(found[n], plain[n], atol=1e-5)


@pytest.mark.parametrize("scan", [True, False], ids=["scanned", "unrolled"])
def test_constants_of_each_layer_whatever_way_they_are_run(scan):
    predictor = opened({"scan_layers": scan, "decoder_layers": 0})
    shift = RNG.normal(size=(2, 16)).astype(np.float32)
    edited = predictor.with_plugs(plug(MeanShift, "shift"), values={"shift": {"mean": shift}})
    plain = opened({"scan_layers": scan, "decoder_layers": 0}).hidden(READ, 1)[1]
    np.testing.assert_allclose(edited.hidden(READ, 1)[1], plain + shift[0], atol=1e-5)


def test_new_modules_are_drawn_and_plugs_need_a_site(trained):
    more = trained.with_plugs(plug(LoRA, "lora", sites=["query"]), seed=3)
    new = more.params.keys() - trained.params.keys()
    assert new and all("/lora/" in n for n in new)
    np.testing.assert_allclose(  # LoRA starts as nothing
        more.score(BATCH)["row_nll"], trained.score(BATCH)["row_nll"], rtol=1e-5
    )

    class Negate(Method):
        """No weights."""

        def __call__(self, y, x=None, ids=None):
            return -y

    turned = trained.with_plugs(plug(Negate, "turned", sites=["embed"]))
    np.testing.assert_allclose(turned.hidden(READ, 0)[0], -trained.hidden(READ, 0)[0])
    with pytest.raises(UserError, match=r"'quiet' \(Ablate\) meets no site.*Did you mean 'mlp_in"):
        trained.with_plugs(plug(Ablate, "quiet", sites=["mlp_iner"]))
    with pytest.raises(UserError, match="has no constant 'kep'"):
        trained.with_plugs(plug(Ablate, "quiet"), values={"quiet": {"kep": np.ones(24)}})


@pytest.mark.slow
def test_gradients_are_those_of_what_makes_the_states(trained):
    """The table's gradient is that of the embeddings, a shift's the sum of those of the states."""
    shifted = trained.with_plugs(plug(MeanShift, "shift"))
    fields = {name: jnp.asarray(values) for name, values in BATCH.items()}
    table = "params/token_embedder/embedding"
    shifts = {s: f"modules/{s}/layers/block_out/shift/mean" for s in ("encoder", "decoder")}
    part = {n: shifted.params[n] for n in (table, *shifts.values())}
    spec = shifted.program.spec
    objective = Objective(spec.model, spec.loss, spec.mesh, spec.rules)
    wanted = jax.jit(jax.grad(lambda part: objective({**shifted.params, **part}, fields)[0]))(part)
    by_token = np.zeros_like(wanted[table])
    for stack, read in (("encoder", "encoder_input_tokens"), ("decoder", "decoder_input_tokens")):
        found = trained.gradients(BATCH, [0, 1], stack=stack)
        assert found[1].shape == (*BATCH[read].shape, 16)
        np.testing.assert_allclose(
            found[1].sum((0, 1)), wanted[shifts[stack]][0], rtol=1e-4, atol=1e-5
        )
        np.add.at(by_token, BATCH[read], found[0])
    np.testing.assert_allclose(by_token, wanted[table], rtol=1e-4, atol=1e-5)


def test_gradients_of_labels_and_of_neurons():
    heads = (TaggerConfig("pos", labels=3),)
    predictor = opened({"decoder_layers": 0, "heads": heads})
    first = np.array([[0, 2], [0, 1], [1, 2], [0, -1]], np.int32)
    batch = {**READ, "word_first": first, "word_labels": np.where(first >= 0, 1, -1)}
    grads = predictor.gradients(batch, [1], site="mlp_inner")[1]
    assert grads.shape == (4, 9, 24) and np.abs(grads).max() > 0
    assert np.abs(grads[BATCH["encoder_input_tokens"] == 0]).max() < 1e-6


def test_what_is_not_there_is_told(trained):
    encoder = opened({"decoder_layers": 0})
    for ask, message in (
        (lambda: trained.hidden(READ, 3), r"no layer 3 of 'block_out': its layers are 0, the emb"),
        (lambda: trained.hidden(READ, 0, site="mlp_inner"), "layers are 1 to 2"),
        (lambda: trained.hidden(READ, site="mlp_iner"), "no site 'mlp_iner'.*Did you mean"),
        (lambda: trained.hidden(READ, stack="decodr"), "Did you mean 'decoder'"),
        (lambda: trained.hidden(READ, stack="decoder"), "need what it reads, decoder_input_tokens"),
        (lambda: trained.hidden(BATCH, stack="decoder", site="weights"), "more than one site"),
        (lambda: trained.hidden(READ, 1, "max"), "reduce is one of None, mean"),
        (lambda: trained.hidden(READ, 1, "mean", site="weights"), "cannot be pooled"),
        (lambda: trained.moments([READ], 1, site="weights"), "cannot be summed"),
        (lambda: trained.moments([]), "the corpus is empty"),
        (lambda: encoder.hidden(make_mlm_batch(), stack="decoder"), "an encoder alone"),
    ):
        with pytest.raises(UserError, match=message):
            ask()
