"""Seeded choices: the only randomness of the factory.

draws = Draws(seed, "text", 7)      # the stream of a place; equal arguments draw alike
draws.pick(("goat", "horse")), draws.chance(0.3), draws.skewed(words)
"""

from collections.abc import MutableSequence, Sequence
from typing import TypeVar

from jaxlt.data.rows.batches import stream

T = TypeVar("T")
_BLOCK = 96


class Draws:
    """Choices from one stream, whose first 8 bytes of `purpose` count; numpy's Philox in blocks."""

    __slots__ = ("_at", "_rng", "_values")

    def __init__(self, seed: int, purpose: str, *position: int):
        self._rng = stream(seed, purpose, *position)
        self._values: list[float] = []
        self._at = 0

    def random(self) -> float:
        """Returns a number in [0, 1)."""
        if self._at == len(self._values):
            self._values, self._at = self._rng.random(_BLOCK).tolist(), 0
        self._at += 1
        return self._values[self._at - 1]

    def chance(self, share: float) -> bool:
        """Says yes in a share of cases; draws nothing where the answer is sure."""
        return share > 0.0 and (share >= 1.0 or self.random() < share)

    def below(self, count: int) -> int:
        """Returns a whole number in [0, count)."""
        return int(self.random() * count)

    def pick(self, items: Sequence[T]) -> T:
        """Returns one of the items, all alike."""
        return items[int(self.random() * len(items))]

    def skewed(self, items: Sequence[T]) -> T:
        """Returns one of the items, the first ones more often, as words of a language are."""
        u = self.random()
        return items[int(u * u * len(items))]

    def shuffle(self, items: MutableSequence[T]) -> None:
        """Puts the items in a random order, in place."""
        for i in range(len(items) - 1, 0, -1):
            j = self.below(i + 1)
            items[i], items[j] = items[j], items[i]
