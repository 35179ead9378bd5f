"""Masks with exactly K entries, against a sort; ties, shardings, dtypes, random masks, rounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import NamedSharding, PartitionSpec

from jaxlt.engine.partitioning import MeshConfig, make_mesh
from jaxlt.errors import UserError
from jaxlt.modules.delta_files import INDICES, VALUES
from jaxlt.modules.magnitude import iterate, largest, plan_rounds, random_scores, sparsify

SHAPES = {"params/b/kernel": (3, 8, 5), "params/a/scale": (16,), "params/c": (8, 8)}


def by_sorting(scores, count):
    """The same by a stable sort over everything: ties go to the first name, the first index."""
    names = sorted(scores)
    flat = np.concatenate([np.abs(np.asarray(scores[n], np.float32)).ravel() for n in names])
    chosen = np.sort(np.argsort(-flat, kind="stable")[:count])
    out, first = {}, 0
    for name in names:
        size = np.size(scores[name])
        mine = chosen[(chosen >= first) & (chosen < first + size)]
        out[name], first = (mine - first).astype(np.int32), first + size
    return out


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, indices in expected.items():
        assert found[name].dtype == np.int32
        np.testing.assert_array_equal(found[name], indices, err_msg=name)


def drawn(dtype=np.float32, levels=None, seed=0):
    rng = np.random.default_rng(seed)
    values = {n: rng.normal(size=s) for n, s in SHAPES.items()}
    if levels:  # few distinct magnitudes: most entries are ties
        values = {n: np.round(v * levels) / levels for n, v in values.items()}
    return {n: jnp.asarray(v, dtype) for n, v in values.items()}


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, 200),
    levels=st.sampled_from([None, 1, 3]),
    dtype=st.sampled_from([jnp.float32, jnp.bfloat16]),
)
def test_it_is_what_a_sort_gives(seed, count, levels, dtype):
    scores = drawn(dtype, levels, seed)
    found = largest(scores, count)
    assert sum(len(i) for i in found.values()) == count
    assert_same(found, by_sorting(scores, count))


def test_zeros_fill_up_and_tiny_values_count():
    scores = {
        "params/a": jnp.zeros(10).at[7].set(-1e-45).at[3].set(1e-38),
        "params/b": jnp.zeros(3),
    }
    assert list(largest(scores, 1)["params/a"]) == [3]
    found = largest(scores, 4)
    assert sum(map(len, found.values())) == 4 and {3} <= set(found["params/a"])


def test_a_sharded_array_is_ranked_where_it_lies():
    mesh = make_mesh(MeshConfig(data=4, fsdp=2))
    scores = drawn(levels=4)
    specs = {
        "params/b/kernel": PartitionSpec(None, "data"),
        "params/a/scale": PartitionSpec(("data", "fsdp")),
        "params/c": PartitionSpec("data", "fsdp"),
    }
    spread = {n: jax.device_put(v, NamedSharding(mesh, specs[n])) for n, v in scores.items()}
    for count in (1, 50, 199):
        assert_same(largest(spread, count), by_sorting(scores, count))


def test_what_cannot_be_ranked_is_refused():
    scores = drawn()
    for count in (0, 201):
        with pytest.raises(UserError, match=r"cannot be cut from 200 maskable"):
            largest(scores, count)
    for bad in (np.nan, np.inf):
        with pytest.raises(UserError, match="'params/c' has entries that are infinite"):
            largest(scores | {"params/c": scores["params/c"].at[1, 2].set(bad)}, 5)


def test_a_sparse_delta_is_cut_within_its_own_entries():
    values = jnp.asarray([0.1, -3.0, 0.2, 5.0])
    given_ = {"params/c" + VALUES: values, "params/c" + INDICES: np.asarray([4, 9, 30, 31])}
    cut = sparsify(given_, 2, keep_values=True)
    assert list(cut["params/c" + INDICES]) == [9, 31]
    assert list(cut["params/c" + VALUES]) == [-3.0, 5.0]
    assert list(sparsify(given_, 2)) == ["params/c" + INDICES]
    whole = sparsify(given_, None, keep_values=True)
    assert list(whole["params/c" + INDICES]) == [4, 9, 30, 31]
    np.testing.assert_array_equal(whole["params/c" + VALUES], values)


def test_kept_values_are_those_at_the_indices():
    dense = {n + VALUES: v for n, v in drawn().items()}
    cut = sparsify(dense, 40, keep_values=True)
    for name, indices in cut.items():
        if name.endswith(INDICES):
            param = name.removesuffix(INDICES)
            expected = np.asarray(dense[param + VALUES]).ravel()[indices]
            np.testing.assert_array_equal(cut[param + VALUES], expected)


def test_random_masks_are_exact_differ_by_seed_and_do_not_depend_on_values():
    dense = {n + VALUES: v for n, v in drawn().items()}
    other = {n: v * 7 for n, v in dense.items()}
    cut = lambda d, seed: sparsify(d, 60, scores=random_scores(d, seed))  # noqa: E731
    assert sum(map(len, cut(dense, 0).values())) == 60
    assert_same(cut(dense, 0), cut(other, 0))
    assert any(set(cut(dense, 1)[n]) != set(i) for n, i in cut(dense, 0).items())


def test_random_masks_are_uniform_over_everything():
    scores = random_scores(
        {"params/a" + VALUES: jnp.zeros(4000), "params/b" + VALUES: jnp.ones(1000)}, 0
    )
    found = largest(scores, 1000)
    assert abs(len(found["params/a"]) - 800) < 5 * np.sqrt(1000 * 0.8 * 0.2)


def test_rounds_prune_by_the_same_share_and_end_at_the_count():
    assert plan_rounds(1000, 125, 3) == [500, 250, 125]
    assert plan_rounds(1000, 7, 1) == [7] and plan_rounds(5, 5, 3) == [5, 5, 5]
    with pytest.raises(UserError, match="in 0 rounds"):
        plan_rounds(10, 5, 0)


def test_iterative_pruning_trains_only_what_is_left():
    target = {n + VALUES: np.asarray(v) for n, v in drawn().items()}
    seen = []

    def train(mask):
        if mask is None:
            seen.append(200)
            return target
        seen.append(sum(len(i) for i in mask.values()))
        arrays = {}
        for name, indices in mask.items():
            param = name.removesuffix(INDICES)
            arrays |= {name: indices, param + VALUES: target[param + VALUES].ravel()[indices]}
        return arrays

    mask = iterate(train, 25, 3)
    assert seen == [200, 100, 50]
    direct = sparsify(target, 25)
    assert_same(mask, direct)
