"""Marks in the place of numbers: equal by name, no numbers by themselves."""

import dataclasses
import math

import pytest

from jaxlt.models.traced import Traced, given, is_marked, mark, now


@dataclasses.dataclass(frozen=True)
class Settings:
    """A config that refuses what is no number above 0."""

    on: float = 0.5
    off: float = 0.0
    missing: float | None = None

    def __post_init__(self):
        assert is_marked(self, "on") or 0 < self.on < 1


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
