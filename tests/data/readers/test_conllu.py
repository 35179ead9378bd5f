"""CoNLL-U: what is written is read back, and what is broken is named by file and line."""

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlt.data.readers import conllu
from jaxlt.data.readers.conllu import EmptyNode, Range, Sentence
from jaxlt.data.readers.problems import Problems
from jaxlt.errors import UserError

ROW = "{}\tw\tl\tNOUN\t_\t_\t{}\tdep\t_\t_"
FIELD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r\0"), min_size=1)


def block(*arcs: tuple[object, object]) -> bytes:
    return ("\n".join(ROW.format(*arc) for arc in arcs) + "\n\n").encode()


def parse(data: bytes, problems: Problems | None = None, trees: bool = True) -> list[Sentence]:
    lines = enumerate(data.splitlines(keepends=True), start=1)
    return list(conllu.parse(lines, "x.conllu", problems or Problems(), trees))


@st.composite
def sentences(draw: st.DrawFn) -> Sentence:
    count = draw(st.integers(1, 6))
    order = draw(st.permutations(range(1, count + 1)))
    heads = [0] * count
    for place in range(1, count):  # each word hangs on an earlier one of a random order
        heads[order[place] - 1] = order[draw(st.integers(0, place - 1))]
    column = st.tuples(*[FIELD] * count)
    ranges, at = [], 1
    while at <= count and draw(st.booleans()):
        last = draw(st.integers(at, count))
        ranges.append(Range(at, last, draw(st.tuples(*[FIELD] * 9))))
        at = last + 1
    empty = []
    for after in range(count + 1):
        for index in range(draw(st.integers(0, 1))):
            empty.append(EmptyNode(after, index + 1, draw(st.tuples(*[FIELD] * 9))))
    return Sentence(
        *[draw(column) for _ in range(5)],
        tuple(heads),
        *[draw(column) for _ in range(3)],
        tuple("#" + c for c in draw(st.lists(FIELD, max_size=2))),
        tuple(ranges),
        tuple(empty),
    )


@given(st.lists(sentences(), max_size=3))
@settings(max_examples=100, deadline=None)
def test_what_is_written_is_read_back(items):
    data = "".join(map(conllu.render, items)).encode()
    lines = enumerate((line + b"\n" for line in data.split(b"\n")[:-1]), start=1)
    assert list(conllu.parse(lines, "x", Problems())) == items


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.just(b"\n"),
            st.builds(
                lambda a, b: ROW.format(a, b).encode() + b"\n",
                st.sampled_from(["1", "2", "3", "1-2", "2-1", "1.1", "0.1", "x", "01", "٣"]),
                st.sampled_from(["0", "1", "2", "3", "-1", "_", "9" * 30, "1_0", "٣"]),
            ),
        ),
        max_size=8,
    ),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_no_input_crashes_and_what_is_read_can_be_written(parts, trees):
    data = b"".join(parts)
    problems = Problems("skip")
    found = parse(data, problems, trees)
    assert parse("".join(map(conllu.render, found)).encode(), trees=trees) == found
    if problems.count:
        with pytest.raises(UserError, match=r"'x.conllu', line \d+: "):
            parse(data, trees=trees)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (block((1, 0), (2, 3), (3, 2)), r"line [23]: the word [23] is in a cycle"),
        (block((1, 1)), r"no root"),
        (block((1, 0), (2, 0)), r"line 2: the sentence has 2 roots"),
        (block((1, 0), (2, 7)), r"line 2: the HEAD 7 is not a word"),
        (block((1, 0), (2, "x")), r"line 2: the HEAD 'x'"),
        (block((1, 0), (2, "_")), r"line 2: the HEAD '_'"),
        (block((1, 0), (3, 1)), r"line 2: the ID '3', expected 2"),
        (
            block(("1-2", "_"), ("2-3", "_"), (1, 0), (2, 1), (3, 1)),
            r"line 2: the range 2-3 is out",
        ),
        (block(("2-1", "_"), (1, 0), (2, 1)), r"line 1: the range 2-1 is out of order"),
        (block(("1-3", "_"), (1, 0), (2, 1)), r"line 1: the range 1-3 ends after the last word, 2"),
        (block((1, 0), ("1.2", "_")), r"line 2: the empty node 1.2 .* expected 1.1"),
        (b"1\ta\tb\n", r"line 1: 3 columns, expected 10"),
        (block((1, 0)).replace(b"NOUN", b""), r"line 1: the column UPOS is empty"),
        (block((1, 0)).rstrip() + b"\n# late\n" + ROW.format(2, 1).encode(), r"line 2: a comment"),
        (b"# alone\n\n", r"line 1: comments without a sentence"),
        (b"\n# c\n" + block((1, 0)).replace(b"w", b"\xff"), r"line 3: not UTF-8 at byte 3"),
        (block((1, 0)).replace(b"w", b"\0"), r"line 1: a NUL byte at character 3"),
        (block((1, 0)).replace(b"w", b"a\rb"), r"line 1: a carriage return inside"),
    ],
)
def test_what_is_broken_is_named_and_can_be_left_out(data, message):
    with pytest.raises(
        UserError, match=r"'x.conllu', " + message if "line" in message else message
    ):
        parse(data)
    problems = Problems("skip")
    good = block((1, 0))
    assert len(parse(good + data.rstrip(b"\n") + b"\n\n" + good, problems)) == 2
    assert problems.count == 1 and "1 malformed item left out" in problems.summary()


