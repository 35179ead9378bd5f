"""A library of modules: each alone in a folder, as safetensors beside a JSON that says what it is.

    save(folder, "lang/swh_Latn", plug, flat, slot=3, axes=axes, base=Fingerprint(...))
    find(folder)                                  # what there is
    saved = open_module(folder, "lang/swh_Latn")  # its record; saved.tensors() reads the values
    saved.values_for(plug, leaves)                # the values, by the names of another model

Values are kept by stacked names ([L, ...]), the layers that the plug works in alone, with '*' where
a model has the plug's name; so a module fits any run, scanned or not, under any name. That of an
encoder-decoder serves its encoder alone as well, without what it has in the decoder.

Records of format 1 have the hash of the whole backbone alone, and say neither `parallel` nor the
settings that a plug left to its method.
"""

import dataclasses
import importlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxlt.errors import UserError, nearest
from jaxlt.modules.fingerprints import STACKS, Fingerprint
from jaxlt.modules.site import Method, Plug, owner, plug

FORMAT, READ = 2, (1, 2)
TENSORS, RECORD = "module.safetensors", "module.json"
_PLUG, _DECODER = "*", "decoder/"
_NEW, _OLD = ".part", ".old"  # endings while one takes the place of another

Shapes = Mapping[str, tuple[int, ...]]  # flat stacked names, 'modules/...', to shapes


@dataclasses.dataclass(frozen=True)
class Saved:
    """A module of a library.

    base, base_parts: fingerprint of the backbone that it was trained on, and of its stacks.
    """

    path: Path
    name: str
    method: str  # 'jaxlt.modules.bottleneck:Bottleneck'
    plug: Mapping[str, Any]  # sites, stacks, layers, leave_out, parallel, settings, defaults
    sizes: Mapping[str, tuple[int, ...]]
    base: str
    language: str | None = None
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    training: str = ""  # the gin text that it was trained with
    base_parts: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def backbone(self) -> Fingerprint:
        """What it was trained on."""
        return Fingerprint(self.base, self.base_parts)

    @property
    def library(self) -> Path:
        """The folder of the library that it is in."""
        return self.path.parents[self.name.count("/")]

    def origin(self, base: Fingerprint) -> str:
        """Says what it was trained on, seen from a backbone: 'trained on this backbone (...)'."""
        mine = self.backbone
        if mine.whole == base.whole:
            return f"trained on this backbone ({base.whole})"
        for part, content in base.parts.items():
            if content == mine.whole:
                return f"trained on the {part} of this backbone ({content})"
        for part, content in mine.parts.items():
            if content == base.whole:
                return f"trained on the backbone ({mine.whole}) whose {part} this is ({content})"
        return f"trained on another backbone ({mine.whole}) than this one ({base.whole})"

    @property
    def parameters(self) -> int:
        """Number of values."""
        return sum(int(np.prod(shape)) for shape in self.sizes.values())

    def tensors(self) -> dict[str, np.ndarray]:
        """Reads the values, by stored names."""
        from safetensors.numpy import load_file

        found = load_file(self.path / TENSORS)
        if {n: tuple(v.shape) for n, v in found.items()} != dict(self.sizes):
            raise UserError(
                f"'{self.path / TENSORS}' does not hold what '{RECORD}' beside it says."
            )
        return found

    def plug_as(self, name: str, routes: int = 0, key: str | None = None) -> Plug:
        """Returns the plug that the module was, under another name."""
        return _plug_from({"method": self.method, **self.plug}, name, self.path, routes, key)

    def is_of(self, other: Plug) -> bool:
        """Says whether the module is of a plug's own method."""
        return self.method == _path_of(other.method)

    def check(self, other: Plug, base: Fingerprint, force: bool = False) -> None:
        """Raises UserError where a plug of a run, or its backbone, is not what this one needs."""
        mine, theirs = _meaning(self.plug_as(other.name)), _meaning(other)
        # Of a model without a decoder nobody asks what a plug would do there.
        mine["stacks"] = _of(mine["stacks"], _of(self.backbone.stacks, base.stacks))
        theirs["stacks"] = _of(theirs["stacks"], base.stacks)
        for field, here in mine.items():
            if here != theirs[field] and field in ("method", *self.plug):
                raise self._other_plug(other, field, here, theirs[field])
        if not force and not self.backbone.fits(base):
            raise UserError(
                f"The module '{self.name}' ({self.path}) was trained on another backbone: the "
                f"fingerprint of its own is {self.base}, of this one {base.whole}."
                f"{self._hint(base)} Give the backbone it was trained on, or force it "
                "(run.force_modules = True, --force_modules) if you know why it should work all "
                "the same."
            )

    def _other_plug(self, other: Plug, field: str, mine: Any, theirs: Any) -> UserError:
        if field == "settings":
            unlike = [n for n in mine if mine[n] != theirs.get(n)]
            mine, theirs = ({n: found.get(n) for n in unlike} for found in (mine, theirs))
        return UserError(
            f"The module '{self.name}' ({self.path}) does not fit plug '{other.name}': its "
            f"{field} is {_shown(mine)}, the plug's is {_shown(theirs)}. Plug it as it was "
            "trained, or train another."
        )

    def _hint(self, base: Fingerprint) -> str:
        if self.base_parts or base.stacks != STACKS[:1]:
            return ""
        return (
            " It was saved when the encoder of an encoder-decoder had no fingerprint of its own: "
            "if that is what this one is, save it again (jaxlt modules save)."
        )

    def values_for(self, other: Plug, shapes: Shapes) -> dict[str, np.ndarray]:
        """Returns the values of one slot by the model's stacked names; layers left out are zero.

        shapes: the leaves of the plug, without a routes axis; where none is in a decoder, what the
        module has there is left out.
        """
        found = self.tensors()
        wanted = {n: _stored(n, other.name) for n in shapes if owner(n) == other.name}
        if not any(stored.startswith(_DECODER) for stored in wanted.values()):
            found = {n: v for n, v in found.items() if not n.startswith(_DECODER)}
        if set(wanted.values()) != set(found):
            odd = sorted(set(wanted.values()) ^ set(found))[0]
            whose = "the module" if odd in found else "the plug"
            raise UserError(
                f"The module '{self.name}' ({self.path}) and plug '{other.name}' differ in their "
                f"weights: only {whose} has '{odd}'. They sit in backbones of another kind."
            )
        out, mine = {}, self.plug_as(other.name)
        for name, stored in wanted.items():
            shape, value = tuple(shapes[name]), found[stored]
            if "/layers/" in name:
                layers, own = other.working_layers(shape[0]), mine.working_layers(shape[0])
                if own != layers:
                    raise self._other_plug(other, "layers", own, layers)
                if value.shape != (len(layers), *shape[1:]):
                    raise self._misfit(stored, value.shape, (len(layers), *shape[1:]))
                whole = np.zeros(shape, value.dtype)
                whole[layers] = value
                value = whole
            elif value.shape != shape:
                raise self._misfit(stored, value.shape, shape)
            out[name] = value
        return out

    def _misfit(self, name: str, have: Iterable[int], want: Iterable[int]) -> UserError:
        return UserError(
            f"The module '{self.name}' ({self.path}) has another size: '{name}' is {list(have)}, "
            f"and this backbone asks for {list(want)}."
        )


