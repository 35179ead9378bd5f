"""A backbone of any format with all that is known of it: tensors, settings, vocabulary.

`Backbone.base` hands out tensors one at a time; nothing is read before it is asked for.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from etils import epath

from jaxlt.convert.source import SIZES, check_complete, settings_from_shapes
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
class Held:
    """Tensors by name as a base: in memory, or some of those of another base."""

    tensors: Mapping[str, np.ndarray]
    shapes: Mapping[str, tuple[int, ...]]
    origin: Mapping[str, str]

    def read(self, name: str) -> np.ndarray:
        """Returns one of them."""
        return self.tensors[name]


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
    def counted(self) -> str:
        """'300,176,768 parameters in 192 tensors'."""
        return f"{count(self.shapes):,} parameters in {len(self.shapes)} tensors"

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Canonical name -> shape."""
        return dict(self.base.shapes)


def count(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Number of values in tensors of these shapes."""
    return sum(math.prod(shape) for shape in shapes.values())


def open_backbone(path: str) -> Backbone:
    """Opens a checkpoint of any format that jaxlt knows."""
    from jaxlt.convert import detect

    base: Any = opening.open_base(path)
    if base.origin["format"] == "jaxlt":
        return _of_jaxlt(base)
    check_complete(base.shapes, path)
    vocabulary = detect.vocabulary_of(base.origin["path"], base)
    return Backbone(base, dict(base.settings), "bytes" if vocabulary == "byte" else vocabulary)


def _of_jaxlt(base: Any) -> Backbone:
    """A jaxlt checkpoint says its settings itself (a converted one), or its run's config does."""
    path = epath.Path(base.origin["path"])
    check_complete(base.shapes, str(path))
    recorded = base.meta.get("settings")
    if recorded:
        settings = {k: tuple(v) if isinstance(v, list) else v for k, v in recorded.items()}
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


def gin_lines(settings: dict[str, Any]) -> list[str]:
    """The T5Config of these settings as gin: sizes, and what differs from its defaults."""
    from jaxlt.models.config import T5Config

    lines = ["T5Config:"]
    for field in dataclasses.fields(T5Config):
        if field.name in RUNTIME or field.name not in settings:
            continue
        value = settings[field.name]
        if field.name in (*SIZES, "decoder_layers") or value != field.default:
            lines.append(f"    {field.name} = {value!r}")
    return lines


def shipped_models(settings: dict[str, Any]) -> list[str]:
    """Names of jaxlt's own gin_configs/models/ whose T5Config agrees with these settings."""
    from jaxlt.config import files, shipped_configs
    from jaxlt.models.config import T5Config

    defaults = {f.name: f.default for f in dataclasses.fields(T5Config)}
    names = []
    for path in sorted((shipped_configs() / "models").glob("*.gin")):
        bound = {
            s.arg: tuple(s.value) if isinstance(s.value, list) else s.value
            for s in files.read_files([str(path)], ())
            if s.kind == "binding" and s.selector == "T5Config"
        }
        known = {k: v for k, v in settings.items() if k in defaults and k not in RUNTIME}
        if all((defaults | bound)[name] == value for name, value in known.items()):
            names.append(path.name)
    return names
