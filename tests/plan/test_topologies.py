"""Topologies by name, and chips whose numbers hang together."""

import pytest

from jaxlt.errors import UserError
from jaxlt.plan.topologies import CHIPS, GPUS, parse_target, parse_topology


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


def test_gpus_are_known_by_their_memory():
    one, eight = parse_target("gpu:16GB"), parse_target("8*GPU:80gb")
    assert (one.name, one.chips, one.chip.hbm) == ("gpu:16GB", 1, int(0.95 * 16e9))
    assert (eight.name, eight.chips) == ("8*gpu:80GB", 8) and "device_count=8 " in eight.flags
    assert all(parse_target(f"gpu:{n}").gigabytes == n for n in GPUS)
    tpus = parse_target("2*v5e:4x4")
    assert tpus == parse_topology("2*v5e:4x4") and not tpus.flags


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpu:70GB", "The nearest is gpu:80GB"),
        ("gpu:large", "gpu:24GB .L4"),
        ("0*gpu:80GB", "none of the GPUs"),
        ("gpu", "none of the GPUs"),
    ],
)
def test_what_is_no_gpu_is_explained(text, said):
    with pytest.raises(UserError, match=said):
        parse_target(text)
