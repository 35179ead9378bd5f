"""Batches as pure functions of (seed, step, row), with numpy alone.

A source never iterates: it is asked for rows of a step, so that any host reads only its own rows,
and a restart at step 1,000,000 costs what step 0 costs. Order comes from a permutation that is
computed, not stored; noise comes from counter-based random streams.
"""

import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from jaxlt.errors import UserError

Spec = dict[str, tuple[tuple[int, ...], np.dtype]]

_WORD = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_ROUNDS = 8  # of the Feistel network; from 6 on neighbours are as far apart as chance has it


@runtime_checkable
class BatchSource(Protocol):
    """Where batches come from.

    `batch_size` counts the rows of the global batch; `languages` are names by id; `fingerprint` is
    a hex digest of all that decides content and order.
    """

    batch_size: int
    languages: tuple[str, ...]
    fingerprint: str

    def spec(self) -> Spec:
        """Returns the shape and dtype of one row of each field."""

    def rows(self, step: int, start: int, stop: int) -> dict[str, np.ndarray]:
        """Returns rows [start, stop) of the global batch of `step`, each [stop-start, ...]."""


def stream(seed: int, purpose: str, *position: int) -> np.random.Generator:
    """Returns the random stream of a place: equal for equal arguments, disjoint otherwise.

    `purpose` (its first 8 bytes count) and up to three `position` words address one stream of
    2**64 blocks in Philox's counter, so nothing is hashed and nothing can collide.
    """
    name = int.from_bytes(purpose.encode()[:8].ljust(8, b"\0"), "little")
    place = [int(word) & _WORD for word in position]
    counter = [0, *place, *[0] * (3 - len(place))]
    key = [int(seed) & _WORD, name]
    return np.random.Generator(
        np.random.Philox(key=np.array(key, np.uint64), counter=np.array(counter, np.uint64))
    )


def number_of(*parts: object) -> int:
    """Returns a number for a name, so that streams follow what has it; equal on every machine."""
    text = "\0".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "little")


def uniforms(seed: int, purpose: str, places: np.ndarray, count: int) -> np.ndarray:
    """Returns float64 [R, count] in [0, 1): row i is the start of the stream at places[i] [R, ...].

    Equals stream(seed, purpose, *places[i]).random(count), row by row.
    """
    places = np.asarray(places, np.int64).reshape(len(places), -1)
    out = np.empty((len(places), count))
    for row, place in zip(out, places.tolist(), strict=True):
        stream(seed, purpose, *place).random(out=row)
    return out


