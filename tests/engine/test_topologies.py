"""Topologies by name, and chips whose numbers hang together."""

import pytest

from jaxlt.engine.topologies import CHIPS, parse_topology
from jaxlt.errors import UserError


def test_a_topology_is_read():
    one = parse_topology("v5e:4x8")
    assert (one.chip.name, one.shape, one.slices, one.chips) == ("v5e", (4, 8), 1, 32)
    several = parse_topology(" 2*V5P:4x4x8 ")
    assert (several.shape, several.slices, several.chips) == ((4, 4, 8), 2, 256)
    assert several.name == "2*v5p:4x4x8" and parse_topology(several.name) == several


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("v5e", "several slices: 2[*]v5p"),
        ("v5x:4x4", "Did you mean 'v5p'"),
        ("v5p:4x4", "has 3 sides: v5p:2x2x1"),
        ("v6e:4x0", "has 2 sides"),
        ("0*v5e:4x4", "has 2 sides"),
    ],
)
def test_what_is_no_topology_is_explained(text, said):
    with pytest.raises(UserError, match=said):
        parse_topology(text)


def test_long_axes_are_rings():
    assert [parse_topology("v5e:8x16").is_ring(a) for a in (0, 1)] == [False, True]
    assert [parse_topology("v5p:2x4x8").is_ring(a) for a in (0, 1, 2)] == [False, True, True]


@pytest.mark.parametrize("chip", CHIPS.values(), ids=list(CHIPS))
def test_clocks_reach_the_peak(chip):
    """A whole number of 128 x 128 matrix units, two FLOPs a cell and cycle."""
    units = chip.peak / (chip.clock * 2 * 128 * 128)
    assert units == pytest.approx(round(units), rel=0.01)
    assert 0.5 < chip.matmul < 1
