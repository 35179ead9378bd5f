"""What every score shares: its pairs are checked."""

import pytest

from jaxlt.errors import UserError
from jaxlt.metrics import statistics


@pytest.mark.parametrize(
    ("predictions", "references", "says"),
    [
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
