"""A study from its gin file to its verdict, by the command line; the one that the docs tell of."""

import json
import re
import sys
from pathlib import Path

import pytest

from jaxlt.commands.main import main
from jaxlt.experiments import ledger, supervisor, worker
from jaxlt.experiments.states import Survey
from jaxlt.experiments.storage import Places
from jaxlt.report import drawing

PAGE = Path(__file__).parents[2] / "docs" / "studies.md"
CHANGED = 'rule changed after data: holds "low > 0" -> "low > 0.5"'


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the recipe and the gin file of docs/studies.md."""
    text = PAGE.read_text()
    (recipe,) = re.findall(r"```python\n(.*?)```", text, re.S)
    gin = re.findall(r"```text\n(import.*?)```", text, re.S)[0]
    assert len(recipe.splitlines()) <= 40
    (tmp_path / "cognates.py").write_text(recipe)
    (tmp_path / "cognates.gin").write_text(gin.replace("study.seeds = 4", "study.seeds = 2"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "cognates", raising=False)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *argv: str, status: int = 0) -> str:
    """What a command prints, without its line breaks."""
    assert main(list(argv)) == status
    out = capsys.readouterr()
    return " ".join((out.out + out.err).split())


def test_a_study_of_ones_own(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = ("experiment", "cognates.gin")
    small = "--gin.cognates.sentences=60"
    plan = said(capsys, *study, small, "--dry_run")
    assert "cognates: 2 cells, 2 seeds; studies/cognates" in plan
    assert "To run, not there yet: world (4), words (4)." in plan
    assert "How long it takes is not known: nothing like 8 of them was measured yet." in plan
    assert not (here / "studies").exists()

    only = said(capsys, *study, small, "--worker", "--only=kept=0.1/0/words")
    assert "kept=0.1/0/words: done" in only and "kept=0.9" not in only
    assert "as 6 stages like these took" in said(capsys, *study, small, "--dry_run")
    assert said(capsys, *study, small, "--worker").count(": done (") == 6
    status = said(capsys, "experiment", "status", "cognates.gin", small)
    assert "8 stages: 8 done." in status
    assert "incomplete: more: Relatives share more words" in status and "2 of 4 seeds" in status

    assert said(capsys, *study, small, "--worker", "--seeds=4").count(": done (") == 8
    status = said(capsys, "experiment", "status", "cognates.gin", small, "--seeds=4")
    assert "16 stages: 16 done. holds: more: " in status and ", 4 seeds" in status
    explained = said(
        capsys, "experiment", "explain", "kept=0.9/3/words", "cognates.gin", small, "--seeds=4"
    )
    assert (
        "kept=0.9/3/words: done" in explained
        and "--only=kept=0.9/3/words" in explained
        and "--seeds=4" in explained
    )
    assert "0.0 MB of checkpoints are deleted." in said(
        capsys, "experiment", "gc", "cognates.gin", small
    )
    exported = said(capsys, "experiment", "export", "cognates.gin", small, "--seeds=4")
    assert exported.startswith("8 rows of 16 of 16 stages: results/cognates.jsonl")
    told = ledger.of_results(here / "results" / "cognates.jsonl")
    (found,) = told.judged()
    assert found.verdict.verdict == "holds" and told.record["question"].startswith("Relatives")
    whole = json.loads((here / "results" / "cognates.json").read_text())
    assert whole["seconds"].keys() == {
        f"kept={k}/{n}" for k in (0.1, 0.9) for n in ("world", "words")
    }
    assert "import cognates" in (here / "results" / "cognates.gin").read_text()
    moved = (here / "studies").rename(here / "elsewhere")
    said(capsys, "experiment", "export", "cognates.gin", small, "--seeds=4", "--folder=elsewhere")
    assert "elsewhere" not in (here / "results" / "cognates.json").read_text()
    moved.rename(here / "studies")

    # What was exported, and the study's folder, become the same section of a page.
    monkeypatch.setattr(drawing, "can_draw", lambda: False)
    pages = []
    for folder in ("results", "studies/cognates"):
        said(capsys, "report", folder, f"--output={here}/page", "--title=Words")
        pages.append((here / "page" / "index.html").read_text())
        assert "Does one read more in the other?" in pages[-1] and " holds</span>" in pages[-1]
        assert "jaxlt experiment cognates.gin" in pages[-1]
    assert "../studies/cognates/kept=0.1" in pages[1]

    typo = "--gin.more/claim.effect='@relatifs[kept=0.1]'"
    wrong = said(capsys, "experiment", "status", "cognates.gin", small, "--seeds=4", typo, status=2)
    assert "method 'relatifs'. Did you mean 'relatives'" in wrong

    # Something else is asked: nothing runs again in silence, and rows of before count no more.
    stale = said(capsys, *study, "--gin.cognates.sentences=30", status=2)
    assert "not as the study asks now" in stale and "sentences 60 -> 30" in stale
    changed = ("--gin.more/claim.holds=low > 0.5", "--seeds=4")
    assert said(capsys, *study, small, *changed, "--worker") == "16 stages: 16 done."
    assert CHANGED in said(capsys, "experiment", "status", "cognates.gin", small, *changed)


@pytest.mark.slow
def test_local_workers_do_a_study(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "can_draw", lambda: False)
    monkeypatch.setenv("PYTHONPATH", f"{PAGE.parents[1]}:{here}")
    quick = ("experiment", "cognates.gin", "--gin.study.cross={'cognates.kept': [0.1]}", "--quick")
    claim = "--gin.study.claims=[]"
    told = said(capsys, *quick, claim, "--workers=1", "--gin.cognates.sentences=20")
    assert "4 stages: 4 done. The page: studies/cognates-quick/report/index.html" in told
    assert "This is a quick look" in (here / "studies/cognates-quick/report/index.html").read_text()
    assert (here / "studies/cognates-quick/plan").is_dir()
    again = said(
        capsys, *quick, claim, "--workers=1", "--gin.cognates.sentences=12", "--rerun=stale"
    )
    assert (
        "To run again (--rerun=stale): kept=0.1/0/world" in again and "4 stages: 4 done." in again
    )
    assert "no cell has kept=0.9: there are 0.1" in said(capsys, *quick, status=2)


def test_bounds_reach_each_worker(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict] = []

    def local(argv: list[str], stages: list, places: Places, **how: object) -> Survey:
        calls.append({"argv": argv[argv.index("experiment") :], **how})
        return Survey(stages, places)

    def work(stages: list, places: Places, **how: object) -> Survey:
        calls.append(how)
        return Survey(stages, places)

    monkeypatch.setattr(supervisor, "run_local", local)
    monkeypatch.setattr(worker, "run", work)
    bounds = ("--hours=0.5", "--memory_gb=3", "--attempts=4")
    said(capsys, "experiment", "cognates.gin", "--workers=3", *bounds, status=1)
    said(capsys, *calls[0]["argv"], status=1)
    own = worker.Bounds(hours=0.5, memory_gb=3.0, attempts=4)
    assert [call["bounds"] for call in calls] == [own, own] and calls[0]["workers"] == 3


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "needs the gin files"),
        (["statu", "cognates.gin"], "'statu' is no word of .* Did you mean 'status'"),
        (["explain"], "explain STAGE FILES"),
        (["cognates.gin", "--only=wrods"], "no stage's path or name. Did you mean 'words'"),
        (["cognates.gin", "--seeds=few"], "--seeds is a number"),
        (["cognates.gin", "--gin.study.name=lab"], "the laboratory's"),
        (["cognates.gin", "--gin.more/claim.effect=relatives"], "cannot be read"),
        (["cognates.gin", "--gin.more/claim.holds=low < 0"], "low > NUMBER"),
        (["cognates.gin", "--workers=0"], "--workers is at least 1, not 0"),
        (["cognates.gin", "--attempts=0"], "bound of a stage's attempts is above 0, not 0"),
        (["cognates.gin", "--worker", "--rerun=stale"], "--rerun is said once, without --worker"),
        (["cognates.gin", "--rerun=wrods"], "no stage 'wrods'. Did you mean 'words'"),
        (["cognates.gin", "--rerun=stael"], "no stage 'stael'. Did you mean 'stale'"),
        (["export", "cognates.gin"], "Nothing of 'studies/cognates' is done"),
    ],
)
def test_what_is_wrong_is_named(
    here: Path, capsys: pytest.CaptureFixture[str], argv: list[str], message: str
) -> None:
    told = said(capsys, "experiment", *argv, "--dry_run", status=2)
    assert re.search(message, told)


def test_studies_are_listed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "experiments").mkdir()
    (here / "cognates.gin").rename(here / "experiments" / "cognates.gin")
    (here / "experiments" / "odd.gin").write_text("study.nam = 'odd'\n")
    told = said(capsys, "experiment", "--list", "--gin_search_paths=.")
    assert "experiments/cognates.gin Relatives keep some of their ancestor's words." in told
    assert "experiments/odd.gin It cannot be read:" in told and "Did you mean 'name'" in told
