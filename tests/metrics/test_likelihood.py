"""Bits per byte."""

import math

import pytest

from jaxlt.errors import UserError
from jaxlt.metrics.likelihood import bits_per_byte


def test_a_uniform_model_over_bytes_needs_eight_bits() -> None:
    sizes = [3, 10, 0, 7]
    made = bits_per_byte([n * math.log(256) for n in sizes], sizes)
    assert made.total() == pytest.approx(8)
    assert made.details["bytes"] == 20


def test_long_texts_weigh_more() -> None:
    assert bits_per_byte([math.log(2), 0], [1, 3]).total() == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("nats", "sizes", "says"),
    [
        *(([1.0, 2.0], sizes, "Bits per byte") for sizes in ([0, 0], [3, -1], [[1], [2]])),
        ([1.0, math.nan], [1, 1], "example 1 is nan"),
    ],
)
def test_what_has_no_bits(nats, sizes, says) -> None:
    with pytest.raises(UserError, match=says):
        bits_per_byte(nats, sizes)
