"""What a fused attention is told: a bias by distance, and the sizes of one call on one device."""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

LANES = 128
MASKED = -1e10  # T5's own; finite, so that a row with nothing to see is uniform rather than NaN
HIDDEN = -1e30  # far below MASKED, so that it weighs nothing even where all else is masked
SCORES = 2**20  # of a program, about: fewer, and starting it costs more than its work
ROOM = 31 * 2**19  # bytes of a core's own memory that a program may take: the least of any TPU


class Distances(flax.struct.PyTreeNode):
    """A position bias by distance: what a table [H, Q, K] has along its diagonals.

    values: [H, Q + K - 1]; that of the key j and the query i stands at j - i + Q - 1.
    """

    values: jax.Array

    def spelt_out(self, queries: int, keys: int) -> jax.Array:
        """Returns the table, [H, queries, keys]."""
        return jnp.take(self.values, jnp.asarray(distances(queries, keys) + queries - 1), axis=1)


def distances(queries: int, keys: int) -> np.ndarray:
    """[queries, keys] int: key position - query position."""
    return np.arange(keys)[None, :] - np.arange(queries)[:, None]


@dataclasses.dataclass(frozen=True)
class Shape:
    """The sizes of one call, on one device; hashable."""

    rows: int
    queries: int
    keys: int
    heads: int
    head_dim: int
    dtype: str
    biased: bool  # distances have biases (or, causal, are hidden)
    coded: bool  # positions have codes: a query sees the keys of its own code
    scale: float = 1.0
    interpret: bool = False

    def part(self, rows: int, heads: int) -> "Shape":
        """Of the same call on a device that has so many of the rows and heads."""
        return dataclasses.replace(self, rows=rows, heads=heads)

    @property
    def fits(self) -> bool:
        """Whether a program finds room in a core's own memory."""
        return self.memory() <= ROOM and self.width <= 4 * LANES

    @property
    def group(self) -> int:
        """Heads of a program."""
        for count in range(1, self.heads + 1):
            if self.heads % count == 0 and count * self.head_dim % LANES == 0:
                return count
        return self.heads

    @property
    def width(self) -> int:
        """Lanes of a program's heads."""
        return self.group * self.head_dim

    @property
    def tile(self) -> int:
        """Queries of a tile."""
        return LANES

    @property
    def some(self) -> int:
        """Tiles of queries that are worked on together."""
        return 2 - self.padded[0] // self.tile % 2

    @property
    def padded(self) -> tuple[int, int]:
        """Queries and keys, in whole tiles."""
        return tuple(-(-n // LANES) * LANES for n in (self.queries, self.keys))  # type: ignore

    @property
    def distances(self) -> int:
        """Length of the biases of one head: from distance -(queries - 1) on."""
        return sum(self.padded)

    @property
    def together(self) -> int:
        """Rows of a program."""
        queries, keys = self.padded
        most = max(1, SCORES // (queries * keys * self.group))
        return max(
            n
            for n in range(1, min(self.rows, most) + 1)
            if self.rows % n == 0 and (n == 1 or self.memory(n) <= ROOM)
        )

    def memory(self, rows: int = 1) -> int:
        """Bytes that the backward program of so many rows takes, about."""
        queries, keys = self.padded
        lanes, size = max(LANES, self.width), jnp.dtype(self.dtype).itemsize
        blocks = 2 * rows * lanes * size * (3 * queries + 4 * keys)  # each twice: one is on its way
        strips = 2 * self.group * self.biased * self.distances * self.tile * 4
        sums = keys * (self.coded * self.tile * 4 + lanes * (8 + size))
        return blocks + strips + sums + 2 * self.some * self.group * keys * self.tile * (4 + size)
