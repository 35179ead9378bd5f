"""Examples of heads as rows: labels, arcs, classes and answers, whole or in parts."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from jaxlt.data.head_example import HeadExample
from jaxlt.data.inventory import NOTHING, Inventory
from jaxlt.data.labelling import Labels, Task
from jaxlt.data.vocabulary.label_units import PieceUnits, WordUnits
from jaxlt.data.vocabulary.vocabularies import EOS, VocabularyConfig, open_vocabulary
from jaxlt.errors import UserError

BYTES = PieceUnits(open_vocabulary(VocabularyConfig()))
NAMES = Inventory(
    {"tagging": ("NOUN", "VERB"), "parsing": ("root", "obj"), "topics": ("a", "b"), "asked": ()},
    words=("w0", "w1"),
    chars=("w", "0", "1"),
)
TASKS = (
    Task("tagging", "tags"),
    Task("parsing", "tree"),
    Task("topics", "class"),
    Task("pairs", "pair"),
    Task("asked", "span"),
)


def labels(length=32, words=16, overlength="refuse", reader=BYTES, tasks=TASKS):
    return Labels(tasks, reader, NAMES, length, words, overlength)


def one_row(of, head, example):
    (piece,) = of.pieces(head, example)
    batch = of.batch([piece])
    assert {n: (v.shape[1:], v.dtype) for n, v in batch.items()} == of.spec()
    return {name: values[0] for name, values in batch.items()}


def sentence(count, spelt="w{}"):
    """A sentence of `count` words, each by turns a noun and a verb; every head is 1 before."""
    words = tuple(spelt.format(i) for i in range(count))
    tags = tuple(("NOUN", "VERB")[i % 2] for i in range(count))
    return HeadExample("tags", words, tags)


def text_of(ids):
    return bytes((i - 3) for i in ids.tolist() if i > 2).decode()


def test_tags():
    row = one_row(
        labels(), "tagging", HeadExample("tags", ("ab", "ß", "c"), ("VERB", "ADJ", "NOUN"))
    )
    assert text_of(row["encoder_input_tokens"]) == "ab ß c" and row["head"] == 0
    assert row["encoder_input_tokens"][:9].tolist()[-2:] == [EOS, 0]
    assert row["word_first"].tolist() == [0, 3, 6] + [-1] * 13
    assert row["word_labels"].tolist() == [1, -1, 0] + [-1] * 13  # of ADJ nothing is known
    for name in ("word_heads", "label", "span"):  # those of other heads
        assert (row[name] == -1).all()


def test_what_is_not_labelled_weighs_nothing():
    row = one_row(labels(), "tagging", HeadExample("tags", ("ab", "c")))
    assert (row["word_labels"] == -1).all() and row["word_first"].tolist()[:3] == [0, 3, -1]
    row = one_row(labels(), "parsing", HeadExample("tree", ("ab", "c")))
    assert (row["word_heads"] == -1).all()
    assert labels().pieces("tagging", HeadExample("tags")) == []


def test_a_tree():
    example = HeadExample("tree", ("ab", "c", "d"), ("obj", "root", "what"), (2, 0, 2))
    row = one_row(labels(), "parsing", example)
    assert row["word_heads"].tolist()[:4] == [2, 0, 2, -1] and row["head"] == 1
    assert row["word_labels"].tolist()[:4] == [1, 0, -1, -1]


def test_a_class_and_a_pair():
    row = one_row(labels(), "topics", HeadExample("class", texts=("ab",), label="b"))
    assert row["label"] == 1 and row["sentence"].tolist()[:4] == [1, 1, 1, 0]
    assert one_row(labels(), "topics", HeadExample("class", texts=("",), label="?"))["label"] == -1
    row = one_row(labels(), "pairs", HeadExample("pair", texts=("ab", "c"), label="0"))
    assert row["sentence"].tolist()[:6] == [1, 1, 1, 2, 2, 0] and row["label"] == -1
    assert row["encoder_input_tokens"][:6].tolist() == [100, 101, EOS, 102, EOS, 0]


@pytest.mark.parametrize(
    ("context", "answer", "found"),
    [
        ("begin in it", "in", (6, 7)),  # a word before a part of one
        ("begin", "in", (3, 4)),
        ("ab", "ab", (0, 1)),
        ("ab", "c", None),
        ("ab", "", None),
        ("(a+)", "(a+)", (0, 3)),
    ],
)
def test_an_answer_is_a_span_of_its_context(context, answer, found):
    row = one_row(labels(), "asked", HeadExample("span", texts=("who", context), label=answer))
    assert text_of(row["encoder_input_tokens"]) == f"who{context}"
    assert row["context"].sum() == len(context) and row["context"][4 : 4 + len(context)].all()
    first, last = row["span"].tolist()
    if found is None:
        assert (first, last) == (-1, -1)
    else:
        assert (first - 4, last - 4) == found
        assert text_of(row["encoder_input_tokens"][first : last + 1]) == answer


@pytest.mark.parametrize("reads", ["tokens", "words"])
@pytest.mark.parametrize("count", [1, 16, 17, 24, 300])
def test_every_word_is_labelled_once_and_once_only(count, reads):
    reader = BYTES if reads == "tokens" else WordUnits(NAMES, 3)
    of = labels(length=41, words=16, overlength="window", reader=reader)
    example = sentence(count)
    pieces = of.pieces("tagging", example)
    batch = of.batch(pieces)
    seen = np.zeros(count, int)
    for piece, row in zip(pieces, batch["word_labels"], strict=True):
        assert piece.start <= piece.first < piece.last <= piece.stop
        for word in range(piece.start, piece.stop):
            label = row[word - piece.start]
            mine = piece.first <= word < piece.last
            assert label == (("NOUN", "VERB").index(example.labels[word]) if mine else -1)
            seen[word] += mine
        assert (row[piece.stop - piece.start :] == -1).all()
    assert (seen == 1).all()
    assert pieces[0].start == 0 and pieces[-1].stop == count
    for before, after in itertools.pairwise(pieces):
        assert before.start < after.start < before.stop < after.stop  # they share words
    if reads == "tokens":
        for piece, ids, first in zip(
            pieces, batch["encoder_input_tokens"], batch["word_first"], strict=True
        ):
            assert text_of(ids) == " ".join(example.words[piece.start : piece.stop])
            there = first[first >= 0]
            assert len(there) == piece.stop - piece.start and (ids[there] == ord("w") + 3).all()


def test_heads_within_a_part_are_known_in_it():
    rng = np.random.default_rng(0)
    count = 90
    heads = [0, *(int(rng.integers(1, i + 1)) for i in range(1, count))]
    heads[40:60] = [i for i in range(40, 60)]
    example = HeadExample("tree", sentence(count).words, ("obj",) * count, tuple(heads))
    of = labels(length=64, words=20, overlength="window")
    pieces = of.pieces("parsing", example)
    rows = of.batch(pieces)["word_heads"]
    known = 0
    for piece, row in zip(pieces, rows, strict=True):
        for word in range(piece.start, piece.stop):
            head, found = heads[word], row[word - piece.start]
            if not piece.first <= word < piece.last or (
                head and not piece.start < head <= piece.stop
            ):
                assert found == -1
            else:
                assert found == (head - piece.start if head else 0)
                known += 1
    assert 20 < known < count


def test_what_is_too_long_is_refused_left_out_or_parted():
    for example in (sentence(17), sentence(9, "wordword{}")):
        with pytest.raises(UserError, match=r"longer than DataConfig.inputs_length = 32.*'window'"):
            labels().pieces("tagging", example)
        assert labels(overlength="leave_out").pieces("tagging", example) == []
        assert len(labels(overlength="window").pieces("tagging", example)) > 1


def test_a_word_longer_than_a_row():
    example = HeadExample("tags", ("a", "\u0915" * 67, "b"), ("NOUN",) * 3)  # 201 bytes
    with pytest.raises(UserError, match=r"its word 2 alone has 201 tokens.*'leave_out'"):
        labels().pieces("tagging", example)
    parts = labels(overlength="window").pieces(
        "tagging", example
    )  # its beginning is read, by itself
    assert [(p.start, p.stop) for p in parts] == [(0, 1), (1, 2), (2, 3)]
    assert len(parts[1].fields["encoder_input_tokens"]) == 32
    assert [p.fields["word_labels"].tolist() for p in parts] == [[1]] * 3
    assert labels(overlength="leave_out").pieces("tagging", example) == []
    (piece,) = labels(length=206).pieces("tagging", example)
    assert piece.stop == 3
    (piece,) = labels(length=8, reader=WordUnits(NAMES, 3)).pieces("tagging", example)
    assert piece.fields["words"].tolist() == [1, 1, 1]


def test_a_text_in_parts_has_its_class_in_each():
    of = labels(length=8, overlength="window")
    pieces = of.pieces("topics", HeadExample("class", texts=("0123456789abcdef",), label="a"))
    batch = of.batch(pieces)
    assert "".join(map(text_of, batch["encoder_input_tokens"])) == "0123456789abcdef"
    assert batch["label"].tolist() == [0, 0, 0] and len(pieces) == 3
    example = HeadExample("class", texts=("0123456789abcdef",))
    assert [of.said(example, piece) for piece in pieces] == [["0123456"], ["789abcd"], ["ef"]]
    short = HeadExample("class", texts=("0123456",))
    assert of.said(short, of.pieces("topics", short)[0]) == ["0123456"]
    with pytest.raises(UserError, match="longer than a row"):
        labels(length=8).pieces("topics", HeadExample("class", texts=("01234567",)))


def test_a_pair_cannot_be_parted():
    example = HeadExample("pair", texts=("01234", "567"), label="0")
    with pytest.raises(UserError, match="a pair of 10 tokens, which cannot be parted"):
        labels(length=9, overlength="window").pieces("pairs", example)
    assert labels(length=9, overlength="leave_out").pieces("pairs", example) == []
    assert len(labels(length=10).pieces("pairs", example)) == 1


def test_what_is_spelt_anew_fits_its_row():
    pair, of = HeadExample("pair", texts=("01234", "567"), label="0"), labels()
    for room, left, right in ((10, "01234", "567"), (9, "0123", "567"), (6, "01", "56")):
        fields = of.respelt(pair, room)
        assert text_of(fields["encoder_input_tokens"]) == left + right
        assert fields["sentence"].tolist() == [1] * (len(left) + 1) + [2] * (len(right) + 1)
    tags = HeadExample("tags", words=("ab", "c"))
    assert of.respelt(tags, 4) == {} and of.respelt(tags, 5)["word_first"].tolist() == [1, 4]


def test_a_question_is_asked_of_every_part_of_a_long_context():
    context = "".join(f"{i:02} " for i in range(40))
    of = labels(length=32, overlength="window")
    pieces = of.pieces("asked", HeadExample("span", texts=("who?", context), label="33"))
    batch = of.batch(pieces)
    covered, found = np.zeros(len(context), bool), 0
    for piece, ids, mask, (first, last) in zip(
        pieces, batch["encoder_input_tokens"], batch["context"], batch["span"], strict=True
    ):
        covered[piece.start : piece.stop] = True
        assert text_of(ids) == "who?" + context[piece.start : piece.stop]
        assert text_of(ids[mask > 0]) == context[piece.start : piece.stop]
        if first >= 0:
            assert text_of(ids[first : last + 1]) == "33"
            found += 1
    assert covered.all() and found >= 1
    with pytest.raises(UserError, match="its question alone has 31 tokens"):
        of.pieces("asked", HeadExample("span", texts=("w" * 30, context)))


def test_words_with_characters():
    tasks = (TASKS[0], TASKS[4])
    of = labels(words=4, reader=WordUnits(NAMES, 3), tasks=tasks)
    row = one_row(of, "tagging", sentence(3))
    assert row["words"].tolist() == [2, 3, 1, 0] and "word_first" not in row
    assert row["chars"].tolist() == [[2, 3, 0], [2, 4, 0], [2, 1, 0], [0, 0, 0]]
    assert row["word_labels"].tolist() == [0, 1, 0, -1]
    row = one_row(of, "asked", HeadExample("span", texts=("w0", "x w1 y"), label="w1"))
    assert row["words"].tolist() == [2, 1, 3, 1] and row["span"].tolist() == [2, 2]
    assert row["context"].tolist() == [0, 1, 1, 1]


def test_what_is_stored_is_bound_to_what_decides_it():
    base = labels()
    others = [
        labels(length=33),
        labels(words=17),
        labels(overlength="window"),
        labels(tasks=TASKS[:2]),
        labels(reader=WordUnits(NAMES, 3)),
        Labels(TASKS, BYTES, NOTHING, 32, 16),
        Labels(TASKS, BYTES, replace(NAMES, words=("w1", "w0")), 32, 16),
    ]
    assert base.identity == labels().identity
    assert all(base.identity != other.identity for other in others)


def test_the_spec_has_what_the_tasks_need():
    names = lambda *shapes: set(labels(tasks=[Task(s, s) for s in shapes]).spec())  # noqa: E731
    own = {"encoder_input_tokens", "head"}
    assert names("tags") == names("entities") == own | {"word_first", "word_labels"}
    assert names("tree") == names("tags", "tree") == names("tags") | {"word_heads"}
    assert names("class") == names("pair") == own | {"label", "sentence"}
    assert names("span") == own | {"span", "context"}
    widths = {n: math.prod(shape) for n, (shape, _) in labels().spec().items()}
    assert widths["word_labels"] == 16 and widths["context"] == 32 and widths["label"] == 1


def test_an_answer_is_learnt_where_it_stands():
    context = "Ada met Ada and Adam"
    for place in (0, 8):
        row = one_row(
            labels(64),
            "asked",
            HeadExample("span", texts=("who", context), label="Ada", place=place),
        )
        first, last = row["span"].tolist()
        assert text_of(row["encoder_input_tokens"][first : last + 1]) == "Ada"
        assert first == len("who") + 1 + place
    # A place that is not the answer's is none; the first whole word is taken.
    row = one_row(
        labels(64), "asked", HeadExample("span", texts=("who", context), label="Ada", place=1)
    )
    assert row["span"][0] == len("who") + 1
