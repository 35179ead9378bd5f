"""The heads of a model, as frozen values: what is labelled, and by how many labels.

`labels` is how many names there is room for; the names themselves are those of the training data
(`jaxlt.data.inventory`).
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from jaxlt.errors import UserError, nearest

POOLING = ("mean", "first")


def _check(config: Any) -> None:
    kind = type(config).__name__
    if getattr(config, "labels", 1) < 1:
        raise UserError(f"{kind}.labels is at least 1, not {config.labels}.")
    if not 0.0 <= config.dropout < 1.0:
        raise UserError(f"{kind}.dropout is at least 0 and below 1, not {config.dropout}.")


@dataclasses.dataclass(frozen=True)
class TaggerConfig:
    """A label a word; with `crf` the labels of a sentence are one chain."""

    name: str
    labels: int
    crf: bool = False
    dropout: float = 0.1

    def __post_init__(self) -> None:
        _check(self)


@dataclasses.dataclass(frozen=True)
class ClassifierConfig:
    """A class a row, of one sentence or of a pair.

    pooling: 'mean' of a sentence's tokens, or its 'first' one. A pair (u, v), in one text or in
    two, is seen as [u, v, |u - v|, u * v]. hidden: width of a tanh layer before the classes (0:
    none).
    """

    name: str
    labels: int
    pair: bool = False
    pooling: str = "mean"
    hidden: int = 0
    dropout: float = 0.1

    def __post_init__(self) -> None:
        _check(self)
        if self.pooling not in POOLING:
            raise UserError(
                f"ClassifierConfig.pooling is one of {', '.join(POOLING)}, not '{self.pooling}'."
                + nearest(self.pooling, POOLING)
            )
        if self.hidden < 0:
            raise UserError(f"ClassifierConfig.hidden is 0 or more, not {self.hidden}.")


@dataclasses.dataclass(frozen=True)
class SpanConfig:
    """The answer to a question, as a span of its context."""

    name: str
    dropout: float = 0.1

    def __post_init__(self) -> None:
        _check(self)


@dataclasses.dataclass(frozen=True)
class ParserConfig:
    """A biaffine parser; the sizes are the paper's."""

    name: str
    labels: int
    arc_dim: int = 500
    label_dim: int = 100
    dropout: float = 0.33

    def __post_init__(self) -> None:
        for field in ("labels", "arc_dim", "label_dim"):
            if getattr(self, field) < 1:
                raise UserError(f"ParserConfig.{field} is at least 1, not {getattr(self, field)}.")
        if not 0.0 <= self.dropout < 1.0:
            raise UserError(f"ParserConfig.dropout is at least 0 and below 1, not {self.dropout}.")


HeadConfig = TaggerConfig | ClassifierConfig | SpanConfig | ParserConfig


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
