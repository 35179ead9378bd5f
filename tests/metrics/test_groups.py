"""Averages over languages."""

import pytest

from jaxlt.errors import UserError
from jaxlt.metrics.groups import averages, members

VALUES = {"eng": 0.9, "deu": 0.8, "nld": 0.6, "swh": 0.4, "eus": 0.2}


def test_the_fields_averages() -> None:
    found = averages(
        VALUES,
        source="eng",
        seen=["eng", "deu", "swh"],
        families={"eng": "Germanic", "deu": "Germanic", "nld": "Germanic", "swh": "Bantu"},
    )
    assert found == pytest.approx(
        {
            "all": 0.58,
            "without_source": 0.5,
            "seen": 0.6,
            "unseen": 0.4,
            "family/Bantu": 0.4,
            "family/Germanic": 0.7,
            "family/none": 0.2,
            "families": (0.4 + 0.7 + 0.2) / 3,
        }
    )


def test_groups_that_are_empty_are_left_out() -> None:
    assert averages({"eng": 0.9}, source="eng", seen=["eng"], families={}) == {"all": 0.9}
    assert averages(VALUES) == pytest.approx({"all": 0.58, "without_source": 0.58})
    assert "seen" not in averages(VALUES, seen=[])


def test_members_keep_their_order_and_several_sources_go() -> None:
    groups = members(["swh", "eng", "deu"], source=["eng", "deu"])
    assert groups == {"all": ("swh", "eng", "deu"), "without_source": ("swh",)}


def test_no_scores() -> None:
    with pytest.raises(UserError, match="empty"):
        averages({})
