"""`jaxlt data clean` from the command line."""

import json
from pathlib import Path

import pytest

from jaxlt.commands.main import main


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "eng_Latn.txt").write_text("One line.\none line\nTwo lines\nслово\nx\n")
    (folder / "rus_Cyrl.txt").write_text("слово и дело\nword\n")
    return folder


def test_cleans_and_says_why(corpus: Path, tmp_path: Path, capsys) -> None:
    test = tmp_path / "test"
    test.mkdir()
    (test / "eng_Latn.txt").write_text("two lines\n")
    flags = [f"--to={tmp_path}/out", f"--dropped={tmp_path}/waste", f"--report={tmp_path}/r.json"]
    flags += [f"--against={test}", "--script=0.5", "--min_chars=2"]
    assert main(["data", "clean", str(corpus), *flags]) == 0
    assert (tmp_path / "out" / "eng_Latn.txt").read_text() == "One line.\n"
    assert (tmp_path / "out" / "rus_Cyrl.txt").read_text() == "слово и дело\n"
    assert (tmp_path / "waste" / "eng_Latn.tsv").read_text().splitlines() == [
        "reason\ttext",
        "duplicate\tone line",
        "in test\tTwo lines",
        "other script\tслово",
        "too short\tx",
    ]
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["rus_Cyrl"]["dropped"] == {"other script": 1}
    assert report["eng_Latn"]["kept"] == 1 and report["eng_Latn"]["seen"] == 5
    out = capsys.readouterr().out
    assert "duplicate" in out and "eng_Latn" in out and "equal to an earlier text" in out


def test_without_to_nothing_is_written(corpus: Path, tmp_path: Path, capsys) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert main(["data", "clean", str(corpus), "--languages=eng_Latn", "--near=0.8"]) == 0
    assert sorted(tmp_path.rglob("*")) == before
    assert "rus_Cyrl" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--to={0}"], "holds the source"),
        (["--near=2"], "share from 0 to 1"),
        (["--against={0}/rus_Cyrl.txt", "--languages=eng_Latn"], "need one name"),
        (["--languages=eng_Lat"], "Did you mean 'eng_Latn'"),
    ],
)
def test_errors(corpus: Path, capsys, flags: list[str], message: str) -> None:
    assert main(["data", "clean", str(corpus), *(f.format(corpus) for f in flags)]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_language_without_known_script(corpus: Path, tmp_path: Path, capsys) -> None:
    (corpus / "asha.txt").write_text("ana\n")
    assert main(["data", "clean", str(corpus), "--script=0.5"]) == 2
    assert "--table" in capsys.readouterr().err
    (tmp_path / "own.tsv").write_text("code\tscript\nasha\tLatn\n")
    assert main(["data", "clean", str(corpus), "--script=0.5", f"--table={tmp_path}/own.tsv"]) == 0
