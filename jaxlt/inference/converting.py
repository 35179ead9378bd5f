"""Writes backbones in other formats, whole or not at all, and says what was left behind.

    convert(open_backbone("t5x/mt5_small/checkpoint_1000000"), Path("mt5_small_hf"), "hf")

Values and their dtypes are kept, and compared when all is written. The vocabulary goes along.
"""

import json
import shutil
from pathlib import Path

from etils import epath

from jaxlt.convert import export
from jaxlt.convert.source import settings_from_shapes
from jaxlt.errors import UserError
from jaxlt.inference.backbone import (
    Backbone,
    Held,
    Tensors,
    check_plain_t5,
    content_hash,
    open_backbone,
)

FORMATS = ("hf", "t5x", "jaxlt")
_HEAD = "mlm_head/"


def target_folder(source: str, target: str, overwrite: bool) -> Path:
    """Checks where is to be written, before anything is read."""
    if "://" in target:
        raise UserError(
            f"TARGET is a local folder, not '{target}': convert, then copy the folder there."
        )
    path = Path(target).expanduser().resolve()
    there = Path(source).expanduser().resolve() if "://" not in source else None
    if there and (path == there or path in there.parents or there in path.parents):
        raise UserError(f"TARGET '{target}' and SOURCE '{source}' lie in one another.")
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and not overwrite):
        more = "" if path.is_file() else ", or --overwrite to replace it"
        raise UserError(f"'{target}' is there already: give another TARGET{more}.")
    return path


def convert(backbone: Backbone, target: Path, to: str) -> list[str]:
    """Writes a backbone to the folder `target` in a format of FORMATS; returns notes for the user.

    The folder appears when it is whole, and its content hash is that of the source, or nothing is
    replaced.
    """
    if to != "jaxlt":
        check_plain_t5(backbone, "Hugging Face's T5" if to == "hf" else "T5X")
    names = [n for n in backbone.shapes if to == "jaxlt" or not n.startswith(_HEAD)]
    tensors = Tensors(backbone.base, names)
    part = Held(tensors, {n: backbone.shapes[n] for n in names}, backbone.base.origin)
    chosen = Backbone(part, backbone.settings, backbone.vocabulary)
    draft = target.with_name(f".{target.name}.part")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.parent.mkdir(parents=True, exist_ok=True)
        if to == "hf":
            export.write_hf(draft, tensors, chosen.settings)
            _write_tokenizer(chosen, draft)
        elif to == "t5x":
            export.write_t5x(draft, tensors)
        else:
            _write_jaxlt(chosen, draft)
        _copy_vocabulary(chosen, draft)
        before, _ = content_hash(chosen)
        after, _ = content_hash(open_backbone(str(draft)))
        if before != after:
            raise UserError(
                f"What was written is not what was read (content hash {after}, not {before}): the "
                f"disk or the source is damaged. '{target}' was left as it was."
            )
        _replace(draft, target)
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        raise UserError(f"'{target}' cannot be written: {reason}.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return [*_notes(backbone, names, to), f"{target}: {chosen.counted}, content hash {after}."]


def _write_tokenizer(backbone: Backbone, folder: Path) -> None:
    """What transformers makes a tokenizer by."""
    if backbone.vocabulary is None:
        return
    kind = "ByT5Tokenizer" if backbone.vocabulary == "bytes" else "T5Tokenizer"
    extra = 125 if backbone.vocabulary == "bytes" else 0  # mT5's pieces have the sentinels inside
    tokenizer = {
        "tokenizer_class": kind,
        "extra_ids": extra,
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer, indent=2) + "\n")


def _write_jaxlt(backbone: Backbone, folder: Path) -> None:
    """A workdir's base, without a run: orbax writes all tensors at once, so it holds them all."""
    from jaxlt.engine.checkpoint.checkpoints import Checkpoints

    flat = {f"params/{n}": v for n, v in Tensors(backbone.base, list(backbone.shapes)).items()}
    kind = "bytes" if backbone.vocabulary == "bytes" else None
    origin = {k: v for k, v in backbone.base.origin.items() if k in ("format", "note")}
    meta = {"settings": backbone.settings, "vocabulary_kind": kind, "converted_from": origin}
    folder.mkdir()
    Checkpoints(folder).save_base(flat, meta)


def _copy_vocabulary(backbone: Backbone, folder: Path) -> None:
    """Copies the SentencePiece model; streamed, for it may come from gs://."""
    if backbone.vocabulary in (None, "bytes"):
        return
    source = epath.Path(backbone.vocabulary).expanduser()
    if not source.exists():
        raise UserError(
            f"The vocabulary '{backbone.vocabulary}' of '{backbone.path}' is not there: put it "
            "back (a relative path counts from the current folder), so that it can go along."
        )
    (folder / "spiece.model").write_bytes(source.read_bytes())


def _replace(draft: Path, target: Path) -> None:
    """Puts the whole folder in place; what was there before goes last."""
    old = target.with_name(f".{target.name}.old")
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
    draft.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _notes(backbone: Backbone, names: list[str], to: str) -> list[str]:
    """What the user should know of that was left behind."""
    notes = [backbone.base.origin["note"]] if backbone.base.origin.get("note") else []
    if len(names) < len(backbone.shapes):
        notes.append(f"The MLM head has no place in {to}: the encoder was written without it.")
    if backbone.modules:
        notes.append(f"Modules are no part of a backbone: {', '.join(backbone.modules)} left out.")
    if to == "t5x":
        notes += _unsaid(backbone, names)
    if backbone.vocabulary is None:
        notes.append("No vocabulary lay with it: none was written.")
    return notes


def _unsaid(backbone: Backbone, names: list[str]) -> list[str]:
    """Settings that T5X keeps nowhere, and that its shapes do not say."""
    shapes = {n: backbone.shapes[n] for n in names}
    guessed = settings_from_shapes(shapes, backbone.path) | {"norm_eps": 1e-6}
    other = {k: v for k, v in backbone.settings.items() if guessed.get(k, v) != v}
    if not other:
        return []
    said = ", ".join(f"T5Config.{k} = {v!r}" for k, v in other.items())
    return [f"T5X keeps no settings beside its arrays; set these where you read it: {said}."]
