"""Transforms of gradients, from gin as `TrainConfig.transforms = [@PCGrad(), @VocabularyRows()]`.

They go in the order given, before clipping and before the optimizer. The norm that is logged is
that of the gradient before masks, and after surgery.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxlt.engine.open import Parts, Transform
from jaxlt.errors import UserError, check_least
from jaxlt.modules import child_tuning

Axes = Mapping[str, tuple[str | None, ...]]
Flat = dict[str, Any]
SALT = 0x6368696C  # folded into a step's key for its first transform, then counted up
PARTS = ("languages", "objectives")


@dataclasses.dataclass(frozen=True)
class ChildTuning(Transform):
    """Each step keeps each entry of the gradients with probability `keep`, divided by it."""

    keep: float = 0.3

    def __post_init__(self) -> None:
        if not 0.0 < self.keep <= 1.0:
            raise UserError(f"ChildTuning.keep is {self.keep}; it must be above 0 and at most 1.")

    def __call__(self, grads: Flat, key: jax.Array, axes: Axes) -> Flat:
        return child_tuning.masked(grads, self.keep, key)


@dataclasses.dataclass(frozen=True)
class VocabularyRows(Transform):
    """Of the embedding and the logits only entries [first, last) of the vocabulary get gradients.

    last: None for the end. So a vocabulary that was made larger trains in its new entries alone.
    """

    first: int
    last: int | None = None

    def check(self, spec: Any, axes: Axes) -> None:
        """There has to be a vocabulary, with those entries, that nothing else moves."""
        size = getattr(spec.model, "vocab_rows", 0)
        if not any("vocab" in dims for dims in axes.values()):
            raise UserError(
                "VocabularyRows masks gradients of the vocabulary's entries, and nothing that "
                "trains has any: TrainConfig.trainable leaves out the embedding and the logits."
            )
        last = size if self.last is None else self.last
        if not 0 <= self.first < last <= size:
            raise UserError(
                f"VocabularyRows(first={self.first}, last={self.last}) are no entries of a "
                f"vocabulary of {size}."
            )
        if spec.optimizer.weight_decay:
            raise UserError(
                "VocabularyRows keeps gradients from entries of the vocabulary, but "
                f"OptimizerConfig.weight_decay = {spec.optimizer.weight_decay} would move them all "
                "the same; set it to 0."
            )

    def __call__(self, grads: Flat, key: jax.Array, axes: Axes) -> Flat:
        out = dict(grads)
        for name, grad in grads.items():
            if "vocab" in axes[name]:
                at = axes[name].index("vocab")
                place = jax.lax.broadcasted_iota(jnp.int32, grad.shape, at)
                last = grad.shape[at] if self.last is None else self.last
                out[name] = jnp.where((place >= self.first) & (place < last), grad, 0)
        return out


@dataclasses.dataclass(frozen=True)
class PCGrad(Transform):
    """Gradient surgery (Yu et al., 2020): each part loses what goes against another part.

    between: 'languages' of a batch (beyond `groups` of them the rest is one), or 'objectives': the
        main one, and each of LossConfig.auxiliary. Each part costs a pass over the batch.
    Parts are taken up in an order drawn each step. Where none is at odds with another, the sum is
    the plain gradient.
    """

    between: str = "languages"
    groups: int = 4

    def __post_init__(self) -> None:
        if self.between not in PARTS:
            raise UserError(f"PCGrad.between is '{self.between}'; it is one of {', '.join(PARTS)}.")
        check_least(self, 2, "groups")

    @property
    def parts(self) -> Parts:
        """What the gradients that it is given side by side are of."""
        return Parts(self.between, self.groups)

    def check(self, spec: Any, axes: Axes) -> None:
        """There have to be parts to be at odds, and these parts alone."""
        if (self.between == "objectives") != bool(spec.loss.auxiliary):
            has = "no other" if self.between == "objectives" else "others in LossConfig.auxiliary"
            raise UserError(
                f"PCGrad.between is '{self.between}', and beside the main objective the run has "
                f"{has}: where there are others, surgery is between 'objectives'."
            )

    def __call__(self, grads: Flat, key: jax.Array, axes: Axes) -> Flat:
        """Gradients [K, ...] -> one of each."""
        wide = {n: g.astype(jnp.float32) for n, g in grads.items()}
        inner = {n: tuple(range(1, g.ndim)) for n, g in wide.items()}
        each = (jnp.tensordot(g, g, (inner[n], inner[n])) for n, g in wide.items())
        shares = surgery_shares(sum(each, jnp.float32(0.0)), key)
        return {n: jnp.tensordot(shares, g, 1).astype(grads[n].dtype) for n, g in wide.items()}


def surgery_shares(products: jax.Array, key: jax.Array) -> jax.Array:
    """float32 [K]: how much of each part's gradient is in the sum after surgery.

    products [K, K]: the parts' inner products. All that surgery makes lies in the parts' span, so
    it is done on shares: [1, 0] of the first loses share 1 * products[0, 1] / products[1, 1] of the
    second where the product is below 0.
    """
    count = products.shape[0]

    def one(own: jax.Array, key: jax.Array) -> jax.Array:
        def against(shares: jax.Array, other: jax.Array) -> tuple[jax.Array, None]:
            along, size = shares @ products[:, other], products[other, other]
            less = jnp.where((along < 0) & (size > 0) & (other != own), along / size, 0.0)
            return shares.at[other].add(-jnp.nan_to_num(less)), None

        order = jax.random.permutation(key, count)
        return jax.lax.scan(against, jax.nn.one_hot(own, count), order)[0]

    each = jax.vmap(one)(jnp.arange(count), jax.random.split(key, count))
    return jnp.sum(each, axis=0)


def checked(transforms: tuple[Transform, ...], spec: Any, axes: Axes) -> None:
    """Raises UserError at a transform that a step cannot have, or where two are one too many."""
    for i, one in enumerate(transforms):
        if one.parts and i:
            raise UserError(
                f"TrainConfig.transforms has {type(one).__name__} in place {i + 1}: it chooses "
                "between gradients of several parts, so it comes first, and there is one such."
            )
        one.check(spec, axes)


def transformed(
    transforms: tuple[Transform, ...], grads: Flat, key: jax.Array, axes: Axes, surgery: bool
) -> Flat:
    """Gradients after the transforms that choose between parts, or after all others."""
    for i, one in enumerate(transforms):
        if (one.parts is not None) == surgery:
            grads = one(grads, jax.random.fold_in(key, SALT + i), axes)
    return grads
