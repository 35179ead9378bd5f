"""The view of a study under way."""

import io
from pathlib import Path

import pytest

from jaxlt.experiments import view
from jaxlt.experiments.lease import claimant
from jaxlt.experiments.states import Survey
from jaxlt.experiments.storage import Register
from jaxlt.experiments.view import View, seconds_left
from tests.experiments.jobs import counted, places
from tests.experiments.test_worker import failing, quietly


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def half_done(folder: Path) -> Survey:
    """Of four stages two are done and one is in hand."""
    stages = counted(1, cells=1, seeds=1)
    quietly(stages[:2], folder)
    hand = Register(places(folder).folder(stages[2]) / "lease")
    hand.put(1, claimant("") | {"machine": "", "worker": "worker-7"})
    return Survey(stages, places(folder))


def test_time_left_is_by_what_stages_took(tmp_path: Path) -> None:
    assert seconds_left(Survey(counted(1), places(tmp_path)), 2) is None
    survey = half_done(tmp_path)
    for state, seconds in zip(survey.named("done"), (10.0, 30.0), strict=True):
        state.record["seconds"] = seconds
    assert seconds_left(survey, 1) == 30.0  # one and a half of 20 s


def test_lines_where_there_is_no_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    survey, said = half_done(tmp_path), io.StringIO()
    now = [100.0]
    monkeypatch.setattr(view.time, "monotonic", lambda: now[0])
    with View(survey, 1, said) as shown:
        for now[0] in (105.0, 111.0, 115.0, 131.0, 221.0, 500.0, 525.0):
            shown.update()
        survey = shown.survey
        counts = [line.partition(" left")[0] for line in said.getvalue().splitlines()]
    line = "2 of 4 stages done, 1 running  {}  about 0s"
    assert counts == [line.format(took) for took in ("11s", "31s", "2m 01s", "6m 40s", "7m 05s")]
    assert "(size=0/0/target)" in said.getvalue()


def test_a_failure_is_told_at_once(tmp_path: Path) -> None:
    survey, said = Survey(failing("user"), places(tmp_path)), io.StringIO()
    with View(survey, 1, said) as shown:
        quietly(survey.stages, tmp_path)
        survey.refresh()
        shown.update()
        shown.update()
    assert said.getvalue() == "failed: all/0/fails: There is no language 'xyz'.\n"


def test_a_terminal_has_all_workers_in_view(tmp_path: Path) -> None:
    survey, said = half_done(tmp_path), Terminal()
    with View(survey, 1, said) as shown:
        shown.update()
        assert shown._live is not None
        shown._live.refresh()
    text = said.getvalue()
    assert "2 of 4 stages done, 1 running" in text and "worker-7     size=0/0/target" in text
