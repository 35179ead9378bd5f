"""Marks in the place of numbers: equal by name, no numbers by themselves."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlt.models.traced import Rate, Traced, given, mark, now


@dataclasses.dataclass(frozen=True)
class Settings:
    """A config that refuses what is no number above 0."""

    on: float = 0.5
    off: float = 0.0
    missing: float | None = None

    def __post_init__(self):
        assert 0 < self.on < 1


def test_what_is_on_is_marked_and_what_is_off_stays():
    marked, values = mark(Settings(), "s", ("on", "off", "missing", "none_such"))
    assert values == {"s.on": 0.5} and (marked.off, marked.missing) == (0.0, None)
    assert marked == mark(Settings(0.25), "s", ("on",))[0] != Settings()
    assert hash(marked) == hash(mark(Settings(0.25), "s", ("on",))[0])
    assert (
        math.isnan(marked.on + 1.0) and marked.on != Traced("s.off") and repr(marked.on) == "<s.on>"
    )


def test_now_is_the_value_inside_and_an_error_outside():
    mark_ = Traced("s.on")
    with given({"s.on": 3.0}):
        assert now(mark_) == 3.0 and now(0.5) == 0.5 and now(None) is None
    with pytest.raises(ValueError, match=r"without a value for s\.on"):
        now(mark_)


@pytest.mark.parametrize("make", [optax.scale_by_adam, optax.scale_by_radam, optax.scale_by_lion])
def test_a_rate_is_to_optax_what_its_number_is(make):
    """1 - b is made in float64: of float32's 0.999 it would be off in the fifth digit."""
    rates = [Rate(np.float32(b), np.float32(1.0 - b)) for b in (0.9, 0.999)]
    params = {"a": jnp.arange(1.0, 5.0)}
    found = []
    for optimizer in (make(0.9, 0.999), make(*rates)):
        state = optimizer.init(params)
        for scale in (1.0, -0.3, 0.7):
            steps, state = optimizer.update({"a": scale * params["a"]}, state)
        found.append(np.asarray(steps["a"]))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-6)
    assert float(1 - rates[1]) == np.float32(0.001) != np.float32(1.0) - np.float32(0.999)
