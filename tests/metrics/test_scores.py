"""The registry: every metric by its name, with interval; bad requests; comparisons."""

import json

import numpy as np
import pytest

from jaxlt.errors import UserError
from jaxlt.metrics.scores import METRICS, compare, metric, score, statistics
from jaxlt.metrics.trees import Parse
from tests.metrics.texts import OTHER, REFERENCES, SYSTEM

TREE = Parse(list("abc"), [0, 1, 1], ["root", "obj", "obl"])
BAD = Parse(list("abc"), [0, 1, 2], ["root", "obj", "obj"])
# predictions, references, settings: of each metric, twice right and once not.
CASES = {
    "length_ratio": (["a b", "a", "a b c"], ["a b", "a", "a b"], {}),
    "span_f1": ([["B-A"], ["B-A"], ["O"]], [["B-A"], ["B-A"], ["B-A"]], {}),
    "entity_f1": (["A: x", "A: x", ""], ["A: x", "A: x", "A: y"], {}),
    "uas": ([TREE, TREE, BAD], [TREE] * 3, {}),
    "las": ([TREE, TREE, BAD], [TREE] * 3, {}),
    "clas": ([TREE, TREE, BAD], [TREE] * 3, {}),
    "accuracy": ([1, 2, 3], [1, 2, 2], {}),
    "macro_f1": (["a", "b", "b"], ["a", "b", "a"], {"labels": ["a", "b"]}),
    "exact_match": (["a b", "b", "c"], ["a b", ["x", "b"], "d"], {"language": "swh"}),
    "answer_f1": (["a b", "b", "c d"], ["a b", ["x", "b"], "d"], {}),
    "p@1": (["x", ["y", "z"], "w"], ["x", "y", "z"], {"casefold": False}),
    "wrong_language": (["x", "x", "y"], ["x", "x", "x"], {}),
    "bleu": (SYSTEM, REFERENCES, {"tokenize": "char"}),
    "chrf++": (SYSTEM, REFERENCES, {"lowercase": True}),
}


def test_every_metric_has_a_case() -> None:
    assert set(METRICS) == {*CASES, "spbleu"}


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_metric_gives_a_value_count_and_interval(name) -> None:
    predictions, references, settings = CASES[name]
    found = score(name, predictions, references, resamples=200, **settings)
    assert found.n == len(references)
    assert found.low <= found.value <= found.high
    assert found.low < found.high
    assert found == score(name, predictions, references, resamples=200, **settings)
    json.dumps(dict(found.details), allow_nan=False)
    scale = METRICS[name].scale
    assert scale is None or 0 < found.value < scale
    # Examples in another order are the same score.
    turned = score(name, predictions[::-1], references[::-1], resamples=0, **settings)
    assert turned.value == pytest.approx(found.value)
    assert turned.low is turned.high is None


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_metric_refuses_nothing_and_uneven_lists(name) -> None:
    predictions, references, settings = CASES[name]
    with pytest.raises(UserError, match="empty"):
        score(name, [], [], **settings)
    with pytest.raises(UserError, match="cannot be scored against"):
        score(name, predictions[:-1], references, **settings)


def test_one_example_has_no_interval() -> None:
    found = score("accuracy", [1], [1])
    assert (found.value, found.n, found.low, found.high) == (1, 1, None, None)


def test_intervals_widen_with_confidence() -> None:
    rng = np.random.default_rng(0)
    ours, gold = rng.integers(0, 2, (2, 100)).tolist()
    wide = score("accuracy", ours, gold, confidence=0.99)
    narrow = score("accuracy", ours, gold, confidence=0.5)
    assert wide.low < narrow.low < narrow.high < wide.high
    assert wide.value == narrow.value


def test_resamples_below_none() -> None:
    with pytest.raises(UserError, match="at least 0"):
        score("accuracy", [1, 2], [1, 2], resamples=-1)
    with pytest.raises(UserError, match="at least 1"):
        compare("accuracy", [1, 2], [1, 2], [1, 2], resamples=0)


def test_unknown_names_and_settings() -> None:
    with pytest.raises(UserError, match="Did you mean 'chrf\\+\\+'"):
        metric("chrf")
    with pytest.raises(UserError, match="Did you mean 'tokenize'"):
        score("bleu", ["a"], ["a"], tokenise="13a")
    with pytest.raises(UserError, match="it has none"):
        score("las", [TREE], [TREE], tokenize="13a")
    with pytest.raises(UserError, match="needs the setting 'model'"):
        statistics("spbleu", ["a"], ["a"])


def test_compare_takes_every_metric() -> None:
    for name, (predictions, references, settings) in CASES.items():
        same = compare(name, predictions, predictions, references, resamples=50, **settings)
        assert (same.difference, same.p_value) == (0, 1), name


def test_compare_gives_each_systems_own_score() -> None:
    """Also where one system has labels that the other has not."""
    gold, ours, theirs = ["a", "b", "a", "b"], ["a", "b", "a", "a"], ["a", "x", "y", "b"]
    for test in ("bootstrap", "randomization"):
        found = compare("macro_f1", ours, theirs, gold, test=test, resamples=100)
        assert found.first == pytest.approx(score("macro_f1", ours, gold).value)
        assert found.second == pytest.approx(score("macro_f1", theirs, gold).value)
        assert found.test == test
    found = compare("bleu", SYSTEM, OTHER, REFERENCES, resamples=100)
    assert found.first == pytest.approx(score("bleu", SYSTEM, REFERENCES).value)
    assert found.low <= found.difference <= found.high


def test_compare_says_which_system_is_wrong() -> None:
    with pytest.raises(UserError, match="The second system has 1 predictions for 2"):
        compare("accuracy", [1, 2], [1], [1, 2])
    with pytest.raises(UserError, match=r"Of the second system: .*example 0"):
        other = Parse(list("xyz"), [0, 1, 1], ["root", "obj", "obl"])
        compare("las", [TREE], [other], [TREE])
    with pytest.raises(UserError, match="'randomization'"):
        compare("accuracy", [1], [1], [1], test="t")
