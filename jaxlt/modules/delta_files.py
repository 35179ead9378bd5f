"""Weight deltas on disk: one safetensors file of arrays under stacked parameter names, with facts.

    save("sw.safetensors", {"params/encoder/layers/mlp/wo/kernel/indices": int32 [K],
                            "params/encoder/layers/mlp/wo/kernel/values": float32 [K]}, {...})
    arrays, facts = load("sw.safetensors")

Indices are flat ones into the stacked leaf, strictly increasing. A parameter with indices and no
values is a mask: what is trained under it starts at zero. One with values and no indices is dense.
"""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxlt.errors import UserError
from jaxlt.modules.fingerprints import Fingerprint

INDICES, VALUES = "/indices", "/values"
_START = "start_"  # and a stack: a fact's name
Arrays = dict[str, np.ndarray]


def save(path: str | Path, arrays: Mapping[str, np.ndarray], facts: Mapping[str, str]) -> None:
    """Writes arrays and what is known of them (texts), whole or not at all."""
    path = Path(path).expanduser()
    whole = {n: np.ascontiguousarray(a) for n, a in arrays.items()}
    check_arrays(whole, str(path))
    temporary = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(whole, temporary, metadata={k: str(v) for k, v in facts.items()})
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"'{path}' cannot be written: {error}.") from error


def load(path: str | Path) -> tuple[Arrays, dict[str, str]]:
    """Reads what `save` wrote: (arrays, facts)."""
    with _opened(path) as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        facts = dict(file.metadata() or {})
    check_arrays(arrays, str(path))
    return arrays, facts


def peek(path: str | Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Reads the file's header alone: ({array: shape}, facts)."""
    with _opened(path) as file:
        names = list(file.keys())
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
        return shapes, dict(file.metadata() or {})


def start_of(backbone: Fingerprint) -> dict[str, str]:
    """Facts about the backbone that a delta is made on."""
    return {"start": backbone.whole} | {f"{_START}{k}": v for k, v in backbone.parts.items()}


def parts_in(facts: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Of a file's facts the content hashes of the backbone's stacks: ((stack, hash), ...)."""
    found = {k.removeprefix(_START): v for k, v in facts.items() if k.startswith(_START)}
    return tuple(sorted(found.items()))


def kind_and_counts(
    shapes: Mapping[str, tuple[int, ...]], where: str
) -> tuple[str, tuple[tuple[str, int], ...]]:
    """From a header: ('sparse' or 'dense', ((parameter, entries), ...)) in the order of names."""
    sparse = {n.removesuffix(INDICES) for n in shapes if n.endswith(INDICES)}
    params = sparse | {n.removesuffix(VALUES) for n in shapes if n.endswith(VALUES)}
    odd = [n for n in shapes if not n.endswith((INDICES, VALUES)) or not n.startswith("params/")]
    if odd or not params or sparse not in (set(), params):
        raise UserError(
            f"'{where}' is no file of a weight delta: its arrays are to be called 'params/.../"
            f"values', all of them with 'params/.../indices' or none"
            f"{f', and one is called {odd[0]!r}' if odd else ''}."
        )
    suffix = INDICES if sparse else VALUES
    counts = tuple((p, math.prod(shapes[p + suffix])) for p in sorted(params))
    return ("sparse" if sparse else "dense"), counts


def check_arrays(arrays: Mapping[str, np.ndarray], where: str) -> None:
    """Raises UserError unless names, shapes and the order of the indices are a delta's."""
    kind_and_counts({n: a.shape for n, a in arrays.items()}, where)
    for name, array in arrays.items():
        param = name.removesuffix(INDICES)
        if not name.endswith(INDICES):
            continue
        values = arrays.get(param + VALUES)
        rising = array.ndim == 1 and array.dtype == np.int32 and bool(np.all(np.diff(array) > 0))
        if not rising or (len(array) and array[0] < 0):
            raise UserError(f"'{where}': '{name}' has to be int32 [K], each larger than the last.")
        if values is not None and values.shape != array.shape:
            raise UserError(
                f"'{where}': '{param}' has {array.shape[0]} indices and values of shape "
                f"{list(values.shape)}."
            )


@dataclasses.dataclass(frozen=True)
class Stored:
    """The start of a leaf that lies in a file: `Stored(path, array, shape)()` reads it.

    layer: take that one of a stacked array, for an unrolled model. An array that the file does not
    have is zero.
    """

    path: str
    array: str
    shape: tuple[int, ...]
    layer: int | None = None

    def __call__(self) -> np.ndarray:
        """Returns the array [*shape], in its stored dtype."""
        with _opened(self.path) as file:
            if self.array not in file.keys():  # noqa: SIM118
                return np.zeros(self.shape, np.float32)
            if self.layer is None:
                value = file.get_tensor(self.array)
            else:
                value = file.get_slice(self.array)[self.layer]
        if self.array.endswith(INDICES):
            check_arrays({self.array: value}, self.path)
        if value.shape != self.shape:
            raise UserError(
                f"'{self.path}': '{self.array}' is {list(value.shape)} and the model has "
                f"{list(self.shape)}: the delta is of a model of other sizes."
            )
        return value


def _opened(path: str | Path):
    place = Path(path).expanduser()
    try:
        return safe_open(place, framework="numpy")
    except FileNotFoundError:
        raise UserError(
            f"There is no file '{path}' of a weight delta. `jaxlt modules sparsify` writes one "
            "from the workdir of a run."
        ) from None
    except (OSError, SafetensorError) as error:
        raise UserError(f"'{path}' is no safetensors file of a weight delta: {error}.") from error
