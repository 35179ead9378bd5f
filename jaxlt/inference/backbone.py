"""A backbone of any format with all that is known of it: tensors, settings, vocabulary.

`Backbone.base` hands out tensors one at a time; nothing is read before it is asked for.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from etils import epath

from jaxlt.errors import UserError
from jaxlt.inference import opening

if TYPE_CHECKING:
    from jaxlt.config import RunConfig

# What a run chooses for itself; a checkpoint does not decide it.
RUNTIME = ("dtype", "dropout", "remat", "scan_layers", "plugs", "deltas")


class Tensors(Mapping[str, np.ndarray]):
    """The tensors of a base as a mapping that reads at each look-up; notes their dtypes."""

    def __init__(self, base: Any, names: Iterator[str] | list[str]):
        self._base, self._names = base, list(names)
        self.dtypes: dict[str, int] = {}  # name of a dtype -> bytes seen of it

    def __getitem__(self, name: str) -> np.ndarray:
        value = self._base.read(name)
        self.dtypes[value.dtype.name] = self.dtypes.get(value.dtype.name, 0) + value.nbytes
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@dataclasses.dataclass(frozen=True)
class Backbone:
    """What lies at a path. `vocabulary` is 'bytes', the path of a SentencePiece model, or None."""

    base: Any
    settings: dict[str, Any]
    vocabulary: str | None
    modules: tuple[str, ...] = ()  # plugged in by the run; no part of the backbone

    @property
    def path(self) -> str:
        """The folder that was read."""
        return str(self.base.origin["path"])

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Canonical name -> shape."""
        return dict(self.base.shapes)


def open_backbone(path: str) -> Backbone:
    """Opens a checkpoint of any format that jaxlt knows."""
    from jaxlt.convert import detect, source

    base: Any = opening.open_base(path)
    if base.origin["format"] == "jaxlt":
        return _of_jaxlt(base)
    source.check_complete(base.shapes, path)
    found = detect.vocabulary_of(base.origin["path"], base)
    return Backbone(base, dict(base.settings), "bytes" if found == "byte" else found)


def _of_jaxlt(base: Any) -> Backbone:
    """A jaxlt checkpoint says its settings itself (a converted one), or its run's config does."""
    from jaxlt.convert.source import check_complete, settings_from_shapes

    path = epath.Path(base.origin["path"])
    check_complete(base.shapes, str(path))
    said = base.meta.get("settings")
    if said:
        settings = {k: tuple(v) if isinstance(v, list) else v for k, v in said.items()}
        kept = path.parent / "spiece.model"
        if kept.exists():
            return Backbone(base, settings, str(kept))
        return Backbone(base, settings, base.meta.get("vocabulary_kind"))
    run = _run_of(path)
    if run is None:
        return Backbone(base, settings_from_shapes(base.shapes, str(path)), None)
    fields = [f.name for f in dataclasses.fields(run.model) if f.name not in RUNTIME]
    settings = {name: getattr(run.model, name) for name in fields}
    plugged = (*(p.name for p in run.model.plugs), *(d.name for d in run.model.deltas))
    return Backbone(base, settings, run.data.vocabulary, plugged)


def _run_of(path: epath.Path) -> "RunConfig | None":
    """The run in whose workdir a checkpoint or base lies."""
    from jaxlt.config import load, recorded

    for folder in (path, path.parent, path.parent.parent):
        if (folder / "config.gin").exists():
            return load([str(folder / "config.gin")], fallbacks=recorded.behind(str(folder)))
    return None


def content_hash(backbone: Backbone) -> tuple[str, dict[str, int]]:
    """Reads every tensor once: (the content hash of checkpoints and results, bytes by dtype)."""
    from jaxlt.engine.checkpoint.fingerprint import fingerprint_of

    tensors = Tensors(backbone.base, list(backbone.shapes))
    return fingerprint_of(tensors).whole, tensors.dtypes


def check_plain_t5(backbone: Backbone, what: str) -> None:
    """Raises UserError where `what` cannot hold a model of these settings."""
    plain = {
        "norm": "rms",
        "norm_place": "pre",
        "positions": "relative",
        "bias": False,
        "logit_scale": 1.0,
    }
    for name, value in plain.items():
        if backbone.settings.get(name, value) != value:
            raise UserError(
                f"'{backbone.path}' has T5Config.{name} = {backbone.settings[name]!r}, and {what} "
                f"holds models with {value!r} alone: convert it --to jaxlt."
            )
