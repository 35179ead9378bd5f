"""Held-out splits: drawn by seed and key, kept while corpora grow, remembered."""

import pytest

from jaxlt.data.sources.splits import Shares, Split, remembered
from jaxlt.errors import UserError

KEYS = [f"document {i}".encode() for i in range(4000)]


def test_shares_are_as_asked_and_larger_ones_keep_what_was_held_out():
    small, large = Split(0.05, 0.1, seed=1), Split(0.2, 0.3, seed=1)
    drawn = {name: {k for k in KEYS if small.of(k) == name} for name in ("validation", "test")}
    assert 150 < len(drawn["validation"]) < 250 and 330 < len(drawn["test"]) < 470
    for name, keys in drawn.items():
        assert all(large.of(key) == name for key in keys)
    assert {k for k in KEYS if Split(0.05, 0.1, seed=2).of(k) == "test"} != drawn["test"]
    assert {Split().of(key) for key in KEYS} == {"train"}


def test_the_first_split_is_remembered(tmp_path):
    split = Split(0.1, seed=3)
    with pytest.raises(UserError, match="has no held-out split yet"):
        remembered(tmp_path, "bible")
    assert remembered(tmp_path, "bible", split) == split
    assert remembered(tmp_path, "bible") == remembered(tmp_path, "bible", split) == split
    with pytest.raises(UserError, match="would train on documents that were held out"):
        remembered(tmp_path, "bible", Split(0.1, seed=4))
    assert remembered(tmp_path, "other", Split()) == Split()
    (tmp_path / "bible.json").write_text("{")
    with pytest.raises(UserError, match="does not hold the split of 'bible'"):
        remembered(tmp_path, "bible")


@pytest.mark.parametrize("shares", [(-0.1, 0.0), (1.0, 0.0), (float("nan"), 0.0), (0.5, 0.5)])
def test_shares_that_leave_nothing_are_refused(shares):
    with pytest.raises(UserError):
        Split(*shares)


def test_little_text_has_more_held_out():
    shares = Shares(seed=2)
    assert shares.split(100) == Split(0.05, seed=2)  # 5% at most
    assert shares.split(2_000_000) == Split(0.025, seed=2)  # what makes 50 kB
    assert shares.split(10**9) == Split(0.01, seed=2)
    assert Shares(0.2, 0.1).split(100) == Shares(0.2, 0.1).split(10**9) == Split(0.2, 0.1)


def test_a_share_by_size_stays_as_it_was_first(tmp_path):
    first = remembered(tmp_path, "corpus", Shares(), lambda: 2_000_000)
    assert first.validation == 0.025
    assert remembered(tmp_path, "corpus", Shares(), lambda: 10**9) == first  # it has grown
    with pytest.raises(UserError, match="would train on documents that were held out"):
        remembered(tmp_path, "corpus", Shares(seed=1), lambda: 10**9)
    with pytest.raises(UserError, match="would train on documents that were held out"):
        remembered(tmp_path, "corpus", Shares(0.01), lambda: 10**9)


def test_the_size_is_asked_for_only_where_the_share_goes_by_it(tmp_path):
    asked = []

    def size():  # a pass over all text
        asked.append(1)
        return 2_000_000

    for _ in range(3):
        assert remembered(tmp_path, "whole", Shares(0.0), size) == Split()  # never written down
        remembered(tmp_path, "said", Shares(0.1), size)
    assert asked == []
    for _ in range(3):
        remembered(tmp_path, "by size", Shares(), size)
    assert asked == [1]
