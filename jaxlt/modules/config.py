"""What is plugged into a backbone and what is added to its weights, as frozen values.

Reading a configuration needs these, and jax only where a method's class is named: nothing heavy is
imported here. `jaxlt.modules.site` and `jaxlt.modules.deltas` say what a Plug and a Delta do.
"""

import dataclasses
import fnmatch
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxlt.errors import UserError, nearest
from jaxlt.identity import HARMLESS, PLACED
from jaxlt.modules import delta_files
from jaxlt.modules.delta_files import VALUES
from jaxlt.modules.layout import group_layers

Method = Any  # a class of `jaxlt.modules.site`, known where it is loaded: it brings jax
PREFIX = "deltas/"
KINDS = ("dense", "sparse", "diff")
# Norms stay as they are, and so do the logits; the input embedding may change.
_DECODER = "params/decoder/"
NORMS_AND_LOGITS = r"params/(.*norm.*|.*logits_dense.*|.*mlm_head.*)"


@dataclasses.dataclass(frozen=True)
class Plug:
    """A method and the sites it plugs into.

    `sites` are patterns over places such as 'encoder/mlp_out' or 'decoder/self_attention/query':
    a bare name matches that site everywhere, 'encoder/*' and the like match by path. `layers` are
    those it works in (None: all), `leave_out` those it does not; negative numbers count from the
    end of a stack. Plugs in a row with one name in `parallel` all take what came before them, and
    their changes are added up; otherwise each takes what the one before it gave.
    """

    name: str
    method: type[Method]
    sites: tuple[str, ...] = ("mlp_out",)
    stacks: tuple[str, ...] = ("encoder", "decoder")
    key: str | None = None
    routes: int = 0
    settings: tuple[tuple[str, Any], ...] = ()
    layers: tuple[int, ...] | None = None
    leave_out: tuple[int, ...] = ()
    parallel: str | None = None
    routing: str = dataclasses.field(default="auto", metadata=HARMLESS)

    def works_in(self, layer: int, count: int) -> bool:
        """Says whether the plug works in a layer of a stack of `count`."""
        chosen = range(count) if self.layers is None else [n % count for n in self.layers]
        return layer in chosen and layer not in [n % count for n in self.leave_out]

    def working_layers(self, count: int) -> list[int]:
        """Returns the layers of a stack of `count` in which the plug works."""
        return [i for i in range(count) if self.works_in(i, count)]

    def matches(self, place: str) -> bool:
        """Says whether this plug belongs at `place` ('encoder/mlp_out')."""
        stack, _, rest = place.partition("/")
        return stack in self.stacks and any(
            fnmatch.fnmatchcase(candidate, pattern)
            for pattern in self.sites
            for candidate in (place, rest, rest.rsplit("/", 1)[-1])
        )


def plug(
    method: type[Method],
    name: str,
    *,
    sites: Iterable[str] | str | None = None,
    stacks: Iterable[str] | str = ("encoder", "decoder"),
    key: str | None = None,
    routes: int = 0,
    layers: Iterable[int] | None = None,
    leave_out: Iterable[int] = (),
    parallel: str | None = None,
    routing: str = "auto",
    **settings: Any,
) -> Plug:
    """Makes a Plug: `plug(Bottleneck, "lang", reduction_factor=16, key="source", routes=8)`.

    Where it goes defaults to the method's own `places`; `settings` are the method's own fields.
    """
    own = method.own_settings()
    for setting in settings:
        if setting not in own:
            raise UserError(
                f"{method.__name__} has no setting '{setting}' (it has: {', '.join(sorted(own))})."
                + nearest(setting, own)
            )
    if routes and key is None:
        key = "source"
    if key is not None and not routes:
        raise UserError(f"Plug '{name}' routes by '{key}' but has routes = 0: say how many slots.")
    if parallel and method.lengthens:
        raise UserError(
            f"Plug '{name}' ({method.__name__}) adds positions, and changes of different lengths "
            f"cannot be added up: it cannot stand in parallel (plug.parallel = '{parallel}')."
        )
    sites = getattr(method, "places", ("mlp_out",)) if sites is None else sites
    as_tuple = lambda value: (value,) if isinstance(value, str) else tuple(value)  # noqa: E731
    frozen = tuple(sorted((k, tuple(v) if isinstance(v, list) else v) for k, v in settings.items()))
    return Plug(
        name,
        method,
        as_tuple(sites),
        as_tuple(stacks),
        key,
        routes,
        frozen,
        layers=None if layers is None else tuple(layers),
        leave_out=tuple(leave_out),
        parallel=parallel,
        routing=routing,
    )


