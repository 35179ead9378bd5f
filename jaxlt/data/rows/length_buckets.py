"""Batches for heads of rows that are about as long as each other, and no wider than they need.

The rows of a few batches are drawn as ever, sorted by length and cut into batches again, whose
order is drawn too. A batch has an eighth, a quarter, half or all of the lengths that DataConfig
gives, the least that holds its rows, so that a step is compiled for four shapes at most (for less
where a part would be below 16 wide). A batch stays a function of (seed, step), and every host,
whichever rows it reads, knows its width.
"""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxlt.data.rows.batches import mixed, permute
from jaxlt.data.rows.views import EvaluationBatches, MixtureBatches, Rows

PARTS, NARROWEST = (8, 4, 2, 1), 16
# Fields along what is read, and along its words: the first of each that there is says how long.
_UNITS = ("words", "encoder_input_tokens", "chars", "sentence", "context")
_WORDS = ("word_first", "word_labels", "word_heads")


class Widths:
    """How long the rows of texts are, and fields cut to a part of the lengths of their spec."""

    def __init__(self, make: Rows):
        self._make, spec = make, make.objective.spec()
        counted = [next((n for n in group if n in spec), None) for group in (_UNITS, _WORDS)]
        self._counted = {name: spec[name][0][0] for name in counted if name}
        shortest = min(self._counted.values())
        self._parts = tuple(n for n in PARTS if n == 1 or shortest >= n * NARROWEST)
        self._lengths = {name: spec[name][0][0] for name in (*_UNITS, *_WORDS) if name in spec}

    def shares(self, text: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Returns how much of a whole row each row index[i] of text[i] fills; float64 [n]."""
        out = np.zeros(len(text))
        for which in np.unique(text):
            here = np.flatnonzero(text == which)
            columns = self._make.texts[which].cache.columns
            for name, width in self._counted.items():
                offsets = columns[name].offsets
                counts = offsets[index[here] + 1] - offsets[index[here]]
                out[here] = np.maximum(out[here], counts / width)
        return out

    def part(self, share: float) -> int:
        """Returns the n of the narrowest rows, an n-th of whole ones, that hold such a share."""
        return next(n for n in self._parts if n * share <= 1)

    def room(self, text: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Returns the units [n] of the narrowest rows that hold these."""
        whole = next(iter(self._counted.values()))
        parts = np.array([self.part(share) for share in self.shares(text, index)])
        return -(-whole // parts)

    def cut(self, fields: Mapping[str, np.ndarray], part: int) -> dict[str, np.ndarray]:
        """Returns the fields [B, ...] with an n-th of their columns, rounded up."""
        return {
            name: values[:, : -(-self._lengths[name] // part)] if name in self._lengths else values
            for name, values in fields.items()
        }


class LikeMixtureBatches(MixtureBatches):
    """MixtureBatches whose rows are put together by length, `pool` batches at a time."""

    def __init__(self, make: Rows, *args: Any, pool: int, **kwargs: Any):
        super().__init__(make, *args, **kwargs)
        self._widths, self._pool = Widths(make), pool
        # A feed reads forward: the pool in hand and one neighbour are enough.
        self._ordered = functools.lru_cache(maxsize=2)(self._order)

    @property
    def filled(self) -> float:
        """The share of the widest batch that a batch has; of the first pool."""
        shares = self._ordered(0)[1]
        return float(np.mean([1 / self._widths.part(share) for share in shares]))

    def _order(self, pool: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the row numbers of a pool's batches [pool, B], and the largest share of each."""
        row = np.arange(self._pool * self.batch_size) + pool * self._pool * self.batch_size
        shares = self._widths.shares(*self._drawn(row))
        order = np.argsort(shares, kind="stable").reshape(self._pool, self.batch_size)
        if self._shuffle:
            turn = np.arange(self._pool)
            order = order[permute(turn, self._pool, mixed(self._seed, _PURPOSE, pool))]
        return row[order], shares[order].max(axis=1)

    def rows(self, step: int, start: int, stop: int) -> dict[str, np.ndarray]:
        pool, place = divmod(step, self._pool)
        rows, shares = self._ordered(pool)
        return self._widths.cut(
            self._taken(rows[place, start:stop]), self._widths.part(shares[place])
        )

    def _room(self, text: np.ndarray, index: np.ndarray) -> np.ndarray:
        return self._widths.room(text, index)


_PURPOSE = int.from_bytes(b"lengths", "little")


class LikeEvaluationBatches(EvaluationBatches):
    """EvaluationBatches whose pass goes from the shortest rows to the longest."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._widths = Widths(self._make)
        shares = self._widths.shares(self._text, self._index)
        order = np.argsort(shares, kind="stable")
        self._text, self._index, self._shares = self._text[order], self._index[order], shares[order]

    def rows(self, step: int, start: int, stop: int) -> dict[str, np.ndarray]:
        fields = super().rows(step, start, stop)
        last = min((step + 1) * self.batch_size, self.num_rows) - 1
        return self._widths.cut(fields, self._widths.part(self._shares[last]))
