"""Tables: kinds known by their columns, round trips through every packing, broken rows named."""

import dataclasses
import json

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlt.data.readers import tables
from jaxlt.data.readers.problems import Problems
from jaxlt.data.readers.questions import Question
from jaxlt.data.readers.tables import Fact, Inference, Labelled, Pair, Template, Text
from jaxlt.errors import UserError

FIELD = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r\0"), min_size=1, max_size=8
)
SPLIT = st.sampled_from(["", "train"])


@st.composite
def asked(draw):
    """A question whose answers are parts of its text, at any place."""
    context = draw(FIELD)
    starts = draw(st.lists(st.integers(0, len(context) - 1), min_size=1, max_size=3))
    ends = [draw(st.integers(start + 1, len(context))) for start in starts]
    answers = tuple(context[start:end] for start, end in zip(starts, ends, strict=True))
    name, split = draw(FIELD | st.just("")), draw(SPLIT)
    return Question(draw(FIELD), name, draw(FIELD), context, answers, tuple(starts), split)


RECORDS = st.one_of(
    st.lists(asked(), min_size=1, max_size=4),
    st.lists(
        st.builds(Inference, FIELD, FIELD | st.just(""), FIELD, FIELD, FIELD, SPLIT),
        min_size=1,
        max_size=4,
    ),
    st.lists(st.builds(Text, FIELD, FIELD | st.just(""), FIELD), min_size=1, max_size=4),
    st.lists(st.builds(Labelled, FIELD, FIELD, FIELD, FIELD), min_size=1, max_size=4),
    st.lists(
        st.builds(Pair, FIELD, FIELD, FIELD, FIELD, SPLIT),
        min_size=1,
        max_size=4,
    ),
    st.lists(st.builds(Fact, FIELD, FIELD, FIELD, FIELD, FIELD, FIELD), min_size=1, max_size=4),
    st.lists(
        st.builds(Template, FIELD, FIELD, st.just("[Y] of [X]"), st.just("1")),
        min_size=1,
        max_size=4,
    ),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tables")


@given(RECORDS, st.sampled_from(["a.tsv", "a.tsv.gz", "a.tsv.zst", "a.jsonl", "a.jsonl.zst"]))
@settings(max_examples=80, deadline=None)
def test_what_is_written_is_read_back(folder, records, name):
    path = str(folder / name)
    tables.write(path, records)
    assert list(tables.read(path)[1]) == records


@given(RECORDS)
@settings(max_examples=30, deadline=None)
def test_what_another_wrote_as_parquet_is_read_back(folder, records):
    layout = next(one for one in tables.LAYOUTS if one.record is type(records[0]))
    columns = zip(*map(dataclasses.astuple, records), strict=True)
    path = str(folder / "p.parquet")
    table = pyarrow.table(dict(zip(layout.columns, map(list, columns), strict=True)))
    pyarrow.parquet.write_table(table, path)
    assert list(tables.read(path)[1]) == records


@given(st.binary(max_size=60), st.sampled_from([b"", b"lang\tid\ttext\n"]))
@settings(max_examples=150, deadline=None)
def test_no_bytes_crash(folder, data, head):
    for ending in tables.ENDINGS:
        path = folder / f"b{ending}"
        path.write_bytes(head + data)
        try:
            list(tables.read(str(path), Problems("skip"))[1])
            list(tables.read(str(path))[1])
        except UserError as err:
            assert str(path) in str(err)


@given(st.recursive(st.none() | st.text() | st.integers() | st.floats(), st.lists, max_leaves=4))
@settings(max_examples=100, deadline=None)
def test_no_json_crashes(folder, value):
    path = folder / "c.jsonl"
    path.write_text(json.dumps(value) + "\n" + json.dumps({"lang": value, "id": "1", "text": "a"}))
    try:
        list(tables.read(str(path), Problems("skip"))[1])
    except UserError as err:
        assert "c.jsonl" in str(err)


def write(folder, text):
    path = folder / "d.tsv"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lang\tid\ttext\na\tb\n", "line 2: 2 fields, the header names 3 columns"),
        ("lang\tid\ttext\na\t1\t\n", "line 2: the column 'text' is empty"),
        ("pair\tsplit\tsource\ttarget\ntrfi\ttrain\ta\tb\n", "line 2: the pair 'trfi'"),
        (
            "lang\trelation\tpattern\tchecked_by_human\na\tr\t[X] is\t0\n",
            r"line 2: .*one \[X\] and",
        ),
        ("lang\tpremise\thypothesis\tlabel\na\tb\tc\t\n", "line 2: the column 'label' is empty"),
        ("lang\tquestion\tcontext\tanswer\na\tb\tc\td\n", "line 2: 'd' of the column 'answer'"),
    ],
)
def test_a_broken_row_is_named_and_can_be_left_out(folder, text, message):
    path = write(folder, text)
    with pytest.raises(UserError, match=message):
        list(tables.read(path)[1])
    problems = Problems("skip")
    assert list(tables.read(path, problems)[1]) == [] and problems.count == 1


