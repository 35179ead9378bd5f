"""Text files by language: found, split, and refused with file, line and byte."""

import gzip

import pytest

from jaxlt.data.sources import PAIRS, TEXT, discover, documents, lines, pairs
from jaxlt.errors import UserError


def test_languages_are_stems_folders_and_patterns(tmp_path):
    (tmp_path / "swh_Latn.txt").write_text("a\n")
    (tmp_path / "ewe_Latn.txt.gz").write_bytes(gzip.compress(b"a\n"))
    (tmp_path / "index.tsv").write_text("x\n")
    (tmp_path / "wol_Latn").mkdir()
    for name in ("2.txt", "1.txt"):
        (tmp_path / "wol_Latn" / name).write_text("a\n")
    found = discover((str(tmp_path),), TEXT)
    assert list(found) == ["ewe_Latn", "swh_Latn", "wol_Latn"]
    assert [p[-5:] for p in found["wol_Latn"]] == ["1.txt", "2.txt"]
    assert list(discover((str(tmp_path / "*.gz"),), TEXT)) == ["ewe_Latn"]
    assert list(discover((str(tmp_path / "swh_Latn.txt"),), TEXT)) == ["swh_Latn"]
    assert list(discover((str(tmp_path),), PAIRS)) == ["index"]
    assert list(discover((str(tmp_path),), TEXT, ("swh_Latn",))) == ["swh_Latn"]


def test_what_is_not_there_is_named_with_its_neighbour(tmp_path):
    (tmp_path / "swh_Latn.txt").write_text("a\n")
    with pytest.raises(UserError, match=r"'swa_Latn'.*Did you mean 'swh_Latn'"):
        discover((str(tmp_path),), TEXT, ("swa_Latn",))
    with pytest.raises(UserError, match=r"no file or folder.*Did you mean 'swh_Latn.txt'"):
        discover((str(tmp_path / "swh_Lat.txt"),), TEXT)
    with pytest.raises(UserError, match="matches the pattern"):
        discover((str(tmp_path / "*.gz"),), TEXT)
    with pytest.raises(UserError, match="not a text source"):
        (tmp_path / "x.doc").write_text("a")
        discover((str(tmp_path / "x.doc"),), TEXT)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"has no text.*swh_Latn.txt.gz"):
        discover((str(tmp_path / "empty"),), TEXT)
    (tmp_path / "swh_Latn.txt.gz").write_bytes(gzip.compress(b"a\n"))
    with pytest.raises(UserError, match="more than one file"):
        discover((str(tmp_path),), TEXT)


def test_lines_keep_numbers_and_drop_ends(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\n\n  \ntwo \n\xc3\xa9")
    assert list(lines(str(path))) == [(1, b"one"), (4, b"two "), (5, b"\xc3\xa9")]


@pytest.mark.parametrize("content", [b"", b"\n \n\t\n"])
@pytest.mark.parametrize("ending", ["txt", "txt.gz"])
def test_an_empty_file_is_named(tmp_path, content, ending):
    path = tmp_path / f"swh_Latn.{ending}"
    path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    with pytest.raises(UserError, match=rf"swh_Latn.{ending}' is empty"):
        list(lines(str(path)))


def test_a_file_that_is_not_utf8_is_named_with_line_and_byte(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("good\nsch\u00f6n\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"line 2, byte 4 of the line \(byte offset 8 .*f6 6e"):
        list(lines(str(path)))
    path.write_bytes(b"\xef\xbb\xbfab\xff\n")
    with pytest.raises(UserError, match=r"line 1, byte 6 of the line \(byte offset 5 "):
        list(lines(str(path)))


def test_a_broken_archive_is_named(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"some text\n" * 1000)[:-10])
    with pytest.raises(UserError, match="breaks off or is damaged"):
        list(lines(str(path)))
    path.write_bytes(b"not an archive")
    with pytest.raises(UserError, match="breaks off or is damaged"):
        list(lines(str(path)))


def test_the_split_follows_the_document_alone(tmp_path):
    texts = [f"document {i}" for i in range(2000)]
    (tmp_path / "a.txt").write_text("\n".join(texts))
    (tmp_path / "b.txt").write_text("\n".join(reversed(texts)))
    held = list(documents([str(tmp_path / "a.txt")], "validation", 0.1))
    train = list(documents([str(tmp_path / "a.txt")], "train", 0.1))
    assert 150 < len(held) < 250 and sorted(held + train) == sorted(t.encode() for t in texts)
    assert list(documents([str(tmp_path / "b.txt")], "validation", 0.1)) == held[::-1]
    assert list(documents([str(tmp_path / "a.txt")], "validation", 0.0)) == []
    with pytest.raises(UserError, match="train and validation"):
        list(documents([str(tmp_path / "a.txt")], "valid", 0.1))


def test_pairs_name_a_line_with_other_fields(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("in\tout\n\nalone\n")
    with pytest.raises(UserError, match=r"a.tsv', line 3: expected inputs<TAB>targets.* 1 field\."):
        list(pairs([str(path)], "train", 0.0))
