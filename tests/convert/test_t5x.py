"""T5X checkpoints: both forms, scanned layers, the optimizer's state, and damaged files."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorstore as ts

from jaxlt.convert.detect import open_base
from jaxlt.convert.export import write_t5x
from jaxlt.convert.t5x import open_t5x
from jaxlt.errors import UserError
from tests.convert.conftest import optimizer_state, same


@pytest.fixture
def sample(shared_data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shared_data / "t5x" / "byt5_tiny", tmp_path / "sample"))


def _write_orbax(folder: Path, params: dict[str, np.ndarray], ocdbt: bool = True) -> None:
    """The orbax form as T5X lays it out, built with TensorStore alone."""
    state = folder / "state"
    state.mkdir(parents=True)
    base = {"driver": "file", "path": f"{state}/"}
    for name, value in params.items():
        path = f"target.{name.replace('/', '.')}/"
        store = (
            {"driver": "ocdbt", "base": base, "path": path}
            if ocdbt
            else base | {"path": f"{state}/{path}"}
        )
        spec = {"driver": "zarr", "kvstore": store, "metadata": {"chunks": list(value.shape)}}
        ts.open(spec, dtype=ts.dtype(value.dtype), shape=value.shape, create=True).result()[...] = (
            value
        )
    keys = [["target", *name.split("/")] for name in params]
    tree = {
        str(tuple(k)): {"key_metadata": [{"key": part, "key_type": 2} for part in k]} for k in keys
    }
    (state / "_METADATA").write_text(json.dumps({"tree_metadata": tree, "use_ocdbt": ocdbt}))


def _scan(params: dict[str, np.ndarray], heads: int) -> dict[str, np.ndarray]:
    """T5X's scanned layout of unrolled parameters, written out plainly."""
    out = {}
    for name, value in params.items():
        if "/layers_" not in name:
            out[name] = value
        elif "/layers_0/" in name:
            stack, rest = name.split("/layers_0/")
            layers = [
                v for n, v in params.items() if n.startswith(stack) and n.endswith("/" + rest)
            ]
            if rest.endswith("out/kernel"):
                layers = [v.reshape(heads, -1, v.shape[-1]) for v in layers]
            elif "attention/" in rest and rest.endswith("kernel"):
                layers = [v.reshape(v.shape[0], heads, -1) for v in layers]
            out[f"{stack}/{stack}/{rest}"] = np.stack(layers, axis=1)
    return out


def test_sample_legacy_and_orbax_agree_bit_for_bit(shared_data, shapes_of):
    root = shared_data / "t5x" / "byt5_tiny"
    legacy, orbax = open_base(str(root / "legacy" / "checkpoint_4")), open_base(str(root / "orbax"))
    assert (legacy.origin["format"], orbax.origin["format"]) == ("t5x-legacy", "t5x-orbax")
    config = json.loads((root / "config.json").read_text())
    expected = shapes_of(
        config["vocab_size"],
        config["emb_dim"],
        config["mlp_dim"],
        config["num_heads"],
        config["head_dim"],
        (config["num_encoder_layers"], config["num_decoder_layers"]),
    )
    assert legacy.shapes == orbax.shapes == expected
    assert legacy.settings == orbax.settings
    assert legacy.settings["encoder_layers"] == 3
    assert legacy.settings["decoder_layers"] == 2
    same(orbax, {name: legacy.read(name) for name in legacy.shapes})


