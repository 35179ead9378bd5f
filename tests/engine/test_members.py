"""Several runs in one step: each member's is its run alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlt.engine.config import OptimizerConfig
from jaxlt.engine.feed import read_batch
from jaxlt.engine.members import members_of, side_by_side
from jaxlt.engine.state import make_state
from jaxlt.engine.step import build
from jaxlt.errors import UserError
from jaxlt.modules.bottleneck import Bottleneck
from jaxlt.modules.site import plug
from tests.conftest import hyper, make_config, make_spec
from tests.engine import jobs

pytestmark = pytest.mark.usefixtures("quick_compile")

RATES, SEEDS = (0.01, 0.003, 0.02), (0, 1, 2)
BANK = plug(Bottleneck, "lang", reduction_factor=4, key="source", routes=8)
# With this eps a step does not hang on the rounding of a gradient that is next to nothing.
ADAMW = OptimizerConfig("adamw", eps=1e-3)
ENCODER = {"encoder_layers": 1, "decoder_layers": 1}
SHAPES = {
    "full": ({}, {"optimizer": OptimizerConfig("adafactor", min_factored=8)}),
    "dropout": (
        {"dropout": 0.1},
        {"optimizer": dataclasses.replace(ADAMW, clip_norm=1.0, weight_decay=0.1)},
    ),
    "bank": (
        {"plugs": (BANK,)},
        {"trainable": ("modules/.*",), "optimizer": ADAMW, "languages": 3},
    ),
    "frozen": ({}, {"trainable": ("params/decoder/.*",), "optimizer": ADAMW}),
    "accumulation": (
        {"dropout": 0.1},
        {"accumulate": 2, "optimizer": OptimizerConfig("adafactor", min_factored=8)},
    ),
}


def alone(program, state, rate, seed, batches):
    """(losses, last state) of one member's run by itself."""
    losses = []
    for batch in batches:
        state, metrics = program.train(state, batch, hyper(rate, seed))
        losses.append(float(metrics["loss"]))
    return losses, state


# quick: test_fit_members.py::test_one_stops_early_and_one_fails_while_another_goes_on
@pytest.mark.slow
@pytest.mark.parametrize(("devices", "shape"), [*((1, shape) for shape in SHAPES), (3, "bank")])
def test_each_member_is_its_run_alone(devices, shape):
    model, changes = SHAPES[shape]
    program = build(make_spec(make_config(**ENCODER, **model), **changes))
    group = members_of(program, 3, jax.devices()[:devices])
    assert group.mesh.size == devices
    begin = lambda seed: make_state(program.layout, program.optimizer, seed)  # noqa: E731
    batches = [read_batch(jobs.data(), step, program.spec.mesh)[0] for step in range(3)]
    # A frozen part is one for all, where it is one object, as a backbone of many modules is.
    base = begin(0).frozen
    states = group.join([begin(seed).replace(frozen=base) for seed in SEEDS])
    hypers = side_by_side([hyper(rate, seed) for rate, seed in zip(RATES, SEEDS, strict=True)])
    losses, everyone = [], jnp.ones(3, bool)
    for batch in batches:
        states, metrics = group.train(states, jax.device_put(batch, group.whole), hypers, everyone)
        losses.append(np.asarray(metrics["loss"]))
    for i, (rate, seed) in enumerate(zip(RATES, SEEDS, strict=True)):
        wanted, state = alone(program, begin(seed).replace(frozen=base), rate, seed, batches)
        np.testing.assert_allclose([step[i] for step in losses], wanted, rtol=1e-6)
        mine = group.member(states, i)
        for name, value in state.trainable.items():
            np.testing.assert_allclose(mine.trainable[name], value, atol=2e-6, err_msg=name)


@pytest.mark.slow
def test_own_batches_own_frozen_parts_and_members_that_are_over():
    program = build(make_spec(make_config(**ENCODER), trainable=("params/decoder/.*",)))
    group = members_of(program, 2)
    begin = [make_state(program.layout, program.optimizer, seed) for seed in (0, 1)]
    states = group.join(begin)
    assert group.member(states, 1).frozen.keys() == begin[1].frozen.keys()
    batches = [read_batch(jobs.data(seed=i), 0, program.spec.mesh)[0] for i in (0, 1)]
    hypers = side_by_side([hyper(0.01), hyper(0.01)])
    states, metrics = group.train(
        states, side_by_side(batches), hypers, jnp.array([True, False]), apart=True
    )
    wanted, state = alone(program, begin[0], 0.01, 0, batches[:1])
    np.testing.assert_allclose(float(metrics["loss"][0]), wanted[0], rtol=1e-6)
    first, second = group.member(states, 0), group.member(states, 1)
    for name, value in state.trainable.items():
        np.testing.assert_allclose(first.trainable[name], value, atol=2e-6, err_msg=name)
    kept = make_state(program.layout, program.optimizer, 1)
    assert int(second.step) == 0 and all(
        np.array_equal(second.trainable[n], v) for n, v in kept.trainable.items()
    )


def test_states_of_another_shape_are_refused():
    program = build(make_spec(make_config(**ENCODER)))
    group = members_of(program, 2)
    small = make_state(program.layout, program.optimizer, 0)
    other = build(make_spec(make_config(**ENCODER | {"encoder_layers": 2})))
    large = make_state(other.layout, other.optimizer, 0)
    with pytest.raises(UserError, match="of one shape"):
        group.join([small, large])
    with pytest.raises(UserError, match="2 members is given 1"):
        group.join([small])
    assert dataclasses.replace(group, count=1).count == 1
