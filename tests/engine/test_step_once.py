"""What may differ between runs that share their compiled programs, and that it has its effect."""

import dataclasses
import logging

import jax
import numpy as np
import pytest

from jaxlt.engine import compilation
from jaxlt.engine.config import LossConfig, OptimizerConfig
from jaxlt.engine.state import make_state
from jaxlt.engine.step import build
from jaxlt.models.tagger import TaggerConfig
from tests.conftest import compiling, hyper, make_batch, make_config, make_spec, place_batch

# With this eps a step does not hang on the rounding of a gradient that is next to nothing.
RATES = ((".*/relpos_bias/.*", 3.0), (".*kernel", 0.5))
ADAMW = OptimizerConfig("adamw", weight_decay=0.1, clip_norm=0.5, eps=1e-3, rates=RATES)
LOSS = LossConfig(z_loss=1e-4, label_smoothing=0.1)
MODEL = make_config(encoder_layers=1, decoder_layers=1, dropout=0.1)
SPEC = make_spec(MODEL, loss=LOSS, optimizer=ADAMW)
SWEPT = {  # another value of each number that a step takes
    "weight_decay": {"optimizer": dataclasses.replace(ADAMW, weight_decay=0.5)},
    "clip_norm": {"optimizer": dataclasses.replace(ADAMW, clip_norm=0.01)},
    "b1": {"optimizer": dataclasses.replace(ADAMW, b1=0.5)},
    "b2": {"optimizer": dataclasses.replace(ADAMW, b2=0.9)},
    "rates": {"optimizer": dataclasses.replace(ADAMW, rates=((RATES[0][0], 0.0), RATES[1]))},
    "z_loss": {"loss": dataclasses.replace(LOSS, z_loss=0.1)},
    "label_smoothing": {"loss": dataclasses.replace(LOSS, label_smoothing=0.3)},
    "dropout": {"model": dataclasses.replace(MODEL, dropout=0.5)},
}


def two_steps(program):
    """(losses, parameters, how many programs were compiled) after two steps of a program."""
    state = make_state(program.layout, program.optimizer, 0)
    batch, losses = place_batch(program, make_batch()), []
    with compiling() as names:
        for _ in range(2):
            state, metrics = program.train(state, batch, hyper(0.05))
            losses.append(float(metrics["loss"]))
    return losses, jax.device_get(state.trainable), len(names)


@pytest.fixture(scope="module")
def plain():
    return two_steps(build(SPEC))


@pytest.mark.parametrize("name", SWEPT)
def test_a_sweep_compiles_once_and_its_number_counts(plain, name):
    assert plain[2] >= 1  # the counter hears of a compilation
    program = build(dataclasses.replace(SPEC, **SWEPT[name]))
    assert program.jitted is build(SPEC).jitted and program.evaluated is build(SPEC).evaluated
    losses, params, compiled = two_steps(program)
    assert compiled == 0
    same = all(np.array_equal(params[n], plain[1][n]) for n in params)
    assert not same and np.isfinite(losses).all()


@pytest.mark.slow
def test_a_number_that_is_given_is_a_number_that_is_written_into_the_program(plain, monkeypatch):
    """The same spec, compiled with every number as a constant."""
    monkeypatch.setattr("jaxlt.engine.step.sweepable", lambda spec: (spec, {}))
    constant = build.__wrapped__(dataclasses.replace(SPEC, languages=99))
    assert constant.jitted is not build(SPEC).jitted and not constant.values
    losses, params, _ = two_steps(constant)
    np.testing.assert_allclose(losses, plain[0], rtol=1e-6)
    for name, value in params.items():
        np.testing.assert_allclose(value, plain[1][name], atol=1e-6, err_msg=name)


def test_what_is_off_stays_off_and_costs_nothing():
    off = make_spec(
        make_config(), loss=LossConfig(z_loss=0.0), optimizer=OptimizerConfig("adafactor")
    )
    assert build(off).values.keys() == {"optimizer.b1", "optimizer.b2"}
    assert build(off).jitted is not build(SPEC).jitted


def test_evaluation_knows_no_optimizer_and_no_trainable_part():
    plain = build(SPEC)
    others = {
        "optimizer": OptimizerConfig("sgd"),
        "trainable": ("params/decoder/.*",),
        "accumulate": 2,
        "skip_nonfinite": True,
        "model": dataclasses.replace(MODEL, dropout=0.0),
    }
    for name, value in others.items():
        other = build(dataclasses.replace(SPEC, **{name: value}))
        assert other.evaluated is plain.evaluated, name
    chunked = dataclasses.replace(SPEC, loss=dataclasses.replace(LOSS, chunk_bytes=400))
    assert build(chunked).evaluated is not plain.evaluated


def test_rates_of_heads_are_swept_too():
    heads = [(TaggerConfig("pos", labels=5, dropout=rate),) for rate in (0.1, 0.4)]
    specs = [make_spec(make_config(decoder_layers=0, heads=head)) for head in heads]
    first, second = map(build, specs)
    assert first.jitted is second.jitted
    assert first.values["heads.pos.dropout"] == np.float32(0.9)
    assert second.values["heads.pos.dropout"] == np.float32(0.6)


def test_a_cache_that_overflows_says_so_once(caplog):
    double = compilation.remembered(2, "doubles")(lambda x: 2 * x)
    with caplog.at_level(logging.WARNING):
        assert [double(i) for i in (1, 2, 1, 2)] == [2, 4, 2, 4]
        assert not caplog.records
        assert [double(i) for i in (3, 4, 1)] == [6, 8, 2]
    assert [r.message for r in caplog.records] == [
        "More than 2 doubles in one process: the oldest are forgotten, and compiled again where "
        "they come back."
    ]
