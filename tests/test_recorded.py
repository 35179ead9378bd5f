"""A run's folder that an older version wrote is resumed and opened as the run that it was."""

import operator
import re

import pytest
from etils import epath

from jaxlt import config
from jaxlt.config import recorded
from jaxlt.config.resuming import may_change
from jaxlt.engine.checkpoint.workdir import Workdir
from jaxlt.errors import UserError
from jaxlt.inference.backbone import _run_of
from jaxlt.inference.trained import find_run

FILES = ["models/tiny.gin", "runs/adapt.gin", "modules/bottleneck.gin", "tiny.gin"]
GIVEN = ["TEXT=texts", "INIT_FROM=base"]
YOUNG = r"(?m)^.*(DataConfig\.revision|ScheduleConfig.warmup_share) = .*\n"


def load(*overrides, files=FILES):
    return recorded.load_run(files, [*GIVEN, *overrides])


@pytest.fixture
def old(tmp_path):
    """The folder of a run that has a checkpoint, whose config.gin knows no younger setting."""
    run = config.load(FILES, [*GIVEN, f"WORKDIR={tmp_path}"])
    text, count = re.subn(YOUNG, "", config.operative_config(run))
    assert count == 3  # the evaluation's revision, too
    text = text.replace("DataConfig.held_out = None", "DataConfig.held_out = 0.01")
    (tmp_path / "config.gin").write_text(text)
    (tmp_path / "checkpoints" / "7").mkdir(parents=True)
    return tmp_path


def test_a_new_run_goes_by_the_latest_rules(tmp_path):
    run = load(f"WORKDIR={tmp_path / 'new'}")
    assert run.data.revision == run.eval_data.revision == 2
    assert run.schedule.warmup_share == 0.1
    assert recorded.behind(str(tmp_path / "new")) == {}
    with pytest.raises(UserError, match="revision is from 1 to 2, not 3"):
        load("WORKDIR=nowhere", "DataConfig.revision=3")


def test_an_old_run_keeps_its_first_rules_and_may_be_resumed(old):
    run = load(f"WORKDIR={old}")
    assert run.data.revision == run.eval_data.revision == 1
    assert run.data.held_out == 0.01 and run.schedule.warmup_share is None
    text, harmless = config.operative_config(run), may_change()
    with Workdir.open(old, text, "new", harmless=harmless, younger=recorded.younger) as workdir:
        assert workdir.changed == {}
    assert "\nDataConfig.revision = 1\n" in (old / "config.gin").read_text()
    assert load(f"WORKDIR={old}") == run  # and once more
    assert load(f"WORKDIR={old}", "DataConfig.revision=1") == run  # said once more
    assert load(f"WORKDIR={old}", "ScheduleConfig.warmup_share=0.2").schedule.warmup_share == 0.2
    assert _run_of(epath.Path(old / "checkpoints" / "7")).data == run.data  # as a backbone


def test_another_revision_is_another_config(old):
    run = load(f"WORKDIR={old}", "DataConfig.revision=2")
    with pytest.raises(UserError, match=r"DataConfig.revision: 1 -> 2"):
        Workdir.open(old, config.operative_config(run), "new", younger=recorded.younger)


def test_a_younger_setting_has_its_default_in_an_old_run():
    assert recorded.younger("eval/DataConfig.revision") == "1"
    assert recorded.younger("TrainConfig.accumulate") == "1"
    assert recorded.younger("plug.routes") == "0"
    assert recorded.younger("OptimizerConfig.name") == "'adafactor'"
    assert recorded.younger("run.workdir") is None  # required
    assert recorded.younger("users.own.thing") is None


def test_a_run_under_way_selects_by_the_metric_that_it_began_with(tmp_path):
    """Its best value so far is one of that metric, whatever the gin files say by now."""
    files = ["models/mlm_tiny.gin", "runs/heads.gin", "heads/tagging.gin"]

    def again(*overrides):
        return recorded.load_run(files, ["CORPORA=texts", f"WORKDIR={tmp_path}", *overrides])

    new = again()
    assert (new.checkpoint.best_metric, new.checkpoint.ties) == ("eval/score", "eval/nll")
    text = config.operative_config(new).replace("'eval/score'", "'eval/accuracy'")
    text = re.sub(r"(?m)^CheckpointConfig.ties = .*\n", "", text)
    (tmp_path / "config.gin").write_text(text)
    assert again().checkpoint == new.checkpoint  # it has no checkpoint yet
    (tmp_path / "checkpoints" / "7").mkdir(parents=True)
    old = again()
    assert (old.checkpoint.best_metric, old.checkpoint.ties) == ("eval/accuracy", None)
    (tmp_path / "config.gin").write_text(config.operative_config(old))
    assert again().checkpoint == old.checkpoint  # and once more
    asked = again("CheckpointConfig.best_metric=eval/nll", "CheckpointConfig.best_mode=min")
    assert asked.checkpoint.best_metric == "eval/nll"


@pytest.mark.parametrize(
    ("recipe", "given", "overrides", "part", "value"),
    [
        ("finetune", "data/translation.gin", [], "data.objective", "translation"),
        ("finetune", "data/tasks.gin", ["KIND=tagging", "CORPORA=bank"], "data.sources", ()),
        (
            "heads",
            "data/transfer.gin",
            ["SOURCES=eng_Latn"],
            "data.transfer.sources",
            ("eng_Latn",),
        ),
        ("adapt", "modules/interventions.gin", [], "PLUGS", ["lang", "change"]),
        ("adapt", "mesh/fsdp.gin", [], "mesh.fsdp", -1),
        ("adapt", "data/noise.gin", [], "data.text.noise", (0.1, 0.15)),
        ("adapt", "data/ul2.gin", [], "data.objective", "ul2"),
    ],
)
def test_what_is_given_changes_what_a_run_recorded(tmp_path, recipe, given, overrides, part, value):
    """A file that comes with jaxlt, beside the run's folder and on either side of its config."""
    files, said = {
        "finetune": (["models/tiny.gin", "runs/finetune.gin"], ["PAIRS=texts", "INIT_FROM=base"]),
        "heads": (["models/mlm_tiny.gin", "runs/heads.gin", "heads/tagging.gin"], ["CORPORA=x"]),
        "adapt": (FILES[:3], GIVEN),
    }[recipe]
    began = config.load(files, [*said, f"WORKDIR={tmp_path}"])
    (tmp_path / "config.gin").write_text(config.operative_config(began))
    run, _ = find_run(str(tmp_path), None, [given], overrides)
    assert run != began
    if part == "PLUGS":
        assert [plug.name for plug in run.model.plugs] == value
    else:
        assert operator.attrgetter(part)(run) == value
    for asked in ([given, str(tmp_path / "config.gin")], [str(tmp_path / "config.gin"), given]):
        assert config.load(asked, overrides) == run


def test_of_two_recorded_configs_the_later_wins(tmp_path):
    for name, steps in (("one", 1), ("two", 2)):
        run = config.load(FILES, [*GIVEN, "WORKDIR=w", f"TrainConfig.steps={steps}"])
        (tmp_path / f"{name}.gin").write_text(config.operative_config(run))
    one, two = str(tmp_path / "one.gin"), str(tmp_path / "two.gin")
    assert config.load([one, two]).train.steps == 2 and config.load([two, one]).train.steps == 1
    (tmp_path / "mine.gin").write_text("TrainConfig.steps = 3\n")
    assert config.load([str(tmp_path / "mine.gin"), one]).train.steps == 3
