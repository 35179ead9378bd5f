"""The contract that every method keeps. A new method is one more row in METHODS."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.engine.optimizers import OptimizerConfig
from jaxlt.engine.partitioning import MeshConfig
from jaxlt.engine.step import build
from jaxlt.models.encoder import model_of
from jaxlt.models.init import describe, draw, unflatten
from jaxlt.models.layers import make_context
from jaxlt.models.layout import unstack
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.site import Method, plug
from tests.conftest import (
    hyper,
    make_batch,
    make_config,
    make_spec,
    place_batch,
    place_state,
    random_params,
    random_variables,
)

pytestmark = pytest.mark.usefixtures("quick_compile")


@dataclasses.dataclass(frozen=True)
class Row:
    """A method as the contract sees it.

    starts_as_identity: a new plug changes nothing. slow: a variant that need not run every time.
    """

    name: str
    method: type[Method]
    settings: dict[str, Any]
    starts_as_identity: bool = True
    slow: bool = False


METHODS = [
    Row("houlsby", Bottleneck, {"reduction_factor": 4}),
    Row("pfeiffer", Bottleneck, {"reduction_factor": 4, "source": "residual"}),
    Row("own_norm", Bottleneck, {"source": "residual", "own_norm": True}, slow=True),
]
SLOTS = 4
PRESENT = (0, 1, 3)  # slot 2 is in no batch
BATCH = make_batch(8) | {"language": np.array([0, 3, 1, 0, 3, 3, 1, 0], np.int32)}
WEIGHT = np.random.default_rng(3).normal(size=(8, 7, 40)).astype(np.float32)
MESHES = {
    "mixed": MeshConfig(data=2, fsdp=2, tensor=2),
    "data": MeshConfig(data=8),
    "fsdp": MeshConfig(data=1, fsdp=8),
    "tensor": MeshConfig(data=1, tensor=8),
}


class Case:
    """A row of the table with or without routing, and what several checks share."""

    def __init__(self, row: Row, routed: bool):
        self.row, self.routed = row, routed
        routing = {"key": "source", "routes": SLOTS} if routed else {}
        self.plugs = (plug(row.method, "mine", **row.settings, **routing),)
        self.config = make_config(plugs=self.plugs)
        # Unlike the seed's draw, no value is zero, so that every path carries a gradient.
        self.flat = random_params(self.config)
        self.modules = {n for n in self.flat if n.startswith("modules/")}
        self.optimizer = OptimizerConfig("adafactor")

    def spec(self, **changes):
        given = {"trainable": ("modules/.*",), "optimizer": self.optimizer}
        return make_spec(self.config, **(given | changes))


@pytest.fixture(scope="module", params=[False, True], ids=["unrouted", "routed"])
def routed(request):
    """Whether the plug is a bank of which every row has its own slot."""
    return request.param


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(row, id=row.name, marks=[pytest.mark.slow] if row.slow else [])
        for row in METHODS
    ],
)
def case(request, routed):
    return Case(request.param, routed)


def outcome_of(config):
    """Returns a compiled (flat, batch, weight) -> (logits, gradients of sum(logits * weight))."""
    model = model_of(config)

    def loss(flat, batch, weight):
        logits = model.apply(unflatten(flat), batch, make_context(batch))
        return jnp.sum(logits * weight), logits

    grad = jax.jit(jax.grad(loss, has_aux=True))

    def run(flat, batch, weight):
        grads, logits = jax.device_get(grad(flat, batch, weight))
        return logits, grads

    return run


@pytest.fixture(scope="module")
def plain_logits():
    """What the backbone without any plug says; its parameters are those of every case."""
    model, variables = model_of(make_config()), random_variables(make_config())
    return np.asarray(jax.jit(lambda v: model.apply(v, BATCH, make_context(BATCH)))(variables))


@pytest.fixture(scope="module")
def run(case):
    return outcome_of(case.config)


@pytest.fixture(scope="module")
def whole(case, run):
    """Logits and gradients of the whole batch."""
    return run(case.flat, BATCH, WEIGHT)


def close(found, wanted, name="", tolerance=1e-5):
    bound = tolerance * max(float(np.abs(wanted).max()), 1e-3)
    np.testing.assert_allclose(found, wanted, atol=bound, rtol=0, err_msg=name)


def test_base_is_the_same_with_and_without(case):
    plain, plugged = describe(make_config()), describe(case.config)
    assert case.modules
    base = {n: leaf for n, leaf in plugged.items() if n.startswith("params/")}
    assert base == plain


def test_starts_as_identity(case, run, plain_logits):
    if not case.row.starts_as_identity:
        pytest.skip("this method does not claim to start as the identity")
    key, leaves = jax.random.key(0), describe(case.config)
    fresh = case.flat | {n: draw(leaves[n], n, key) for n in case.modules}
    close(run(fresh, BATCH, WEIGHT)[0], plain_logits, tolerance=1e-6)


def test_it_does_something(case, whole, plain_logits):
    assert np.abs(whole[0] - plain_logits).max() > 1e-3
    assert all(np.any(whole[1][n]) for n in case.modules)


def test_a_batch_equals_one_example_at_a_time(case, run, whole):
    total = {n: np.zeros_like(v) for n, v in case.flat.items()}
    for i in range(8):
        one = {n: v[i : i + 1] for n, v in BATCH.items()}
        logits, grads = run(case.flat, one, WEIGHT[i : i + 1])
        close(logits[0], whole[0][i])
        total = {n: v + grads[n] for n, v in total.items()}
    for name, value in whole[1].items():
        close(total[name], value, name)


def test_scan_equals_unrolled(case, whole):
    config = dataclasses.replace(case.config, scan_layers=False)
    logits, grads = outcome_of(config)(unstack(case.flat), BATCH, WEIGHT)
    close(logits, whole[0])
    wanted = unstack(whole[1])
    assert set(grads) == set(wanted)
    for name, value in wanted.items():
        close(grads[name], value, name)


def test_an_absent_language_has_no_gradient(case, whole):
    if not case.routed:
        pytest.skip("unrouted")
    for name in case.modules:
        by_slot = np.moveaxis(whole[1][name], 1, 0)  # [L, R, ...] -> [R, L, ...]
        assert not np.any(by_slot[2]), name
        assert all(np.any(by_slot[slot]) for slot in PRESENT), name


def test_save_and_load(case, run, whole, tmp_path):
    np.savez(tmp_path / "mine.npz", **{n: case.flat[n] for n in case.modules})
    with np.load(tmp_path / "mine.npz", allow_pickle=False) as saved:
        again = {n: v for n, v in case.flat.items() if n not in case.modules} | dict(saved)
    np.testing.assert_array_equal(run(again, BATCH, WEIGHT)[0], whole[0])


def steps(program, flat, languages):
    """Trains a step for each list of languages; returns the last state and the losses."""
    state, losses = place_state(program, flat), []
    for rows in languages:
        batch = place_batch(program, BATCH | {"language": np.asarray(rows, np.int32)})
        state, metrics = program.train(state, batch, hyper(0.01))
        losses.append(float(metrics["loss"]))
    return state, np.array(losses)


LANGUAGES = [BATCH["language"], np.zeros(8), [3, 3, 3, 3, 1, 1, 1, 1]]


@pytest.fixture(scope="module")
def trained(case):
    """Three steps with other languages each, the modules alone trainable."""
    program = build(case.spec())
    compiled = program.jitted._cache_size()
    return program, compiled, *steps(program, case.flat, LANGUAGES)


def test_only_its_own_subtree_trains(case, trained):
    program, _, state, _ = trained
    assert set(state.trainable) == set(program.layout.trainable) == case.modules
    assert set(state.optimizer["param_states"]) == case.modules
    for name, value in state.frozen.items():
        np.testing.assert_array_equal(value, case.flat[name], err_msg=name)
    for name, value in state.trainable.items():
        assert np.any(np.asarray(value) != case.flat[name]), name


def test_compiles_once(trained):
    program, before, *_ = trained
    assert program.jitted._cache_size() - before == 1


def test_an_absent_language_is_bit_unchanged(case, trained):
    if not case.routed:
        pytest.skip("unrouted")
    state = trained[2]
    for name, value in state.trainable.items():
        now, before = np.moveaxis(np.asarray(value), 1, 0), np.moveaxis(case.flat[name], 1, 0)
        np.testing.assert_array_equal(now[2], before[2], err_msg=name)
        assert all(np.any(now[slot] != before[slot]) for slot in PRESENT), name


@pytest.mark.parametrize(
    "mesh", [m if m == "mixed" else pytest.param(m, marks=pytest.mark.slow) for m in MESHES]
)
def test_eight_devices_equal_one(case, trained, mesh):
    program = build(case.spec(mesh=MESHES[mesh]))
    state, losses = steps(program, case.flat, LANGUAGES)
    np.testing.assert_allclose(losses, trained[3], rtol=1e-5)
    for name, value in state.trainable.items():
        assert len(value.sharding.device_set) == 8
        close(np.asarray(value), np.asarray(trained[2].trainable[name]), name, 1e-4)
