"""Task vectors and their merges, each against a loop over single numbers."""

import numpy as np
import pytest

from jaxlt.errors import UserError
from jaxlt.modules.task_vectors import (
    TaskVector,
    add,
    analogy,
    apply,
    combine,
    dare,
    difference,
    low_rank,
    negate,
    ties,
)

SHAPES = {"params/a": (3, 4), "params/b": (5,)}


def tree(seed):
    rng = np.random.default_rng(seed)
    return {n: rng.normal(size=s).astype(np.float32) for n, s in SHAPES.items()}


def vectors(count, seed=0):
    return [TaskVector(tree([seed, i])) for i in range(count)]


def assert_close(found, expected, **kwargs):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, atol=1e-7, **kwargs)


def test_difference_and_application_undo_each_other():
    pre, tuned = tree(0), tree(1)
    tau = difference(tuned, pre)
    assert_close(apply(pre, tau), tuned)
    assert_close(apply(pre, tau, 0.0), pre)
    assert_close(apply(pre, negate(tau)), {n: 2 * pre[n] - tuned[n] for n in pre})
    assert_close(apply(tuned, tau, -1.0), pre)


def test_sums_and_analogies():
    a, b, c = vectors(3)
    assert_close(add([a, b]).changes, {n: a.changes[n] + b.changes[n] for n in SHAPES})
    expected = {n: c.changes[n] + (b.changes[n] - a.changes[n]) for n in SHAPES}
    assert_close(analogy(c, b, a).changes, expected)
    weighted = {n: 0.3 * a.changes[n] - 2 * b.changes[n] for n in SHAPES}
    assert_close(combine([a, b], [0.3, -2]).changes, weighted)


def flat_of(v):
    return [float(x) for n in sorted(SHAPES) for x in np.asarray(v.changes[n]).ravel()]


@pytest.mark.parametrize("seed, keep", [(0, 0.1), (1, 0.5), (2, 1.0)])
def test_ties_is_trim_elect_and_disjoint_mean(seed, keep):
    given_ = vectors(3, seed)
    rows = []
    for v in given_:
        row = flat_of(v)
        kept = sorted(range(len(row)), key=lambda i: -abs(row[i]))[: max(1, round(keep * len(row)))]
        rows.append([x if i in kept else 0.0 for i, x in enumerate(row)])
    expected = []
    for column in zip(*rows, strict=True):
        sign = np.sign(sum(column))
        agreeing = [x for x in column if x != 0 and np.sign(x) == sign]
        expected.append(sum(agreeing) / len(agreeing) if agreeing else 0.0)
    np.testing.assert_allclose(flat_of(ties(given_, keep)), expected, rtol=1e-5, atol=1e-7)


def test_ties_of_one_whole_vector_is_that_vector():
    (tau,) = vectors(1)
    assert_close(ties([tau], 1.0).changes, tau.changes)


def test_dare_drops_and_rescales_without_bias():
    tau = TaskVector({"params/a": np.full((200, 100), 2.0, np.float32)})
    found = np.asarray(dare(tau, 0.9, seed=3).changes["params/a"])
    np.testing.assert_allclose(np.unique(found), [0.0, 20.0], rtol=1e-6)
    share = np.mean(found != 0)
    assert abs(share - 0.1) < 5 * np.sqrt(0.09 / found.size)
    again = np.asarray(dare(tau, 0.9, seed=3).changes["params/a"])
    np.testing.assert_array_equal(found, again)
    assert np.any(found != np.asarray(dare(tau, 0.9, seed=4).changes["params/a"]))
    assert_close(dare(tau, 0.0).changes, tau.changes)


def test_low_rank_modules_merge_by_their_products():
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(size=(2, 6, 3)), rng.normal(size=(2, 3, 5))) for _ in range(2)]
    taus = [TaskVector({"params/w": low_rank(d, u, 0.5)}) for d, u in pairs]
    mean = combine(taus, [0.5, 0.5]).changes["params/w"]
    expected = sum(0.5 * np.einsum("ldr,lru->ldu", d, u) for d, u in pairs) / 2
    np.testing.assert_allclose(mean, expected)
    apart = low_rank(*(sum(x) / 2 for x in zip(*pairs, strict=True)), 0.5)
    assert np.abs(apart - expected).max() > 0.1
    with pytest.raises(UserError, match="no rank in common"):
        low_rank(np.ones((4, 2)), np.ones((3, 4)))


def test_what_does_not_belong_together_is_refused():
    a, b = vectors(2)
    smaller = TaskVector({"params/a": a.changes["params/a"]})
    with pytest.raises(UserError, match="different architectures: 'params/b' is in the first one"):
        add([a, smaller])
    odd = TaskVector(b.changes | {"params/b": np.zeros(6, np.float32)})
    with pytest.raises(UserError, match=r"'params/b' is \[6\] in the one and \[5\]"):
        ties([a, odd])
    with pytest.raises(UserError, match="start from different ones"):
        add([TaskVector(a.changes, "1f"), TaskVector(b.changes, "2e")])
    with pytest.raises(UserError, match="start from different ones"):
        apply(tree(0), TaskVector(a.changes, "1f"), start="2e")
    assert add([TaskVector(a.changes, "1f"), b]).start == "1f"
    with pytest.raises(UserError, match=r"changes 'params/c', which the model does not have"):
        apply(tree(0), TaskVector({"params/c": np.zeros(3)}))
    with pytest.raises(UserError, match="different architectures"):
        difference(tree(0), {"params/a": tree(0)["params/a"]})
    for wrong in (lambda: ties([a], 0.0), lambda: dare(a, 1.0), lambda: combine([a], [1, 2])):
        with pytest.raises(UserError):
            wrong()
    with pytest.raises(UserError, match="no task vector"):
        add([])
