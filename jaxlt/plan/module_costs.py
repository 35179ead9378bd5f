"""What each plug costs: parameters a language or task, share of the base, FLOPs, optimizer state.

    for row in module_costs(job, inputs=512, targets=128): ...

Parameters are counted from the shapes of the leaves. FLOPs are the compiler's own count of the
forward pass with the plug less that of the plain backbone, a token of input and targets; nothing is
compiled or allocated for it.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxlt.engine.config import Job
from jaxlt.engine.loop import program_of
from jaxlt.engine.state import optimizer_abstract
from jaxlt.models.config import BiLSTMConfig, T5Config
from jaxlt.models.encoder import model_of
from jaxlt.models.init import Leaf, describe, tiny_batch, unflatten
from jaxlt.models.layers import make_context
from jaxlt.modules.site import Plug, owner


@dataclasses.dataclass(frozen=True)
class PlugCost:
    """One plug. `parameters` are those of one slot, in the layers that it works in."""

    name: str
    method: str
    places: int  # sites that it is plugged into, each layer counted
    parameters: int
    slots: int  # 1 where it is not a bank
    share: float  # parameters of a slot over those of the backbone
    flops: float  # a token, forward
    optimizer_bytes: int  # of all slots; 0 where it is frozen


def module_costs(job: Job, inputs: int, targets: int) -> list[PlugCost]:
    """Returns the cost of every plug of a job's model."""
    model = job.model
    if isinstance(model, BiLSTMConfig):  # nothing plugs in there
        return []
    leaves = describe(dataclasses.replace(model, scan_layers=True))
    base = sum(math.prod(leaf.shape) for n, leaf in leaves.items() if n.startswith("params/"))
    plain = forward_cost(dataclasses.replace(model, plugs=()), inputs, targets)
    state = _optimizer_bytes(job)
    tokens = inputs if model.is_encoder else inputs + targets
    out = []
    for p in model.plugs:
        mine = {n: leaf for n, leaf in leaves.items() if owner(n) == p.name}
        count = sum(_values(n, leaf, p) for n, leaf in mine.items())
        alone = dataclasses.replace(model, plugs=(_one_slot(p),))
        flops = max(0.0, forward_cost(alone, inputs, targets) - plain) / tokens
        sites = {n.partition(f"/{p.name}/")[0]: leaf for n, leaf in mine.items()}
        out.append(
            PlugCost(
                name=p.name,
                method=p.method.__name__,
                places=sum(_repeats(site, leaf, p) for site, leaf in sites.items()),
                parameters=count,
                slots=max(1, p.routes),
                share=count / base,
                flops=flops,
                optimizer_bytes=sum(size for n, size in state.items() if owner(n) == p.name),
            )
        )
    return out


def _one_slot(p: Plug) -> Plug:
    """The plug as a row sees it that goes through one slot, unless its slots all serve each row."""
    if not p.routes or p.key == "all":
        return p
    return dataclasses.replace(p, routes=0, key=None)


def _repeats(name: str, leaf: Leaf, p: Plug) -> int:
    return len(p.working_layers(leaf.shape[0])) if "/layers/" in f"{name}/" else 1


def _values(name: str, leaf: Leaf, p: Plug) -> int:
    """Values of one slot of a leaf, in the layers that the plug works in."""
    shape = [n for n, axis in zip(leaf.shape, leaf.axes, strict=True) if axis != "routes"]
    if "/layers/" in name:
        shape[0] = _repeats(name, leaf, p)
    return math.prod(shape)


@functools.cache  # a plain backbone is asked for again and again
def forward_cost(config: T5Config, inputs: int, targets: int) -> float:
    """FLOPs of one row's forward pass, by the compiler's count of the layers spelt out."""
    config = dataclasses.replace(config, scan_layers=False, remat="none", dtype="float32")
    shape = {"encoder_input_tokens": inputs, "encoder_target_tokens": inputs}
    batch = {}
    for name, value in tiny_batch(config).items():
        length = (shape.get(name, targets),) if value.ndim == 2 else ()
        batch[name] = jax.ShapeDtypeStruct((1, *length), value.dtype)
    params = {
        n: jax.ShapeDtypeStruct(leaf.shape, jnp.float32) for n, leaf in describe(config).items()
    }

    def forward(flat: Any, fields: Any) -> Any:
        return model_of(config).apply(unflatten(flat), fields, make_context(fields))

    found: Any = jax.jit(forward).lower(params, batch).cost_analysis()
    return float(found["flops"])


def _optimizer_bytes(job: Job) -> dict[str, int]:
    """Bytes of optimizer state by the parameter that they belong to, over all devices."""
    program = program_of(job)
    names = set(program.layout.trainable)
    out: dict[str, int] = {}
    tree = optimizer_abstract(program.layout, program.optimizer)
    for path, array in jax.tree_util.tree_flatten_with_path(tree)[0]:
        for key in path:
            name = getattr(key, "key", None)
            if name in names:
                out[name] = out.get(name, 0) + math.prod(array.shape) * array.dtype.itemsize
    return out
