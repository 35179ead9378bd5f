"""Hugging Face folders: safetensors and flax msgpack, whole, in shards, and damaged."""

import json
import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from flax.serialization import msgpack_serialize

from jaxlt.convert.detect import open_base
from jaxlt.convert.export import write_hf
from jaxlt.convert.hf import open_hf
from jaxlt.convert.hf_names import to_torch
from jaxlt.errors import UserError
from tests.convert.conftest import same

SETTINGS = {
    "vocab_rows": 40,
    "emb_dim": 12,
    "mlp_dim": 20,
    "num_heads": 3,
    "head_dim": 8,
    "encoder_layers": 3,
    "decoder_layers": 2,
    "mlp_activations": ("gelu", "linear"),
    "relpos_buckets": 32,
    "relpos_max_distance": 128,
    "relpos_per_layer": False,
    "tie_logits": False,
    "norm_eps": 1e-6,
}


def write_flax(folder: Path, params: dict[str, np.ndarray], shards: int = 1) -> None:
    """A folder as transformers' Flax models saved it."""
    write_hf(folder, params, SETTINGS)
    (folder / "model.safetensors").unlink()
    flat: dict[str, np.ndarray] = {}
    for name, value in params.items():
        path = to_torch(name)[0].split(".")
        if name.endswith("rel_embedding"):
            path[-1], value = "embedding", value.T
        elif name == "token_embedder/embedding":
            path[-1] = "embedding"
        elif name.endswith("/kernel"):
            path[-1] = "kernel"
        flat["/".join(path)] = value
    names = [f"flax_model-{i + 1:05d}-of-{shards:05d}.msgpack" for i in range(shards)]
    trees: list[dict] = [{} for _ in names]
    places = {}
    for number, (key, value) in enumerate(flat.items()):
        node = trees[number % shards]
        places[key] = names[number % shards]
        for part in key.split("/")[:-1]:
            node = node.setdefault(part, {})
        node[key.split("/")[-1]] = np.ascontiguousarray(value)
    if shards == 1:
        (folder / "flax_model.msgpack").write_bytes(msgpack_serialize(trees[0]))
        return
    for name, tree in zip(names, trees, strict=True):
        (folder / name).write_bytes(msgpack_serialize(tree))
    (folder / "flax_model.msgpack.index.json").write_text(json.dumps({"weight_map": places}))


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
@pytest.mark.parametrize("shard", [2**30, 3000])
def test_safetensors_round_trip(tmp_path, params_of, dtype, shard):
    params = {name: value.astype(dtype) for name, value in params_of().items()}
    write_hf(tmp_path / "m", params, SETTINGS, max_shard_bytes=shard)
    assert (tmp_path / "m" / "model.safetensors.index.json").exists() == (shard == 3000)
    source = open_base(str(tmp_path / "m"))
    assert source.origin == {"path": str(tmp_path / "m"), "format": "hf-safetensors"}
    same(source, params)
    assert source.settings == SETTINGS


@pytest.mark.parametrize("shards", [1, 3])
def test_flax_msgpack(tmp_path, params_of, shards):
    params = params_of()
    write_flax(tmp_path / "m", params, shards)
    source = open_base(str(tmp_path / "m"))
    assert source.origin["format"] == "hf-msgpack"
    same(source, params)


@pytest.mark.parametrize(
    ("layers", "umt5"), [((3, 2), True), ((1, 1), True), ((3, 0), False)], ids=str
)
def test_a_table_a_layer_and_an_encoder_alone(tmp_path, params_of, layers, umt5):
    params = params_of(per_layer=umt5, layers=layers)
    own = {"encoder_layers": layers[0], "decoder_layers": layers[1], "relpos_per_layer": umt5}
    write_hf(tmp_path / "m", params, SETTINGS | own)
    source = open_hf(tmp_path / "m")
    same(source, params)
    assert source.settings == SETTINGS | own


def test_tied_logits_scaled_and_not(tmp_path, params_of):
    params = params_of(tied=True)
    write_hf(tmp_path / "m", params, SETTINGS | {"tie_logits": True})
    same(open_hf(tmp_path / "m"), params)
    assert open_hf(tmp_path / "m").settings["tie_logits"]
    file = tmp_path / "m" / "config.json"
    config = json.loads(file.read_text())
    # mT5 as transformers 5 writes it: tied, and not scaled.
    del config["scale_decoder_outputs"]
    file.write_text(json.dumps(config | {"model_type": "mt5", "transformers_version": "5.0.0"}))
    source = open_hf(tmp_path / "m")
    assert not source.settings["tie_logits"]
    same(source, params | {"decoder/logits_dense/kernel": params["token_embedder/embedding"].T})