def _scramble(word: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 on a uint64 array."""
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


def mixed(*words: Any) -> np.ndarray:
    """Returns one uint64 key (array, broadcast) for the given integers or integer arrays."""
    state = np.zeros(1, np.uint64)
    for word in words:
        if isinstance(word, int):
            word = word & _WORD
        word = np.atleast_1d(np.asarray(word)).astype(np.uint64)
        state = _scramble((state ^ word) + np.uint64(_GOLDEN))
    return state


def permute(index: Any, size: Any, key: Any) -> np.ndarray:
    """Returns where each index of [0, size) goes under the permutation `key`; int64, O(1) memory.

    All three broadcast (a batch may ask many permutations at once). A Feistel network on the digits
    of the index in base ceil(sqrt(size)), walked on while it lands beyond `size`.
    """
    arrays = [np.atleast_1d(np.asarray(a)).astype(np.uint64) for a in (index, size, key)]
    place, size, key = (np.ravel(a).copy() for a in np.broadcast_arrays(*arrays))
    if place.size == 0:
        return place.astype(np.int64)
    if (place >= size).any():
        raise ValueError("an index to permute is not below the size of its permutation")
    high = np.maximum(np.ceil(np.sqrt(size.astype(np.float64))), 1).astype(np.uint64)
    low = (size + high - np.uint64(1)) // high
    todo = np.arange(place.size)
    while todo.size:
        k, a, b = key[todo], high[todo], low[todo]
        left, right = place[todo] // b, place[todo] % b
        for turn in range(_ROUNDS):
            round_key = k + np.uint64((turn + 1) * _GOLDEN & _WORD)
            if turn % 2:
                right = (right + _scramble(_scramble(left ^ round_key)) % b) % b
            else:
                left = (left + _scramble(_scramble(right ^ round_key)) % a) % a
        place[todo] = left * b + right
        todo = todo[place[todo] >= size[todo]]
    return place.astype(np.int64)


class Schedule:
    """Which language each global row has, and the how-manieth row of that language it is.

    Rows come in blocks of `block`; each block holds every language exactly in proportion to its
    rate (rounded to 1/block, at least one row), in a seeded random order. So the count of a
    language up to any row is known without looking at the rows before, and rates hold exactly.
    """

    def __init__(self, rates: np.ndarray, seed: int, block: int = 1 << 16):
        self._seed, self._block = seed, block
        share = np.asarray(rates, np.float64) / np.sum(rates) * block
        if len(share) > block:
            raise UserError(f"A mixture of {len(share)} languages is larger than {block}.")
        quota = np.maximum(np.floor(share), 1).astype(np.int64)
        # Largest remainders get the rows that rounding left over; the largest quotas give back.
        missing = block - int(quota.sum())
        order = np.argsort(-(share - quota), kind="stable")
        if missing > 0:
            quota[order[:missing]] += 1
        for _ in range(-missing):
            quota[int(np.argmax(quota - share))] -= 1
        self.quota = quota
        # A feed reads forward: the block in hand and one neighbour are enough.
        self._shuffled = functools.lru_cache(maxsize=2)(self._shuffle)

    def __call__(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns (language [R], visit [R]) of global row numbers [R] (step * batch_size + row)."""
        language = np.empty(len(rows), np.int64)
        visit = np.empty(len(rows), np.int64)
        blocks, within = np.divmod(np.asarray(rows, np.int64), self._block)
        for block in np.unique(blocks):
            here = blocks == block
            names, ranks = self._shuffled(int(block))
            language[here] = names[within[here]]
            visit[here] = ranks[within[here]] + block * self.quota[language[here]]
        return language, visit

    def _shuffle(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(stream(self._seed, "language", block).random(self._block))
        names = np.repeat(np.arange(len(self.quota)), self.quota)[order]
        first = np.cumsum(self.quota) - self.quota
        ranks = np.empty(self._block, np.int64)
        by_name = np.argsort(names, kind="stable")
        ranks[by_name] = np.arange(self._block) - first[names[by_name]]
        return names, ranks


def digest(value: Any) -> str:
    """Returns the sha256 hex digest of a JSON-able value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


class ArrayBatches:
    """A BatchSource over arrays in memory, each [N, ...], shuffled anew each epoch.

    Integer fields come out as int32 and floating ones as float32. `language` [N] holds indices in
    `languages`; where it is absent, all rows belong to the first one.
    """

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray],
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        languages: tuple[str, ...] = ("all",),
    ):
        counts = {name: len(array) for name, array in arrays.items()}
        if not counts or len(set(counts.values())) != 1 or 0 in counts.values():
            raise UserError(
                f"The arrays of a batch source need one row count, at least 1, but have {counts}."
            )
        if batch_size < 1:
            raise UserError(f"batch_size must be at least 1, not {batch_size}.")
        self._arrays = {name: _plain(name, np.asarray(array)) for name, array in arrays.items()}
        self._count = next(iter(counts.values()))
        self._arrays.setdefault("language", np.zeros(self._count, np.int32))
        worst = int(self._arrays["language"].max())
        if worst >= len(languages) or int(self._arrays["language"].min()) < 0:
            raise UserError(f"A row has language {worst}, but `languages` names {len(languages)}.")
        self.batch_size, self.languages = batch_size, tuple(languages)
        self._seed, self._shuffle = seed, shuffle
        content = {
            name: [str(a.dtype), a.shape, hashlib.sha256(a.tobytes()).hexdigest()]
            for name, a in sorted(self._arrays.items())
        }
        self.fingerprint = digest([content, batch_size, seed, shuffle, list(languages)])

    def spec(self) -> Spec:
        return {name: (a.shape[1:], a.dtype) for name, a in self._arrays.items()}

    def rows(self, step: int, start: int, stop: int) -> dict[str, np.ndarray]:
        row = step * self.batch_size + np.arange(start, stop, dtype=np.int64)
        epoch, index = np.divmod(row, self._count)
        if self._shuffle:
            index = permute(index, self._count, mixed(self._seed, epoch))
        return {name: a[index] for name, a in self._arrays.items()}


def _plain(name: str, array: np.ndarray) -> np.ndarray:
    """Returns the array as int32 or float32, or says why it cannot be."""
    if array.dtype.kind in "iub":
        if array.size and (array.max() > np.iinfo(np.int32).max or array.min() < -(2**31)):
            raise UserError(f"Field '{name}' holds integers that do not fit 32 bits.")
        return array.astype(np.int32)
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    raise UserError(f"Field '{name}' has dtype {array.dtype}; batches hold integers and floats.")
