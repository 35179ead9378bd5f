"""`jaxlt report FOLDER`: a page from rows, and clear words where there are none."""

import pytest

from jaxlt.commands import main as cli
from jaxlt.metrics import result_file
from jaxlt.report import drawing
from tests.report.rows import arms, sweep


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two files of rows; pictures are left to other tests."""
    monkeypatch.setattr(drawing, "can_draw", lambda: False)
    result_file.append(tmp_path / "mad_x.jsonl", arms({"target": 0.5, "source": 0.6}))
    result_file.append(tmp_path / "curse.jsonl", sweep())
    return tmp_path


def test_a_folder_of_rows_becomes_a_page(folder, capsys) -> None:
    assert cli.main(["report", str(folder)]) == 0
    page = folder / "report" / "index.html"
    assert capsys.readouterr().out.strip() == str(page)
    text = page.read_text()
    assert f"<h1>{folder.name}</h1>" in text
    assert text.index("<h2>curse</h2>") < text.index("<h2>mad_x</h2>")
    assert {p.name for p in (folder / "report" / "tables").iterdir()} >= {
        "curse-bpb-lm-test.csv",
        "mad_x-accuracy-tagging-test.tex",
    }
    assert cli.main(["report", str(folder), f"--output={folder / 'o'}", "--title=Mine"]) == 0
    assert "<h1>Mine</h1>" in (folder / "o" / "index.html").read_text()


def test_what_holds_no_rows_is_named(tmp_path, capsys) -> None:
    assert cli.main(["report", str(tmp_path / "nothing")]) == 2
    assert "There is no folder" in capsys.readouterr().err
    assert cli.main(["report", str(tmp_path)]) == 2
    assert "no file in it ends in .jsonl" in " ".join(capsys.readouterr().err.split())
    (tmp_path / "a.jsonl").write_text('{"format": 2, "metric": "las", "valeu": 1}\n')
    assert cli.main(["report", str(tmp_path)]) == 2
    assert "'valeu'. Did you mean 'value'" in " ".join(capsys.readouterr().err.split())


def test_a_page_that_cannot_be_made_is_an_error(folder, capsys) -> None:
    (folder / "taken").touch()
    assert cli.main(["report", str(folder), f"--output={folder}/taken/page"]) == 2
    assert "taken/page/" in (told := capsys.readouterr().err) and "cannot be written" in told
    assert cli.main(["report", str(folder), "--interactive"]) == 2
    assert "pip install 'jaxlt[report]'" in " ".join(capsys.readouterr().err.split())
