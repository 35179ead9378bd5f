"""A Result says what it is of, and the last of what was asked twice holds."""

import math

import pytest

from jaxlt.errors import UserError
from jaxlt.metrics.result import Decoding, Interval, Module, Result, latest


def result(**changes):
    given = {"metric": "las", "value": 0.5, "n": 3, "task": "parsing", "target": "glv_Latn"}
    return Result(**given | changes)


def test_the_last_of_what_was_asked_twice_holds():
    first = result(interval=Interval(0.4, 0.6), modules=(Module("lang=glv", "1"),))
    other = result(modules=(Module("lang=tgl", "2"),))
    again = result(
        value=0.7, n=4, interval=(0.6, 0.8), modules=(Module("lang=glv", "3"),), data="anew"
    )
    assert latest([first, other, again]) == [other, again]


@pytest.mark.parametrize(
    "change",
    [
        {"source": "eng_Latn"},
        {"decoding": Decoding(beams=4)},
        {"step": 7},
        {"method": "baseline/neighbour"},
        {"seed": 1},
        {"settings": (("limit", "5"),)},
        {"aggregate": "macro", "group": "all", "target": "", "members": ("a", "b")},
    ],
)
def test_what_was_asked_otherwise_is_another_result(change):
    assert len(latest([result(), result(**change)])) == 2


def test_lines_are_named_by_languages_or_groups():
    assert result().language == "glv_Latn"
    assert result(source="glv_Latn").language == "glv_Latn"
    assert result(source="eng_Latn").language == "eng_Latn-glv_Latn"
    assert result(target="", aggregate="family", group="family/Bantu").language == "family/Bantu"


def test_what_is_not_finite_has_no_value():
    assert result(value=math.nan).value is None


def test_words_that_a_result_does_not_know_are_refused():
    with pytest.raises(UserError, match=r"unit is one of .*Did you mean 'tokens'"):
        result(unit="token")
    with pytest.raises(UserError, match=r"aggregate is one of none, pooled"):
        result(aggregate="mean")
    with pytest.raises(UserError, match=r"aggregate 'macro' has a group"):
        result(aggregate="macro")
    with pytest.raises(UserError, match=r"aggregate 'none' has no group, and this .* 'all'"):
        result(group="all")
