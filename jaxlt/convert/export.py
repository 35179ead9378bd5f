"""Writes backbones for others to read: Hugging Face folders and T5X's legacy checkpoints."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorstore as ts
from etils import epath

from jaxlt.convert.hf import ACTIVATIONS, CONFIG_DEFAULTS, CONFIG_NAMES, SAFETENSORS
from jaxlt.convert.hf_names import to_torch
from jaxlt.convert.t5x import kvstore_of
from jaxlt.errors import UserError

_CHUNK_BYTES = 2**26


def _config_of(settings: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """The config.json that transformers needs to build the same model."""
    rows, decoder = settings["vocab_rows"], settings.get("decoder_layers", 0)
    tied = bool(settings.get("tie_logits", False))
    # Of those without a table a layer, transformers scales tied logits in its 't5' alone.
    kind = "umt5" if settings.get("relpos_per_layer") else "t5" if tied or rows == 384 else "mt5"
    head = "ForConditionalGeneration" if decoder else "EncoderModel"
    activations = tuple(settings.get("mlp_activations", ("gelu", "linear")))
    names: dict[tuple[str, ...], str] = {}
    for name, theirs in ACTIVATIONS.items():
        names.setdefault(theirs, name)
    if activations not in names:
        raise UserError(
            f"Hugging Face's T5 has no activations {activations}; it has "
            f"{', '.join(map(str, names))}."
        )
    config = {
        name: settings.get(field, CONFIG_DEFAULTS.get(name)) for field, name in CONFIG_NAMES.items()
    }
    config["num_decoder_layers"] = decoder or settings["encoder_layers"]
    return config | {
        "architectures": [{"t5": "T5", "mt5": "MT5", "umt5": "UMT5"}[kind] + head],
        "model_type": kind,
        "d_kv": settings.get("head_dim", 64),
        "feed_forward_proj": names[activations],
        "is_encoder_decoder": bool(decoder),
        "tie_word_embeddings": tied,
        "scale_decoder_outputs": tied,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
        "torch_dtype": dtype,
    }


def write_hf(
    folder: str | epath.Path,
    params: Mapping[str, np.ndarray],
    settings: Mapping[str, Any],
    max_shard_bytes: int = 2**30,
) -> None:
    """Writes safetensors and config.json that transformers (and `open_hf`) read.

    Args:
      folder: a new local folder.
      params: canonical name -> array, looked up one after another.
      settings: T5Config fields (`BaseSource.settings`, or `dataclasses.asdict` of a T5Config).
      max_shard_bytes: more than this goes into shards with an index; one shard at a time is held in
      memory.
    """
    from safetensors.numpy import save_file

    root = epath.Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    if any(root.iterdir()):
        raise UserError(f"'{root}' is not empty; give a new folder for the model.")
    targets = {name: to_torch(name) for name in params}
    shards: list[list[str]] = []
    batch: dict[str, np.ndarray] = {}
    total, dtype = 0, "float32"

    def flush() -> None:
        save_file(batch, str(root / f"shard-{len(shards)}.tmp"), metadata={"format": "pt"})
        shards.append(list(batch))
        batch.clear()

    for name, (target, turned) in targets.items():
        value = params[name]
        value = np.ascontiguousarray(value.T if turned else value)
        if batch and sum(v.nbytes for v in batch.values()) + value.nbytes > max_shard_bytes:
            flush()
        batch[target] = value
        total, dtype = total + value.nbytes, value.dtype.name
    flush()
    _name_shards(root, shards, total)
    (root / "config.json").write_text(json.dumps(_config_of(settings, dtype), indent=2) + "\n")


def _name_shards(root: epath.Path, shards: list[list[str]], total: int) -> None:
    """Gives the shards their final names, and writes the index if there are several."""
    if len(shards) == 1:
        (root / "shard-0.tmp").rename(root / SAFETENSORS)
        return
    places: dict[str, str] = {}
    for number, names in enumerate(shards):
        file = f"model-{number + 1:05d}-of-{len(shards):05d}.safetensors"
        (root / f"shard-{number}.tmp").rename(root / file)
        places |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (root / f"{SAFETENSORS}.index.json").write_text(json.dumps(index, indent=2) + "\n")


def write_t5x(
    path: str | epath.Path,
    params: Mapping[str, np.ndarray],
    inline_below: int = 2,
) -> None:
    """Writes T5X's legacy form, of step 0 and without an optimizer, to checkpoint_<step>.

    Args:
      path: a new folder.
      params: canonical (or any T5X) name -> array, looked up one after another.
      inline_below: arrays with fewer elements go into the msgpack file itself.
    """
    from flax.serialization import msgpack_serialize

    folder = epath.Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise UserError(f"'{folder}' is not empty; give a new folder for the checkpoint.")
    tree: dict[str, Any] = {"state": {"step": np.int32(0)}}
    for key, value in params.items():
        node = tree.setdefault("target", {})
        for part in key.split("/")[:-1]:
            node = node.setdefault(part, {})
        inline = not np.ndim(value) or np.size(value) < inline_below
        node[key.rpartition("/")[2]] = (
            value if inline else _write_zarr(folder, f"target.{key.replace('/', '.')}", value)
        )
    # The msgpack file makes the folder a checkpoint, so it comes last and whole.
    draft = folder / "checkpoint.tmp"
    draft.write_bytes(msgpack_serialize({"version": 3, "optimizer": tree}))
    draft.rename(folder / "checkpoint")


def _write_zarr(folder: epath.Path, name: str, value: np.ndarray) -> dict[str, Any]:
    row_bytes = max(1, value.nbytes // len(value))
    chunks = [max(1, min(len(value), _CHUNK_BYTES // row_bytes)), *value.shape[1:]]
    metadata = {
        "shape": list(value.shape),
        "chunks": chunks,
        "compressor": {"id": "gzip", "level": 1},
    }
    store = ts.open(
        {"driver": "zarr", "kvstore": kvstore_of(folder / name), "metadata": metadata},
        dtype=ts.dtype(value.dtype),
        create=True,
    ).result()
    store.write(value).result()
    return {
        "driver": "zarr",
        "dtype": store.dtype.name,
        "kvstore": {"driver": "file", "path": name + "/"},
        "metadata": metadata,
    }
