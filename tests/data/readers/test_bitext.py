"""Parallel text: aligned files, a column a language, and rows joined by id."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlt.data.readers import bitext
from jaxlt.data.readers.bitext import Parallel
from jaxlt.data.readers.problems import Problems
from jaxlt.data.readers.tables import Pair, Text
from jaxlt.errors import UserError

FIELD = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r\0"), min_size=1, max_size=6
).filter(lambda t: not t.isspace() and not t.startswith("\ufeff"))
LANGUAGES = ("eng_Latn", "swh_Latn", "uig_Arab")
ROWS = st.lists(
    st.dictionaries(st.sampled_from(LANGUAGES), FIELD, min_size=1), min_size=1, max_size=5
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bitext")


def parallels(rows):
    return [
        Parallel(str(i), tuple((name, row[name]) for name in LANGUAGES if name in row))
        for i, row in enumerate(rows, start=1)
    ]


@given(ROWS)
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read_back(folder, rows):
    items = parallels(rows)
    paths = {name: str(folder / f"{name}.txt.gz") for name in LANGUAGES}
    for name, path in paths.items():
        lines = "".join(f"{row.get(name, '')}\n" for row in rows)
        Path(path).write_bytes(gzip.compress(lines.encode()))
    assert list(bitext.aligned(paths)) == items
    fields = [["id", *LANGUAGES], *([i.id, *(i.get(n) or "" for n in LANGUAGES)] for i in items)]
    table = "".join("\t".join(row) + "\n" for row in fields)
    (folder / "w.tsv").write_bytes(table.encode())
    assert list(bitext.wide(str(folder / "w.tsv"))) == items
    records = [Text(name, item.id, text) for item in items for name, text in item.texts]
    assert list(bitext.joined(records)) == items


@given(st.binary(max_size=40), st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_no_bytes_crash(folder, one, two):
    paths = {"a": str(folder / "a.txt"), "b": str(folder / "b.txt")}
    for path, data in zip(paths.values(), (one, two), strict=True):
        with open(path, "wb") as file:
            file.write(data)
    for read in (lambda p: bitext.aligned(paths, p), lambda p: bitext.wide(paths["a"], p)):
        for bad in ("skip", "strict"):
            try:
                list(read(Problems(bad)))
            except UserError as err:
                assert "a.txt" in str(err) or "b.txt" in str(err)


def test_uneven_files_are_named(folder):
    paths = {name: str(folder / f"{name}.txt") for name in ("de", "en", "ids")}
    for name, text in (("de", "a\n\nc\n"), ("en", "x\ny\n"), ("ids", "M1\nM2\nM3\n")):
        (folder / f"{name}.txt").write_text(text)
    ids = paths.pop("ids")
    with pytest.raises(UserError, match=r"en.txt' ends after line 2, but '.*de.txt' goes on"):
        list(bitext.aligned(paths, ids=ids))
    problems = Problems("skip")
    assert list(bitext.aligned(paths, problems, ids)) == [
        Parallel("M1", (("de", "a"), ("en", "x"))),
        Parallel("M2", (("en", "y"),)),
    ]
    assert problems.count == 1


def test_a_line_that_is_no_text_leaves_the_others_aligned(folder):
    (folder / "c.txt").write_bytes(b"1\n\xff\n3\n")
    (folder / "d.txt").write_bytes(b"one\ntwo\nthree\n")
    problems = Problems("skip")
    paths = {name: str(folder / f"{name}.txt") for name in "cd"}
    found = [dict(p.texts) for p in bitext.aligned(paths, problems)]
    assert found == [{"c": "1", "d": "one"}, {"d": "two"}, {"c": "3", "d": "three"}]


def test_ids_are_there_once_a_language():
    with pytest.raises(UserError, match="more than one text in 'a'"):
        list(bitext.joined([Text("a", "1", "x"), Text("a", "1", "y")]))
    with pytest.raises(UserError, match="can be joined"):
        list(bitext.joined([Pair("a", "b", "x", "y")]))
