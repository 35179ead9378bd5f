"""Folders that transformers itself wrote: the same arrays, and the same logits."""

import dataclasses
import json

import numpy as np
import pytest

from jaxlt.convert.detect import open_base
from jaxlt.convert.export import write_hf
from jaxlt.convert.hf import open_hf
from jaxlt.convert.hf_names import to_torch

pytestmark = pytest.mark.parity

SIZES = {
    "vocab_size": 80,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 3,
    "num_decoder_layers": 2,
    "num_heads": 3,
}
KINDS = ["mt5", "umt5", "byt5"]


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers")


def build(torch, transformers, kind: str, tied: bool, sizes=SIZES, **changes):
    """A random model whose norms and tables are not at their initial values either."""
    name = {"mt5": "MT5", "umt5": "UMT5", "byt5": "T5", "t5": "T5"}[kind]
    settings = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": tied} | sizes | changes
    torch.manual_seed(3)
    model = getattr(transformers, f"{name}ForConditionalGeneration")(
        getattr(transformers, f"{name}Config")(**settings)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            # In proportion, since T5's logits of attention are unscaled: noise of one size makes
            # the wide model so steep that torch in fp32 is 1% away from itself in fp64.
            size = parameter.std() if parameter.ndim > 1 else 1.0
            parameter.add_(0.05 * size * torch.randn_like(parameter))
        if not tied:  # as the public checkpoints have it, whatever the version makes of the setting
            head = torch.randn_like(model.shared.weight) * sizes["d_model"] ** -0.5
            model.lm_head.weight = torch.nn.Parameter(head)
    # Since version 5 the classes of mT5 and umT5 say 'tied' in every config; the files of the
    # public models do not, and umT5's logits are unscaled there.
    model.config.tie_word_embeddings = tied
    return model.eval()


def check_arrays(source, model) -> None:
    state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    for name in source.shapes:
        target, turned = to_torch(name)
        expected = state[target].float().numpy()
        read = source.read(name).astype(np.float32)
        np.testing.assert_array_equal(read, expected.T if turned else expected, err_msg=name)
    used = {to_torch(name)[0] for name in source.shapes}
    left = set(state) - used - {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"}
    assert left <= {"lm_head.weight"}, "every tensor of the model has a canonical name"


@pytest.mark.parametrize(
    ("kind", "shard"), [("mt5", "5GB"), ("umt5", "5GB"), ("byt5", "5GB"), ("umt5", "20KB")]
)
def test_arrays_of_safetensors(tmp_path, torch, transformers, kind, shard):
    model = build(torch, transformers, kind, tied=False)
    model.save_pretrained(tmp_path, max_shard_size=shard)
    assert (tmp_path / "model.safetensors.index.json").exists() == (shard == "20KB")
    source = open_base(str(tmp_path))
    assert source.settings["relpos_per_layer"] == (kind == "umt5")
    assert not source.settings["tie_logits"]
    check_arrays(source, model)


def test_encoder_alone(tmp_path, torch, transformers):
    model = transformers.MT5EncoderModel(transformers.MT5Config(**SIZES))
    model.save_pretrained(tmp_path)
    source = open_base(str(tmp_path))
    assert source.settings["decoder_layers"] == 0
    check_arrays(source, model)


def logits_of_torch(torch, model, source, target) -> np.ndarray:
    with torch.no_grad():
        out = model(
            input_ids=torch.from_numpy(source).long(),
            attention_mask=torch.from_numpy(source > 0).long(),
            decoder_input_ids=torch.from_numpy(target).long(),
            use_cache=False,
        )
    return out.logits.float().numpy()


def logits_of_jaxlt(base, source, target, **changes) -> np.ndarray:
    from jaxlt.models.config import T5Config
    from jaxlt.models.init import unflatten
    from jaxlt.models.t5 import T5

    config = dataclasses.replace(T5Config(**base.settings), scan_layers=False, **changes)
    params = unflatten({name: base.read(name) for name in base.shapes})
    batch = {"encoder_input_tokens": source, "decoder_input_tokens": target}
    return np.asarray(T5(config).apply({"params": params}, batch))


def texts(rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    source = rng.integers(3, rows, (3, 150)).astype(np.int32)
    source[1, 100:] = 0
    target = rng.integers(3, rows, (3, 20)).astype(np.int32)
    target[:, 0] = 0
    return source, target


def close(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    assert np.max(np.abs(found - expected)) / np.max(np.abs(expected)) < 1e-5


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", [*KINDS, "t5"])
def test_logits(tmp_path, torch, transformers, kind, tied):
    model = build(torch, transformers, kind, tied)
    model.save_pretrained(tmp_path)
    model = type(model).from_pretrained(tmp_path, attn_implementation="eager").eval()
    if kind == "umt5" and not tied:
        model.config.tie_word_embeddings = False  # version 5 sets it on loading, and then scales
    source, target = texts(SIZES["vocab_size"])
    expected = logits_of_torch(torch, model, source, target)
    close(logits_of_jaxlt(open_base(str(tmp_path)), source, target), expected)


@pytest.mark.parametrize("activation", ["relu", "gated-silu", "gelu", "gelu_new"])
def test_logits_with_other_activations(tmp_path, torch, transformers, activation):
    model = build(torch, transformers, "byt5", tied=False, feed_forward_proj=activation)
    model.save_pretrained(tmp_path)
    source, target = texts(SIZES["vocab_size"])
    expected = logits_of_torch(torch, model, source, target)
    close(logits_of_jaxlt(open_base(str(tmp_path)), source, target), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tied", [False, True])
def test_transformers_reads_what_is_exported(tmp_path, torch, transformers, kind, tied):
    model = build(torch, transformers, kind, tied)
    model.save_pretrained(tmp_path / "a")
    base = open_hf(tmp_path / "a")
    write_hf(tmp_path / "b", {n: base.read(n) for n in base.shapes}, base.settings)
    again = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "b").eval()
    source, target = texts(SIZES["vocab_size"])
    if kind == "umt5" and not tied:
        again.config.tie_word_embeddings = False
    expected = logits_of_torch(torch, model, source, target)
    close(logits_of_torch(torch, again, source, target), expected)


@pytest.mark.slow
def test_mt5_small_in_its_true_shape(tmp_path, torch, transformers):
    sizes = {
        "vocab_size": 250112,
        "d_model": 512,
        "d_kv": 64,
        "d_ff": 1024,
        "num_layers": 8,
        "num_decoder_layers": 8,
        "num_heads": 6,
    }
    model = build(torch, transformers, "mt5", tied=False, sizes=sizes)
    model.save_pretrained(tmp_path, max_shard_size="500MB")
    base = open_base(str(tmp_path))
    assert sum(int(np.prod(shape)) for shape in base.shapes.values()) == 300_176_768
    assert json.loads((tmp_path / "config.json").read_text())["vocab_size"] == 250112
    source, target = texts(sizes["vocab_size"])
    source, target = source[:, :40], target[:, :5]
    expected = logits_of_torch(torch, model, source, target)
    del model
    close(logits_of_jaxlt(base, source, target), expected)
