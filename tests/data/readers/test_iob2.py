"""Entity files: round trips, orphans by setting, comments beside tokens that begin with '#'."""

import gzip

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jaxlt.data.readers import iob2
from jaxlt.data.readers.iob2 import Span, Tagged, tags_of
from jaxlt.data.readers.problems import Problems
from jaxlt.errors import UserError

TOKEN = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r\0"), min_size=1, max_size=5
)
TAG = st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])
ROWS = st.lists(st.tuples(TOKEN, TAG), min_size=1, max_size=6)


def parse(data: bytes, orphans: str = "repair", problems: Problems | None = None) -> list[Tagged]:
    lines = enumerate((line + b"\n" for line in data.split(b"\n")), start=1)
    return list(iob2.parse(lines, "x.iob2", problems or Problems(), orphans))


@example([([("0", "O")], ["O"])])
@given(st.lists(st.tuples(ROWS, st.lists(TOKEN, max_size=2)), max_size=3))
@settings(max_examples=100, deadline=None)
def test_what_is_written_is_read_back(items):
    found = [
        Tagged(*zip(*rows, strict=True), tuple(f"# {c}" for c in comments))
        for rows, comments in items
    ]
    data = "".join(map(iob2.render, found)).encode()
    assert parse(data, "keep") == found
    repaired = parse(data)
    assert [t.spans() for t in repaired] == [t.spans() for t in found]
    assert parse("".join(map(iob2.render, repaired)).encode(), "refuse") == repaired


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=12), st.sampled_from([b"a\tO\n", b"b\tI-X\n", b"\n", b"# c\n"])
        )
    ),
    st.sampled_from(["repair", "refuse", "keep"]),
)
@settings(max_examples=200, deadline=None)
def test_no_input_crashes(parts, orphans):
    data, problems = b"".join(parts), Problems("skip")
    found = parse(data, orphans, problems)
    assert parse("".join(map(iob2.render, found)).encode(), orphans) == found
    if problems.count:
        with pytest.raises(UserError, match=r"'x.iob2', line \d+: "):
            parse(data, orphans)


def test_an_orphan_is_repaired_refused_or_kept():
    data = b"a\tI-PER\nb\tI-PER\nc\tI-LOC\n"
    assert parse(data)[0].tags == ("B-PER", "I-PER", "B-LOC")
    assert parse(data, "keep")[0].tags == ("I-PER", "I-PER", "I-LOC")
    with pytest.raises(UserError, match=r"line 1: the tag 'I-PER' continues no entity"):
        parse(data, "refuse")
    with pytest.raises(UserError, match=r"'refused'.*Did you mean 'refuse'"):
        parse(data, "refused")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a\n", "line 1: 1 columns, expected token<TAB>tag"),
        (b"a\tO\nb\tO\tO\n", "line 2: 3 columns"),
        (b"\tO\n", "line 1: the token is empty"),
        (b"a\tPER\n", "line 1: the tag 'PER', expected O, B-TYPE or I-TYPE"),
        (b"a\tB-\n", "line 1: the tag 'B-'"),
        (b"# c\n\n", "line 1: comments without a sentence"),
        (b"a\tO\n\xff\tO\n", "line 2: not UTF-8 at byte 1"),
    ],
)
def test_what_is_broken_is_named_and_can_be_left_out(data, message):
    with pytest.raises(UserError, match=f"'x.iob2', {message}"):
        parse(data)
    problems = Problems("skip")
    assert len(parse(b"good\tO\n\n" + data + b"\ngood\tO", "repair", problems)) == 2
    assert problems.count == 1


def test_what_parts_a_sentences_fields_says_whether_a_hash_is_a_token():
    """`# O` is a comment beside tabs, also in a file whose tokens bear a language."""
    assert parse(b"# O\n0\tO\n") == [Tagged(("0",), ("O",), ("# O",))]
    assert parse(b"# O\n0 O\n") == [Tagged(("#", "0"), ("O", "O"))]
    assert parse(b"# c\n# O\n") == [Tagged(("#",), ("O",), ("# c",))]
    lines = enumerate([b"# O\n", b"en:a\tO\n"], start=1)
    assert next(iob2.parse(lines, "x", Problems(), "keep", "en:")).tokens == ("a",)


def test_a_token_may_be_a_hash(tmp_path):
    path = tmp_path / "a.iob2.gz"
    sentence = Tagged(("#", "#tag"), ("O", "B-X"), ("# sent_id = 1",))
    path.write_bytes(gzip.compress(iob2.render(sentence).encode()))
    assert list(iob2.read(str(path))) == [sentence]


def test_spans_and_tags_are_two_forms_of_one_thing():
    spans = (Span(0, 2, "PER"), Span(2, 3, "PER"), Span(4, 5, "LOC"))
    tags = tags_of(spans, 5)
    assert tags == ("B-PER", "I-PER", "B-PER", "O", "B-LOC")
    assert Tagged(("a",) * 5, tags).spans() == spans
    with pytest.raises(UserError, match="overlaps"):
        tags_of([Span(0, 2, "A"), Span(1, 3, "B")], 3)
