"""What a step takes beyond the loss of its model and the plain gradient: bases of a user's own.

A subclass is a frozen dataclass in a file of its own; its fields are what gin binds, its methods
what it does. One of a user's own needs no row anywhere: gin knows it once its file is imported
(`import my_losses` in a gin file). Nothing heavy is imported here.
"""

import abc
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from jaxlt.errors import UserError

LOSSES = "losses/"  # begins the names of parameters that are a loss's own, and not the model's


def kinds_of(base: type) -> dict[str, type]:
    """Returns the imported subclasses of a base by name, however far below."""
    found: dict[str, type] = {}
    below: list[type] = base.__subclasses__()
    for kind in below:
        found |= {kind.__name__: kind} | kinds_of(kind)
    return found


class Parts(NamedTuple):
    """What gradients side by side are of.

    of: 'objectives', or 'languages' of a batch; `most`: of these beyond so many the rest is one.
    """

    of: str
    most: int


@dataclasses.dataclass(frozen=True)
class Transform(abc.ABC):
    """A change of a step's gradients before the optimizer sees them.

    One that has `parts` comes first: it is given gradients side by side (`[K, ...]`), gives one.
    """

    @property
    def parts(self) -> "Parts | None":
        """What the gradients are of that it chooses between."""
        return None

    def check(self, spec: Any, axes: Mapping[str, tuple[str | None, ...]]) -> None:  # noqa: B027
        """Raises UserError where a StepSpec cannot have it; axes: of all that trains."""

    @abc.abstractmethod
    def __call__(
        self, grads: dict[str, Any], key: Any, axes: Mapping[str, tuple[str | None, ...]]
    ) -> dict[str, Any]:
        """Gradients by name -> gradients of the same shapes; `key` is the step's own."""


@dataclasses.dataclass(frozen=True)
class Auxiliary(abc.ABC):
    """A loss beside the main one, in `LossConfig.auxiliary`.

    weight: what its mean is multiplied by in what a step descends.
    trains: whether its `leaves` do, whatever TrainConfig.trainable says.
    """

    weight: float = 1.0
    trains: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0):
            what = f"{type(self).__name__}.weight is {self.weight}"
            raise UserError(f"{what}; it must be finite and 0 or more.")

    @property
    def name(self) -> str:
        """By which its numbers are reported."""
        return type(self).__name__.lower()

    def check(self, model: Any) -> None:  # noqa: B027
        """Raises UserError where a model's config cannot have it."""

    def check_languages(self, languages: Sequence[str]) -> None:  # noqa: B027
        """Raises UserError where data of these languages is nothing for it."""

    def leaves(self, model: Any) -> Mapping[str, Any]:
        """Parameters of its own, {name: jaxlt.models.init.Leaf}: 'losses/<its name>/<name>'.

        They are in the state and in checkpoints, and in no trained model. `network.own(self,
        params)` gives their arrays.
        """
        return {}

    @abc.abstractmethod
    def __call__(
        self, network: Any, params: dict[str, Any], batch: Mapping[str, Any], key: Any
    ) -> tuple[Any, dict[str, Any]]:
        """The sum over a batch, and sums by name: all are divided by `weight_sum`, one of them.

        network: reads the model, `states(params, batch, key) -> [B, S, D]` of its encoder.
        """
