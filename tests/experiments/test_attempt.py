"""Attempts: what is taken over, what is logged, and what rows and digests say."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxlt.errors import UserError
from jaxlt.experiments import attempt
from jaxlt.experiments.stage import Cell
from jaxlt.metrics import result_file
from jaxlt.metrics.result import Result

NOTE = {"asked": {"verb": "train"}, "used": {"lab/0/world": "aa"}, "command": "jaxlt ..."}


def left(folder: Path, number: int, note: dict = NOTE, checkpoints: bool = True) -> Path:
    """An attempt that wrote something and ended."""
    own = attempt.begin(folder, number, note, ())
    (own / "base").mkdir(exist_ok=True)
    (own / "base" / attempt.LOG).write_text("the verb's own")
    (own / attempt.LOG).write_text("the attempt's")
    if checkpoints:
        (own / "checkpoints").mkdir(exist_ok=True)
        (own / "checkpoints" / "step").write_text(str(number))
    return own


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_an_attempt_goes_on_from_the_one_before(tmp_path: Path) -> None:
    left(tmp_path, 1)
    left(tmp_path, 2, NOTE | {"command": "another"})
    left(tmp_path, 3, checkpoints=False)
    (tmp_path / "attempts/000003/checkpoints/step").unlink()
    (tmp_path / "attempts/000003/checkpoints").rmdir()
    own = attempt.begin(tmp_path, 4, NOTE, ())
    assert names(own) == ["base/log.txt", "checkpoints/step", "stage.json"]
    assert (own / "checkpoints" / "step").read_text() == "2"
    assert attempt.read_note(own) == NOTE


@pytest.mark.parametrize(
    "note", [NOTE | {"asked": {"verb": "tune"}}, NOTE | {"used": {"lab/0/world": "bb"}}]
)
def test_what_was_asked_otherwise_is_not_taken_over(tmp_path: Path, note: dict) -> None:
    left(tmp_path, 1, note)
    assert names(attempt.begin(tmp_path, 2, NOTE, ())) == ["stage.json"]


def test_what_came_to_a_result_is_not_taken_over(tmp_path: Path) -> None:
    left(tmp_path, 1)
    assert names(attempt.begin(tmp_path, 2, NOTE, {1})) == ["stage.json"]


def test_a_writer_that_is_awake_spoils_no_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = left(tmp_path, 1) / "checkpoints" / "step"
    copytree, copies = attempt.shutil.copytree, []

    def slow(other: Path, *args: object, **kwargs: object) -> None:
        copytree(other, *args, **kwargs)
        if other == step.parent.parent:
            copies.append(other)
            if len(copies) < 2:
                step.write_text("a longer text")

    monkeypatch.setattr(attempt.shutil, "copytree", slow)
    own = attempt.begin(tmp_path, 2, NOTE, ())
    assert len(copies) == 2 and (own / "checkpoints" / "step").read_text() == "a longer text"


def test_all_that_is_printed_is_logged(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    with attempt.logged(tmp_path / attempt.LOG):
        print("from python")
        print("an error", file=sys.stderr)
        subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
        os.write(2, b"from C\n")
    print("after")
    assert attempt.tail(tmp_path) == ["from python", "an error", "from a child", "from C"]
    assert attempt.tail(tmp_path, 1) == ["from C"] and attempt.tail(tmp_path / "none") == []
    assert capfd.readouterr() == ("after\n", "")


def test_a_handler_of_one_stage_writes_to_the_log_of_the_next(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    say = logging.Logger("of a stage")
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        with attempt.logged(tmp_path / name / attempt.LOG):
            if not say.handlers:
                say.addHandler(logging.StreamHandler())
            say.warning("%s is noted", name)
    assert [attempt.tail(tmp_path / name) for name in ("first", "second")] == [
        ["first is noted"],
        ["second is noted"],
    ]
    say.warning("between stages")
    assert capfd.readouterr().err == "between stages\n"


def test_rows(tmp_path: Path) -> None:
    stage = Cell("size=1", 3).stage("tags", "answers")
    results = [Result(metric="accuracy", value=0.5, n=7, time=1.0, run="x", method="target")]
    rows = attempt.write_rows(tmp_path, "mad_x", stage, results)
    (row,) = result_file.read(tmp_path / attempt.ROWS)
    assert (row.study, row.cell, row.seed, row.stage) == ("mad_x", "size=1", 3, "tags")
    assert (row.run, row.time, row.method) == ("size=1/3/tags", None, "target")
    assert rows["count"] == 1 and attempt.rows_damage(tmp_path, rows) == ""
    (tmp_path / "lab").mkdir()
    attempt.write_rows(tmp_path / "lab", "mad_x", Cell().stage("base", "train", lab=True), results)
    (of_all,) = result_file.read(tmp_path / "lab" / attempt.ROWS)
    assert of_all.study == "" and of_all.run == "lab/0/base"
    content = (tmp_path / attempt.ROWS).read_bytes()
    (tmp_path / attempt.ROWS).write_bytes(content[:-20])
    assert "is damaged: 0 whole rows of 1" in attempt.rows_damage(tmp_path, rows)
    (tmp_path / attempt.ROWS).unlink()
    assert "cannot be read" in attempt.rows_damage(tmp_path, rows)


def test_digests(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a")
    before = attempt.digest_of(tmp_path)
    (tmp_path / attempt.LOG).write_text("said otherwise")
    assert attempt.digest_of(tmp_path) == before
    (tmp_path / "text").write_text("b")
    assert attempt.digest_of(tmp_path) != before
    (tmp_path / attempt.DIGEST).write_text("weights 1f")
    own = attempt.digest_of(tmp_path)
    (tmp_path / "text").write_text("c")
    assert attempt.digest_of(tmp_path) == own


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "attempts").write_text("a file")
    with pytest.raises(UserError, match="cannot be written"):
        attempt.begin(tmp_path, 1, NOTE, ())
