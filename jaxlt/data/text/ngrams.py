"""Hashed character n-grams of many lines at once, in numpy.

    grams = hashed(["ana", "no"], orders=3)
    grams.values[grams.starts[0] : grams.starts[1]]     # those of "ana", uint32, 0 for none

Every character begins one n-gram of each order; those that would leave the line are 0.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_END = "\n"


class Grams(NamedTuple):
    """n-grams as hashes.

    values [characters * orders] uint32, those of a line together; starts [lines + 1] int64.
    """

    values: np.ndarray
    starts: np.ndarray


def code_points(text: str) -> np.ndarray:
    """Returns the characters of a text as numbers, [n] uint32."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def hashed(lines: Sequence[str], orders: int, smallest: int = 1) -> Grams:
    """Returns hashes of the n-grams of lengths `smallest` to `orders` of each line.

    A line is padded with a space on both sides, so that words at its ends are words.
    """
    padded = [f" {line.replace(_END, ' ')} {_END}" for line in lines]
    lengths = np.fromiter(map(len, padded), np.int64, len(padded))
    count = int(lengths.sum())
    points = code_points("".join(padded) + _END * orders)
    out = np.zeros((count, orders - smallest + 1), np.uint32)
    beyond = np.zeros(count, bool)
    state = np.zeros(count, np.uint32)
    for order in range(1, orders + 1):
        next_points = points[order - 1 : order - 1 + count]
        beyond |= next_points == ord(_END)
        state = (state ^ next_points) * np.uint32(0x9E3779B1)
        state ^= state >> np.uint32(15)
        if order >= smallest:
            mixed = (state ^ np.uint32(order)) * np.uint32(0x85EBCA6B)
            mixed ^= mixed >> np.uint32(13)
            out[:, order - smallest] = np.where(beyond, 0, np.maximum(mixed, 1))
    starts = np.concatenate([[0], np.cumsum(lengths)]) * out.shape[1]
    return Grams(out.reshape(-1), starts)
