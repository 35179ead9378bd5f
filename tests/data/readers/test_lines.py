"""Lines, the ground of all readers of text: read as written, and no bytes crash."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlt.data.readers.lines import check_field, raw_lines, text_lines
from jaxlt.data.readers.problems import Problems
from jaxlt.data.sources import files
from jaxlt.errors import UserError

LINE = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\0"), max_size=8
).filter(lambda text: not text.startswith("\ufeff"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lines")


def read(path: str, problems: Problems) -> list[tuple[int, str]]:
    return list(text_lines(raw_lines(path, problems), path, problems))


@given(
    st.lists(LINE, max_size=5),
    st.sampled_from([b"\n", b"\r\n"]),
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.sampled_from(["a.txt", "a.txt.gz", "a.txt.zst"]),
)
@settings(max_examples=80, deadline=None)
def test_what_is_written_is_read_back(folder, lines, end, mark, name):
    path = str(folder / name)
    files.write_chunks(path, [mark, *(line.encode() + end for line in lines)])
    found = read(path, Problems())
    if not lines and mark:  # a mark alone is a line without text
        assert found == [(1, "")]
    else:
        assert found == list(enumerate(lines, start=1))


@given(st.binary(max_size=40), st.sampled_from(["b.txt", "b.txt.gz", "b.txt.zst"]))
@settings(max_examples=150, deadline=None)
def test_no_bytes_crash(folder, data, name):
    path = folder / name
    path.write_bytes(data)
    problems = Problems("skip")
    found = read(str(path), problems)
    assert all(not set(text) & set("\n\r\0") for _, text in found)
    if name == "b.txt":
        assert len(found) + problems.count == len(data.split(b"\n")) - (data[-1:] in (b"", b"\n"))
    if problems.count:
        with pytest.raises(UserError, match=name):
            read(str(path), Problems())


@given(st.text(st.sampled_from("aä\t\n\r\0\ud800\u2028"), max_size=4))
def test_what_may_stand_in_a_field_is_one_line_of_text(text):
    try:
        kept = check_field(text, "A field")
    except UserError:
        assert not text or set(text) & set("\t\n\r\0\ud800")
    else:
        assert kept == text and set(text) <= set("aä\u2028") and text
