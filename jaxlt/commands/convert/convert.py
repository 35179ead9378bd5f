"""Convert backbones between T5X, Hugging Face and jaxlt, or show what a checkpoint holds.

  jaxlt convert --inspect google/mt5-small-folder
  jaxlt convert t5x/mt5_small/checkpoint_1000000 mt5_small_hf --to=hf
  jaxlt convert runs/pretrained pretrained_t5x/checkpoint_1000 --to=t5x

SOURCE is found out by itself: a T5X checkpoint (legacy or orbax), a Hugging Face folder
(safetensors or flax msgpack), or a workdir of jaxlt. TARGET is a new folder: for hf safetensors,
config.json and tokenizer, for t5x a legacy checkpoint, for jaxlt a base that INIT_FROM takes. The
vocabulary goes along. Values and their dtypes are kept, and compared when all is written.
"""

import argparse
import json
import math
import shutil
from pathlib import Path
from typing import Any

from etils import epath

from jaxlt.errors import UserError
from jaxlt.inference.backbone import Backbone, Tensors, check_plain_t5, content_hash, open_backbone

FORMATS = ("hf", "t5x", "jaxlt")
_HEAD = "mlm_head/"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's flags."""
    parser.add_argument("source", metavar="SOURCE", help="the checkpoint to read (local or gs://)")
    parser.add_argument("target", metavar="TARGET", nargs="?", help="the new local folder")
    parser.add_argument("--to", choices=FORMATS, help="the format of TARGET")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace TARGET once the new one is whole"
    )
    parser.add_argument(
        "--inspect", action="store_true", help="show what SOURCE holds; write nothing"
    )


def main(args: argparse.Namespace) -> int:
    """Converts or inspects what the flags name."""
    if args.inspect:
        for flag, value in (("TARGET", args.target), ("--to", args.to)):
            if value:
                raise UserError(f"--inspect writes nothing: leave {flag} out.")
    elif not args.target or not args.to:
        lacking = "TARGET, the folder to write" if not args.target else "--to=hf, t5x or jaxlt"
        raise UserError(f"Converting needs {lacking} (or --inspect, to see what SOURCE holds).")
    import jax

    jax.config.update("jax_platforms", "cpu")  # the devices may be at work, and are of no use here
    from jaxlt.engine import compilation

    compilation.prepare()
    if args.inspect:
        from jaxlt.commands.convert.inspection import show

        show(open_backbone(args.source), args.source)
        return 0
    target = target_folder(args.source, args.target, args.overwrite)
    backbone = open_backbone(args.source)
    for note in convert(backbone, target, args.to):
        print(note)
    return 0


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
    chosen = Backbone(_Part(backbone, names), backbone.settings, backbone.vocabulary)
    draft = target.with_name(f".{target.name}.part")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.parent.mkdir(parents=True, exist_ok=True)
        {"hf": _write_hf, "t5x": _write_t5x, "jaxlt": _write_jaxlt}[to](chosen, draft)
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
    return [*_notes(backbone, names, to), f"{target}: {_counted(chosen)}, content hash {after}."]


class _Part:
    """Some tensors of a base, as a base."""

    def __init__(self, backbone: Backbone, names: list[str]):
        self._base = backbone.base
        self.origin = dict(backbone.base.origin)
        self.settings = backbone.settings
        self.shapes = {n: tuple(backbone.base.shapes[n]) for n in names}

    def read(self, name: str) -> Any:
        return self._base.read(name)


def _counted(backbone: Backbone) -> str:
    sizes = [math.prod(shape) for shape in backbone.shapes.values()]
    return f"{sum(sizes):,} parameters in {len(sizes)} tensors"


def _write_hf(backbone: Backbone, folder: Path) -> None:
    from jaxlt.convert.export import write_hf

    write_hf(folder, backbone.base, backbone.settings)
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


def _write_t5x(backbone: Backbone, folder: Path) -> None:
    from jaxlt.convert.export import write_t5x

    write_t5x(folder, backbone.base)


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
    from jaxlt.convert.source import settings_from_shapes

    shapes = {n: backbone.shapes[n] for n in names}
    guessed = settings_from_shapes(shapes, backbone.path) | {"norm_eps": 1e-6}
    other = {k: v for k, v in backbone.settings.items() if guessed.get(k, v) != v}
    if not other:
        return []
    said = ", ".join(f"T5Config.{k} = {v!r}" for k, v in other.items())
    return [f"T5X keeps no settings beside its arrays; set these where you read it: {said}."]