def _meaning(p: Plug) -> dict[str, Any]:
    """What decides what a plug computes; its layers can be compared where a stack's are known."""
    fields = {f: getattr(p, f) for f in ("method", "stacks", "sites", "parallel")}
    return fields | {"settings": _settings(p)}


def _settings(p: Plug) -> dict[str, Any]:
    """All settings of a plug's method, those of an inner plug likewise."""
    every = _defaults(p) | dict(p.settings)
    inner = {n: v for n, v in every.items() if isinstance(v, Plug)}
    whole = {n: tuple(sorted(_settings(v).items())) for n, v in inner.items()}
    return every | {n: dataclasses.replace(v, settings=whole[n]) for n, v in inner.items()}


def _defaults(p: Plug) -> dict[str, Any]:
    """The settings that a plug leaves to its method."""
    kept = {f.name for f in dataclasses.fields(Method)} | {name for name, _ in p.settings}
    return {
        f.name: f.default
        for f in dataclasses.fields(p.method)
        if f.name not in kept and f.default is not dataclasses.MISSING
    }


def _of(some: Iterable[str], wanted: Iterable[str]) -> tuple[str, ...]:
    return tuple(stack for stack in some if stack in wanted)


def _shown(value: Any) -> str:
    return value.__name__ if isinstance(value, type) else str(value)


def _stored(name: str, plug_name: str) -> str:
    """'modules/encoder/layers/mlp_out/lang/down' -> 'encoder/layers/mlp_out/*/down'."""
    parts = name.removeprefix("modules/").split("/")
    for i, part in enumerate(parts):
        if part == plug_name and owner("/".join(parts[: i + 1])) == plug_name:
            parts[i] = _PLUG
            break
    return "/".join(parts)


def _path_of(method: type[Method]) -> str:
    return f"{method.__module__}:{method.__qualname__}"


def _record_of(p: Plug) -> dict[str, Any]:
    """A plug as JSON has it; an inner plug among its settings likewise, under '@plug'."""
    settings = {
        name: {"@plug": {"name": value.name, **_record_of(value)}}
        if isinstance(value, Plug)
        else value
        for name, value in p.settings
    }
    shape = {f: getattr(p, f) for f in ("sites", "stacks", "layers", "leave_out", "parallel")}
    return {
        "method": _path_of(p.method),
        **shape,
        "settings": settings,
        "defaults": _defaults(p),  # another version of jaxlt may have others
    }


