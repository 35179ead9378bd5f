"""Meshes, the sharding of parameters by logical axes, and rows on hosts."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxlt.engine.config import DEFAULT_RULES, MeshConfig
from jaxlt.engine.partitioning import (
    batch_parts,
    batch_shards,
    check_batch,
    local_rows,
    make_mesh,
    place_rows,
    spec_for,
)
from jaxlt.errors import UserError


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))


@pytest.mark.parametrize(
    "shape, axes, spec",
    [
        ((40, 16), ("vocab", "embed"), P("tensor", "fsdp")),
        ((2, 16, 24), ("layers", "embed", "mlp"), P(None, "fsdp", "tensor")),
        ((16,), ("norm",), P(None)),
        ((16, 3), ("embed", "heads"), P("fsdp", None)),  # 3 heads on 2 devices stay whole
        ((8, 9), ("batch", "length"), P(("data", "fsdp"), None)),
        ((6, 9), ("batch", "length"), P("data", None)),  # as many ways as divide
        ((3, 16), ("routes", "embed"), P(None, "fsdp")),
        ((4, 4), (None, None), P(None, None)),
        ((16, 16), ("embed", "embed"), P("fsdp", None)),  # a mesh axis is used once
        ((), (), P()),
    ],
)
def test_specs(mesh, shape, axes, spec):
    assert spec_for(shape, axes, DEFAULT_RULES, mesh) == spec


def test_unknown_logical_axis(mesh):
    with pytest.raises(UserError, match=r"'vocabs'.*Did you mean 'vocab'"):
        spec_for((4,), ("vocabs",), DEFAULT_RULES, mesh)


def test_axes_of_size_one_are_left_out():
    mesh = make_mesh(MeshConfig(data=8))
    spec = spec_for((40, 16), ("vocab", "embed"), DEFAULT_RULES, mesh)
    assert spec == P(None, None)
    assert NamedSharding(mesh, spec).is_fully_replicated


def test_mesh_takes_what_is_left():
    assert dict(make_mesh(MeshConfig()).shape) == {"replica": 1, "data": 8, "fsdp": 1, "tensor": 1}
    assert make_mesh(MeshConfig(data=2, fsdp=-1)).shape["fsdp"] == 4
    assert batch_shards(make_mesh(MeshConfig(replica=2, data=2, fsdp=2))) == 8
    assert batch_shards(make_mesh(MeshConfig(data=2, tensor=4))) == 2


@pytest.mark.parametrize(
    "sizes, words",
    [
        ({"data": 16}, "more shards than devices.*MeshConfig.data = 16"),
        ({"data": -1, "tensor": 16}, "more shards than devices"),
        ({"data": 3}, "8 cpu device"),
        ({"data": -1, "fsdp": 3}, "not divided evenly"),
        ({"data": 4}, "has to be 8"),
    ],
)
def test_meshes_that_do_not_fit(sizes, words):
    with pytest.raises(UserError, match=words):
        make_mesh(MeshConfig(**sizes))


@pytest.mark.parametrize("sizes", [{"data": -1, "fsdp": -1}, {"data": 0}, {"tensor": -2}])
def test_sizes_that_are_none(sizes):
    with pytest.raises(UserError, match="positive, and one at most is -1"):
        MeshConfig(**sizes)


def test_rules_for_an_axis_that_is_not_there():
    with pytest.raises(UserError, match="Did you mean 'tensor'"):
        MeshConfig(rules=(("mlp", "tensors"),))


def test_batches_that_do_not_divide(mesh):
    check_batch(8, 2, mesh)
    with pytest.raises(UserError, match=r"batch of 10 rows.*divisible by 4.*nearest.* is (8|12)\b"):
        check_batch(10, 1, mesh)
    with pytest.raises(UserError, match=r"divisible by 16.*accumulate is 4.*is 16"):
        check_batch(12, 4, mesh)
    with pytest.raises(UserError, match="nearest size that works is 4"):
        check_batch(1, 1, mesh)
    with pytest.raises(UserError, match=r"is 8; a run under way .* can split it 1 or 3 ways"):
        check_batch(6, 2, mesh)


@pytest.mark.parametrize(
    ("rows", "accumulate", "bound", "parts"),
    [
        (64, 1, None, 1),
        (64, 4, None, 4),
        (64, 1, 16, 1),  # 16 rows on each of the four that rows are split over
        (64, 1, 8, 2),
        (64, 1, 7, 4),  # parts of equal size: no five
        (64, 1, 1, 16),
        (64, 2, 16, 2),  # what is asked for is the least
        (24, 2, 2, 6),  # six rows each, in multiples of two parts
        (24, 2, 1, 6),
    ],
)
def test_parts_of_a_batch(mesh, rows, accumulate, bound, parts):
    check_batch(rows, accumulate, mesh)
    assert batch_parts(rows, mesh, accumulate, bound) == parts


def test_rows_of_this_host(mesh):
    assert local_rows(16, mesh) == [(0, 16)]


def test_rows_in_parts_and_on_their_devices(mesh):
    rows = np.arange(8 * 3, dtype=np.int32).reshape(8, 3)
    parts = [(0, {"a": rows[:4]}), (4, {"a": rows[4:]})]
    placed = place_rows(parts, 8, mesh)["a"]
    np.testing.assert_array_equal(placed, rows)
    assert placed.sharding.spec == P(("replica", "data", "fsdp"))
    for shard in placed.addressable_shards:
        assert shard.data.shape == (2, 3)
        np.testing.assert_array_equal(shard.data, rows[shard.index])


def test_rows_that_were_not_read(mesh):
    with pytest.raises(IndexError, match="rows 4 to 6 of 'a'"):
        place_rows([(0, {"a": np.zeros((4, 1))})], 8, mesh)


def test_one_device_of_eight():
    mesh = make_mesh(MeshConfig(data=1), jax.devices()[:1])
    placed = place_rows([(0, {"a": np.ones((3, 2))})], 3, mesh)["a"]
    assert placed.shape == (3, 2) and len(placed.sharding.device_set) == 1


def test_slices_are_replicas():
    """Devices of two slices cannot be one torus; replicas are what lies across them."""
    devices = [SimpleNamespace(platform="tpu", slice_index=i // 2) for i in range(4)]
    with pytest.raises(UserError, match="replica is 1: set it to 2"):
        make_mesh(MeshConfig(), devices)
