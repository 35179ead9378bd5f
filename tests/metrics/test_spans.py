"""Spans against seqeval on any tagging, entities against mT5's own rule."""

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import classification_report, f1_score
from seqeval.metrics.sequence_labeling import get_entities

from jaxlt.errors import UserError
from jaxlt.metrics import spans

IOB = [f"{begin}-{kind}" for begin in "BI" for kind in ("PER", "LOC", "MISC-A")] + ["O", "B", "I"]
IOBES = [*IOB, "E-PER", "S-PER", "E-LOC", "S-LOC", "E", "S"]


@given(st.lists(st.sampled_from(IOBES), max_size=12))
@settings(max_examples=200, deadline=None)
def test_spans_of_any_tags_are_those_of_seqeval(tags) -> None:
    expected = [(kind, start, end + 1) for kind, start, end in get_entities(tags)]
    assert spans.spans_of(tags) == expected


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_f1_of_any_taggings_is_that_of_seqeval(data) -> None:
    lengths = data.draw(st.lists(st.integers(1, 8), min_size=1, max_size=6))
    tags = st.sampled_from(IOB)
    ours, gold = (
        [data.draw(st.lists(tags, min_size=n, max_size=n)) for n in lengths] for _ in range(2)
    )
    made = spans.span_f1(ours, gold)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert made.total() == pytest.approx(f1_score(gold, ours, zero_division=0))
        report = {}
        if made.details["types"]:
            report = classification_report(gold, ours, output_dict=True, zero_division=0)
    for kind, scores in made.details["types"].items():
        for ours_name, name in (
            ("precision", "precision"),
            ("recall", "recall"),
            ("f1", "f1-score"),
            ("count", "support"),
        ):
            assert scores[ours_name] == pytest.approx(report[kind][name])


def test_predicted_tags_that_are_none_count_as_outside() -> None:
    made = spans.span_f1([["B-A", "PER", "", "B-", "<extra_id_0>"]], [["B-A", "O", "O", "O", "O"]])
    assert made.total() == 1
    assert made.details["invalid_tags"] == 4


@pytest.mark.parametrize("tag", ["PER", "", "B-", "X-PER", "b-PER"])
def test_reference_tags_that_are_none_are_an_error(tag) -> None:
    with pytest.raises(UserError, match="Example 1 has"):
        spans.span_f1([["O"], ["O"]], [["O"], [tag]])


@pytest.mark.parametrize("ours", [["O"], "OO"])
def test_uneven_sentences_are_an_error(ours) -> None:
    with pytest.raises(UserError, match="Example 0"):
        spans.span_f1([ours], [["O", "O"]])


def mt5_span_f1(targets, predictions) -> float:
    """mT5's rule, plainly: each predicted entity takes one equal entity away."""
    hits = extra = missed = 0
    for target, prediction in zip(targets, predictions, strict=True):
        left = spans.entities_of(target)
        for entity in spans.entities_of(prediction):
            if entity in left:
                left.remove(entity)
                hits += 1
            else:
                extra += 1
        missed += len(left)
    return 2 * hits / (2 * hits + extra + missed) if hits else 0.0


def test_entities_are_read_as_mt5_reads_them() -> None:
    answer = "PER: Ada Lovelace $$ LOC:London $$ junk $$ ORG: a:b $$  PER : Bo "
    assert spans.entities_of(answer) == [
        ("PER", "Ada Lovelace"),
        ("LOC", "London"),
        ("PER", "Bo"),
    ]
    assert spans.entities_of("") == []


ENTITIES = st.lists(st.sampled_from(["PER: a", "PER: b", "LOC: a", "LOC: a b", "bad"]), max_size=5)


@given(st.lists(st.tuples(ENTITIES, ENTITIES), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_entity_f1_is_mt5s(pairs) -> None:
    ours, gold = ([" $$ ".join(pair[side]) for pair in pairs] for side in (0, 1))
    made = spans.entity_f1(ours, gold)
    assert made.total() == pytest.approx(mt5_span_f1(gold, ours))
    read = [[spans.entities_of(one) for one in side] for side in (ours, gold)]
    assert spans.entity_f1(*read).total() == made.total()


def test_entities_that_are_no_pairs() -> None:
    with pytest.raises(UserError, match="pair of type and text"):
        spans.entity_f1([["PER: a"]], [[("PER", "a")]])
