"""Runs over axes, from their gin files alone."""

from pathlib import Path

import pytest

from jaxlt.errors import UserError
from jaxlt.experiments import sweep
from jaxlt.experiments.stage import asked, digest

FILES = ["models/lab_mlm.gin", "runs/lab_mlm.gin"]
GIVEN = ["TEXT=texts", "VOCABULARY=pieces.model"]


def planned(tmp_path: Path, text: str, *overrides: str) -> dict[str, str]:
    """What each stage asks, by its path."""
    (tmp_path / "own.gin").write_text(text)
    files = [*FILES, "own.gin"]
    plan = sweep.planned(*sweep.load(files, [*GIVEN, *overrides], [str(tmp_path)]))
    return {stage.path: digest(asked(stage)) for stage in plan.stages}


def test_cells_that_are_there_stay_when_a_sweep_grows(tmp_path: Path) -> None:
    first = "sweep.cross = {'LEARNING_RATE': [1e-3]}\nsweep.seeds = 1\n"
    before = planned(tmp_path, first)
    cell = "LEARNING_RATE=0.001/0"
    assert list(before) == [f"{cell}/train", f"{cell}/scores"]
    more = "sweep.cross = {'LEARNING_RATE': [1e-3, 3e-3], 'TrainConfig.steps': [20, 40]}\n"
    more += "sweep.added = {'TrainConfig.steps': 20}\nsweep.seeds = 2\n"
    grown = planned(tmp_path, more, "TrainConfig.steps=20")
    assert len(grown) == 2 * 2 * 2 * 2 and "LEARNING_RATE=0.003,steps=40/1/scores" in grown
    same = planned(tmp_path, first, "TrainConfig.steps=20")
    assert {path: grown[path] for path in same} == same
    assert same[f"{cell}/train"] != before[f"{cell}/train"]  # of other steps
    assert len(set(grown.values())) == len(grown)


def test_what_a_run_asks_says_nothing_of_the_sweep(tmp_path: Path) -> None:
    (tmp_path / "own.gin").write_text("sweep.cross = {'INIT_FROM': [None]}\nsweep.seeds = [3]\n")
    loaded = sweep.load([*FILES, "own.gin"], [*GIVEN, "run.model=@T5Config()"], [str(tmp_path)])
    train, scores = sweep.planned(*loaded).stages
    run = asked(train)["config"]["run"]
    assert not any("sweep" in name for name in run)
    assert (run["TrainConfig.seed"], run["run.model"]) == (3, "@T5Config()")
    assert train.config["settings"]["SEED"] == 3
    assert scores.needs == (train,) and scores.verb == "evaluate"


def test_modules_may_be_an_axis(tmp_path: Path) -> None:
    axes = "{'LEARNING_RATE': [1e-3], 'MODULES': ['none', 'x_mod']}"
    asks = planned(tmp_path, f"sweep.cross = {axes}\nsweep.seeds = 1\n")
    plain, with_module = (
        f"LEARNING_RATE=0.001,MODULES={name}/0/train" for name in ("none", "x_mod")
    )
    alone = planned(tmp_path, "sweep.cross = {'LEARNING_RATE': [1e-3]}\nsweep.seeds = 1\n")
    assert asks[plain] == alone["LEARNING_RATE=0.001/0/train"] != asks[with_module]
    with pytest.raises(UserError, match=r"modules/x_mod.gin"):
        planned(tmp_path, "sweep.cross = {'MODULES': ['none', 'x_mood']}\n")


def test_the_base_of_what_varies_is_as_the_files_say(tmp_path: Path) -> None:
    axes = "{'LEARNING_RATE': [1e-3], 'TrainConfig.steps': [9], 'MODULES': ['x_mod']}"
    (tmp_path / "own.gin").write_text(f"sweep.vary = {axes}\n")
    plan = sweep.planned(*sweep.load([*FILES, "own.gin"], GIVEN, [str(tmp_path)]))
    assert plan.base == {"LEARNING_RATE": 0.003, "TrainConfig.steps": 600, "MODULES": "none"}


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        ("LEARNING_RAT", "no macro that its gin files use. Did you mean 'LEARNING_RATE'"),
        ("TrainConfig.step", "TrainConfig has no 'step'. Did you mean 'steps'"),
        ("TrainConfg.steps", "gin knows no 'TrainConfg'. Did you mean 'TrainConfig'"),
        ("SEED", "'SEED' is each run's own in a sweep: sweep.seeds"),
    ],
)
def test_an_axis_that_names_nothing_is_an_error(tmp_path: Path, axis: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        planned(tmp_path, f"sweep.cross = {{'{axis}': [1]}}\n")
