"""Shares of languages against what the methods' papers say of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxlt.data import rates
from jaxlt.errors import UserError

COUNTS = np.array([1000.0, 10.0, 100.0, 100_000.0])


def test_temperature_is_n_to_the_alpha():
    assert np.allclose(rates.temperature(COUNTS, 0.3), COUNTS**0.3 / (COUNTS**0.3).sum())
    assert np.allclose(rates.temperature(COUNTS, 0.0), rates.equal(COUNTS))
    assert np.isfinite(rates.temperature(COUNTS * 1e300, 2.0)).all()


def test_unimax_is_equal_where_text_allows_and_capped_elsewhere():
    read = rates.unimax(COUNTS, budget=10_000, max_epochs=4) * 10_000
    # 10 and 100 give all their 4 epochs; the rest is shared equally, as far as 1000 * 4 reaches.
    assert np.allclose(read, [4000, 40, 400, 5560])
    assert np.allclose(rates.unimax(COUNTS, budget=40, max_epochs=4), 0.25)


@given(
    st.lists(st.integers(1, 10**9), min_size=1, max_size=30),
    st.floats(1.0, 1e12),
    st.floats(0.1, 20),
)
def test_unimax_never_passes_the_cap_nor_favours_the_smaller(counts, budget, cap):
    counts = np.array(counts, float)
    share = rates.unimax(counts, budget, cap)
    assert share.sum() == pytest.approx(1)
    spent = min(budget, counts.sum() * cap)
    assert (share * spent <= counts * cap * (1 + 1e-9)).all()
    assert (np.diff(share[np.argsort(counts, kind="stable")]) >= -1e-12).all()


def test_a_rate_of_zero_is_refused_by_name():
    assert np.allclose(rates.explicit({"b": 3, "a": 1}, ["a", "b"]), [0.25, 0.75])
    with pytest.raises(UserError, match="'b' the rate 0"):
        rates.explicit({"b": 0, "a": 1}, ["a", "b"])


def test_rates_by_task_language_and_kind():
    tasks = {"tag.a.eng": "eng", "tag.b.eng": "eng", "tag.c.swh": "swh", "text.swh": "swh"}
    found = rates.by_task({"tag": 3.0, "text": 1.0}, tasks)
    assert found == {"tag.a.eng": 1.0, "tag.b.eng": 1.0, "tag.c.swh": 1.0, "text.swh": 1.0}
    found = rates.by_task({"eng": 3.0, "tag.a.eng": 2.0, "swh": 4.0}, tasks)
    assert found == {"tag.a.eng": 2.0, "tag.b.eng": 3.0, "tag.c.swh": 2.0, "text.swh": 2.0}
    assert rates.by_task({"deu": 1.0}, tasks) == {"deu": 1.0}  # refused where names are checked
    with pytest.raises(UserError, match=r"'tag\.c\.swh' a rate by its language and another"):
        rates.by_task({"tag": 1.0, "swh": 1.0}, tasks)
