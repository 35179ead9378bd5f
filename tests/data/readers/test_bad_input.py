"""Damage that files of every format meet: each reader names the file and the line, or reads on."""

import gzip
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pytest

from jaxlt.data.readers import bitext, conllu, iob2, tables
from jaxlt.data.readers.problems import Problems
from jaxlt.data.sources import sources
from jaxlt.errors import UserError

WORD = "{}\tthe{}\t_\tDET\t_\t_\t{}\tdep\t_\t_"


@dataclass(frozen=True)
class Format:
    """A file of three items, `%` in the second; `line` is where that stands."""

    name: str
    text: str
    line: int
    read: Callable[[str, Problems], Iterable]


def aligned(path: str, problems: Problems) -> Iterable:
    with open(f"{path}.other", "wb") as file:
        file.write(b"one\ntwo\nthree\n")
    found = bitext.aligned({"eng_Latn": path, "swh_Latn": f"{path}.other"}, problems)
    return [item for item in found if item.get("eng_Latn")]


def pairs(path: str, problems: Problems) -> Iterable:
    return sources.pairs([path], "train", problems=problems)


FORMATS = [
    Format(
        "a.conllu",
        "\n\n".join(
            f"# text = {n}\n{WORD.format(1, n, 2)}\n{WORD.format(2, n, 0)}" for n in ("x", "%", "y")
        )
        + "\n\n",
        5,
        conllu.read,
    ),
    Format("a.iob2", "a\tB-X\nb\tI-X\n\nc%\tB-X\nd\tO\n\ne\tO\n\n", 4, iob2.read),
    Format("a.txt", "first\nsecond%\nthird\n", 2, sources.lines),
    Format("eng_Latn.txt", "first\nsecond%\nthird\n", 2, aligned),
    Format("wide.tsv", "id\ta_Latn\tb_Latn\n1\tx\ty\n2\tx%\ty\n3\tx\ty\n", 3, bitext.wide),
    Format(
        "t.tsv", "lang\tid\ttext\na\t1\tx\na\t2\tx%\na\t3\tx\n", 3, lambda *a: tables.read(*a)[1]
    ),
    Format(
        "t.jsonl",
        "".join(f'{{"lang": "a", "id": "{n}", "text": "x"}}\n' for n in ("1", "2%", "3")),
        2,
        lambda *a: tables.read(*a)[1],
    ),
    Format(
        "q.tsv",
        "lang\tquestion\tcontext\tanswer\na\tx?\tby y\ty\na\tx?\tby z%\tz\na\tx?\tby y\tb\n",
        3,
        lambda *a: tables.read(*a)[1],
    ),
    Format(
        "q.jsonl",
        "".join(
            f'{{"lang": "a", "question": "x?", "context": "b{n}", "answers": ["{n}", "b"]}}\n'
            for n in ("1", "2%", "3")
        ),
        2,
        lambda *a: tables.read(*a)[1],
    ),
    Format("p.tsv", "in\tout\nin%\tout\nin\tout\n", 2, pairs),
]


@pytest.fixture(params=FORMATS, ids=lambda form: f"{form.name}-{FORMATS.index(form)}")
def form(request):
    return request.param


def put(folder, form: Format, data: bytes) -> str:
    path = folder / form.name
    path.write_bytes(data)
    return str(path)


def plain(folder, form: Format) -> list:
    return list(form.read(put(folder, form, form.text.replace("%", "").encode()), Problems()))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda data: b"\xef\xbb\xbf" + data, id="byte order mark"),
        pytest.param(lambda data: data.replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(lambda data: data.rstrip(b"\n"), id="no last line end"),
    ],
)
def test_what_editors_leave_changes_nothing(tmp_path, form, change):
    expected = plain(tmp_path, form)
    path = put(tmp_path, form, change(form.text.replace("%", "").encode()))
    assert list(form.read(path, Problems())) == expected and len(expected) == 3


@pytest.mark.parametrize("bad", [b"\0", b"\xff", b"\xed\xa0\x80", b"\xe2\x82"], ids=repr)
def test_bytes_that_are_no_text_are_named_and_can_be_left_out(tmp_path, form, bad):
    expected = plain(tmp_path, form)
    path = put(tmp_path, form, form.text.encode().replace(b"%", bad))
    with pytest.raises(UserError) as told:
        list(form.read(path, Problems()))
    assert path in str(told.value) and f"line {form.line}" in str(told.value)
    problems = Problems("skip")
    assert list(form.read(path, problems)) == [expected[0], expected[2]]
    assert problems.count == 1 and f"line {form.line}" in problems.summary()


def test_lines_of_ten_megabytes_are_read(tmp_path, form):
    path = put(tmp_path, form, form.text.encode().replace(b"%", "ä".encode() * 5_000_000))
    found = list(form.read(path, Problems()))
    assert len(found) == 3
    assert len(str(found[1])) > 5_000_000


def test_files_that_break_off_are_named(tmp_path, form):
    text = form.text.replace("%", "")
    whole = gzip.compress(text.encode())
    packed = Format(f"{form.name}.gz", form.text, form.line, form.read)
    path = put(tmp_path, packed, whole[:-9])
    with pytest.raises(UserError, match="breaks off or is damaged"):
        list(form.read(path, Problems()))
    path = put(tmp_path, packed, b"no archive at all")
    with pytest.raises(UserError) as told:
        list(form.read(path, Problems()))
    assert path in str(told.value)


@pytest.mark.parametrize("data", [b"", b"\n", b"\xef\xbb\xbf", b"\r\n\r\n"], ids=repr)
def test_files_without_text_hold_nothing_or_are_named(tmp_path, form, data):
    path = put(tmp_path, form, data)
    try:
        assert list(form.read(path, Problems())) == []
    except UserError as err:
        assert path in str(err)


def test_a_row_without_a_language_is_named(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text("lang\tid\ttext\na\t1\tx\n\t2\ty\n")
    with pytest.raises(UserError, match=r"t.tsv', line 3: the column 'lang' is empty"):
        list(tables.read(str(path))[1])
    path.write_text("id\ta_Latn\ta_Latn\n1\tx\ty\n")
    with pytest.raises(UserError, match=r"line 1: the column 'a_Latn' is there more than once"):
        list(bitext.wide(str(path)))
    path.write_text("id\ta_Latn\t\n1\tx\ty\n")
    with pytest.raises(UserError, match="line 1: expected the names of two or more languages"):
        list(bitext.wide(str(path)))
