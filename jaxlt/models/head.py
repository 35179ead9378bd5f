"""What a head is: it labels the states of an encoder; its config knows how, from loss to answer.

A head is a subclass of HeadConfig in a file of its own (`jaxlt.models.tagger`); nobody else knows
heads by their class. `jaxlt.models.heads` applies all those of a model. Nothing heavy is imported
here, so that a model's config can be read without jax.
"""

import abc
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

from jaxlt.errors import UserError, check_least, check_share, nearest
from jaxlt.models.traced import is_marked


class Part(Protocol):
    """A row of a batch and the words of an example that it holds (jaxlt.data.labelling.Piece).

    The row has the words [start, stop); those of [first, last) are labelled by it, the others by
    another row of the same example.
    """

    @property
    def start(self) -> int: ...
    @property
    def stop(self) -> int: ...
    @property
    def first(self) -> int: ...
    @property
    def last(self) -> int: ...


Example = Sequence[Part]


class Decoded(NamedTuple):
    """What a head answers of an example, in numbers.

    labels: one a word, or the one of the example. heads: of a tree, one a word, 0 for the root.
    span: (number of the part, first token, last token) of an answer.
    """

    labels: tuple[int, ...] = ()
    heads: tuple[int, ...] = ()
    span: tuple[int, int, int] | None = None


@dataclasses.dataclass(frozen=True)
class HeadConfig(abc.ABC):
    """A head as a frozen value: its fields are what gin binds, its methods what it does.

    A subclass may have the fields `labels` (how many names there is room for; the names are those
    of the training data, `jaxlt.data.inventory`) and `dropout`.
    """

    name: str  # also that of its parameters, heads/<name>/...

    dropout = 0.0
    shapes: ClassVar[tuple[str, ...]] = ()  # of examples it labels: see jaxlt.data.head_example
    label_fields: ClassVar[tuple[str, ...]] = ()  # of a batch: its labels, below 0 where unknown
    sizes: ClassVar[tuple[str, ...]] = ("labels",)  # fields that are at least 1

    _known: ClassVar[dict[str, "type[HeadConfig]"]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        HeadConfig._known[cls.__name__] = cls

    def __post_init__(self) -> None:
        check_least(self, 1, *(field for field in self.sizes if hasattr(self, field)))
        if not is_marked(self, "dropout"):
            check_share(self, "dropout")

    @staticmethod
    def imported() -> "dict[str, type[HeadConfig]]":
        """Returns all heads whose files have been imported, by the names of their classes."""
        return dict(HeadConfig._known)

    @property
    def form(self) -> str:
        """What it is, for errors: its class, and the setting by which `serves` tells shapes."""
        return type(self).__name__

    @classmethod
    def form_for(cls, shape: str) -> str:
        """The `form` that a head of this class has for a shape of examples."""
        return cls.__name__

    def serves(self, shape: str) -> bool:
        """Says whether it labels examples of that shape, as it is set."""
        return shape in self.shapes and self.form == self.form_for(shape)

    @abc.abstractmethod
    def outputs(self, states: Any, batch: Mapping[str, Any], ctx: Any, dtype: Any) -> Any:
        """states [B, T, D] -> scores; called inside of a module, in which it makes its own.

        dtype: of the computation. Its parameters are those of one module of its name.
        """

    @abc.abstractmethod
    def loss(self, outputs: Any, batch: Mapping[str, Any], shares: Any = None) -> tuple[Any, Any]:
        """The loss against the labels of the batch, and its sums: see `head_parts.sums_of`."""

    @abc.abstractmethod
    def weights(self, batch: Mapping[str, Any]) -> Any:
        """Returns [B, .] float32: the weights of the labels, whose sum normalises the loss."""

    @abc.abstractmethod
    def decode(self, outputs: Any, examples: Sequence[Example], count: int) -> list[Decoded]:
        """On the host, the best answer of each example, whose parts are the rows in order.

        outputs: of as many rows or more; count: of labels that have names, the only ones to answer.
        """

    def predictions(self, outputs: Any, batch: Mapping[str, Any]) -> tuple[Any, Any] | None:
        """(predicted, gold) in numbers, for metrics that are no sums over words; gold < 0: unknown.

        None where `row_correct` of the loss's sums is all that its metric needs.
        """
        return None


def with_rows(examples: Sequence[Example]) -> Iterator[tuple[Example, range]]:
    """Yields each example with the rows of its parts: of 1, 3, 1 parts, rows 0, 1 to 3, and 4."""
    begin = 0
    for parts in examples:
        yield parts, range(begin, begin + len(parts))
        begin += len(parts)


def find_head(heads: tuple[HeadConfig, ...], name: str | None) -> HeadConfig | None:
    """Returns the head of that name (None: none); an unknown or a doubled name is an error."""
    names = [head.name for head in heads]
    if name is None:
        return None
    if name not in names:
        raise UserError(
            f"There is no head '{name}' (there are: {', '.join(names) or 'none'})."
            + nearest(name, names)
        )
    return heads[names.index(name)]


def check_heads(heads: Sequence[HeadConfig], owner: str) -> None:
    """Raises UserError where heads share a name, or one cannot be a name of parameters."""
    names = [head.name for head in heads]
    if len(set(names)) < len(names):
        raise UserError(f"{owner}.heads: two heads share a name: {', '.join(names)}.")
    for name in names:
        if not name.isidentifier():
            raise UserError(
                f"{owner}.heads: a head's name is of letters, digits and '_', not '{name}'."
            )
