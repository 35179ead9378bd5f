"""Slots that take turns."""

import numpy as np
import pytest

from jaxlt.errors import UserError
from jaxlt.modules.routing import cycled

ROWS = np.arange(6, dtype=np.int32)
SLOTS = (2, 5, 7)


def test_every_slot_has_its_turn_in_every_round():
    drawn = [cycled(1, step, ROWS, SLOTS) for step in range(30)]
    assert all(d.dtype == np.int32 and d.shape == (6,) and len(set(d.tolist())) == 1 for d in drawn)
    rounds = np.array([d[0] for d in drawn]).reshape(10, 3)
    assert all(sorted(r) == list(SLOTS) for r in rounds.tolist())
    assert len({tuple(r) for r in rounds.tolist()}) > 1


def test_rows_are_dealt_evenly():
    whole = cycled(1, 4, ROWS, SLOTS, by="row")
    assert sorted(whole.tolist()) == [2, 2, 5, 5, 7, 7]
    assert any(np.any(cycled(1, step, ROWS, SLOTS, by="row") != whole) for step in range(9))


@pytest.mark.parametrize("by", ["step", "row"])
def test_a_function_of_seed_step_and_row(by):
    whole = cycled(3, 8, ROWS, SLOTS, by)
    parts = [cycled(3, 8, ROWS[a:b], SLOTS, by) for a, b in ((0, 2), (2, 6))]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    others = [[cycled(seed, s, ROWS, SLOTS, by) for s in range(9)] for seed in (3, 4)]
    assert np.any(np.array(others[0]) != np.array(others[1]))


def test_what_makes_no_cycle():
    with pytest.raises(UserError, match="by 'step' or by 'row', not by 'epoch'"):
        cycled(0, 0, ROWS, SLOTS, by="epoch")
    with pytest.raises(UserError, match="at least one"):
        cycled(0, 0, ROWS, ())