def test_sample_optimizer_state(shared_data):
    root = shared_data / "t5x" / "byt5_tiny"
    legacy, orbax = (optimizer_state(open_base(str(root / form))) for form in ("legacy", "orbax"))
    assert legacy.pop("step") == orbax.pop("step") == 4
    assert legacy.keys() == orbax.keys()
    assert legacy["token_embedder/embedding"]["v_row"].shape == (128,)
    assert legacy["token_embedder/embedding"]["v_col"].shape == (384,)
    assert legacy["encoder/relpos_bias/rel_embedding"]["v"].shape == (3, 32)
    for name, parts in legacy.items():
        assert set(parts) == {"m", "v", "v_row", "v_col"}
        for part, value in parts.items():
            np.testing.assert_array_equal(value, orbax[name][part])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_written_legacy_reads_back(tmp_path, params_of, dtype):
    import ml_dtypes  # registers bfloat16 with numpy

    params = params_of(dtype=ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    # Norm scales inline, the rest as zarr: both kinds of leaf.
    write_t5x(tmp_path / "checkpoint_7", params, inline_below=13)
    same(open_t5x(tmp_path / "checkpoint_7"), params)


@pytest.mark.parametrize("ocdbt", [True, False])
def test_orbax_form_built_here(tmp_path, params_of, ocdbt):
    params = params_of(per_layer=True, tied=True, layers=(2, 1))
    _write_orbax(tmp_path / "checkpoint_1", params, ocdbt)
    source = open_base(str(tmp_path / "checkpoint_1"))
    same(source, params)
    assert source.settings["relpos_per_layer"]
    assert source.settings["tie_logits"]


@pytest.mark.parametrize("held", [2**30, 0])
def test_scanned_layers_come_out_unrolled(tmp_path, params_of, monkeypatch, held):
    monkeypatch.setattr("jaxlt.convert.t5x._HELD_BYTES", held)
    params = params_of(per_layer=True)
    scanned = _scan(params, heads=3)
    assert scanned["encoder/encoder/attention/query/kernel"].shape == (12, 3, 3, 8)
    assert scanned["encoder/encoder/attention/out/kernel"].shape == (3, 3, 8, 12)
    assert scanned["decoder/decoder/relpos_bias/rel_embedding"].shape == (3, 2, 32)
    write_t5x(tmp_path / "checkpoint_1", scanned)
    source = open_t5x(tmp_path / "checkpoint_1")
    same(source, params)
    for name in reversed(list(source.shapes)):
        np.testing.assert_array_equal(source.read(name), params[name])


def test_other_buckets_and_drivers_are_rewritten(sample):
    file = sample / "legacy" / "checkpoint_4" / "checkpoint"
    plain = {n: v for n, v in _read_all(sample / "legacy").items()}
    from flax.serialization import msgpack_restore, msgpack_serialize

    tree = msgpack_restore(file.read_bytes())

    def rewrite(node):
        if not isinstance(node, dict):
            return
        if "kvstore" in node:
            path = "pretrained/checkpoint_9/" + node["kvstore"]["path"]
            node["kvstore"] = {"driver": "gfile", "path": path}
            if "embedding" in path:
                node["kvstore"] = {"driver": "gcs", "bucket": "t5x-dummy-bucket", "path": path}
            return
        for child in node.values():
            rewrite(child)

    rewrite(tree)
    file.write_bytes(msgpack_serialize(tree))
    same(open_base(str(sample / "legacy")), plain)


def _read_all(folder: Path) -> dict[str, np.ndarray]:
    source = open_base(str(folder))
    return {name: source.read(name) for name in source.shapes}


def test_newest_of_several(tmp_path, params_of):
    for step in (2, 10):
        write_t5x(tmp_path / f"checkpoint_{step}", params_of(layers=(1, 1)))
    (tmp_path / "checkpoint_11").mkdir()
    source = open_base(str(tmp_path))
    assert source.origin["path"].endswith("checkpoint_10")
    assert "checkpoint_10, of 3" in source.origin["note"]


def test_truncated_and_missing_files_are_named(tmp_path, params_of):
    folder = tmp_path / "checkpoint_1"
    write_t5x(folder, params_of())
    kernel = folder / "target.encoder.layers_1.mlp.wo.kernel"
    chunk = kernel / "0.0"
    data = chunk.read_bytes()
    source = open_t5x(folder)
    name = "encoder/layers_1/mlp/wo/kernel"
    for damage in (lambda: chunk.write_bytes(data[: len(data) // 2]), chunk.unlink):
        damage()
        with pytest.raises(UserError, match=r"target\.encoder\.layers_1\.mlp\.wo\.kernel"):
            source.read(name)
    (kernel / ".zarray").unlink()
    with pytest.raises(UserError, match=r"target\.encoder\.layers_1\.mlp\.wo\.kernel"):
        source.read(name)
    kernel.rmdir()
    with pytest.raises(UserError, match="lacks the folder"):
        open_t5x(folder)
    file = folder / "checkpoint"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(UserError, match=r"checkpoint_1/checkpoint.*damaged"):
        open_t5x(folder)


def test_damaged_orbax_form(tmp_path, params_of):
    for form in ("cut", "lost"):
        _write_orbax(tmp_path / form, params_of(layers=(1, 1)))
    state = tmp_path / "cut" / "state"
    manifest = state / "manifest.ocdbt"
    manifest.write_bytes(manifest.read_bytes()[:20])
    with pytest.raises(UserError, match=r"manifest\.ocdbt"):
        open_t5x(tmp_path / "cut")
    listing = tmp_path / "lost" / "state" / "_METADATA"
    text = json.loads(listing.read_text())
    keys = ("target", "encoder", "extra")
    text["tree_metadata"]["x"] = {"key_metadata": [{"key": k, "key_type": 2} for k in keys]}
    listing.write_text(json.dumps(text))
    with pytest.raises(UserError, match="target/encoder/extra"):
        open_t5x(tmp_path / "lost")
    listing.write_text("{")
    with pytest.raises(UserError, match="_METADATA"):
        open_t5x(tmp_path / "lost")


def test_lost_data_files_of_the_sample(sample):
    for name in ("state/d", "state/ocdbt.process_0/d"):
        for file in (sample / "orbax" / "checkpoint_4" / name).iterdir():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(UserError, match=r"orbax/checkpoint_4/state"):
        _read_all(sample / "orbax")


def test_incomplete_trees(tmp_path, params_of):
    params = params_of()
    params.pop("decoder/layers_1/mlp/wo/kernel")
    write_t5x(tmp_path / "checkpoint_1", params)
    with pytest.raises(UserError, match="decoder/layers_1/mlp/wo/kernel missing"):
        open_t5x(tmp_path / "checkpoint_1")


def test_unknown_parameter_names_the_nearest(tmp_path, params_of):
    write_t5x(tmp_path / "checkpoint_1", params_of(layers=(1, 1)))
    source = open_t5x(tmp_path / "checkpoint_1")
    with pytest.raises(UserError, match="Did you mean 'encoder/layers_0/mlp/wo/kernel'"):
        source.read("encoder/layer_0/mlp/wo/kernel")
    assert optimizer_state(source) == {"step": 0}
