"""Finds out what kind of checkpoint lies at a path, and what vocabulary belongs to it."""

from collections.abc import Callable, Iterable
from typing import Any

from etils import epath

from jaxlt.convert.hf import open_hf
from jaxlt.convert.source import BaseSource
from jaxlt.convert.t5x import open_t5x
from jaxlt.errors import UserError, nearest, some_of

Opener = Callable[[str], Any]  # -> BaseSource | None
BYTE_ROWS = 384
_VOCABULARIES = ("spiece.model", "sentencepiece.model")


def open_base(path: str, openers: Iterable[Opener] = ()) -> BaseSource:
    """Opens a backbone, whatever its format.

    Args:
      path: a local folder or a gs:// address: a T5X checkpoint or a folder of them (the newest is
        taken; `origin['note']` says so), or a Hugging Face folder.
      openers: further formats, asked first; each returns None for what is not its own.

    Raises:
      UserError: nothing is there, or nothing that is known, or it is damaged.
    """
    folder = epath.Path(path).expanduser()
    try:
        if not folder.exists():
            raise UserError(
                f"There is no checkpoint at '{path}': the path does not exist.{_sibling(folder)}"
            )
        for opener in (*openers, open_hf, open_t5x):
            if folder.is_file() and opener is open_t5x and folder.name != "checkpoint":
                continue
            source = opener(str(folder))
            if source is not None:
                return source
        names = [folder.name] if folder.is_file() else sorted(e.name for e in folder.iterdir())
    except (OSError, ImportError) as error:
        raise UserError(f"Cannot look into '{path}': {error}") from error
    raise UserError(
        f"'{path}' is no checkpoint that jaxlt knows. Expected a T5X checkpoint (a file "
        "'checkpoint', or 'state/' in orbax form, or folders checkpoint_<step>) or a Hugging Face "
        "folder (config.json beside model.safetensors, its shards, or flax_model.msgpack). Found: "
        f"{some_of(names, 8) or 'an empty folder'}."
    )


def _sibling(folder: epath.Path) -> str:
    if not folder.parent.is_dir():
        return ""
    return nearest(folder.name, [e.name for e in folder.parent.iterdir()])


def vocabulary_of(path: str, source: BaseSource | None = None) -> str | None:
    """Returns the path of the SentencePiece model that lies with a checkpoint, 'byte' for a ByT5,
    or None.

    A checkpoint's own folder is searched and, since T5X keeps several steps in one folder, the one
    above. Pass `source` where the base is open already: its rows tell a ByT5.
    """
    folder = epath.Path(source.origin["path"] if source else path).expanduser()
    if folder.is_file():
        folder = folder.parent
    above = [folder.parent] if folder.name.startswith("checkpoint_") else []
    for place in (folder, *above):
        for name in _VOCABULARIES:
            if (place / name).exists():
                return str(place / name)
    source = source or open_base(path)
    return "byte" if source.settings["vocab_rows"] == BYTE_ROWS else None
