"""Hugging Face folders of T5 v1.1, mT5, ByT5 and umT5: safetensors and flax msgpack, both also in
shards.

Pickled weights (`pytorch_model.bin`) are never loaded: unpickling a file runs whatever it says.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from jaxlt.convert.hf_names import to_canonical
from jaxlt.convert.source import SIZES, Index, check_complete, known, settings_from_shapes
from jaxlt.convert.tensorfiles import Slot, index_msgpack, index_safetensors, leaves, unreadable
from jaxlt.errors import UserError

_EMBEDDING, _LOGITS = "token_embedder/embedding", "decoder/logits_dense/kernel"
SAFETENSORS, _MSGPACK = "model.safetensors", "flax_model.msgpack"
CONFIG_NAMES = {
    "vocab_rows": "vocab_size",
    "emb_dim": "d_model",
    "mlp_dim": "d_ff",
    "num_heads": "num_heads",
    "head_dim": "d_kv",
    "encoder_layers": "num_layers",
    "decoder_layers": "num_decoder_layers",
    "relpos_buckets": "relative_attention_num_buckets",
    "relpos_max_distance": "relative_attention_max_distance",
    "norm_eps": "layer_norm_epsilon",
}
# Hugging Face's 'gated-gelu' means the tanh approximation, as T5X's 'gelu' does; plain 'gelu' is
# the exact one. Where two mean the same, the first is written.
ACTIVATIONS: dict[str, tuple[str, ...]] = {
    "gated-gelu": ("gelu", "linear"),
    "gated-gelu_new": ("gelu", "linear"),
    "gated-silu": ("swish", "linear"),
    "gated-relu": ("relu", "linear"),
    "gelu_new": ("gelu",),
    "gelu": ("gelu_exact",),
    "relu": ("relu",),
    "silu": ("swish",),
}
CONFIG_DEFAULTS = {
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
}


def _json(path: epath.Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    if not isinstance(value, dict):
        raise unreadable(path, "it is not a JSON object")
    return value


def _config(folder: epath.Path) -> dict[str, Any]:
    if not (folder / "config.json").exists():
        raise UserError(
            f"The folder '{folder}' has weights but no config.json, which gives the model's "
            "sizes; add it."
        )
    config = _json(folder / "config.json")
    kind = config.get("model_type")
    if kind not in ("t5", "mt5", "umt5"):
        raise UserError(
            f"'{folder / 'config.json'}' is of a model of type '{kind}'; jaxlt imports t5 (v1.1, "
            "ByT5), mt5 and umt5."
        )
    return config


def _activations(config: Mapping[str, Any], path: str) -> tuple[str, ...]:
    value = config.get(
        "feed_forward_proj", "gated-gelu" if config["model_type"] != "t5" else "relu"
    )
    if value not in ACTIVATIONS:
        raise UserError(
            f"'{path}' has feed_forward_proj '{value}'; jaxlt knows {', '.join(ACTIVATIONS)}."
        )
    return ACTIVATIONS[value]


def _scales_tied_logits(config: Mapping[str, Any]) -> bool:
    """Whether logits taken from the embedding are multiplied by d_model**-0.5, as T5 always did.

    transformers keeps that, but since its version 5 no longer for mT5; it may also store the choice
    under a name of its own.
    """
    if "scale_decoder_outputs" in config:
        return bool(config["scale_decoder_outputs"])
    version = str(config.get("transformers_version", "4")).partition(".")[0]
    return config["model_type"] != "mt5" or not version.isdigit() or int(version) < 5


def _settings(config: Mapping[str, Any], path: str) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for field, name in CONFIG_NAMES.items():
        value = config.get(name, CONFIG_DEFAULTS.get(name))
        if name == "num_decoder_layers" and value is None:
            value = config.get("num_layers")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UserError(
                f"'{path}' gives no number for '{name}' (found {value!r}); it is no complete T5 "
                "config."
            )
        out[field] = value
    kinds = [str(a) for a in config.get("architectures") or ()]
    if config.get("is_encoder_decoder") is False or any(a.endswith("EncoderModel") for a in kinds):
        out["decoder_layers"] = 0
    out["mlp_activations"] = _activations(config, path)
    out["relpos_per_layer"] = config["model_type"] == "umt5"
    out["tie_logits"] = bool(config.get("tie_word_embeddings", config["model_type"] != "mt5"))
    return out


def _slots(folder: epath.Path, base: str) -> dict[str, Slot]:
    """Returns dotted name -> Slot of `base` or of the shards that `base`.index.json lists."""

    def one(name: str) -> dict[str, Slot]:
        if not (folder / name).exists():
            raise UserError(
                f"The folder '{folder}' lacks '{name}', which its index lists; the copy is "
                "incomplete."
            )
        if base == SAFETENSORS:
            return index_safetensors(str(folder / name))
        tree = leaves(index_msgpack(str(folder / name)))
        return {key.replace("/", "."): slot for key, slot in tree if isinstance(slot, Slot)}

    if (folder / base).exists():
        return one(base)
    index = folder / f"{base}.index.json"
    places = _json(index).get("weight_map")
    if not isinstance(places, dict) or not all(
        isinstance(v, str) and "/" not in v for v in places.values()
    ):
        raise unreadable(index, "it has no weight_map from tensors to files of this folder")
    slots: dict[str, Slot] = {}
    for shard in sorted(set(places.values())):
        slots |= one(shard)
    if lost := sorted({name.replace("/", ".") for name in places} - set(slots)):
        raise UserError(
            f"The index '{index}' lists '{lost[0]}', but no shard of '{folder}' has it."
        )
    return slots


class HFSource:
    """A Hugging Face folder as a BaseSource."""

    def __init__(self, folder: epath.Path, form: str, slots: Mapping[str, Slot]) -> None:
        path = str(folder)
        config = _config(folder)
        self.origin = {"path": path, "format": form}
        self.settings = _settings(config, str(folder / "config.json"))
        names = to_canonical(slots, path, self.settings["relpos_per_layer"])
        self._places = {name: (slots[source], turned) for name, (source, turned) in names.items()}
        self.shapes = {
            name: slot.shape[::-1] if turned else slot.shape
            for name, (slot, turned) in self._places.items()
        }
        if _LOGITS in names and self.settings["tie_logits"] and self._logits_are_embedding():
            del self._places[_LOGITS], self.shapes[_LOGITS]
        if "decoder/decoder_norm/scale" in names and _LOGITS not in self.shapes:
            self._untie_unless_scaled(config)
        check_complete(self.shapes, path)
        stored = settings_from_shapes(self.shapes, path)
        for field in (*SIZES, "relpos_buckets"):
            if stored[field] != self.settings[field]:
                raise UserError(
                    f"The folder '{path}' contradicts itself: its weights have {field} "
                    f"{stored[field]}, its config.json says {CONFIG_NAMES[field]} "
                    f"{self.settings[field]}."
                )
        # What the file holds decides: configs keep the full model's depth for an encoder saved
        # alone, and some say 'tied' beside an lm_head of its own.
        for field in ("decoder_layers", "relpos_per_layer", "tie_logits"):
            self.settings[field] = stored[field]

    def _logits_are_embedding(self) -> bool:
        """Some files store the embedding twice; trained apart, no first rows would agree."""
        if _EMBEDDING not in self.shapes or self.shapes[_LOGITS] != self.shapes[_EMBEDDING][::-1]:
            return False
        rows = slice(0, 64)
        table = self.read_slice(_EMBEDDING, (rows, slice(None)))
        return np.array_equal(self.read_slice(_LOGITS, (slice(None), rows)), table.T)

    def _untie_unless_scaled(self, config: Mapping[str, Any]) -> None:
        """Tied logits are scaled in jaxlt's T5; unscaled ones are those of a layer equal to the
        embedding, transposed.
        """
        if not _scales_tied_logits(config) and _EMBEDDING in self._places:
            slot, _ = self._places[_EMBEDDING]
            self._places[_LOGITS] = (slot, True)
            self.shapes[_LOGITS] = slot.shape[::-1]
            self.origin["note"] = "logits were tied and unscaled; now a layer with the same weights"

    def read(self, name: str) -> np.ndarray:
        """Returns one tensor; a transposed one is a view, so that it is held only once."""
        known(name, self.shapes, self.origin["path"])
        slot, turned = self._places[name]
        return slot.read().T if turned else slot.read()

    def read_slice(self, name: str, index: Index) -> np.ndarray:
        """Returns `read(name)[index]`, touching only its part of a local file."""
        known(name, self.shapes, self.origin["path"])
        slot, turned = self._places[name]
        return slot.read_slice(index[::-1]).T if turned else slot.read_slice(index)


def open_hf(path: str | epath.Path) -> HFSource | None:
    """Opens a Hugging Face folder (or the weights file in it); None if it has no such weights."""
    folder = epath.Path(path)
    if folder.is_file():
        folder = folder.parent
    for base, form in ((SAFETENSORS, "hf-safetensors"), (_MSGPACK, "hf-msgpack")):
        if (folder / base).exists() or (folder / f"{base}.index.json").exists():
            return HFSource(folder, form, _slots(folder, base))
    pickled = sorted(
        e.name for e in folder.iterdir() if e.name.endswith((".bin", ".pt", ".pth", ".ckpt"))
    )
    if pickled and (folder / "config.json").exists():
        raise UserError(
            f"The folder '{folder}' has pickled weights only ({pickled[0]}), and jaxlt never "
            "loads pickle, since that runs code from the file. Save them as safetensors where "
            "torch is installed: "
            "AutoModelForSeq2SeqLM.from_pretrained(folder).save_pretrained(new_folder, "
            "safe_serialization=True)."
        )
    return None
