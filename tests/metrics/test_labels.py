"""Accuracy and macro-F1 against scikit-learn."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from jaxlt.errors import UserError
from jaxlt.metrics import intervals, labels

LABELS = st.sampled_from("abcd")


def sklearn_macro(gold, ours, known=None) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return f1_score(gold, ours, average="macro", labels=known, zero_division=0)


@given(st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=20))
@settings(max_examples=40, deadline=None)
def test_labels_as_scikit_learn_scores_them(pairs) -> None:
    ours, gold = map(list, zip(*pairs, strict=True))
    assert labels.accuracy(ours, gold).total() == pytest.approx(accuracy_score(gold, ours))
    assert labels.macro_f1(ours, gold).total() == pytest.approx(sklearn_macro(gold, ours))
    known = ["a", "b", "never"]
    made = labels.macro_f1(ours, gold, labels=known)
    assert made.total() == pytest.approx(sklearn_macro(gold, ours, known))


def test_words_of_sentences() -> None:
    ours, gold = [["N", "V"], ["N"], []], [["N", "N"], ["D"], []]
    made = labels.accuracy(ours, gold)
    assert made.total() == pytest.approx(1 / 3)
    assert (made.n, made.details["items"]) == (3, 3)
    assert made.rows.tolist() == [[1, 2], [0, 1], [0, 0]]
    macro = labels.macro_f1(ours, gold)
    assert macro.total() == pytest.approx(sklearn_macro(["N", "N", "D"], ["N", "V", "N"]))
    assert macro.details["labels"]["N"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "count": 2}


def test_resamples_equal_scikit_learn_on_them() -> None:
    rng = np.random.default_rng(0)
    ours, gold = rng.integers(0, 4, (2, 12))
    values = intervals.draws(labels.macro_f1(ours.tolist(), gold.tolist()), 40, 5)
    (_, weights), *_ = intervals.counts(12, 40, 5)
    for value, row in zip(values, weights.astype(int), strict=True):
        places = np.repeat(np.arange(12), row)
        assert value == pytest.approx(sklearn_macro(gold[places], ours[places]))


def test_made_up_labels_weigh_unless_the_labels_are_given() -> None:
    ours, gold = ["yes", "no", "<extra_id_0>"], ["yes", "no", "no"]
    assert labels.macro_f1(ours, gold).total() == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert labels.macro_f1(ours, gold, labels=["yes", "no"]).total() == pytest.approx(5 / 6)


def test_many_labels_stay_sparse() -> None:
    tags = [f"t{i}" for i in range(3000)]
    made = labels.macro_f1(tags, tags)
    assert made.rows.shape == (3000, 9000)
    assert made.rows.nnz == 9000
    assert made.total() == 1


def test_bad_input() -> None:
    with pytest.raises(UserError, match="Example 1 has 1 predicted labels for 2"):
        labels.accuracy([["N"], ["N"]], [["N"], ["N", "V"]])
    with pytest.raises(UserError, match="none of the examples has a label"):
        labels.accuracy([[], []], [[], []])
    with pytest.raises(UserError, match="no labels"):
        labels.macro_f1(["a"], ["a"], labels=[])
