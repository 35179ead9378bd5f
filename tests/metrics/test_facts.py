"""P@1 and P@k with several right answers."""

import pytest

from jaxlt.errors import UserError
from jaxlt.metrics.facts import precision_at


def test_any_right_answer_will_do() -> None:
    made = precision_at(["Paris", "lyon", "Rome"], [["Paris"], ["Paris", "Lyon"], "Milan"])
    assert made.rows.tolist() == [[1, 1], [1, 1], [0, 1]]


def test_only_the_first_k_count() -> None:
    ranked, right = [["Lyon", "Paris", "Nice"], ["Paris"]], ["Paris", "Paris"]
    assert precision_at(ranked, right).total() == 0.5
    assert precision_at(ranked, right, k=2).total() == 1
    assert precision_at([[]], ["Paris"], k=3).total() == 0


def test_how_texts_are_equal() -> None:
    # Composed and decomposed, spaces, case; German sharp s.
    assert precision_at(["e\u0301  x"], ["\u00e9 X "]).total() == 1
    assert precision_at(["e\u0301"], ["\u00e9"], casefold=False).total() == 1
    assert precision_at(["STRASSE"], ["straße"]).total() == 1
    assert precision_at(["paris"], ["Paris"], casefold=False).total() == 0


def test_bad_input() -> None:
    with pytest.raises(UserError, match="k of at least 1"):
        precision_at(["a"], ["a"], k=0)
    with pytest.raises(UserError, match="Example 0"):
        precision_at(["a"], [[]])
