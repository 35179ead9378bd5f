"""What every score shares: pairs are checked, and 0 of 0 is 0."""

import numpy as np
import pytest

from jaxlt.errors import UserError
from jaxlt.metrics import statistics


def test_ratios_of_nothing_are_zero() -> None:
    np.testing.assert_array_equal(statistics.ratio(np.array([[1.0, 2], [0, 0]])), [0.5, 0])
    np.testing.assert_array_equal(statistics.f1(np.array([[1.0, 1, 3], [0, 0, 0]])), [0.5, 0])
    assert statistics.precision_recall(0, 0, 0) == {
        "precision": 0.0,
        "recall": 0.0,
        "f1": 0.0,
        "count": 0,
    }


def test_a_mean_is_a_ratio_of_sums() -> None:
    mean = statistics.means([1, 0, 0.5])
    assert mean.total() == pytest.approx(0.5)
    assert mean.n == 3


@pytest.mark.parametrize(
    ("predictions", "references", "says"),
    [
        ([], [], "empty"),
        (["a"], ["a", "b"], "1 predictions cannot be scored against 2"),
        ("ab", ["a", "b"], "are a list"),
        ({"a": 1}, ["a"], "are a list"),
    ],
)
def test_pairs_that_are_none(predictions, references, says) -> None:
    with pytest.raises(UserError, match=says):
        statistics.check_pairs(predictions, references)


@pytest.mark.parametrize("reference", [None, [], [None], 3 * [1]])
def test_a_reference_without_a_text(reference) -> None:
    with pytest.raises(UserError, match="Example 1 has"):
        statistics.answers(["fine", reference])


def test_a_prediction_that_is_no_text() -> None:
    with pytest.raises(UserError, match="Example 1 has None"):
        statistics.texts(["fine", None])
