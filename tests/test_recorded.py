"""A run's folder that an older version wrote is resumed and opened as the run that it was."""

import argparse
import re

import pytest
from etils import epath

from jaxlt import config
from jaxlt.commands.main import load_run
from jaxlt.config import recorded
from jaxlt.config.resuming import may_change
from jaxlt.engine.checkpoint.workdir import Workdir
from jaxlt.errors import UserError
from jaxlt.inference.backbone import _run_of

FILES = ["models/tiny.gin", "runs/pretrain.gin", "tiny.gin"]
YOUNG = r"(?m)^.*DataConfig\.revision = .*\n"


def arguments(*overrides):
    return argparse.Namespace(
        gin_file=FILES, gin_overrides=["TEXT=texts", *overrides], gin_search_paths=[]
    )


@pytest.fixture
def old(tmp_path):
    """The folder of a run whose config.gin knows no revision."""
    run = config.load(FILES, ["TEXT=texts", f"WORKDIR={tmp_path}"])
    text, count = re.subn(YOUNG, "", config.operative_config(run))
    assert count == 2  # the evaluation's, too
    text = text.replace("DataConfig.held_out = None", "DataConfig.held_out = 0.01")
    (tmp_path / "config.gin").write_text(text)
    return tmp_path


def test_a_new_run_reads_by_the_latest_rules(tmp_path):
    run = load_run(arguments(f"WORKDIR={tmp_path / 'new'}"))
    assert run.data.revision == run.eval_data.revision == 2
    assert recorded.behind(str(tmp_path / "new")) == {}


def test_a_run_without_a_revision_keeps_its_first_and_may_be_resumed(old):
    run = load_run(arguments(f"WORKDIR={old}"))
    assert run.data.revision == run.eval_data.revision == 1
    assert run.data.held_out == 0.01
    text = config.operative_config(run)
    harmless = may_change()
    with Workdir.open(old, text, "new", harmless=harmless, younger=recorded.younger) as workdir:
        assert workdir.changed == {}
    assert "\nDataConfig.revision = 1\n" in (old / "config.gin").read_text()
    assert load_run(arguments(f"WORKDIR={old}")) == run  # and once more


def test_another_revision_is_another_config(old):
    run = load_run(arguments(f"WORKDIR={old}", "DataConfig.revision=2"))
    with pytest.raises(UserError, match=r"DataConfig.revision: 1 -> 2"):
        Workdir.open(old, config.operative_config(run), "new", younger=recorded.younger)


def test_a_younger_setting_has_its_default_in_an_old_run():
    assert recorded.younger("eval/DataConfig.revision") == "1"
    assert recorded.younger("TrainConfig.accumulate") == "1"
    assert recorded.younger("plug.routes") == "0"
    assert recorded.younger("OptimizerConfig.name") == "'adafactor'"
    assert recorded.younger("run.workdir") is None  # required
    assert recorded.younger("users.own.thing") is None


def test_a_revision_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="revision is from 1 to 2, not 3"):
        load_run(arguments("WORKDIR=nowhere", "DataConfig.revision=3"))


def test_a_run_under_way_selects_by_the_metric_that_it_began_with(tmp_path):
    """Its best value so far is one of that metric, whatever the gin files say by now."""
    files = ["models/mlm_tiny.gin", "runs/heads.gin", "heads/tagging.gin"]

    def load(*overrides):
        given = ["TEXT=texts", f"WORKDIR={tmp_path}", *overrides]
        args = argparse.Namespace(gin_file=files, gin_overrides=given, gin_search_paths=[])
        return load_run(args)

    new = load()
    assert (new.checkpoint.best_metric, new.checkpoint.ties) == ("eval/score", "eval/nll")
    text = config.operative_config(new).replace("'eval/score'", "'eval/accuracy'")
    text = re.sub(r"(?m)^CheckpointConfig.ties = .*\n", "", text)
    (tmp_path / "config.gin").write_text(text)
    assert load().checkpoint == new.checkpoint  # it has no checkpoint yet
    (tmp_path / "checkpoints" / "7").mkdir(parents=True)
    old = load()
    assert (old.checkpoint.best_metric, old.checkpoint.ties) == ("eval/accuracy", None)
    (tmp_path / "config.gin").write_text(config.operative_config(old))
    assert load().checkpoint == old.checkpoint  # and once more
    asked = load("CheckpointConfig.best_metric=eval/nll", "CheckpointConfig.best_mode=min")
    assert asked.checkpoint.best_metric == "eval/nll"


def test_a_revision_that_is_said_once_more_changes_nothing(old):
    run = load_run(arguments(f"WORKDIR={old}", "DataConfig.revision=1"))
    assert run.data.held_out == 0.01
    assert run == load_run(arguments(f"WORKDIR={old}"))


def test_the_backbone_of_an_old_run_is_opened_by_its_first_rules(old):
    (old / "checkpoints" / "1").mkdir(parents=True)
    run = _run_of(epath.Path(old / "checkpoints" / "1"))
    assert (run.data.revision, run.data.held_out) == (1, 0.01)
