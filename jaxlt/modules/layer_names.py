"""Names of scanned layers' leaves and of unrolled ones'.

A scanned leaf '.../layers/mlp/wo/kernel' [L, ...] stands for the leaves '.../layers_0/...',
'.../layers_1/...' of an unrolled model; the *stacked name* of all of them is the scanned one.
"""

import re
from collections.abc import Iterable

_LAYER = re.compile(r"(^|/)layers_(\d+)(?=/)")


def stacked_name(name: str) -> tuple[str, int | None]:
    """('a/layers_3/b') -> ('a/layers/b', 3); a name that is no unrolled layer's -> (name, None)."""
    found = _LAYER.search(name)
    if not found:
        return name, None
    return _LAYER.sub(r"\g<1>layers", name, count=1), int(found.group(2))


def members(names: Iterable[str]) -> dict[str, list[str]]:
    """Stacked name -> the names of its layers in order, or the one name itself."""
    groups: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        stacked, layer = stacked_name(name)
        groups.setdefault(stacked, []).append((-1 if layer is None else layer, name))
    return {stacked: [n for _, n in sorted(found)] for stacked, found in groups.items()}
