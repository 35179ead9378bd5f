"""The ring model by hand, and groups in every form that programs write them in."""

import itertools

import pytest

from jaxlt.plan.collectives import HOP, Network, first_group, pairs_of, shared_memory
from jaxlt.plan.topologies import parse_topology

LINK = 50e9  # of v5e
MEGA = 2**26


def laid_out(text: str) -> Network:
    """A mesh that numbers the chips of a topology in order, the last axis fastest."""
    topology = parse_topology(text)
    inside = list(itertools.product(*map(range, topology.shape)))
    return Network(tuple((s, *p) for s in range(topology.slices) for p in inside), topology)


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("{{0,1,2,3},{4,5,6,7}}, dimensions={0}", (0, 1, 2, 3)),
        ("[2,4]<=[8]", (0, 1, 2, 3)),
        ("[4,2]<=[2,4]T(1,0), use_global_device_ids=true", (0, 4)),
        ("mesh['x'=2,'y'=4] {'y'}, channel_id=3", (0, 1, 2, 3)),
        ("mesh['x'=2,'y'=4] {'x'}", (0, 4)),
        ("mesh['x'=2,'y'=4] {'x','y'}", tuple(range(8))),
        ("mesh['x'=8] {'x':(2)2}", (0, 2)),
        ("mesh['x'=2,'y'=4]([4,2]T(1,0)) {'y'}", (0, 2, 4, 6)),
        ("{}", tuple(range(8))),
    ],
)
def test_the_first_group_in_every_form(text, group):
    assert first_group(text, 8) == group


def test_pairs_of_a_permute():
    assert pairs_of("{{0,1},{1,2},{2,0}}") == [(0, 1), (1, 2), (2, 0)]


def test_a_ring_gives_two_links_and_a_line_one():
    whole = tuple(range(256))
    pod = laid_out("v5e:16x16")
    gathered = pod.cost("all-gather", MEGA, whole)
    assert gathered.moved == pytest.approx(MEGA * 255 / 256)
    assert gathered.seconds == pytest.approx(MEGA * 255 / 256 / (4 * LINK))
    row = pod.cost("all-gather", MEGA, tuple(range(16)))
    assert row.seconds == pytest.approx(MEGA * 15 / 16 / (2 * LINK))
    line = laid_out("v5e:4x4").cost("all-gather", MEGA, tuple(range(4)))
    assert line.seconds == pytest.approx(MEGA * 3 / 4 / LINK)


def test_an_all_reduce_is_two_halves():
    pod, whole = laid_out("v5e:16x16"), tuple(range(256))
    half = pod.cost("reduce-scatter", MEGA, whole)
    assert pod.cost("all-gather", MEGA, whole) == half
    both = pod.cost("all-reduce", MEGA, whole)
    assert both.moved == 2 * half.moved and both.seconds == pytest.approx(2 * half.seconds)


def test_small_ones_take_the_time_of_the_way():
    pod = laid_out("v5e:16x16")
    assert pod.cost("all-reduce", 4, tuple(range(256))).seconds == pytest.approx(2 * 16 * HOP)
    assert pod.cost("all-reduce", 4, (0,)).seconds == 0


def test_an_all_to_all_crosses_the_middle():
    pod = laid_out("v5e:16x16")
    found = pod.cost("all-to-all", MEGA, tuple(range(16)))
    assert found.seconds == pytest.approx(MEGA * 15 / 16 * 16 / 8 / LINK)


def test_permutes_go_as_far_as_they_have_to():
    pod = laid_out("v5e:16x16")
    ring = [(i, (i + 1) % 16) for i in range(16)]
    found = pod.permute(MEGA, ring)
    assert found.seconds == pytest.approx(MEGA / LINK) and found.lane == "up"
    assert pod.permute(MEGA, [(b, a) for a, b in ring]).lane == "down"
    line = laid_out("v5e:4x4").permute(MEGA, [(0, 1), (1, 2), (2, 3), (3, 0)])
    assert line.seconds == pytest.approx(3 * MEGA / LINK)  # back along the whole line
    assert pod.permute(MEGA, [(0, 0)]).seconds == 0


def test_slices_reduce_their_own_part_over_the_network():
    both = laid_out("2*v5e:4x4")
    everybody = tuple(range(32))
    found = both.cost("all-reduce", MEGA, everybody)
    inside = laid_out("v5e:4x4").cost("all-reduce", MEGA, tuple(range(16))).seconds
    assert found.lane == "network"
    assert found.seconds == pytest.approx(inside + 2 * MEGA / 16 / 2 / 3.125e9)
    across = both.permute(MEGA, [(0, 16), (16, 0)])
    assert across.seconds == pytest.approx(MEGA / 3.125e9) and across.lane == "network"


def test_one_machine_hands_over_its_memory():
    found = shared_memory(8, 1e9).cost("all-reduce", 8e9, tuple(range(8)))
    assert found.seconds == pytest.approx(14)