def test_an_embedding_stored_twice_is_tied(tmp_path, params_of):
    params = params_of(tied=True)
    logits = params["token_embedder/embedding"].T
    write_hf(
        tmp_path / "m",
        params | {"decoder/logits_dense/kernel": logits},
        SETTINGS | {"tie_logits": True},
    )
    same(open_hf(tmp_path / "m"), params)
    logits = logits + 1
    own = params | {"decoder/logits_dense/kernel": logits}
    write_hf(tmp_path / "n", own, SETTINGS | {"tie_logits": True})
    same(open_hf(tmp_path / "n"), own)
    assert not open_hf(tmp_path / "n").settings["tie_logits"]


def test_export_refuses_what_has_no_place(tmp_path, params_of):
    params = params_of() | {"encoder/layers_0/adapter/down/kernel": np.ones((2, 2), np.float32)}
    with pytest.raises(UserError, match="adapter/down"):
        write_hf(tmp_path / "m", params, SETTINGS)
    with pytest.raises(UserError, match="tanh"):
        write_hf(tmp_path / "n", params_of(), SETTINGS | {"mlp_activations": ("tanh",)})


@pytest.mark.parametrize("kind", ["whole", "shard", "flax"])
def test_truncated_files_are_named(tmp_path, params_of, kind):
    folder = tmp_path / "m"
    if kind == "flax":
        write_flax(folder, params_of())
        file = folder / "flax_model.msgpack"
    else:
        write_hf(folder, params_of(), SETTINGS, max_shard_bytes=2**30 if kind == "whole" else 3000)
        file = sorted(folder.glob("model*.safetensors"))[0]
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(UserError, match=file.name.replace(".", r"\.") + ".*damaged"):
        open_base(str(folder))


def test_missing_shard_and_bad_indexes(tmp_path, params_of):
    folder = tmp_path / "m"
    write_hf(folder, params_of(), SETTINGS, max_shard_bytes=3000)
    index = folder / "model.safetensors.index.json"
    text = index.read_text()
    places = json.loads(text)
    places["weight_map"]["encoder.extra"] = next(iter(places["weight_map"].values()))
    for content, message in (
        ("{", r"index\.json"),
        ("[]", r"index\.json"),
        ('{"weight_map": {"a": "../b"}}', "weight_map"),
        (json.dumps(places), "encoder.extra"),
    ):
        index.write_text(content)
        with pytest.raises(UserError, match=message):
            open_hf(folder)
    index.write_text(text)
    shard = sorted(folder.glob("model-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(UserError, match=shard.name):
        open_hf(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"d_model": 16}, "emb_dim 12"),
        ({"num_heads": 6}, "num_heads 3"),
        ({"model_type": "bert"}, "'bert'"),
        ({"d_ff": None}, "d_ff"),
        ({"feed_forward_proj": "gated-mish"}, "gated-mish"),
    ],
)
def test_configs_that_do_not_fit(tmp_path, params_of, change, message):
    write_hf(tmp_path / "m", params_of(), SETTINGS)
    file = tmp_path / "m" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(UserError, match=message):
        open_hf(tmp_path / "m")


def test_pickle_is_refused(tmp_path, params_of):
    write_hf(tmp_path / "m", params_of(), SETTINGS)
    shutil.move(tmp_path / "m" / "model.safetensors", tmp_path / "m" / "pytorch_model.bin")
    with pytest.raises(UserError, match="safe_serialization=True"):
        open_base(str(tmp_path / "m"))


def test_foreign_tensors_are_named(tmp_path, params_of):
    from safetensors.numpy import save_file

    write_hf(tmp_path / "m", params_of(), SETTINGS)
    strange = {"bert.pooler.weight": np.ones((2, 2), np.float32)}
    save_file(strange, tmp_path / "m" / "model.safetensors")
    with pytest.raises(UserError, match=r"bert\.pooler"):
        open_hf(tmp_path / "m")