def test_unknown_doubled_and_missing_headers(folder):
    with pytest.raises(UserError, match="fit no kind of table known here"):
        tables.read(write(folder, "a\tb\n1\t2\n"))
    with pytest.raises(UserError, match="'lang' is there more than once"):
        tables.read(write(folder, "lang\tlang\ttext\n"))
    with pytest.raises(UserError, match="is empty"):
        tables.read(write(folder, ""))


def test_kinds_are_known_by_their_columns(folder):
    for text, kind, record in (
        ("key\tpara\ttext\n007\tp.1\tx\n", "texts", Text("007", "p.1", "x")),
        (
            "lang\tindex_id\tcategory\ttext\na\t1\tgeo\tx\n",
            "labelled",
            Labelled("a", "1", "geo", "x"),
        ),
        ("lang\ttext\tenglish\nafr\tja\tyes\n", "bitext", Pair("afr", "eng", "ja", "yes")),
        ("lang\tenglish\ttranslation\nes\ta\tun\n", "dictionary", Pair("en", "es", "a", "un")),
        (
            "pair\tsplit\tsource\ttarget\ntr-fi\ttrain\tve\tja\n",
            "dictionary",
            Pair("tr", "fi", "ve", "ja", "train"),
        ),
        (
            "lang\tpremise\thypothesis\tlabel\na\tA\tB\t2\n",
            "pairs",
            Inference("a", "", "A", "B", "2"),
        ),
        (
            "language\tgold_label\tgenre\tsentence1\tsentence2\tpairID\na\tneutral\tg\tA\tB\t7\n",
            "pairs",
            Inference("a", "7", "A", "B", "neutral"),
        ),
    ):
        found, records = tables.read(write(folder, text))
        assert (found, list(records)) == (kind, [record])


def test_parquet(folder):
    path = str(folder / "e.parquet")
    pyarrow.parquet.write_table(
        pyarrow.table({"lang": ["a", "b"], "id": [1, 2], "text": ["x", None], "n": [[1], [2]]}),
        path,
    )
    problems = Problems("skip")
    assert list(tables.read(path, problems)[1]) == [Text("a", "1", "x")]
    assert problems.count == 1 and "row 2" not in problems.first[0]


def test_what_cannot_be_a_field_cannot_be_written(folder):
    for bad in (Text("a", "1", "b\tc"), Text("a", "1", ""), Text("a", "1", "\ud800")):
        with pytest.raises(UserError):
            tables.write(str(folder / "f.tsv"), [bad])
    assert not (folder / "f.tsv").exists()
    with pytest.raises(UserError, match="no records"):
        tables.write(str(folder / "f.tsv"), [])


@given(FIELD, FIELD, st.sampled_from(["a [X] b [Y]", "[Y][X]", "[X] [[Y]]"]))
def test_facts_are_said_as_they_are_whatever_their_names(subject, answer, pattern):
    before, between, after = pattern.replace("[X]", "[Y]").split("[Y]")
    names = (subject, answer) if pattern.index("[X]") < pattern.index("[Y]") else (answer, subject)
    whole = before + names[0] + between + names[1] + after
    assert Template("en", "P1", pattern).fill(subject, answer) == whole
