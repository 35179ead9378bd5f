"""Questions with their answers: lists, places in the text, and what is wrong with a row."""

import json

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlt.data.readers import questions, tables
from jaxlt.data.readers.problems import Problems
from jaxlt.data.readers.questions import Question
from jaxlt.errors import UserError

ROW = {"lang": "en", "question": "Who?", "context": "Ada met Ada.", "answers": ["Ada"]}
ADA = Question("en", "", "Who?", "Ada met Ada.", ("Ada",), (0,))


def put(folder, name: str, *rows: dict) -> str:
    path = folder / name
    if name.endswith(".parquet"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
@pytest.mark.parametrize(
    ("given", "starts"),
    [
        ({"answers": ["Ada", "Ada met"]}, (0, 0)),
        ({"answers": ["Ada"], "answer_start": [8]}, (8,)),
        ({"answers": ["Ada", "met"], "answer_start": [8, 4]}, (8, 4)),
        ({"answers": {"text": ["Ada", "met"], "answer_start": [8, 4]}}, (8, 4)),
        ({"answers": {"text": ["Ada"]}}, (0,)),
        ({"answers": None, "answer": "Ada", "answer_start": 8}, (8,)),
        ({"answers": None, "answer": "met"}, (4,)),
    ],
)
def test_answers_in_every_form(tmp_path, name, given, starts):
    row = {k: v for k, v in (ROW | given).items() if v is not None}
    kind, records = tables.read(put(tmp_path, name, row))
    (found,) = records
    assert kind == "questions" and found.starts == starts
    parts = (found.context[s:][: len(a)] for s, a in zip(starts, found.answers, strict=True))
    assert tuple(parts) == found.answers


def test_a_tsv_has_one_answer_or_a_list(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("lang\tquestion\tcontext\tanswer\nen\tWho?\tAda met Ada.\tAda\n")
    assert list(tables.read(str(path))[1]) == [ADA]
    path.write_text('lang\tquestion\tcontext\tanswers\nen\tWho?\tAda met Ada.\t["Ada"]\n')
    assert list(tables.read(str(path))[1]) == [ADA]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"answers": ["Eve"]}, "'Eve' of the column 'answers' is not in 'context'"),
        ({"answers": ["Ada", "met"], "answer_start": [0, 5]}, "'met' .* at answer_start 5 .* at 4"),
        ({"answer_start": -3}, "answer_start -3"),
        ({"answer_start": [0, 8]}, "'answer_start' is .*, expected a number of characters for"),
        ({"answer_start": "x"}, "'answer_start' is x, expected a number"),
        ({"answers": []}, r"'answers' is \[\], expected a list of right answers"),
        ({"answers": [""]}, "expected a list of right answers"),
        ({"answers": [1815]}, "expected a list of right answers"),
        ({"answers": "Ada"}, "'answers' is Ada, expected a list"),
        ({"answers": [["Ada"]]}, "no 'answers'"),
        ({"answers": {"text": None}}, "no 'answers'"),
        ({"context": ""}, "the column 'context' is empty"),
        ({"question": None}, "no 'question'"),
        ({"answers": ["\ud800"]}, "half a surrogate pair in 'answers'"),
    ],
)
def test_what_is_wrong_with_a_row_is_said(tmp_path, given, told):
    path = put(tmp_path, "a.jsonl", ROW, ROW | given, ROW)
    with pytest.raises(UserError, match=rf"a.jsonl', line 2: .*{told}"):
        list(tables.read(path)[1])
    problems = Problems("skip")
    assert list(tables.read(path, problems)[1]) == [ADA, ADA] and problems.count == 1
    str(problems.summary()).encode()  # can be printed


def test_a_wrong_answer_in_a_tsv_is_named(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("lang\tquestion\tcontext\tanswer\tanswer_start\nen\tWho?\tBy Ada.\tAda\t2\n")
    with pytest.raises(UserError, match=r"line 2: 'Ada' of the column 'answer' .* it is at 3"):
        list(tables.read(str(path))[1])


def test_what_is_no_part_of_its_text_cannot_be_written(tmp_path):
    path = tmp_path / "b.jsonl"
    for answers, starts in ((("Eve",), (0,)), (("Ada",), (1,)), (("Ada",), ()), ((), ())):
        with pytest.raises(UserError, match="cannot be written"):
            tables.write(str(path), [Question("en", "1", "Who?", "Ada", answers, starts)])
    assert not path.exists()


@given(st.recursive(st.none() | st.text() | st.integers() | st.floats(), st.lists, max_leaves=5))
@settings(max_examples=200, deadline=None)
def test_no_answers_crash(value):
    for other in ({"answers": value}, {"answer_start": value}, {"answers": {"text": value}}):
        row = ROW | other
        text = {k: v for k, v in row.items() if isinstance(v, str)} | questions.columns_of(row)
        if "answers" in text and not questions.fault(text):
            assert questions.build(text).context == ROW["context"]


@given(st.text(max_size=6), st.text(max_size=6))
@settings(max_examples=200, deadline=None)
def test_no_text_in_the_columns_crashes(answers, start):
    row = ROW | {"answers": answers, "answer_start": start}
    if not questions.fault(row):
        assert questions.build(row).answers
