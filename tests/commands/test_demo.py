"""The demo: it tags, it reads, it says where things are, and goes on where it was."""

import re
from pathlib import Path

import pytest

from jaxlt.commands.main import main
from jaxlt.experiments import study


def test_the_demo_is_a_study() -> None:
    plan = study.planned(study.load(["experiments/demo.gin"]))
    names = [stage.name for stage in plan.stages]
    assert names.count("tagger-both") == 1 and "reading-with" in names
    held = {stage.name: stage for stage in plan.stages}
    assert held["module"].config["settings"]["INIT_FROM"] in plan.stages


@pytest.mark.slow
def test_the_smallest_demo_runs_and_goes_on(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("JAXLT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    smallest = ["demo", "--smallest", "--workdir", str(tmp_path / "demo")]
    assert main(smallest) == 0
    told = capsys.readouterr().out
    for method in ("reads both", "reads the labelled one alone", "reads neither", "always"):
        (labelled, never) = re.findall(r"0\.\d{3}", re.search(rf"(?m)^{method}.*$", told)[0])
        assert 0 < float(never) < 1 and 0 < float(labelled) < 1
    assert "bits without it" in told and str(tmp_path / "demo") in told
    assert main(smallest) == 0  # everything is done already: the same table, at once
    assert capsys.readouterr().out.split("Done in")[0] == told.split("Done in")[0]
