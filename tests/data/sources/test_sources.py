"""Text files by language: found, split, and refused with file, line and byte."""

import gzip
import json
import random
import tracemalloc

import pyarrow
import pyarrow.parquet
import pytest

from jaxlt.data.readers.problems import Problems
from jaxlt.data.sources import files
from jaxlt.data.sources.sources import PAIRS, TEXT, check_split, discover, documents, lines, pairs
from jaxlt.data.sources.splits import Split
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
    held = list(documents([str(tmp_path / "a.txt")], "validation", Split(0.1)))
    train = list(documents([str(tmp_path / "a.txt")], "train", Split(0.1)))
    assert 150 < len(held) < 250 and sorted(held + train) == sorted(t.encode() for t in texts)
    assert list(documents([str(tmp_path / "b.txt")], "validation", Split(0.1))) == held[::-1]
    assert list(documents([str(tmp_path / "a.txt")], "validation")) == []
    with pytest.raises(UserError, match="train and validation, not 'valid'"):
        check_split("valid", ("train", "validation"))


def test_pairs_name_a_line_with_other_fields(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("in\tout\n\nalone\n")
    with pytest.raises(UserError, match=r"a.tsv', line 3: expected inputs<TAB>targets.* 1 field\."):
        list(pairs([str(path)], "train"))


def test_packed_and_structured_documents(tmp_path):
    for name in ("a.txt", "a.txt.gz", "a.txt.zst"):
        files.write_chunks(str(tmp_path / name), [b"one\n", b"\ntwo\n"])
        assert list(lines(str(tmp_path / name))) == [(1, b"one"), (3, b"two")]
    rows = [{"text": "one\nline"}, {"text": " "}, {"text": "two", "n": 1}]
    content = "\n".join(map(json.dumps, rows)).encode()
    for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst"):
        files.write_chunks(str(tmp_path / name), [content])
        assert list(lines(str(tmp_path / name))) == [(1, b"one\nline"), (3, b"two")]
    pyarrow.parquet.write_table(pyarrow.table({"text": ["one", "", "two"]}), tmp_path / "a.parquet")
    assert list(lines(str(tmp_path / "a.parquet"))) == [(1, b"one"), (3, b"two")]
    assert list(discover((str(tmp_path / "a.parquet"),), TEXT)) == ["a"]


@pytest.mark.parametrize("ending", ["txt.zst", "jsonl.zst", "parquet"])
def test_other_broken_archives_are_named(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    path.write_bytes(b"not an archive")
    with pytest.raises(UserError, match=f"a.{ending}' (breaks off or )?is damaged"):
        list(lines(str(path)))
    if ending == "txt.zst":
        rng = random.Random(0)
        files.write_chunks(str(path), [rng.randbytes(1000).hex().encode() + b"\n"] * 50)
        path.write_bytes(path.read_bytes()[:-300])
        with pytest.raises(UserError, match="breaks off or is damaged"):
            list(lines(str(path)))


def test_malformed_lines_stop_or_are_counted(tmp_path, caplog):
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\nt\0wo\n\xff\nfour\n")
    with pytest.raises(UserError, match=r"a.txt' has at line 2 a NUL byte at character 2"):
        list(lines(str(path)))
    with Problems("skip") as problems:
        assert list(documents([str(path)], "train", problems=problems)) == [b"one", b"four"]
    assert problems.count == 2
    assert "2 malformed items left out" in caplog.text and "line 3" in caplog.text
    pair = tmp_path / "a.tsv"
    pair.write_bytes(b"a\tb\nalone\n")
    problems = Problems("skip")
    assert list(pairs([str(pair)], "train", problems=problems)) == [(b"a", b"b")]
    assert problems.count == 1
    table = tmp_path / "a.jsonl"
    table.write_bytes(b'{"text": "a"}\n{"texts": "b"}\n[]\n{\n')
    for line, message in ((2, "no column 'text'"), (3, "not an object"), (4, "not JSON")):
        problems = Problems("skip")
        list(lines(str(table), problems))
        assert f"line {line}: {message}" in problems.first[line - 2]
    with pytest.raises(UserError, match=r"'skipped'.*Did you mean 'skip'"):
        Problems("skipped")


def test_long_lines_stream(tmp_path):
    path = tmp_path / "a.txt.gz"
    long = "ä".encode() * 5_000_000
    path.write_bytes(gzip.compress(long + b"\nshort\n", 1))
    assert [len(text) for _, text in lines(str(path))] == [10_000_000, 5]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path):
    path = str(tmp_path / "a.txt.zst")
    files.write_chunks(path, (b"some words of a language\n" * 4096 for _ in range(150)))
    tracemalloc.start()
    assert sum(1 for _ in lines(path)) == 150 * 4096
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    def broken():
        yield b"x"
        raise ValueError

    path = tmp_path / "new" / "a.txt.gz"
    with pytest.raises(ValueError):
        files.write_chunks(str(path), broken())
    assert list(path.parent.iterdir()) == []


def test_a_carriage_return_is_no_end_of_a_line(tmp_path):
    path = tmp_path / "aaa.txt"
    path.write_bytes(b"first\rsecond\n")
    with pytest.raises(UserError, match="line 1 a carriage return inside the line, at character 6"):
        list(lines(str(path)))
