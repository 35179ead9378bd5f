"""Counts of corpora: by language and split, remembered, notes on what is left out."""

import json

import pytest

from jaxlt.commands.data import stats as data_stats
from jaxlt.commands.main import Parser
from jaxlt.data.sources import stats
from jaxlt.errors import UserError

ROW = "{}\tw\t_\tNOUN\t_\t_\t{}\tdep\t_\t_\n"


@pytest.fixture
def folder(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "en_x-train.conllu").write_text((ROW.format(1, 0) + ROW.format(2, 1) + "\n") * 2)
    (data / "en_x-test.conllu").write_text(ROW.format(1, 0) + "\n")
    (data / "sw-dev.iob2").write_text("a\tO\nb\tB-X\n\nc\tO\n")
    (data / "swh_Latn.txt").write_text("moja\nmbili\n")
    (data / "t.tsv").write_text("lang\ttext\tenglish\nafr\tja\tyes\n")
    (data / "x.tsv").write_text("lang\tpremise\thypothesis\tlabel\tsplit\nafr\tja\tnee\t2\tdev\n")
    (data / "q_train.jsonl").write_text(
        '{"lang": "afr", "question": "Wie?", "context": "Ek.", "answers": ["Ek"]}\n'
    )
    (data / "wide.tsv").write_text("eng_Latn\tswh_Latn\none\tmoja\n\tmbili\n")
    (data / "other.tsv").write_text("a\tb\n1\t2\n")
    return data


def test_counts(folder, tmp_path):
    counts, notes = stats.count((str(folder),), tmp_path / "memory")
    found = {(c.corpus, c.language, c.split): (c.items, c.tokens, c.bytes) for c in counts}
    assert found == {
        ("en_x", "eng_Latn", "train"): (2, 4, 6),
        ("en_x", "eng_Latn", "test"): (1, 1, 1),
        ("sw", "swa_Latn", "validation"): (2, 3, 4),
        ("swh_Latn", "swh_Latn", ""): (2, None, 9),
        ("t", "afr_Latn:eng_Latn", ""): (1, None, 5),
        ("x", "afr_Latn", "validation"): (1, None, 5),
        ("q", "afr_Latn", "train"): (1, None, 7),
        ("wide", "eng_Latn", ""): (1, None, 3),
        ("wide", "swh_Latn", ""): (2, None, 9),
    }
    assert len(notes) == 1 and "other.tsv" in notes[0]


def test_counts_are_remembered_by_content(folder, tmp_path, monkeypatch):
    first = stats.count((str(folder),), tmp_path / "memory")
    monkeypatch.setattr(stats, "_rows", None)
    assert stats.count((str(folder),), tmp_path / "memory") == first
    with pytest.raises(TypeError):
        (folder / "swh_Latn.txt").write_text("nne\n")
        stats.count((str(folder),), tmp_path / "memory")


def test_malformed_lines_stop_or_are_noted(folder, tmp_path):
    (folder / "sw-dev.iob2").write_text("a\n\nc\tO\n")
    with pytest.raises(UserError, match=r"sw-dev.iob2', line 1"):
        stats.count((str(folder),), tmp_path / "memory")
    for _ in range(2):  # the second from memory
        counts, notes = stats.count((str(folder),), tmp_path / "memory", "skip")
        assert sum(c.items for c in counts if c.corpus == "sw") == 1
        assert any("1 malformed item left out" in note for note in notes)
    with pytest.raises(UserError, match="nothing to count"):
        (tmp_path / "empty").mkdir()
        stats.count((str(tmp_path / "empty"),), tmp_path / "memory")


@pytest.mark.parametrize("by", ["both", "corpus", "language"])
def test_the_table(folder, tmp_path, capsys, by):
    parser = Parser()
    data_stats.add_arguments(parser)
    flags = ["--by", by, "--cache_dir", str(tmp_path), "--json", str(tmp_path / "out.json")]
    assert data_stats.main(parser.parse_args([str(folder), *flags])) == 0
    out = capsys.readouterr().out
    assert "note: " in out and "other.tsv" in out and "7 corpora, 4 languages, 13 items" in out
    assert ("swh_Latn" in out) and ("languages" in out)
    rows = json.loads((tmp_path / "out.json").read_text())
    assert len(rows) == 9 and {"corpus", "language", "tokens"} <= set(rows[0])


def test_notes_that_say_the_same_are_one():
    notes = ["a.tsv: odd", "unlike all", "b.tsv: odd", "c.tsv: even"]
    assert stats.grouped(notes) == ["a.tsv, b.tsv: odd", "unlike all", "c.tsv: even"]


def test_files_without_a_language_are_no_language(tmp_path, capsys):
    (tmp_path / "verses.txt").write_text("one\ntwo\n")
    (tmp_path / "swh_Latn.txt").write_text("moja\n")
    parser = Parser()
    data_stats.add_arguments(parser)
    flags = ["--by", "corpus", "--cache_dir", str(tmp_path / "memory")]
    assert data_stats.main(parser.parse_args([str(tmp_path), *flags])) == 0
    out = capsys.readouterr().out
    assert "2 corpora, 1 language, 3 items" in out and "note: verses: no name or column says" in out
    assert next(line for line in out.splitlines() if line.startswith("verses")).split()[2] == "-"