@dataclasses.dataclass(frozen=True)
class Delta:
    """One set of changes to a backbone, made by `delta`.

    params, leave_out: regular expressions over whole names ('params/encoder/.*'): what may change.
    counts: parameters by their stacked names, with the number of entries of each; where it is
        given, those and no others change. A sparse delta has to have it.
    file: where mask or values start from; read once, at the start of a run.
    start: content hash of the backbone that the file was made on; '' where it is unknown, or where
        any will do. start_parts: those of its stacks, where they are known.
    scale: the delta counts so many times: -1 takes away what was learnt.
    l1: weight of the sum of |values| over the number of the backbone's parameters, in the loss.
    l0: weight of the expected number of open gates, in the loss (diff).
    """

    name: str
    params: tuple[str, ...] = ("params/.*",)
    leave_out: tuple[str, ...] = (NORMS_AND_LOGITS,)
    kind: str = "dense"
    counts: tuple[tuple[str, int], ...] = dataclasses.field(
        default=(), metadata=HARMLESS
    )  # this, start and start_parts are the file's own
    file: str | None = dataclasses.field(default=None, metadata=PLACED)
    start: str = dataclasses.field(default="", metadata=HARMLESS)
    scale: float = 1.0
    l1: float = 0.0
    l0: float = 1.25e-7
    start_parts: tuple[tuple[str, str], ...] = dataclasses.field(default=(), metadata=HARMLESS)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w+", self.name):
            raise UserError(
                f"A delta's name has letters, digits and underscores only: '{self.name}'."
            )
        if self.kind not in KINDS:
            raise UserError(
                f"delta.kind is '{self.kind}'; it must be one of {', '.join(KINDS)}."
                f"{nearest(str(self.kind), KINDS)}"
            )
        if self.kind == "diff" and self.file:
            raise UserError("delta.file is for dense and sparse deltas; a 'diff' one is learnt.")
        for field in ("l1", "l0"):
            if not getattr(self, field) >= 0:
                raise UserError(f"delta.{field} is {getattr(self, field)}; it must be 0 or more.")

    @property
    def prefix(self) -> str:
        """What the names of its leaves begin with."""
        return f"{PREFIX}{self.name}/"

    def parts(self, names: Iterable[str], ending: str = VALUES) -> dict[str, str]:
        """Of the names of leaves, its own with that ending: {parameter: leaf}."""
        found = [n for n in names if n.startswith(self.prefix) and n.endswith(ending)]
        middles = {n: n.removeprefix(self.prefix).removesuffix(ending) for n in found}
        sparse = self.kind == "sparse"
        return {f"params/{m.replace('.', '/') if sparse else m}": n for n, m in middles.items()}

    def leaf(self, param: str, ending: str = VALUES) -> str:
        """The name of a leaf: ('params/encoder/x') -> 'deltas/<name>/encoder/x/values'."""
        middle = param.removeprefix("params/")
        return (
            self.prefix + (middle.replace("/", ".") if self.kind == "sparse" else middle) + ending
        )

    def targets(self, names: Iterable[str]) -> list[str]:
        """The parameters that it changes, among `names`; by patterns, or those of `counts`.

        Of what was made on an encoder-decoder, an encoder alone takes its own.
        """
        names = [n for n in names if n.startswith("params/")]
        if self.counts:
            known = group_layers(names)
            wanted = [param for param, _ in self.counts]
            if not any(n.startswith(_DECODER) for n in names):
                wanted = [param for param in wanted if not param.startswith(_DECODER)]
            for param in wanted:
                if param not in known:
                    where = f" ('{self.file}')" if self.file else ""
                    raise UserError(
                        f"Delta '{self.name}'{where} changes the parameter '{param}', which this "
                        f"model does not have.{nearest(param, known)}"
                    )
            return wanted if self.kind == "sparse" else [n for p in wanted for n in known[p]]
        if self.kind == "sparse":
            raise UserError(
                f"Delta '{self.name}' is sparse and has no mask yet: delta.file = "
                f"{self.file!r}"
                + (" does not exist." if self.file else ".")
                + " `jaxlt modules sparsify` makes one from the workdir of a run."
            )
        for pattern in self.params:
            if not any(re.fullmatch(pattern, n) for n in names):
                raise UserError(
                    f"delta.params of '{self.name}' has the pattern '{pattern}', which matches no "
                    f"parameter in full.{nearest(pattern, names)}"
                )
        chosen = [n for n in names if any(re.fullmatch(p, n) for p in self.params)]
        return [n for n in chosen if not any(re.fullmatch(p, n) for p in self.leave_out)]


def delta(
    name: str,
    *,
    params: tuple[str, ...] = ("params/.*",),
    leave_out: tuple[str, ...] = (NORMS_AND_LOGITS,),
    kind: str | None = None,
    counts: tuple[tuple[str, int], ...] = (),
    file: str | None = None,
    start: str | None = None,
    scale: float = 1.0,
    l1: float = 0.0,
    l0: float = 1.25e-7,
    start_parts: tuple[tuple[str, str], ...] = (),
) -> Delta:
    """Makes a Delta; kind, counts and start come from `file` where there is one.

    A file that does not exist yet is met when the run's parameters are listed. start = '' takes
    the file for whatever backbone.
    """
    if file is not None and Path(file).expanduser().exists():
        shapes, facts = delta_files.peek(file)
        kind_there, counts_there = delta_files.kind_and_counts(shapes, file)
        if (kind or kind_there) != kind_there or (counts or counts_there) != counts_there:
            raise UserError(
                f"Delta '{name}' is said to be of kind '{kind}' with {len(counts)} parameters, and "
                f"'{file}' holds a {kind_there} one with {len(counts_there)} (and perhaps other "
                "numbers of entries). Leave kind and counts to the file, or give the right file."
            )
        kind, counts = kind_there, counts_there
        if start is None:
            start, start_parts = facts.get("start", ""), delta_files.parts_in(facts)
    kind = kind or ("dense" if file is None else "sparse")
    made = (tuple(params), tuple(leave_out), kind, tuple((p, int(k)) for p, k in counts))
    given = tuple((stack, text) for stack, text in start_parts)
    return Delta(name, *made, file, start or "", scale, l1, l0, given)
