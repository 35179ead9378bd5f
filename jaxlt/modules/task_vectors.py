"""Task vectors: what fine-tuning changed, as something to add, take away and merge.

    tau = difference(tuned, pre)                              # theta_ft - theta_pre
    combine([tau_c, tau_b, tau_a], [1, 1, -1])                # the analogy: tau_c + (tau_b - tau_a)
    apply(pre, ties([tau_a, tau_b], keep=0.2), scale=0.4)     # theta + lambda * tau

Trees are flat dicts of arrays (numpy or jax), {'params/...': array}. The functions are pure. All
vectors have to be of one architecture and start from one backbone, or it is a UserError.
"""

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxlt.errors import UserError, nearest
from jaxlt.modules.magnitude import largest

Flat = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class TaskVector:
    """Changes by parameter, and the content hash of the backbone that they start from."""

    changes: Flat
    start: str = ""  # '' where it is unknown: then it is not compared


def difference(tuned: Mapping[str, Any], pre: Mapping[str, Any], start: str = "") -> TaskVector:
    """theta_ft - theta_pre, over all parameters."""
    _check_alike(tuned, pre, "the fine-tuned model", "the one it started from")
    return TaskVector({n: tuned[n] - pre[n] for n in pre}, start)


def apply(pre: Mapping[str, Any], tau: TaskVector, scale: float = 1.0, start: str = "") -> Flat:
    """theta + scale * tau; start: content hash of theta, compared where both are known.

    scale -1 unlearns. What the vector does not have stays as it is.
    """
    _check_start([tau.start, start])
    for name, change in tau.changes.items():
        if name not in pre:
            raise UserError(
                f"The task vector changes '{name}', which the model does not have."
                f"{nearest(name, pre)} Both have to be of one architecture."
            )
        _check_shape(name, pre[name], change, "the model", "the task vector")
    return {n: v + scale * tau.changes[n] if n in tau.changes else v for n, v in pre.items()}


def combine(vectors: Sequence[TaskVector], weights: Sequence[float]) -> TaskVector:
    """sum of weights * vectors: [1, 1] adds tasks, [-1] negates, [1, 1, -1] is the analogy."""
    if len(vectors) != len(weights):
        raise UserError(f"{len(vectors)} task vectors need as many weights, not {len(weights)}.")
    start = _check_vectors(vectors)

    def total(name: str) -> Any:
        return sum(w * v.changes[name] for v, w in zip(vectors, weights, strict=True))

    return TaskVector({n: total(n) for n in vectors[0].changes}, start)


def negate(tau: TaskVector) -> TaskVector:
    """-tau: what unlearns."""
    return combine([tau], [-1.0])


def add(vectors: Sequence[TaskVector]) -> TaskVector:
    """The sum: one model for several tasks."""
    return combine(vectors, [1.0] * len(vectors))


def analogy(c: TaskVector, b: TaskVector, a: TaskVector) -> TaskVector:
    """tau_c + (tau_b - tau_a): a is to b as c is to what comes out."""
    return combine([c, b, a], [1.0, 1.0, -1.0])


def ties(vectors: Sequence[TaskVector], keep: float = 0.2) -> TaskVector:
    """TIES: trims each vector to its largest entries, elects a sign an entry, and averages.

    keep: share of all entries of a vector that stay. The sign is that of the sum of what stayed;
    the mean is over those vectors whose entry has that sign (0 where there is none).
    """
    start = _check_vectors(vectors)
    if not 0.0 < keep <= 1.0:
        raise UserError(f"keep is {keep}; it must be above 0 and at most 1.")
    trimmed = [_trim(v.changes, keep) for v in vectors]
    out: Flat = {}
    for name in vectors[0].changes:
        values = jnp.stack([t[name] for t in trimmed])
        agree = (jnp.sign(values) == jnp.sign(jnp.sum(values, axis=0))) & (values != 0)
        number = jnp.maximum(jnp.sum(agree, axis=0), 1)
        out[name] = jnp.sum(jnp.where(agree, values, 0), axis=0) / number
    return TaskVector(out, start)


def _trim(changes: Flat, keep: float) -> Flat:
    """The largest share `keep` of all entries; the others are 0."""
    total = sum(v.size for v in changes.values())
    chosen = largest(changes, max(1, round(keep * total)))
    out: Flat = {}
    for name, value in changes.items():
        flat = jnp.ravel(value)
        out[name] = jnp.zeros_like(flat).at[chosen[name]].set(flat[chosen[name]])
        out[name] = out[name].reshape(jnp.shape(value))
    return out


def dare(tau: TaskVector, drop: float = 0.9, seed: int = 0) -> TaskVector:
    """DARE: drops each entry with probability `drop` and divides the others by 1 - drop.

    Entries are drawn by the parameter's name; give every vector of a merge a seed of its own, and
    merge them by `combine` or `ties`.
    """
    if not 0.0 <= drop < 1.0:
        raise UserError(f"drop is {drop}; it must be at least 0 and below 1.")
    out: Flat = {}
    for name, value in tau.changes.items():
        key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
        stays = jax.random.bernoulli(key, 1.0 - drop, jnp.shape(value))
        out[name] = jnp.where(stays, value / (1.0 - drop), 0)
    return TaskVector(out, tau.start)


def low_rank(down: Any, up: Any, scale: float = 1.0) -> Any:
    """What LoRA changes: scale * down @ up, [..., D_in, r] x [..., r, D_out] -> [..., D_in, D_out].

    Low-rank modules are merged by these products: the mean of products is not the product of means.
    """
    if down.shape[-1] != up.shape[-2]:
        raise UserError(
            f"LoRA's matrices {list(down.shape)} and {list(up.shape)} have no rank in common."
        )
    return scale * (down @ up)


def _check_vectors(vectors: Sequence[TaskVector]) -> str:
    """Raises UserError unless all can be added; returns the start they have in common."""
    if not vectors:
        raise UserError("There is no task vector to merge: give at least one.")
    for i, other in enumerate(vectors[1:], 2):
        _check_alike(other.changes, vectors[0].changes, f"task vector {i}", "the first one")
    return _check_start([v.start for v in vectors])


def _check_start(starts: Sequence[str]) -> str:
    known = sorted({s for s in starts if s})
    if len(known) > 1:
        raise UserError(
            f"Task vectors add up only where they start from the same backbone; these start from "
            f"different ones (content hashes {', '.join(known)})."
        )
    return known[0] if known else ""


def _check_alike(a: Mapping[str, Any], b: Mapping[str, Any], what: str, other: str) -> None:
    odd = sorted(set(a) ^ set(b))
    if odd:
        has, lacks = (what, other) if odd[0] in a else (other, what)
        raise UserError(
            f"{what} and {other} are of different architectures: '{odd[0]}' is in {has} and not in "
            f"{lacks} ({len(odd)} parameter(s) differ)."
        )
    for name in a:
        _check_shape(name, a[name], b[name], what, other)


def _check_shape(name: str, a: Any, b: Any, what: str, other: str) -> None:
    if jnp.shape(a) != jnp.shape(b):
        raise UserError(
            f"{what} and {other} are of different architectures: '{name}' is {list(jnp.shape(a))} "
            f"in the one and {list(jnp.shape(b))} in the other."
        )