def test_ranges_empty_nodes_and_comments_stay_in_their_place(tmp_path):
    text = "# newdoc id = d1\n# text = am Haus\n" + "\n".join(
        [
            ROW.format("0.1", "_"),
            ROW.format("1-2", "_"),
            ROW.format("1", "2"),
            ROW.format("2", "0"),
            ROW.format("2.1", "_"),
            ROW.format("2.2", "_"),
        ]
    )
    path = tmp_path / "a.conllu.gz"
    path.write_bytes(gzip.compress(f"{text}\n\n".encode()))
    (sentence,) = conllu.read(str(path))
    assert sentence.forms == ("w", "w") and sentence.heads == (2, 0)
    assert sentence.ranges == (Range(1, 2, sentence.ranges[0].columns),)
    assert [(n.after, n.index) for n in sentence.empty_nodes] == [(0, 1), (2, 1), (2, 2)]
    assert sentence.comment("newdoc id") == "d1" and sentence.comment("sent_id") is None
    assert conllu.render(sentence) == f"{text}\n\n"


def test_windows_files_and_missing_last_lines_read_alike():
    plain = parse(b"# c\n" + block((1, 0), (2, 1)) + block((1, 0)))
    for changed in (
        b"# c\r\n" + (block((1, 0), (2, 1)) + block((1, 0))).replace(b"\n", b"\r\n"),
        b"# c\n" + block((1, 0), (2, 1)) + b"\n \n" + block((1, 0)).rstrip(),
    ):
        assert parse(changed) == plain


def test_text_without_trees():
    (sentence,) = parse(block((1, "_"), (2, 0), (3, 0)), trees=False)
    assert sentence.heads == (conllu.NO_HEAD, 0, 0)


def test_a_file_without_blank_lines_is_no_sentence():
    data = block(*[(i, 0) for i in range(1, 100_010)])
    problems = Problems("skip")
    assert parse(data + block((1, 0)), problems)[0].heads == (0,)
    assert problems.count == 1 and "more than 100,000 lines" in problems.first[0]


def test_columns_of_two_lengths_and_tabs_cannot_be_written():
    (sentence,) = parse(block((1, 0)))
    with pytest.raises(UserError, match="one length"):
        conllu.render(Sentence(("a", "b"), *[("x",)] * 4, (0,), *[("x",)] * 3))
    with pytest.raises(UserError, match="FORM holds"):
        conllu.render(Sentence(("a\tb",), *[("x",)] * 4, (0,), *[("x",)] * 3))
    assert sentence.upos == ("NOUN",)


@pytest.mark.slow
def test_every_treebank_is_written_as_it_was_read(shared_data):
    paths = sorted([*shared_data.glob("ud/*.conllu.gz"), *shared_data.glob("pud/*.conllu.gz")])
    assert len({p.name.rpartition("-")[0] for p in paths}) == 75 + 14
    for path in paths:
        text = "".join(map(conllu.render, conllu.read(str(path))))
        assert text == gzip.decompress(path.read_bytes()).decode(), path
