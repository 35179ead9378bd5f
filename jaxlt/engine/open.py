"""What a step takes beyond the loss of its model and the plain gradient: bases of a user's own.

A subclass is a frozen dataclass in a file of its own; its fields are what gin binds, its methods
what it does. One of a user's own needs no row anywhere: gin knows it once its file is imported
(`import my_losses` in a gin file). Nothing heavy is imported here.
"""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple


def kinds_of(base: type) -> dict[str, type]:
    """Returns the imported subclasses of a base by name, however far below."""
    found: dict[str, type] = {}
    below: list[type] = base.__subclasses__()
    for kind in below:
        found |= {kind.__name__: kind} | kinds_of(kind)
    return found


class Parts(NamedTuple):
    """What gradients side by side are of.

    of: 'languages' of a batch; `most`: beyond so many the rest is one.
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