def _plug_from(
    record: Mapping[str, Any], name: str, where: Path, routes: int = 0, key: str | None = None
) -> Plug:
    """The plug that `_record_of` describes."""
    said: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
    method, given = _method(said.pop("method"), where), said.pop("settings")
    # What the method no longer has was left alone here, so the module does without.
    left = {n: v for n, v in said.pop("defaults", {}).items() if n in method.own_settings()}
    given = left | given
    settings: dict[str, Any] = {}
    for setting, value in given.items():
        if isinstance(value, Mapping) and "@plug" in value:
            inner = dict(value["@plug"])
            value = _plug_from(inner, inner.pop("name"), where)
        settings[setting] = tuple(value) if isinstance(value, list) else value
    return plug(method, name, routes=routes, key=key, **said, **settings)


def _method(path: str, where: Path) -> type[Method]:
    """The class at 'module:Name'; a record makes nothing be imported but jaxlt's own."""
    module, _, name = path.partition(":")
    if not module.startswith("jaxlt.") and module not in sys.modules:
        raise UserError(
            f"'{where}' is of the method '{path}', not one of jaxlt's own: import '{module}' first."
        )
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        found = None
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise UserError(f"'{where}' is of the method '{path}', which this jaxlt does not have.")
    return found


def save(
    library: str | os.PathLike[str],
    name: str,
    p: Plug,
    flat: Mapping[str, Any],
    slot: int | None = None,
    *,
    axes: Mapping[str, tuple[str | None, ...]],
    base: Fingerprint,
    language: str | None = None,
    metrics: Mapping[str, float] | None = None,
    training: str = "",
) -> Saved:
    """Writes one module of a model; returns its record. One of that name is replaced as a whole.

    flat: stacked leaves by 'modules/...' names; axes: the logical axes of each. `slot` picks one of
        a bank (what all slots share, without an axis 'routes', goes with each).
    """
    from safetensors.numpy import save_file

    values = {}
    for leaf, value in flat.items():
        if owner(leaf) != p.name:
            continue
        value, stacked = np.asarray(value, np.float32), "/layers/" in leaf
        if "routes" in axes[leaf]:
            assert slot is not None
            value = np.take(value, slot, axis=axes[leaf].index("routes"))
        if stacked:
            value = value[p.working_layers(len(value))]
        values[_stored(leaf, p.name)] = np.ascontiguousarray(value)
    described = _record_of(p)
    saved = Saved(
        Path(library).expanduser() / name,
        name,
        described.pop("method"),
        described,
        {n: tuple(v.shape) for n, v in values.items()},
        base.whole,
        language,
        dict(metrics or {}),
        training,
        dict(base.parts),
    )
    record = dataclasses.asdict(saved) | {"format": FORMAT}
    del record["path"]
    new = saved.path.with_name(saved.path.name + _NEW)
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    save_file(values, new / TENSORS)
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    (new / RECORD).write_text(text, encoding="utf-8")
    old = saved.path.with_name(saved.path.name + _OLD)
    shutil.rmtree(old, ignore_errors=True)
    if saved.path.exists():
        saved.path.rename(old)
    new.rename(saved.path)
    shutil.rmtree(old, ignore_errors=True)
    return saved


def _read(path: Path, name: str) -> Saved:
    where = path / RECORD
    try:
        record = json.loads(where.read_text(encoding="utf-8"))
        if record.pop("format") not in READ:
            raise UserError(f"'{where}' was written by another version of jaxlt: save it again.")
        record["sizes"] = {n: tuple(s) for n, s in record["sizes"].items()}
        return Saved(path, **record | {"name": name})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"'{where}' is no record of a module: {error}.") from None


def find(library: str | os.PathLike[str]) -> list[Saved]:
    """Returns all modules of a library, by name."""
    root = Path(library).expanduser()
    if not root.is_dir():
        raise UserError(f"There is no library of modules at '{library}'.")
    paths = sorted(path.parent for path in root.rglob(RECORD))
    paths = [path for path in paths if path.suffix not in (_NEW, _OLD)]
    return [_read(path, path.relative_to(root).as_posix()) for path in paths]


def open_module(library: str | os.PathLike[str], name: str, plug_name: str = "") -> Saved:
    """Returns the module of that name: 'lang/swh_Latn', or 'swh_Latn' for plug 'lang'."""
    root = Path(library).expanduser()
    for candidate in (f"{plug_name}/{name}", name):
        if (root / candidate / RECORD).is_file():
            return _read(root / candidate, candidate)
    known = [saved.name for saved in find(library)]
    short = [n.removeprefix(f"{plug_name}/") for n in known]
    raise UserError(
        f"The library '{library}' has no module '{name}' for plug '{plug_name or name}'."
        f"{nearest(name, [*short, *known])} It has: {', '.join(known) or 'none'}."
    )
